"""Times of parts: learnt from whole networks, summed, and refused where they say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from stdc_search.commands import calibrate as calibration
from stdc_search.commands.calibrate import MEASURED, TABLE, calibrate, cover
from stdc_search.device.calibration import errors_of, fit, mean_shares, shares
from stdc_search.device.runtimes import Settings, open_file
from stdc_search.errors import UserError
from stdc_search.latency import describe_machine, predictor
from stdc_search.latency.parts import words_of
from stdc_search.latency.predictor import Predictor, UnknownPartError, load_table
from stdc_search.latency.runtimes import file_content
from stdc_search.network.builder import build
from stdc_search.network.cost import named_parts, pieces
from stdc_search.ranking import rank_correlation
from stdc_search.records import Errors, Latency, TimeTable
from stdc_search.search.space import draw
from stdc_search.search.study import Study
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.run import RunSpec, load
from tests.search_specs import tiny_search

SPACE = load("specs/camvid.yaml")
RUNTIME = RuntimeSpec(runtime="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def networks() -> list[RunSpec]:
    return draw(SPACE, 300)


def words(run: RunSpec) -> list[str]:
    return [words_of(part) for part in named_parts(run.network, run.image_size).values()]


def made_up(networks: Sequence[RunSpec], seed: int = 0) -> dict[str, float]:
    """True milliseconds of every part."""
    rng = np.random.default_rng(seed)
    return {one: float(rng.uniform(0.5, 5)) for run in networks for one in words(run)}


def table(**change: object) -> TimeTable:
    errors = Errors(mape=1, within_10=100, largest=2, spearman=1)
    values = {
        "machine": describe_machine().id,
        "runtime": RUNTIME.model_dump(mode="json"),
        "device": "cpu",
        "parts": {"a": 1.0},
        "networks": 1,
        "held_out": 2,
        "errors": errors,
        "repeatability": errors,
    }
    return TimeTable.model_validate({**values, **change})


def test_pieces_and_names_tell_the_same_parts(networks):
    for run in networks[:20]:
        found = [part for piece in pieces(run.network, run.image_size) for part in piece.parts]
        assert found == list(named_parts(run.network, run.image_size).values())


def test_chosen_networks_have_every_part(networks):
    chosen = cover(networks)
    assert {one for run in chosen for one in words(run)} == {one for run in networks for one in words(run)}
    assert len(chosen) < len(networks) / 2


@pytest.mark.parametrize("noise", [0, 0.05])
def test_times_are_learnt_though_profiles_are_off(networks, noise):
    rng = np.random.default_rng(1)
    true = made_up(networks)
    learnt, others = networks[:200], networks[200:]
    measured = [sum(true[one] for one in words(run)) for run in learnt]
    # A profile that finds some parts always too slow, and others too fast.
    bias = {one: rng.uniform(0.8, 1.2) for one in true}
    seen = [[(one, true[one] * bias[one] * rng.normal(1, noise)) for one in words(run)] for run in learnt]
    known = {one for run in learnt for one in words(run)}
    predict = Predictor(fit(seen, measured))
    mine = [run for run in others if known.issuperset(words(run))]
    whole = [sum(true[one] for one in words(run)) for run in mine]
    found = errors_of([predict(run.network, run.image_size) for run in mine], whole)
    uncorrected = errors_of([sum(true[one] * bias[one] for one in words(run)) for run in mine], whole)
    assert len(mine) > 20
    assert found["mape"] < uncorrected["mape"] / 2
    assert found["mape"] < 1.5
    assert found["spearman"] > 0.98


def test_errors_are_those_of_a_table_done_by_hand():
    found = errors_of([10.5, 18.5, 30], [10, 20, 40])
    assert found["mape"] == pytest.approx(100 * (0.05 + 0.075 + 0.25) / 3)
    assert found["within_10"] == pytest.approx(100 * 2 / 3)
    assert found["largest"] == pytest.approx(25)
    assert found["spearman"] == 1
    assert errors_of([1, 1, 3], [1, 2, 3])["spearman"] == pytest.approx(rank_correlation([1, 1, 3], [1, 2, 3]))


def test_the_parts_of_a_known_network_are_not_looked_up_again(networks, monkeypatch):
    predict = Predictor(made_up(networks))
    first = [predict(run.network, run.image_size) for run in networks]
    monkeypatch.setattr(predictor, "words_of", None)  # a look-up would fail
    assert [predict(run.network, run.image_size) for run in networks] == first


def test_a_network_with_a_part_that_was_not_learnt_is_refused():
    with pytest.raises(UserError, match=r"the table has no ConvX\(3, 32, 3, 2\) of \[1, 3, 180, 240\]"):
        Predictor({})(SPACE.network, SPACE.image_size)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"machine": "another"}, "was calibrated on another machine or with other versions"),
        ({"runtime": {"runtime": "openvino"}}, "its runtime is openvino, and `latency` says onnxruntime"),
    ],
)
def test_a_table_of_something_else_is_refused(tmp_path: Path, change, told):
    path = tmp_path / "times.json"
    path.write_text(table(**change).model_dump_json())
    with pytest.raises(UserError, match=told):
        load_table(path, RUNTIME)


def test_a_table_serves_a_search_elsewhere_if_it_describes_its_machine(tmp_path: Path):
    path = tmp_path / "times.json"
    elsewhere = RUNTIME.model_copy(update={"on": "elsewhere"})
    path.write_text(table(machine="another").model_dump_json())
    with pytest.raises(UserError, match="does not describe its machine"):
        load_table(path, elsewhere)
    path.write_text(table(machine="another", described=describe_machine()).model_dump_json())
    assert load_table(path, elsewhere).parts == {"a": 1.0}
    with pytest.raises(
        UserError, match="write `on: elsewhere` in `latency`, else make it again: stdc-search calibrate"
    ):
        load_table(path, RUNTIME)
    other = elsewhere.model_copy(update={"threads": 7})
    with pytest.raises(UserError, match="its threads is"):
        load_table(path, other)


@pytest.mark.parametrize(("content", "told"), [(None, "does not exist"), ("{", "is not a table of times")])
def test_a_missing_or_damaged_table_is_told(tmp_path: Path, content, told):
    path = tmp_path / "times.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=told):
        load_table(path, RUNTIME)


def test_a_table_is_read_as_it_was_written(tmp_path: Path):
    path = tmp_path / "times.json"
    path.write_text(table().model_dump_json())
    assert load_table(path, RUNTIME).parts == {"a": 1.0}


def test_nodes_belong_to_their_modules_and_others_to_the_one_before():
    nodes = [
        ("reorder", 1.0),
        ("network.stem.1.conv/conv2d_1_nchwc_kernel_time", 2.0),
        ("image_abcd_network.stem.10.conv/conv2d_2/4", 3.0),
        ("ReorderOutput_token_3", 1.0),
        ("network.head.0.out/conv2d_9", 2.0),
        ("label_map/index_put", 1.0),
    ]
    assert shares(nodes, ["stem.1", "stem.10", "head"]) == {"stem.1": 0.3, "stem.10": 0.4, "head": 0.3}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtimes_profile_tells_the_time_of_every_part(runtime):
    spec = RuntimeSpec(runtime=runtime, threads=1)
    images = torch.zeros(1, 3, *SPACE.image_size)
    content = file_content(spec, build(SPACE.network), images, None)
    runner = open_file(Settings(runtime, None, "fp32", 1), content, profile=True)
    loaded = runner.load(images.numpy())
    for _ in range(3):
        runner.run(loaded)
    runs = runner.nodes()
    names = list(named_parts(SPACE.network, SPACE.image_size))
    found = mean_shares(runs, names)
    assert len(runs) == 3
    assert sum(found.values()) == pytest.approx(1)
    assert found.pop("upsample") == 0  # the label map has its place, and goes with the head
    assert all(share > 1e-4 for share in found.values())


def test_a_runtime_that_tells_no_times_of_nodes_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="eager does not report the time of each node; use `--runtime"):
        calibrate(SPACE, RuntimeSpec(), tmp_path)


TINY = """
image_size: [64, 64]
network:
  kind: segmenter
  classes: 11
  backbone:
    kind: stdc
    stem: [{width: 8}, {width: 16}]
    stages: [{width: 32, depth: 1}, {width: 32, depth: 1}, {width: 64, depth: 1}]
  decoder: {width: 16}
  head: {width: 16}
data: {kind: scenes}
latency: {runtime: onnxruntime, threads: 1}
training: {epochs: 1}
search:
  vary:
    network.backbone.stages.1.depth: {kind: int, low: 1, high: 3}
    network.head.width: {kind: choice, of: [16, 32, 48]}
  objectives: {score.miou: maximize, latency.median_ms: minimize}
  trials: 4
"""


@pytest.mark.slow
def test_a_space_is_learnt_from_real_networks_and_goes_on_where_it_was_cut(tmp_path: Path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    spec = load(path)
    told: list[int] = []

    def cut(done: int, _: int) -> None:
        told.append(done)
        if len(told) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(spec, RUNTIME, tmp_path / "out", progress=cut)
    learnt, held_out = calibrate(spec, RUNTIME, tmp_path / "out", progress=cut)
    assert told[1] > told[0]
    assert len((tmp_path / "out" / MEASURED).read_text("utf-8").splitlines()) == learnt.networks + 2 * learnt.held_out
    assert learnt.held_out == len(held_out) > 3
    assert learnt.errors.mape < 50  # a network of a millisecond, on a machine that may do other things
    predict = Predictor(load_table(tmp_path / "out" / TABLE, RUNTIME).parts)
    assert predict(spec.network, spec.image_size) > 0


def test_held_out_networks_have_only_parts_that_are_learnt(monkeypatch):
    vary = {f"network.backbone.stages.{i}.width": {"kind": "int", "low": 16, "high": 64, "step": 8} for i in range(3)}
    spec = tiny_search(vary=vary, objectives={"score.miou": "maximize", "cost.macs": "minimize"})
    monkeypatch.setattr(calibration, "DRAWN", 20)
    monkeypatch.setattr(calibration, "LOOKED_AT", 1000)
    learnt, held_out = calibration.sample(spec)
    known = {one for run in learnt for one in words(run)}
    assert len(held_out) > 2 and not any(run in learnt for run in held_out)
    assert known >= {one for run in (*held_out, *draw(spec, 1000)) for one in words(run)}
    narrow = cover(draw(spec, 20))
    assert {one for run in narrow for one in words(run)} < known and learnt[: len(narrow)] == narrow


@pytest.mark.parametrize("wanted", [True, False])
def test_a_network_with_an_unknown_part_is_not_proposed(wanted: bool):
    """Neither where it would be measured, nor elsewhere, where nothing can be."""

    def depth(run: RunSpec) -> int:
        return run.network.model_dump()["backbone"]["stages"][0]["depth"]

    def predict(run: RunSpec) -> Latency | None:
        if depth(run) == 3:
            if wanted:
                return None
            raise UnknownPartError("the table has no such module")
        return Latency.model_construct(median_ms=1.0)

    objectives = {"score.miou": "maximize", "latency.median_ms": "minimize"}
    study = Study(tiny_search(latency={}, objectives=objectives, trials=12), predict=predict)
    proposals = [study.propose() for _ in range(12)]
    assert {depth(one.spec) for one in proposals if one and one.spec} == {1, 2}


def test_int8_and_small_spaces_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="int8 times cannot be predicted"):
        calibrate(SPACE, RuntimeSpec(runtime="onnxruntime", precision="int8"), tmp_path)
    path = tmp_path / "two.yaml"
    path.write_text(TINY.replace("high: 3", "high: 1").replace("[16, 32, 48]", "[16, 32]"))
    with pytest.raises(UserError, match="has only 2 networks, all of which would be measured; use `stdc-search time`"):
        calibrate(load(path), RUNTIME, tmp_path)
