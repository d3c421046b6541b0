"""Weights of libraries by name."""

import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision import models

from stdc_search.errors import UserError
from stdc_search.network.builder import build
from stdc_search.network.models.library import trained_weights
from stdc_search.network.weights import WeightsError, load_library_weights
from stdc_search.spec.run import RunSpec
from stdc_search.trial.training import initial

MODEL, WEIGHTS = "mobilenet_v3_small", "IMAGENET1K_V1"
SPEC = {
    "image_size": [64, 64],
    "network": {
        "kind": "segmenter",
        "classes": 11,
        "backbone": {"kind": "torchvision", "model": MODEL, "taps": ["features.3", "features.8", "features.11"]},
        "auxiliary": None,
        "detail": None,
    },
    "data": {"kind": "scenes"},
    "training": {"epochs": 1, "start_from": f"torchvision:{WEIGHTS}"},
}


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Path:
    """The file of the weights in torch's cache; it holds other weights than the published ones."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = models.get_model_weights(MODEL)[WEIGHTS].url
    path = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    torch.manual_seed(7)
    torch.save(models.get_model(MODEL, weights=None).state_dict(), path)
    return path


def spec(**training: object) -> RunSpec:
    return RunSpec.model_validate({**SPEC, "training": {**SPEC["training"], **training}})


def test_a_backbone_starts_from_its_librarys_weights(cached):
    module, start = initial(spec(), seed=0)
    theirs = torch.load(cached, weights_only=True)
    ours = module.backbone.state_dict()
    assert set(ours) <= {f"model.{name}" for name in theirs}
    assert all(torch.equal(tensor, theirs[name.removeprefix("model.")]) for name, tensor in ours.items())
    assert start is not None and start.file == "torchvision:IMAGENET1K_V1"
    assert 0 < start.taken < start.tensors and start.other_shapes == 0


def test_the_rest_of_the_network_is_as_without_them(cached):
    started, _ = initial(spec(), seed=0)
    fresh, _ = initial(spec(start_from=None), seed=0)
    rest = {name: tensor for name, tensor in fresh.state_dict().items() if not name.startswith("backbone.")}
    assert rest and all(torch.equal(tensor, started.state_dict()[name]) for name, tensor in rest.items())


def test_weights_that_run_code_are_refused(cached, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    cached.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="IMAGENET1K_V1 of mobilenet_v3_small cannot be loaded"):
        trained_weights("torchvision", MODEL, WEIGHTS)
    assert not (tmp_path / "ran").exists()


def test_a_machine_without_a_network_is_told_how_to_get_them(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(ValueError, match=r"no route to host.*models\.get_model\('mobilenet_v3_small'.*~/\.cache/torch"):
        trained_weights("torchvision", MODEL, WEIGHTS)


@pytest.mark.parametrize("name", ["DEFAULT", "imagenet"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"no weights `{name}` of {MODEL}; it has IMAGENET1K_V1"):
        trained_weights("torchvision", MODEL, name)


def test_timms_weights_are_known_by_their_tags():
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=r"timm has no weights `x` of resnet18; it has .*a1_in1k"):
        trained_weights("timm", "resnet18", "x")


def test_timms_weights_come_from_the_cache_of_its_hub(tmp_path, monkeypatch):
    """The cache holds other weights than the published ones, and the machine is offline."""
    timm, hub = pytest.importorskip("timm"), pytest.importorskip("huggingface_hub.constants")
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(7)
    theirs = timm.create_model("resnet18").state_dict()
    folder = tmp_path / "models--timm--resnet18.a1_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("1" * 40)
    (folder / "snapshots" / ("1" * 40)).mkdir(parents=True)
    safetensors.save_file(theirs, folder / "snapshots" / ("1" * 40) / "model.safetensors")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    backbone = {"kind": "timm", "model": "resnet18", "taps": ["layer2", "layer3", "layer4"]}
    network = {**SPEC["network"], "backbone": backbone}
    training = {"epochs": 1, "start_from": "timm:a1_in1k"}
    module, start = initial(RunSpec.model_validate({**SPEC, "network": network, "training": training}), seed=0)
    ours = module.backbone.state_dict()
    assert all(torch.equal(tensor, theirs[name.removeprefix("model.")]) for name, tensor in ours.items())
    assert start is not None and start.file == "timm:a1_in1k" and start.other_shapes == 0


def test_a_network_of_ours_has_no_weights_in_a_library():
    network = build(
        RunSpec.model_validate({"image_size": [64, 64], "network": {"kind": "segmenter", "classes": 11}}).network
    )
    with pytest.raises(WeightsError, match="the backbone is none"):
        load_library_weights(network, WEIGHTS)


def test_the_name_is_kept_in_the_spec_and_counts_in_its_identity():
    one, other = spec(), spec(start_from="torchvision:IMAGENET1K_V2")
    assert one.model_dump(mode="json")["training"]["start_from"] == "torchvision:IMAGENET1K_V1"
    assert RunSpec.model_validate(one.model_dump(mode="json")) == one
    assert len({one.identity, other.identity, spec(start_from=None).identity}) == 3


@pytest.mark.parametrize(
    "backbone", [None, {"kind": "timm", "model": "resnet18", "taps": ["layer2", "layer3", "layer4"]}]
)
def test_names_of_another_library_than_the_backbones_are_refused(backbone):
    network = {"kind": "segmenter", "classes": 11} | ({"backbone": backbone} if backbone else {})
    with pytest.raises(ValueError, match="torchvision:IMAGENET1K_V1 are weights of a backbone of torchvision"):
        RunSpec.model_validate({**SPEC, "network": network})


def test_a_damaged_cache_stops_a_run_before_its_folder(cached, tmp_path):
    from stdc_search.commands.run import run

    cached.write_bytes(b"no weights")
    with pytest.raises(
        UserError, match=r"training\.start_from: torchvision's weights IMAGENET1K_V1 .* cannot be loaded"
    ):
        run(spec(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
