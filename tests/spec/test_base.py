"""A spec's way from and to a file, and its variants."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stdc_search.spec.backbone import StageSpec
from stdc_search.spec.base import dump, replace, replacer, value_at
from stdc_search.spec.heads import DetailSpec, HeadSpec
from stdc_search.spec.network import SegmenterSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec, load, schema
from stdc_search.spec.start import PRESETS

RUN = """\
image_size: [64, 96]
network: {kind: segmenter, classes: 11}
data: {kind: scenes}
training: {epochs: 1}
"""


@pytest.fixture
def run(tmp_path: Path) -> RunSpec:
    (tmp_path / "run.yaml").write_text(
        RUN + "search:\n  vary: {network.head.width: {kind: choice, of: [32, 64]}}\n  trials: 2\n"
    )
    return load(tmp_path / "run.yaml")


def test_what_is_absent_gets_its_default(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("network: {kind: segmenter}\n")
    assert load(tmp_path / "run.yaml") == RunSpec(network=SegmenterSpec(kind="segmenter"))


def test_a_path_may_be_text(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("network: {kind: segmenter}\n")
    assert load(str(tmp_path / "run.yaml")).network.classes == 19


def test_json_and_yaml_give_the_same_spec(tmp_path: Path, run: RunSpec) -> None:
    text = dump(run, tmp_path / "run.json")
    assert json.loads(text)["image_size"] == [64, 96]
    assert load(tmp_path / "run.json") == run


def test_the_dump_has_every_section_in_its_order(run: RunSpec) -> None:
    sections = [line.split(":")[0] for line in dump(run).splitlines() if not line.startswith(" ")]
    assert sections == ["image_size", "network", "data", "training", "evaluation", "latency", "search"]


def test_the_dump_has_every_default_in_its_order(run: RunSpec) -> None:
    assert dump(run.network) == (
        "kind: segmenter\n"
        "classes: 11\n"
        "backbone:\n"
        "  kind: stdc\n"
        "  stem:\n"
        "  - {width: 32, stride: 2, kernel: 3}\n"
        "  - {width: 64, stride: 2, kernel: 3}\n"
        "  stem_pool: false\n"
        "  stages:\n"
        "  - kind: stdc\n"
        "    width: 256\n"
        "    depth: 2\n"
        "    stride: 2\n"
        "    blocks: 4\n"
        "    fusion: cat\n"
        "    down: depthwise\n"
        "    skip: average\n"
        "    convs: plain\n"
        "  - kind: stdc\n"
        "    width: 512\n"
        "    depth: 2\n"
        "    stride: 2\n"
        "    blocks: 4\n"
        "    fusion: cat\n"
        "    down: depthwise\n"
        "    skip: average\n"
        "    convs: plain\n"
        "  - kind: stdc\n"
        "    width: 1024\n"
        "    depth: 2\n"
        "    stride: 2\n"
        "    blocks: 4\n"
        "    fusion: cat\n"
        "    down: depthwise\n"
        "    skip: average\n"
        "    convs: plain\n"
        "decoder:\n"
        "  kind: bisenet\n"
        "  taps: null\n"
        "  width: 128\n"
        "  context: pool\n"
        "  refinement: attention\n"
        "  fusion: attention\n"
        "  fusion_width: 256\n"
        "  fusion_squeeze: 4\n"
        "  spatial: null\n"
        "head: {width: 256, depth: 1, bias: false}\n"
        "auxiliary: {width: 64, depth: 1, bias: false}\n"
        "detail:\n"
        "  strides: [1, 2, 4]\n"
        "  weights: null\n"
        "  kernel: constant\n"
        "  threshold: 0.1\n"
        "  width: 64\n"
        "  stage: 0\n"
    )


def test_a_dump_with_a_path_is_written_there(tmp_path: Path, run: RunSpec) -> None:
    text = dump(run, tmp_path / "out.yaml")
    assert (tmp_path / "out.yaml").read_text("utf-8") == text == dump(run)
    assert load(tmp_path / "out.yaml") == run


@pytest.mark.parametrize(
    ("path", "value", "after"),
    [
        ("image_size", (32, 64), (32, 64)),
        ("image_size", [32, 64], (32, 64)),
        ("image_size.1", 128, (64, 128)),
        ("network.backbone.stages.1.width", 128, 128),
        ("network.backbone.stages", (StageSpec(width=8), StageSpec(width=16)), None),
        ("network.head", HeadSpec(width=5), {"width": 5, "depth": 1, "bias": False}),
        ("network.head", {"width": 5}, {"width": 5, "depth": 1, "bias": False}),
        ("network.detail", None, None),
        ("network", PRESETS["stdc2"].model_copy(update={"classes": 11}), None),
        ("search", None, None),
        ("search.vary.network.head.width.of", (8, 16, 24), (8, 16, 24)),
        ("search.vary.network.head.width.of.0", 8, 8),
    ],
)
def test_a_value_is_set_by_its_dotted_path(run: RunSpec, path: str, value: Any, after: Any) -> None:
    changed = replace(run, {path: value})
    top = path.split(".")[0]
    found = value_at(changed, "image_size" if top == "image_size" else path)
    assert found == (value_at({"it": value}, "it") if after is None else after)
    for other in ("image_size", "network", "data", "training", "latency", "search"):
        assert other == top or getattr(changed, other) == getattr(run, other)


def test_several_values_are_set_in_their_order(run: RunSpec) -> None:
    changed = replace(run, {"network.detail": DetailSpec(stage=1), "network.detail.width": 8})
    assert changed.network.detail == DetailSpec(stage=1, width=8)


def test_values_that_are_legal_only_together_can_be_set_together(run: RunSpec) -> None:
    both = {"network.backbone.stages.0.width": 12, "network.backbone.stages.0.blocks": 3}
    assert replace(run, both).network.backbone.stages[0] == StageSpec(width=12, blocks=3)
    with pytest.raises(SpecError, match=r"^network.backbone.stages.0.width: `width` 12 is not a multiple of 8"):
        replace(run, {"network.backbone.stages.0.width": 12})


def test_the_spec_itself_does_not_change(run: RunSpec) -> None:
    before = dump(run)
    replace(run, {"image_size.0": 32})
    assert dump(run) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("network.backbone.stage.2.depth", "there is no `stage` in `network.backbone`; did you mean `stages`?"),
        ("netwrk", "there is no `netwrk` in the spec; did you mean `network`?"),
        ("network.backbone.stages.3.depth", "there is no `3` in `network.backbone.stages`; legal: 0, 1, 2"),
        ("network.backbone.stages.00.depth", "there is no `00` in `network.backbone.stages`; legal: 0, 1, 2"),
        ("network.backbone.stages.-1.depth", "there is no `-1` in `network.backbone.stages`; legal: 0, 1, 2"),
        ("latency.repeats", "`latency` is null and has no `repeats`; set `latency` as a whole"),
        ("image_size.0.x", "`image_size.0` is 64 and has no `x`; set `image_size.0` as a whole"),
        ("search.vary.network.head", "there is no `network` in `search.vary`; did you mean `network.head.width`?"),
        ("", "there is no `` in the spec; legal: image_size, network, data, training, evaluation, latency, search"),
    ],
)
def test_a_path_that_does_not_exist_is_told_with_the_nearest(run: RunSpec, path: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        replace(run, {path: 1})
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == (path, message)


def test_all_paths_that_do_not_exist_are_told_at_once(run: RunSpec) -> None:
    with pytest.raises(SpecError) as caught:
        replace(run, {"a": 1, "b": 2})
    assert [problem.path for problem in caught.value.problems] == ["a", "b"]


def test_an_illegal_value_is_told_by_its_path_without_a_file(run: RunSpec) -> None:
    with pytest.raises(SpecError) as caught:
        replace(run, {"network.head.width": 0, "training.epochs": "2"})
    assert str(caught.value) == (
        "network.head.width: must be above 0, not 0; nearest: 1\n"
        "training.epochs: must be a whole number, not '2'; write 2"
    )


def test_a_value_is_read_by_its_dotted_path(run: RunSpec) -> None:
    assert value_at(run, "network.backbone.stages.2.width") == 1024
    assert value_at(run, "image_size") == (64, 96)
    assert value_at(run, "search.vary.network.head.width.of.1") == 64
    with pytest.raises(SpecError, match="did you mean `head`"):
        value_at(run, "network.haed.width")


def test_the_schema_has_the_fields_help_and_takes_names_of_start_networks() -> None:
    definitions = schema()["$defs"]
    depth = definitions["StageSpec"]["properties"]["depth"]
    assert depth["description"].startswith("Number of STDC modules")
    assert definitions["StageSpec"]["additionalProperties"] is False
    network, ladder = definitions["SearchSpec"]["properties"]["start"]["items"]["oneOf"]
    assert {"type": "string"} in network["anyOf"]
    assert ladder == {"$ref": "#/$defs/LadderSpec"}
    assert json.loads(json.dumps(schema())) == schema()


def test_every_field_has_help() -> None:
    definitions = {**schema()["$defs"], "RunSpec": schema()}
    fields = {
        f"{name}.{field}": content
        for name, definition in definitions.items()
        for field, content in definition.get("properties", {}).items()
    }
    assert [path for path, content in fields.items() if not content.get("description")] == []


def test_reading_a_spec_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("network: {kind: segmenter}\n")
    heavy = ("torch", "torchvision", "numpy", "pandas", "optuna", "matplotlib", "typer", "rich")
    code = (
        "import sys; from stdc_search.spec.run import load, schema; "
        f"load({str(tmp_path / 'run.yaml')!r}); schema(); print([m for m in {heavy} if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def outcome(make: Callable[[], RunSpec]) -> RunSpec | str:
    """A spec, or what is wrong with it."""
    try:
        return make()
    except SpecError as error:
        return str(error)


def test_a_replacer_makes_what_replace_makes(run: RunSpec) -> None:
    options: dict[str, list[Any]] = {
        "network.backbone.stages.0.width": [8, 12, 16],
        "network.backbone.stages.0.blocks": [2, 3, 4],  # 12 cannot have 4
        "network.detail": [None, {"strides": [1]}],
        "image_size.1": [64, 96],
    }
    make = replacer(run, options)
    for _ in range(2):  # the second time from memory
        for indices in itertools.product(*(range(len(choices)) for choices in options.values())):
            changes = {path: options[path][i] for path, i in zip(options, indices, strict=True)}
            assert outcome(lambda: make(indices)) == outcome(lambda: replace(run, changes))  # noqa: B023


def test_a_replacer_names_a_path_that_does_not_exist(run: RunSpec) -> None:
    with pytest.raises(SpecError, match=r"there is no `heads` in `network`"):
        replacer(run, {"network.heads": [1]})
