"""All problems of a file at once, and none that only follows from another."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stdc_search.spec.backbone import StageSpec
from stdc_search.spec.files import to_yaml
from stdc_search.spec.problems import SpecError
from stdc_search.spec.rules import Unknown
from stdc_search.spec.run import load

VALID: dict[str, Any] = {
    "image_size": [64, 96],
    "network": {
        "kind": "segmenter",
        "classes": 3,
        "backbone": {"stages": [{"width": 64}, {"width": 128}, {"width": 256}]},
        "decoder": {"taps": [0, 1, 2], "width": 32},
        "head": {"width": 16},
        "detail": {"strides": [1, 2], "weights": [0.5, 0.5], "stage": 0},
    },
    "data": {"kind": "folder", "class_names": ["road", "sky", "tree"], "split": {"kind": "share", "val": 0.2}},
    "training": {
        "epochs": 8,
        "batch": 4,
        "augmentation": {"scales": [0.5, 1.5]},
        "loss": {"class_weights": [1.0, 2.0, 3.0], "ohem": {"threshold": 0.7}},
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        "seeds": [0, 1],
    },
    "evaluation": {"scales": [1.0]},
    "latency": {"runtime": "eager", "also": [{"runtime": "onnxruntime"}]},
    "search": {
        "vary": {
            "network.head.width": {"kind": "choice", "of": [8, 16]},
            "depth": {"kind": "int", "low": 1, "high": 3, "sets": ["network.backbone.stages.2.depth"]},
            "training.batch": {"kind": "int", "low": 2, "high": 8},
        },
        "limits": {"cost.macs": {"at_most": 1e9}},
        "objectives": {"score.miou": "maximize", "latency.median_ms": "minimize"},
        "start": ["stdc2"],
        "halving": {"rungs": [2, 4]},
        "sampler": {"kind": "tpe"},
        "trials": 5,
    },
}

MISTAKES: Mapping[str, tuple[Any, str]] = {
    # A path of the file, what stands there by mistake, and the path that is reported.
    "image_size": ([64, 16], "image_size.1"),
    "network.clases": (3, "network.clases"),
    "network.classes": (4, "network.classes"),
    "network.backbone.stages.0.width": (65, "network.backbone.stages.0.width"),
    "network.backbone.stages.1.kernel": (3, "network.backbone.stages.1.kernel"),
    "network.decoder.width": ([32], "network.decoder.width"),
    "network.decoder.context": ("pol", "network.decoder.context"),
    "network.head.depth": (0, "network.head.depth"),
    "network.detail.stage": (3, "network.detail.stage"),
    "network.detail.weights": ([1.0], "network.detail.weights"),
    "data.root": (5, "data.root"),
    "data.encoding": ({"kind": "ids", "ignore": 1}, "data.encoding.ignore"),
    "data.split.kind": ("column", "data.split"),
    "training.batch": (1, "training.batch"),
    "training.augmentation.scales": ([1.5, 0.5], "training.augmentation.scales"),
    "training.loss.class_weights": ([1.0, 2.0], "training.loss.class_weights"),
    "training.loss.ohem.threshold": (7, "training.loss.ohem.threshold"),
    "training.optimizer.kind": ("adam", "training.optimizer.kind"),
    "training.seeds": ([1, 1], "training.seeds"),
    "evaluation.flip": ("yes", "evaluation.flip"),
    "latency.precision": ("int8", "latency.precision"),
    "latency.also.0.memory_format": ("channels_last", "latency.also.0.memory_format"),
    "search.vary.network\0head\0width.of": ([8, 16.5], "search.vary.network.head.width.of.1"),
    "search.vary.depth.sets": (["network.backbone.stages.7.depth"], "search.vary.depth"),
    "search.vary.training\0batch.low": (9, "search.vary.training.batch.low"),
    "search.limits.latency\0p95_ms": ({"at_most": 0}, "search.limits.latency.p95_ms.at_most"),
    "search.objectives.score\0top1": ("maximize", "search.objectives.score.top1"),
    "search.start": (["nowhere.yaml"], "search.start.0"),
    "search.halving.rungs": ([2, 9], "search.halving.rungs"),
    "search.sampler.kind": ("tpee", "search.sampler.kind"),
    "search.trials": (0, "search.trials"),
}


def with_mistakes(*paths: str) -> dict[str, Any]:
    values = deepcopy(VALID)
    for path in paths:
        *above, last = (key.replace("\0", ".") for key in path.split("."))
        inner: Any = values
        for key in above:
            inner = inner[int(key)] if isinstance(inner, list) else inner[key]
        if path == "data.split.kind":
            del inner["val"]
        inner[int(last) if isinstance(inner, list) else last] = MISTAKES[path][0]
    return values


def problems(folder: Path, values: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Path and message of all that is wrong with a file."""
    (folder / "run.yaml").write_text(to_yaml(values))
    try:
        load(folder / "run.yaml")
    except SpecError as error:
        found = error.problems
    else:
        return set()
    assert len(set(found)) == len(found)
    assert all(problem.line for problem in found)
    return {(problem.path, problem.message) for problem in found}


def test_the_file_without_mistakes_is_valid(tmp_path: Path) -> None:
    assert problems(tmp_path, VALID) == set()


@pytest.mark.parametrize("path", MISTAKES)
def test_one_mistake_is_one_problem(tmp_path: Path, path: str) -> None:
    assert [place for place, _ in problems(tmp_path, with_mistakes(path))] == [MISTAKES[path][1]]


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=st.sets(st.sampled_from(sorted(MISTAKES)), min_size=2))
def test_several_mistakes_are_the_problems_of_each(tmp_path: Path, paths: set[str]) -> None:
    alone = [problems(tmp_path, with_mistakes(path)) for path in paths]
    assert problems(tmp_path, with_mistakes(*paths)) == set().union(*alone)


def test_a_key_that_is_written_twice_hides_no_other_mistake(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("network: {kind: segmenter}\ntraining: {epochs: 1, epochs: 2}\nsearch: {}\n")
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "run.yaml")
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [
        (2, "training.epochs"),
        (2, "training"),
        (3, "search.vary"),
        (3, "search.trials"),
    ]


def test_a_misspelt_section_is_not_called_missing_as_well(tmp_path: Path) -> None:
    values = {name if name != "training" else "trainig": section for name, section in VALID.items()}
    assert [path for path, _ in problems(tmp_path, values)] == ["trainig"]


def test_a_spec_that_is_partly_unknown_has_no_value_for_what_is_wrong() -> None:
    part = StageSpec.model_construct(width=64)
    vars(part).pop("depth")
    with pytest.raises(Unknown):
        _ = part.depth
    with pytest.raises(AttributeError):
        _ = part.no_field  # pyright: ignore[reportAttributeAccessIssue]
