"""Weights of other tools give the outputs that they gave there; nothing that is read can run code."""

import math
import os
import pickle
import re
import zipfile
from argparse import Namespace
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stdc_search.network.builder import build
from stdc_search.network.weights import WeightsError, load_weights, save_weights
from stdc_search.spec.base import replace
from stdc_search.spec.network import ClassifierSpec, SegmenterSpec
from stdc_search.spec.start import PRESETS
from tests.released import Released, as_mmsegmentation, classification, segmentation
from tests.search_specs import tiny_search

NETWORKS = ["stdc1", "stdc2"]
SIZE = (97, 131)


def classifier(name: str) -> ClassifierSpec:
    return ClassifierSpec(kind="classifier", backbone=PRESETS[name].backbone)


def image() -> torch.Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize(("network", "entries"), [("stdc1", 361), ("stdc2", 649)])
@pytest.mark.parametrize("aliases", [True, False])
def test_a_released_classifier_gives_the_released_scores(tmp_path, network, entries, aliases):
    state = classification(network)
    assert len(state) == entries
    expected = Released(state).classify(image())
    if not aliases:
        state = {name: value for name, value in state.items() if not name.startswith("x")}
    torch.save({"epoch": 3, "best": np.float64(73.91), "state_dict": state}, tmp_path / "net.tar")
    module = build(classifier(network))
    loaded = load_weights(module, tmp_path / "net.tar")
    assert loaded.kind == "released classification"
    assert loaded.misfits == []
    torch.testing.assert_close(module.double().eval()(image()), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("network", "entries"), [("stdc1", 445), ("stdc2", 733)])
def test_a_released_segmenter_gives_the_released_scores_negative_norms_included(tmp_path, network, entries):
    state = segmentation(network)
    assert len(state) == entries
    torch.save(state, tmp_path / "model_maxmIOU50.pth")
    module = build(PRESETS[network])
    loaded = load_weights(module, tmp_path / "model_maxmIOU50.pth")
    assert loaded.kind == "released segmentation"
    assert loaded.misfits == []
    with torch.no_grad():
        expected = Released(state).segment(image())
        module.double().eval()
        output = module.forward_training(image())
        torch.testing.assert_close(module(image()), expected["conv_out"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.logits, expected["conv_out"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.auxiliary[0], expected["conv_out16"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.auxiliary[1], expected["conv_out32"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.detail, expected["conv_out_sp8"], atol=1e-5, rtol=0)
    plain = Released(state, activated=False).segment(image())["conv_out"]
    assert (plain - expected["conv_out"]).abs().max() > 0.1, "the fold would not matter"


@pytest.mark.parametrize("network", NETWORKS)
def test_mmsegmentations_weights_give_its_scores(tmp_path, network):
    state = segmentation(network)
    theirs = as_mmsegmentation(state, network)
    torch.save({"meta": {"mmseg": "1.2.2"}, "state_dict": theirs}, tmp_path / "theirs.pth")
    changes = {"head.bias": True, "auxiliary.bias": True, "detail": None}
    module = build(replace(PRESETS[network], changes))
    loaded = load_weights(module, tmp_path / "theirs.pth")
    assert loaded.kind == "mmsegmentation"
    assert loaded.set_aside == ("auxiliary_head.2.conv_seg.weight", "auxiliary_head.2.laplacian_kernel")
    with torch.no_grad():
        expected = Released(state, activated=False).segment(image())
        output = module.double().eval().forward_training(image())
    for head, logits, name in (
        ("decode_head", output.logits, "conv_out"),
        ("auxiliary_head.0", output.auxiliary[0], "conv_out16"),
        ("auxiliary_head.1", output.auxiliary[1], "conv_out32"),
    ):
        bias = theirs[f"{head}.conv_seg.bias"].view(1, -1, 1, 1)
        torch.testing.assert_close(logits, expected[name] + bias, atol=1e-5, rtol=0)


def test_a_bias_without_a_place_is_named(tmp_path):
    torch.save(as_mmsegmentation(segmentation("stdc1"), "stdc1"), tmp_path / "theirs.pth")
    module = build(replace(PRESETS["stdc1"], {"detail": None}))
    with pytest.raises(WeightsError, match=r"3 unexpected: decode_head\.conv_seg\.bias, auxiliary_head\.0"):
        load_weights(module, tmp_path / "theirs.pth")


def test_a_segmenter_takes_the_backbone_of_a_released_classifier(tmp_path):
    torch.save({"state_dict": classification("stdc1")}, tmp_path / "net.tar")
    module = build(PRESETS["stdc1"])
    head = module.head.out.weight.clone()
    with pytest.raises(WeightsError, match=r"missing: context\.average"):
        load_weights(module, tmp_path / "net.tar")
    loaded = load_weights(module, tmp_path / "net.tar", partial=True)
    assert len(loaded.taken) == 145
    assert all(name.startswith("backbone.") for name in loaded.taken)
    assert len(loaded.unexpected) == 11
    assert len(loaded.set_aside) == 174
    assert torch.equal(module.head.out.weight, head)
    assert torch.equal(module.backbone.stem[0].conv.weight, classification("stdc1")["features.0.conv.weight"])


def test_a_deeper_network_takes_the_modules_that_are_there(tmp_path):
    torch.save(classification("stdc1"), tmp_path / "net.tar")
    spec = replace(PRESETS["stdc1"], {"backbone.stages.0.depth": 3, "backbone.stages.2.width": 512})
    loaded = load_weights(build(spec), tmp_path / "net.tar", partial=True)
    assert any(name.startswith("backbone.stages.0.2.") for name in loaded.missing)
    assert any(name.startswith("backbone.stages.1.1.") for name in loaded.taken)
    assert any(
        name.startswith("backbone.stages.2.0.blocks.0.conv.weight (512, 512, 1, 1)") for name in loaded.misshapen
    )


def test_our_own_weights_come_back(tmp_path):
    spec = tiny_search().network
    module, other = build(spec), build(spec)
    save_weights(module, tmp_path / "own.safetensors")
    loaded = load_weights(other, tmp_path / "own.safetensors")
    assert loaded.kind == "own"
    assert loaded.misfits == []
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_training_heads_may_be_left_out_of_a_network(tmp_path):
    save_weights(build(tiny_search().network), tmp_path / "own.safetensors")
    bare = build(replace(tiny_search().network, {"auxiliary": None, "detail": None}))
    loaded = load_weights(bare, tmp_path / "own.safetensors")
    assert loaded.misfits == []
    assert all(name.startswith(("auxiliary.", "detail.")) for name in loaded.set_aside)


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("evil.pth", "wb") as file:
        pickle.dump({"state_dict": Attack()}, file)
    torch.save({"state_dict": Attack()}, "evil.pt")
    for name in ("evil.pth", "evil.pt"):
        with pytest.raises(WeightsError, match="runs code when it is loaded"):
            load_weights(build(tiny_search().network), name)
    assert not (tmp_path / "attacked").exists()


def test_what_is_no_file_of_weights_is_not_called_a_pickle_to_trust(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 not weights")
    with pytest.raises(WeightsError, match=r"photo.jpg: is damaged, or no file of weights; give one that ends in"):
        load_weights(build(tiny_search().network), tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.pth", None, "no.pth: does not exist"),
        ("empty.pth", b"", "empty.pth: "),
        ("text.pth", b"hello", "text.pth: (is damaged|cannot be read)"),
        ("text.safetensors", b"hello", "text.safetensors: cannot be read as weights"),
    ],
)
def test_a_file_that_is_no_weights_is_told(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(build(tiny_search().network), tmp_path / name)


def test_weights_of_an_unknown_kind_are_named(tmp_path):
    torch.save({"layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
    with pytest.raises(WeightsError, match=r"unknown kind; .* Its tensors are layer1\.0\.conv1\.weight$"):
        load_weights(build(tiny_search().network), tmp_path / "resnet.pth")


def with_prefix(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def nested(state):
    """Modules in modules, as other frameworks keep them: {"backbone": {"stem": {"0": ...}}}."""
    tree = {}
    for name, tensor in state.items():
        *path, last = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = tensor
    return tree


MOMENTUM = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
AROUND = {
    "at the top": lambda state: state,
    "compiled": lambda state: with_prefix(state, "_orig_mod."),
    "compiled, then distributed": lambda state: with_prefix(state, "module._orig_mod."),
    "distributed, then compiled": lambda state: with_prefix(state, "_orig_mod.module."),
    "compiled in part": lambda state: {
        name.replace("backbone.", "backbone._orig_mod."): value for name, value in state.items()
    },
    "an attribute": lambda state: with_prefix(state, "model."),
    "an attribute of any name": lambda state: with_prefix(state, "segmentation_network.student."),
    "model_state_dict": lambda state: {"epoch": 3, "optimizer": MOMENTUM, "model_state_dict": state},
    "model_state": lambda state: {"model_state": with_prefix(state, "module."), "optimizer": MOMENTUM},
    "net": lambda state: {"net": state, "acc": 91.2},
    "ema": lambda state: {"ema": with_prefix(state, "module."), "updates": 100},
    "ema_model in a state_dict": lambda state: {"state_dict": {"model": {"ema_model": state}}},
    "a name that nobody thought of": lambda state: {"payload": [{"weights": with_prefix(state, "m.")}]},
    "Lightning with its loss": lambda state: {
        "state_dict": {**with_prefix(state, "model._orig_mod."), "criterion.weight": torch.ones(5)},
        "pytorch-lightning_version": "2.4.0",
    },
    "AveragedModel": lambda state: {"n_averaged": torch.tensor(7), **with_prefix(state, "module.")},
    "a tuple": lambda state: (state, 12),
    "modules in modules": nested,
    "a state for each part": lambda state: {
        part: {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}
        for part in {name.split(".")[0] for name in state}
    },
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_weights_are_found_wherever_a_training_tool_puts_them(tmp_path, around):
    spec = tiny_search().network
    module, other = build(spec), build(spec)
    torch.save(around(module.state_dict()), tmp_path / "theirs.pth")
    loaded = load_weights(other, tmp_path / "theirs.pth")
    assert loaded.kind == "own"
    assert loaded.misfits == []
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_safetensors_are_searched_alike(tmp_path):
    module = build(tiny_search().network)
    save_file(with_prefix(module.state_dict(), "ema_model.module._orig_mod."), tmp_path / "theirs.safetensors")
    assert load_weights(module, tmp_path / "theirs.safetensors").where == "ema_model.module"


@pytest.mark.parametrize("prefix", ["module.", "model._orig_mod."])
@pytest.mark.parametrize("kind", ["classification", "segmentation", "mmsegmentation"])
def test_files_of_known_tools_are_known_under_a_prefix(tmp_path, kind, prefix):
    changes, spec = {}, PRESETS["stdc1"]
    if kind == "classification":
        state, spec = classification("stdc1"), classifier("stdc1")
    elif kind == "segmentation":
        state = segmentation("stdc1")
    else:
        state = as_mmsegmentation(segmentation("stdc1"), "stdc1")
        changes = {"head.bias": True, "auxiliary.bias": True, "detail": None}
    torch.save({"model_state": with_prefix(state, prefix), "optimizer": MOMENTUM}, tmp_path / "theirs.pth")
    loaded = load_weights(build(replace(spec, changes)), tmp_path / "theirs.pth")
    assert loaded.misfits == []
    assert kind in loaded.kind


def states(spec, *fills):
    """States of one network, each with one value everywhere."""
    return [{name: torch.full_like(value, fill) for name, value in build(spec).state_dict().items()} for fill in fills]


@pytest.mark.parametrize("key", ["ema", "model_ema", "state_dict_ema", "average", "swa_model"])
def test_averaged_weights_are_taken_where_a_file_has_both_and_it_says_so(tmp_path, key):
    module = build(tiny_search().network)
    plain, averaged = states(tiny_search().network, 1, 2)
    torch.save({"model": plain, key: averaged}, tmp_path / "theirs.pth")
    loaded = load_weights(module, tmp_path / "theirs.pth")
    assert module.state_dict()["backbone.stem.0.conv.weight"].unique().tolist() == [2]
    assert str(loaded).startswith(f"own under `{key}`: ")


def test_averaged_weights_without_the_norms_statistics_are_not_taken(tmp_path):
    module = build(tiny_search().network)
    plain, averaged = states(tiny_search().network, 1, 2)
    averaged = {name: value for name, value in averaged.items() if "running" not in name}
    torch.save({"model": plain, "ema": averaged}, tmp_path / "theirs.pth")
    assert load_weights(module, tmp_path / "theirs.pth").where == "model"


def test_the_first_of_two_states_that_fit_equally_well_is_taken(tmp_path):
    plain, best = states(tiny_search().network, 1, 2)
    torch.save({"model": plain, "best_model": best}, tmp_path / "theirs.pth")
    assert load_weights(build(tiny_search().network), tmp_path / "theirs.pth").where == "model"


def test_the_state_that_fits_is_taken_where_a_file_has_a_teachers_too(tmp_path):
    spec = tiny_search().network
    (teacher,) = states(SegmenterSpec(kind="segmenter"), 1)
    (student,) = states(spec, 2)
    content = {"state_dict": {**with_prefix(teacher, "teacher."), **with_prefix(student, "student.")}}
    torch.save(content, tmp_path / "theirs.pth")
    assert load_weights(build(spec), tmp_path / "theirs.pth").where == "state_dict.student"


def test_where_weights_lie_is_said_when_they_do_not_fit(tmp_path):
    torch.save({"net": with_prefix(build(SegmenterSpec(kind="segmenter")).state_dict(), "module.")}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"own weights under `net\.module` that do not fit:"):
        load_weights(build(tiny_search().network), tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "config": {"lr": 0.1}}, r"it holds no tensors; its top-level keys are epoch, config$"),
        ([], r"it holds no tensors$"),
        ({"net": {"w": torch.zeros(2).to_sparse()}}, r"none of its 1 tensors is dense and real; .* keys are net$"),
        (
            {"g": {"fc.weight": torch.zeros(2)}, "d": None},
            r"Its tensors are g\.fc\.weight; its top-level keys are g, d$",
        ),
        (torch.zeros(2), r"unknown kind"),
    ],
)
def test_a_file_without_known_weights_says_what_it_holds(tmp_path, content, message):
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.raises(WeightsError, match=message):
        load_weights(build(tiny_search().network), tmp_path / "theirs.pth")


def test_a_container_that_holds_itself_ends(tmp_path):
    content = {"state_dict": build(tiny_search().network).state_dict()}
    content["self"] = content
    torch.save(content, tmp_path / "theirs.pth")
    assert load_weights(build(tiny_search().network), tmp_path / "theirs.pth").misfits == []


@pytest.mark.parametrize(
    "beside",
    [
        Namespace(lr=0.1, device="cuda"),
        np.arange(3),
        np.random.RandomState(0).get_state(),
        np.float64(73.9),
        np.float32(1),
        np.bool_(True),
        {"milestones": Counter([1, 2])},
    ],
    ids=["arguments", "array", "random state", "float64", "float32", "bool", "counter"],
)
def test_values_that_training_scripts_store_beside_the_weights_are_no_hindrance(tmp_path, beside):
    module = build(tiny_search().network)
    torch.save({"model": module.state_dict(), "beside": beside}, tmp_path / "theirs.pth")
    assert load_weights(module, tmp_path / "theirs.pth").misfits == []


def test_values_stored_by_numpy_1_are_no_hindrance(tmp_path):
    module = build(tiny_search().network)
    torch.save({"model": module.state_dict(), "best": np.float64(73.9)}, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert load_weights(module, tmp_path / "old.pth").misfits == []


def test_a_refused_file_leaves_the_module_as_it_was(tmp_path):
    module = build(tiny_search().network)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    save_weights(build(SegmenterSpec(kind="segmenter")), tmp_path / "large.safetensors")
    with pytest.raises(
        WeightsError, match=r"with a different shape or type: backbone\.stem\.0\.conv\.weight \(32, 3, 3, 3\) in the"
    ):
        load_weights(module, tmp_path / "large.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_weights_of_another_network_are_taken_as_none(tmp_path):
    torch.save(classification("stdc1"), tmp_path / "net.tar")
    loaded = load_weights(build(tiny_search().network), tmp_path / "net.tar", partial=True)
    assert loaded.taken == ()


@pytest.mark.parametrize(
    "extra", ["features.extra.weight", "features", "features.x", "features.2", "features.2.conv_list.0.conv.weight.x"]
)
def test_a_name_that_only_begins_like_a_known_one_is_unexpected(tmp_path, extra):
    torch.save({**classification("stdc1"), extra: torch.zeros(2)}, tmp_path / "net.tar")
    with pytest.raises(WeightsError, match=f"1 unexpected: {extra}"):
        load_weights(build(classifier("stdc1")), tmp_path / "net.tar")


@pytest.mark.parametrize("prefix", ["", "backbone.", "backbone.backbone."])
def test_mmsegmentations_backbone_is_known_by_any_prefix(tmp_path, prefix):
    theirs = as_mmsegmentation(segmentation("stdc1"), "stdc1")
    whole = "backbone.backbone."
    state = {prefix + name.removeprefix(whole): value for name, value in theirs.items() if name.startswith(whole)}
    torch.save({**state, "stages.foo": torch.zeros(1)}, tmp_path / "backbone.pth")
    module = build(PRESETS["stdc1"])
    loaded = load_weights(module, tmp_path / "backbone.pth", partial=True)
    assert len(loaded.taken) == 145
    assert torch.equal(module.backbone.stem[1].conv.weight, theirs["backbone.backbone.stages.1.conv.weight"])


def test_a_prefix_of_training_on_several_devices_and_half_precision_are_read(tmp_path):
    state = {f"module.{name}": value.half() for name, value in segmentation("stdc1").items()}
    torch.save(state, tmp_path / "ddp.pth")
    assert load_weights(build(PRESETS["stdc1"]), tmp_path / "ddp.pth").misfits == []


def test_tensors_that_are_not_plain_are_passed_over(tmp_path):
    state = classification("stdc1")
    state["fc.weight"] = state["fc.weight"].to_sparse()
    torch.save(state, tmp_path / "net.tar")
    with pytest.raises(WeightsError, match=r"1 missing: hidden\.linear\.weight"):
        load_weights(build(classifier("stdc1")), tmp_path / "net.tar")


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("backbone.stem.0.conv.weight", math.nan),
        ("backbone.stem.0.conv.weight", math.inf),
        ("backbone.stem.0.conv.weight", 1e300),  # infinite in float32
        ("backbone.stem.0.bn.running_var", -1.0),
    ],
)
def test_weights_that_are_no_numbers_are_refused(name, broken, tmp_path):
    module = build(PRESETS["stdc1"])
    state = {name: value.clone() for name, value in module.state_dict().items()}
    state[name] = state[name].double()
    state[name].view(-1)[0] = broken
    save_file(state, tmp_path / "w.safetensors")
    before = module.state_dict()[name].clone()
    told = f"1 tensors contain NaN, infinity or a negative variance: {re.escape(name)};"
    with pytest.raises(WeightsError, match=told):
        load_weights(module, tmp_path / "w.safetensors")
    assert torch.equal(module.state_dict()[name], before)


@pytest.mark.parametrize("kind", [torch.float64, torch.float8_e4m3fn, torch.float8_e5m2])
def test_other_types_are_converted_with_a_word(kind, tmp_path):
    module = build(PRESETS["stdc1"])
    name = "backbone.stem.0.conv.weight"
    torch.save({**module.state_dict(), name: module.state_dict()[name].to(kind)}, tmp_path / "other.pth")
    told = str(load_weights(module, tmp_path / "other.pth"))
    assert told.endswith(f"tensors taken, converted from {str(kind).removeprefix('torch.')}")


def test_whole_numbers_are_no_weights(tmp_path):
    module = build(PRESETS["stdc1"])
    state = {name: value.clone() for name, value in module.state_dict().items()}
    name = "backbone.stem.0.conv.weight"
    save_file({**state, name: state[name].to(torch.int8)}, tmp_path / "int8.safetensors")
    with pytest.raises(WeightsError, match=r"conv\.weight \(32, 3, 3, 3\) int8 in the file, \(32, 3, 3, 3\) here"):
        load_weights(module, tmp_path / "int8.safetensors")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="is a pipe or a device, not a file"):
        load_weights(build(PRESETS["stdc1"]), tmp_path / "w.safetensors")
