"""What may vary, and the networks that come first."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from stdc_search.records import METRICS
from stdc_search.spec.base import dump
from stdc_search.spec.network import ClassifierSpec, SegmenterSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.search import LimitSpec, SearchSpec, broken
from stdc_search.spec.start import PRESETS
from stdc_search.spec.vary import Choice, FloatRange, IntRange, VarySpec

Complaints = Callable[..., list[str]]
RUN = """\
network: {kind: segmenter, classes: 11}
data: {kind: scenes}
training: {epochs: 1}
search:
  trials: 3
  vary:
    network.head.width: {kind: int, low: 8, high: 16, step: 8}
"""


def started(folder: Path, *starts: str) -> RunSpec:
    """A run whose file names these start networks."""
    file = folder / "run.yaml"
    file.write_text(f"{RUN}  start: [{', '.join(starts)}]\n")
    return load(file)


def test_sizes_multiply() -> None:
    vary = {
        "a": IntRange(kind="int", low=1, high=9, step=2),
        "b": Choice(kind="choice", of=("x", "y")),
        "c": FloatRange(kind="float", low=1, high=1),
    }
    assert SearchSpec(vary=vary, trials=1).size == 10
    assert SearchSpec(vary=vary | {"d": FloatRange(kind="float", low=1, high=2)}, trials=1).size == float("inf")


def test_equal_choices_are_equal_however_they_were_made() -> None:
    networks = PRESETS["stdc1"], PRESETS["stdc2"]
    assert Choice(kind="choice", of=networks) == Choice(kind="choice", of=tuple(net.model_dump() for net in networks))
    pairs = {"kind": "choice", "of": ([1, 2], [3, 4])}
    assert Choice.model_validate(pairs) == Choice(kind="choice", of=((1, 2), (3, 4)))


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("{kind: int, low: 3, high: 2}", "low: `low` 3 is above `high` 2; swap them"),
        (
            "{kind: int, low: 8, high: 17, step: 8}",
            "high: `high` 17 is not `low` 8 plus a multiple of `step` 8; the nearest that are: 16 or 24",
        ),
        ("{kind: float, low: 3, high: 2.5}", "low: `low` 3.0 is above `high` 2.5; swap them"),
        ("{kind: float, low: 0, high: 1, log: true}", "low: `low` 0.0 has no logarithm; with `log` it must be above 0"),
        (
            "{kind: choice, of: [8, 16, 8]}",
            "of.2: is the same as `of.0` when defaults are filled in; give each value once",
        ),
        ("{kind: choice, of: []}", "of: must have at least 1 item, not 0"),
        ("{kind: integer, low: 1, high: 2}", "kind: must be int, float or choice, not 'integer'"),
        ("{low: 1, high: 2}", "kind: missing; must be int, float or choice"),
        ("8", "must be a mapping of names to values, not 8"),
    ],
)
def test_an_entry_that_spans_no_values_is_told(complaints: Complaints, entry: str, complaint: str) -> None:
    text = RUN.replace("{kind: int, low: 8, high: 16, step: 8}", entry)
    (told,) = complaints(text)
    separator = "." if complaint.split(":")[0] in ("high", "low", "of", "of.2", "kind") else ": "
    assert told == f"run.yaml:7: search.vary.network.head.width{separator}{complaint}"


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        (
            "limits: {cost.mac: {at_most: 5}}",
            "search.limits.cost.mac: must be cost.parameters, cost.macs, cost.fvcore_flops, cost.paper_flops, "
            "latency.median_ms, latency.p95_ms, score.miou, score.pixel_accuracy, score.boundary_f, score.top1, "
            "score.top5 or score.iou.CLASS, not 'cost.mac'; did you mean cost.macs?",
        ),
        (
            "limits: {cost.macs: 12.0e9}",
            "search.limits.cost.macs: must be a mapping of names to values, not 12000000000.0; "
            'such as {"at_most": 12000000000.0}',
        ),
        ("limits: {cost.macs: {at_most: 0}}", "search.limits.cost.macs.at_most: must be above 0, not 0"),
        (
            "objectives: {cost.macs: minimise}",
            "search.objectives.cost.macs: must be minimize or maximize, not 'minimise'; did you mean minimize?",
        ),
        (
            "objectives: {score.iou.rode: maximize}",
            "search.objectives.score.iou.rode: `data` has no class 'rode'; did you mean `road`?",
        ),
        (
            "objectives: {score.miou: minimize}",
            "search.objectives.score.miou: minimize would seek the worst networks; write maximize",
        ),
        (
            "objectives: {score.iou.road: maximize, cost.macs: maximize}",
            "search.objectives.cost.macs: maximize would seek the worst networks; write minimize",
        ),
        (
            "limits: {score.miou: {at_least: 150}}",
            "search.limits.score.miou.at_least: must be below 100, not 150",
        ),
        (
            "limits: {score.miou: {at_most: 50}}",
            "search.limits.score.miou.at_most: would demand a bad value; write `at_least`",
        ),
        (
            "limits: {cost.macs: {at_least: 50}}",
            "search.limits.cost.macs.at_least: would demand a bad value; write `at_most`",
        ),
        (
            "limits: {cost.macs: {}}",
            "search.limits.cost.macs: give one of `at_most` (of a cost or a time) and `at_least` (of a score)",
        ),
        ("objectives: {}", "search.objectives: must have at least 1 item, not 0"),
        (
            "sampler: {kind: tpee}",
            "search.sampler.kind: must be known_cost, stratified, tpe, multivariate_tpe, nsgaii, nsgaiii, gp or "
            "random, not 'tpee'; did you mean tpe?",
        ),
    ],
)
def test_what_cannot_be_sought_is_told(complaints: Complaints, section: str, complaint: str) -> None:
    assert complaints(f"{RUN}  {section}\n") == [f"run.yaml:8: {complaint}"]


@pytest.mark.parametrize("name", ["traffic light", "no. 1", "sky: blue", "IoU"])
def test_the_iou_of_a_class_of_any_name_is_an_objective_and_has_a_limit(tmp_path: Path, name: str) -> None:
    content = {
        "network": {"kind": "segmenter", "classes": 2},
        "data": {"kind": "folder", "class_names": ["rest", name]},
        "training": {"epochs": 1},
        "search": {
            "trials": 1,
            "vary": {"network.head.width": {"kind": "choice", "of": [8, 16]}},
            "objectives": {f"score.iou.{name}": "maximize"},
            "limits": {"score.iou.rest": {"at_least": 40}},
        },
    }
    spec = RunSpec.model_validate(content)
    dump(spec, tmp_path / "run.yaml")
    assert load(tmp_path / "run.yaml") == spec


def test_an_objective_that_is_no_metric_is_told_the_nearest(complaints: Complaints) -> None:
    (complaint,) = complaints(f"{RUN}  objectives: {{score.miuo: maximize}}\n")
    assert complaint.startswith("run.yaml:8: search.objectives.score.miuo: must be cost.parameters, ")
    assert complaint.endswith(" or score.iou.CLASS, not 'score.miuo'; did you mean score.miou?")


def test_the_presets_are_the_papers_networks() -> None:
    depths = {name: [stage.depth for stage in net.backbone.stages] for name, net in PRESETS.items()}
    assert depths == {"stdc1": [2, 2, 2], "stdc2": [4, 5, 3]}


def test_a_preset_is_named(tmp_path: Path) -> None:
    for name, network in PRESETS.items():
        (start,) = started(tmp_path, name).required_search.start
        assert (start.name, start.network) == (name, network)


def test_two_start_networks_that_differ_in_nothing_that_varies_are_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="stdc1 and stdc2 differ in nothing that varies"):
        started(tmp_path, "stdc2", "stdc1")


def test_a_spec_file_is_found_from_the_folder_of_the_file_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "mine.yaml").write_text("network: {kind: segmenter, head: {width: 7}}\nlatency: {}\n")
    monkeypatch.chdir(tmp_path / "nets")
    (start,) = started(tmp_path, "nets/mine.yaml").required_search.start
    assert start.name == "mine"
    assert isinstance(start.network, SegmenterSpec) and start.network.head.width == 7


def test_a_search_may_start_from_its_own_file(tmp_path: Path) -> None:
    run = started(tmp_path, "run.yaml")
    assert [start.network for start in run.required_search.start] == [run.network]


def test_start_networks_are_inlined_when_dumped(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("network: {kind: segmenter, head: {width: 7}}\n")
    run = started(tmp_path, "stdc1", "mine.yaml")
    (tmp_path / "elsewhere").mkdir()
    dump(run, tmp_path / "elsewhere" / "spec.yaml")
    (tmp_path / "mine.yaml").unlink()
    assert load(tmp_path / "elsewhere" / "spec.yaml") == run


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        ("stdc3", "FOLDER/stdc3 does not exist; did you mean `stdc2`?"),
        ("mien.yaml", "FOLDER/mien.yaml does not exist; did you mean `mine.yaml`?"),
        ("big", "FOLDER/big does not exist; legal: stdc1, stdc2, mine.yaml, run.yaml"),
        ("nets/mine.yaml", "FOLDER/nets/mine.yaml does not exist; there is no folder FOLDER/nets"),
        ("x" * 300, f"FOLDER/{'x' * 300} does not exist; legal: stdc1, stdc2, mine.yaml, run.yaml"),
        ("5", "must be a mapping of names to values, not 5"),
    ],
)
def test_a_start_network_that_does_not_exist_is_told_the_nearest(tmp_path: Path, start: str, complaint: str) -> None:
    (tmp_path / "mine.yaml").write_text("network: {kind: segmenter}\n")
    with pytest.raises(SpecError) as caught:
        started(tmp_path, "stdc1", start)
    expected = f"FOLDER/run.yaml:8: search.start.1: {complaint}"
    assert str(caught.value) == expected.replace("FOLDER", str(tmp_path))


def test_a_mistake_in_a_start_networks_file_is_told_by_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("network:\n  kind: segmenter\n  clases: 3\n")
    with pytest.raises(SpecError) as caught:
        started(tmp_path, "mine.yaml")
    assert str(caught.value) == f"{tmp_path}/mine.yaml:3: network.clases: unknown; did you mean `classes`?"


def test_two_start_networks_of_one_name_are_refused(complaints: Complaints) -> None:
    assert complaints(f"{RUN}  start:\n    - stdc1\n    - stdc1\n") == [
        "run.yaml:10: search.start.1: a second network is called stdc1; names must differ"
    ]


def test_wrong_start_networks_are_not_taken_for_ladders(complaints: Complaints) -> None:
    told = complaints(f"{RUN}  start:\n    - {{ladders: 3}}\n    - stdc3\n")
    assert all("a second network" not in line for line in told)


def test_a_start_network_without_a_varied_path_is_refused(tmp_path: Path) -> None:
    dump(RunSpec(network=ClassifierSpec(kind="classifier")), tmp_path / "net.yaml")
    with pytest.raises(
        SpecError, match=r"run.yaml:8: search.start.0: net cannot be trained: network.head.width: there "
    ):
        started(tmp_path, "net.yaml")


def test_a_start_list_that_is_no_list_is_refused_outside_of_files() -> None:
    with pytest.raises(ValidationError, match="valid tuple"):
        SearchSpec.model_validate({"vary": {"a": {"kind": "int", "low": 1, "high": 2}}, "trials": 1, "start": 5})


def test_editors_list_the_metrics_that_a_search_may_name() -> None:
    properties = SearchSpec.model_json_schema()["properties"]
    sought = [name for name, metric in METRICS.items() if metric.objective]
    for section in ("objectives", "limits"):
        listed, of_a_class = properties[section]["propertyNames"]["anyOf"]
        assert listed["enum"] == sought
        assert re.match(of_a_class["pattern"], "score.iou.tall weed")


EIGHTS = IntRange(kind="int", low=8, high=24, step=8)
RATE = FloatRange(kind="float", low=1e-4, high=1e-2, log=True)
CONSTANT = FloatRange(kind="float", low=0.5, high=0.5)
HEAD = Choice(kind="choice", of=(64, 32, {"width": 16}))
VARIED = [EIGHTS, RATE, CONSTANT, HEAD]


@pytest.mark.parametrize(
    ("vary", "values"), [(EIGHTS, [8, 16, 24]), (CONSTANT, [0.5]), (HEAD, [64, 32, {"width": 16}])]
)
def test_what_varies_over_finitely_many_values_lists_them(vary: VarySpec, values: list[Any]) -> None:
    assert list(vary.values) == values
    assert vary.size == len(values)


def test_real_numbers_cannot_be_listed() -> None:
    assert RATE.size == float("inf")
    with pytest.raises(ValueError, match="cannot be listed"):
        _ = RATE.values


def test_a_range_contains_its_values_alone() -> None:
    assert [value for value in (None, 7, 8, 12, 24, 32, "8") if EIGHTS.contains(value)] == [8, 24]
    assert [value for value in (None, 0, 1e-4, 0.001, 0.1, "x") if RATE.contains(value)] == [1e-4, 0.001]


@pytest.mark.parametrize("vary", VARIED)
def test_positions_go_from_the_first_end_to_the_last(vary: VarySpec) -> None:
    first, *_, last = [*vary.ends.values()]
    assert vary.position(0) == pytest.approx(first)
    assert vary.position(1) == pytest.approx(last)


def test_the_middle_of_a_logarithmic_range_is_its_geometric_mean() -> None:
    assert RATE.position(0.5) == pytest.approx(1e-3)


def test_rounding_does_not_leave_a_logarithmic_range() -> None:
    ranges = [FloatRange(kind="float", low=low / 7, high=low / 3, log=True) for low in range(1, 100)]
    assert all(vary.low <= vary.position(share) <= vary.high for vary in ranges for share in (0.0, 1.0))


@pytest.mark.parametrize("vary", VARIED)
def test_a_drawn_value_is_legal_and_depends_on_the_generator_alone(vary: VarySpec) -> None:
    draws = [vary.draw(rng) for rng in (Random(3), Random(3))]
    assert draws[0] == draws[1]
    assert draws[0] in vary.of if isinstance(vary, Choice) else vary.contains(draws[0])


@pytest.mark.parametrize(
    ("of", "ordered"),
    [((1, 2.5, 4), True), ((2, 1), False), ((1, "a"), False), ((False, True), False), ((None, 1), False)],
)
def test_a_choice_of_ascending_numbers_has_an_order(of: tuple[Any, ...], ordered: bool) -> None:
    assert Choice(kind="choice", of=of).ordered is ordered


def test_a_limit_is_broken_above_it_and_by_known_figures_alone() -> None:
    limits = {name: LimitSpec(at_most=10) for name in ("cost.macs", "cost.parameters", "latency.p95_ms")}
    assert broken(limits, {"cost.macs": 10, "cost.parameters": 11, "latency.p95_ms": None}) == ["cost.parameters"]


@pytest.mark.parametrize(
    ("path", "compare"),
    [
        ("network.backbone.stages.0.width", True),
        ("network.decoder.width", True),
        ("network.depths.2", True),
        ("network.head.width", True),
        ("network.decoder", False),  # another decoder may have other heads in training
        ("network.decoder.taps", False),
        ("network.backbone.stages", False),
        ("network.auxiliary.width", False),
        ("network.detail", False),
        ("network", False),
        ("training.epochs", False),
        ("image_size", False),
    ],
)
def test_losses_compare_where_only_the_deployed_network_varies(path, compare):
    search = SearchSpec.model_construct(vary={"it": IntRange(kind="int", low=1, high=2, sets=(path,))})
    assert search.losses_compare is compare
