"""The curve in experiment trackers, without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stdc_search.errors import UserError
from stdc_search.run_folder import NETWORKS, TRACKERS
from stdc_search.spec.training import SgdSpec
from stdc_search.training import loop, trackers
from stdc_search.training.loop import TrainingDiverged, check
from tests.training.test_loop import SHORT, Samples, tiny, train


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the training of candidate 7 of the run `street`."""
    made = tmp_path / "street" / NETWORKS / "0007"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow, which stores its runs in a folder."""
    found = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    yield found
    found.end_run()


def runs_of(mlflow: Any) -> list[Any]:
    return mlflow.search_runs(experiment_names=["street"], output_format="list")


def points_of(mlflow: Any, name: str) -> list[tuple[int, float]]:
    """Step and value of each point of the only run."""
    (run,) = runs_of(mlflow)
    return [(point.step, point.value) for point in mlflow.MlflowClient().get_metric_history(run.info.run_id, name)]


def test_mlflow_gets_settings_and_curve(folder: Path, mlflow: Any) -> None:
    spec = SHORT.model_copy(update={"log_to": ("mlflow",), "score_every": 2})
    curve = train(tiny(), Samples(), spec, seed=3, folder=folder, evaluate=lambda module, last: 12.5)
    (run,) = runs_of(mlflow)
    assert (run.info.run_name, run.info.status) == ("0007", "FINISHED")
    assert (run.data.params["seed"], run.data.params["epochs"]) == ("3", "3")
    assert points_of(mlflow, "loss") == [(point.step, pytest.approx(point.loss)) for point in curve]
    assert points_of(mlflow, "score") == [(4, 12.5), (6, 12.5)]


def test_a_training_that_goes_on_continues_its_run(folder: Path, mlflow: Any) -> None:
    spec = SHORT.model_copy(update={"log_to": ("mlflow",)})
    train(tiny(), Samples(), spec, seed=0, folder=folder, until=1)
    curve = train(tiny(), Samples(), spec, seed=0, folder=folder)
    assert points_of(mlflow, "loss") == [(point.step, pytest.approx(point.loss)) for point in curve]


def test_a_training_that_starts_over_has_a_new_run(folder: Path, mlflow: Any) -> None:
    (folder / TRACKERS).write_text('{"mlflow": "of a training that was given up"}')
    train(tiny(), Samples(), SHORT.model_copy(update={"log_to": ("mlflow",)}), seed=0, folder=folder)
    (run,) = runs_of(mlflow)
    assert json.loads((folder / TRACKERS).read_text("utf-8")) == {"mlflow": run.info.run_id}


def test_a_failed_training_leaves_no_run_open(folder: Path, mlflow: Any) -> None:
    wild = SHORT.model_copy(update={"log_to": ("mlflow",), "optimizer": SgdSpec(kind="sgd", learning_rate=1e30)})
    with pytest.raises(TrainingDiverged):
        train(tiny(), Samples(), wild, seed=0, folder=folder)
    assert mlflow.active_run() is None


def test_weights_and_biases_gets_the_curve(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    spec = SHORT.model_copy(update={"log_to": ("wandb",)})
    train(tiny(), Samples(), spec, seed=0, folder=folder, until=1)
    train(tiny(), Samples(), spec, seed=0, folder=folder)
    name = json.loads((folder / TRACKERS).read_text("utf-8"))["wandb"]
    kept = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert [path.name for path in kept] == [f"run-{name}.wandb"] * 2
    assert all(b"learning_rate" in path.read_bytes() for path in kept)


@pytest.mark.parametrize("part", ["_start", "log", "_finish"])
def test_a_tracker_that_fails_costs_a_warning_and_no_training(
    part: str, folder: Path, mlflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        calls.append(part)
        raise ConnectionError("no route to the server")

    calls: list[str] = []
    owner = trackers if part.startswith("_") else trackers.Accelerator
    monkeypatch.setattr(owner, part, away)
    spec = SHORT.model_copy(update={"log_to": ("mlflow",)})
    with pytest.warns(UserWarning, match="`log_to` mlflow: .*no route to the server; this training logs no more"):
        curve = train(tiny(), Samples(), spec, seed=0, folder=folder)
    assert len(curve) == 3 and calls == [part]
    assert part == "_finish" or mlflow.active_run() is None


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow-skinny"), ("wandb", "wandb")])
def test_a_missing_tracker_is_told_before_anything_is_trained(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"`training.log_to` {name} needs a package; type: pip install {package}$"):
        check(SHORT.model_copy(update={"log_to": (name,)}))


def test_a_tracker_is_named_once() -> None:
    with pytest.raises(ValueError, match="names a tracker twice"):
        type(SHORT).model_validate({"log_to": ("mlflow", "mlflow")})
