"""Searches with halving whose trainings are made up, so that many candidates cost little."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from stdc_search.latency import this_machine
from stdc_search.records import Record, Score
from stdc_search.run_folder import note_running
from stdc_search.search import driver as module
from stdc_search.search.candidates import Candidates
from stdc_search.search.driver import Driver
from stdc_search.search.known_cost import sampler as known_cost
from stdc_search.search.study import Study
from stdc_search.spec.run import RunSpec
from stdc_search.trial.trial import TrialJob
from tests.search_specs import tiny_search

EPOCHS = 8
DEPTHS = {f"network.backbone.stages.{i}.depth": {"kind": "int", "low": 1, "high": 5} for i in range(3)}


class Cut(Exception):
    """The process is killed."""


class Executor:
    """Gives what `train` makes up, in the order of submission, as soon as all slots are taken."""

    def __init__(self, train: Callable[[TrialJob], tuple[float, float]], slots: int, cut: int | None) -> None:
        self.train, self.slots, self.left = train, slots, math.inf if cut is None else cut
        self.waiting: list[tuple[Future[Any], TrialJob]] = []

    def submit(self, job: TrialJob) -> Future[Any]:
        if self.left == 0:
            raise Cut
        self.left -= 1
        self.waiting.append((Future(), job))
        return self.waiting[-1][0]

    def close(self) -> None: ...

    def finish_one(self) -> None:
        future, job = self.waiting.pop(0)
        miou, loss = self.train(job)
        score = Score(miou=miou, pixel_accuracy=1, iou={"sky": miou}, constant_miou=1, images=1, seed_miou=(miou,))
        rungs = {**job.draft.rungs, **({job.until: score} if job.until else {})}
        found = {"score": score, "training_loss": (loss,), "rungs": rungs}
        record = job.draft.model_copy(update={**found, "state": "running" if job.until else "complete"})
        if job.until:
            note_running(job.folder, record)
        future.set_result((record, this_machine()))


def luck(*parts: Any) -> float:
    return random.Random(json.dumps(parts, sort_keys=True)).gauss(0, 1)


def train(job: TrialJob) -> tuple[float, float]:
    """Scores rise with the depths and with the epochs."""
    assert job.spec.training is not None
    values, epochs, seeds = dict(job.draft.values), job.until or EPOCHS, list(job.spec.training.seeds)
    miou = (30 + 4 * sum(map(math.log, values.values()))) * (1 - math.exp(-epochs / 4) / 2) + luck(values, seeds)
    return miou + luck(values, seeds, epochs) / 3, math.exp(-miou / 40 + luck(values, seeds, "loss") / 100)


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Record]]:
    """Runs a search. Each number in `cuts` kills it after so many submissions; the next start resumes it."""

    def run(name: str, *, slots: int = 1, cuts: tuple[int | None, ...] = (None,), **fields: Any) -> list[Record]:
        halving = {"rungs": [1, 3], "probation": 8, "least_correlation": 0.5}
        spec = RunSpec.model_validate(tiny_search(EPOCHS, vary=DEPTHS, halving=halving, **fields))
        folder = tmp_path / name
        folder.mkdir()
        for cut in cuts:
            executor = Executor(train, slots, cut)
            candidates = Candidates(spec, folder, lambda _: None)
            study = Study(spec, candidates.records)
            driver = Driver(study, executor, candidates, lambda _: None, lambda: None)
            monkeypatch.setattr(module, "wait", waits(executor))
            try:
                driver.run()
            except Cut:
                continue
        return sorted(candidates.records, key=lambda record: record.number)

    real = module.wait

    def waits(executor: Executor) -> Callable[..., Any]:
        def wait(futures: Any, **given: Any) -> Any:
            while executor.waiting and not any(future.done() for future in futures):
                executor.finish_one()
            return real(futures, **given)

        return wait

    return run


def test_a_cut_search_stops_the_same_candidates_as_an_uncut_one(search):
    given = {"sampler": {"kind": "random", "seed": 0}, "trials": 30}
    ends = [
        [(record.number, record.state, record.values, max(record.rungs, default=0)) for record in records]
        for records in (search("uncut", **given), search("cut", cuts=(25, 30, None), **given))
    ]
    assert ends[0] == ends[1] and "stopped" in {state for _, state, _, _ in ends[0]}


def test_samplers_of_optuna_get_the_constraints_of_all_candidates(search):
    """Its Gaussian process raises where some have none."""
    limits = {"cost.parameters": {"at_most": 1e6}}
    assert len(search("gp", slots=2, sampler={"kind": "gp"}, limits=limits, trials=12)) >= 12


@pytest.mark.parametrize("slots", [1, 2])
def test_known_cost_learns_from_losses_and_repeats_what_is_trained(search, monkeypatch, slots: int):
    proxies: list[int] = []
    drawn: list[int] = []
    begin, draw = known_cost._Model.__init__, Study._unseen_values

    def noting(self: Any, pool: Any, history: Any, *rest: Any) -> None:
        proxies.append(len(history.proxies))
        begin(self, pool, history, *rest)

    monkeypatch.setattr(known_cost._Model, "__init__", noting)
    monkeypatch.setattr(Study, "_unseen_values", lambda self, rng: drawn.append(self.next_number) or draw(self, rng))
    records = search("known", slots=slots, trials=30)
    assert {*proxies} == {1} and not drawn
    complete = {record.number for record in records if record.state == "complete"}
    assert {record.repeats for record in records} - {None} <= complete
