"""Spaces whose accuracies are known, so that a search costs nothing: a table of real trainings, and a model of it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, cached_property
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stdc_search.expectation.process import GaussianProcess
from stdc_search.latency import predicted, this_machine
from stdc_search.ranking import hypervolume, rank_correlation
from stdc_search.records import Cost, Direction, Machine, Record, Score
from stdc_search.search.executors import Outcome
from stdc_search.search.space import tabulate
from stdc_search.search.study import Proposal
from stdc_search.spec.base import replace
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.run import RunSpec, load
from stdc_search.trial.trial import TrialJob

HERE = Path("experiments/search_benchmark")
BOTH: list[Direction] = ["maximize", "minimize"]


class Truth(NamedTuple):
    """Of one network."""

    curve: tuple[float, ...]
    """mIoU after each epoch, without noise in a model."""
    macs: int
    ms: float | None = None
    """Its time, which a search has to measure; it is the cost where it is there."""

    @property
    def cost(self) -> float:
        return self.macs if self.ms is None else self.ms

    @property
    def known(self) -> tuple[None, float | None]:
        """What a sampler is told beforehand (`KnownObjectives`)."""
        return None, self.macs if self.ms is None else None


@dataclass(frozen=True)
class Oracle:
    """All networks of a space, by the values of what varies in it."""

    spec: RunSpec
    truths: Mapping[tuple[Any, ...], Truth]
    noise: float
    """Standard deviation of what one training gives; 0 where the truth is that of one."""

    @cached_property
    def reference(self) -> tuple[float, float]:
        """The worst accuracy and the highest logarithm of costs."""
        every = self.truths.values()
        return min(one.curve[-1] for one in every), log(max(one.cost for one in every))

    @cached_property
    def whole(self) -> float:
        """Hypervolume of all networks."""
        return self._volume([*self.truths.values()])

    def share(self, found: list[Truth]) -> float:
        """Hypervolume of some networks, as a share of that of all. Costs count by their ratios."""
        return self._volume(found) / self.whole

    def _volume(self, found: list[Truth]) -> float:
        return hypervolume([(one.curve[-1], log(one.cost)) for one in found], self.reference, BOTH)


@cache
def table() -> Oracle:
    """Networks that were really trained, all of a small space."""
    frame = pd.read_csv(HERE / "table.csv")
    truths = {
        tuple(values): Truth(tuple(curve), macs)
        for values, macs, curve in zip(
            frame[_varied(frame)].to_numpy().tolist(),
            frame["macs"].tolist(),
            frame.filter(like="miou_").to_numpy().tolist(),
            strict=True,
        )
    }
    return Oracle(load(HERE / "table.yaml"), truths, 0.0)


@cache
def timed() -> Oracle:
    """The networks of the table, whose times are not known before they are measured."""
    frame, whole = pd.read_csv(HERE / "times.csv"), table()
    times = {tuple(values): ms for *values, ms in frame.itertuples(index=False, name=None)}
    changes = {"search.objectives": {"score.miou": "maximize", "latency.median_ms": "minimize"}, "latency": {}}
    truths = {values: truth._replace(ms=times[values]) for values, truth in whole.truths.items()}
    return Oracle(replace(whole.spec, changes), truths, whole.noise)


@cache
def surrogate() -> Oracle:
    """What lies between the networks of the table, answered for by a Gaussian process that is fitted to it."""
    frame = pd.read_csv(HERE / "table.csv")
    names, spec = _varied(frame), load(HERE / "surrogate.yaml")
    space = tabulate(spec, processes=1).rename(columns={"cost.macs": "macs"})
    scaled, scores = _scaled(frame, names)
    means = GaussianProcess(scaled(frame), scores).means(scaled(space))
    truths = {
        tuple(values): Truth((mean,), int(macs))
        for values, mean, macs in zip(space[names].to_numpy().tolist(), means.tolist(), space["macs"], strict=True)
    }
    return Oracle(spec, truths, noise())


def noise() -> float:
    """Standard deviation of a network's mIoU between trainings, by those that were trained with a second seed."""
    frame, again = pd.read_csv(HERE / "table.csv"), pd.read_csv(HERE / "seeds.csv")
    both = frame.merge(again, on=_varied(frame))
    return float((both[f"{_last(frame)}_x"] - both[f"{_last(again)}_y"]).std() / np.sqrt(2))


def left_out() -> tuple[float, float]:
    """What the model says of each network of the table without having seen it (Rasmussen, 2006, 5.4.2): root mean
    square error in mIoU, and rank correlation."""
    frame = pd.read_csv(HERE / "table.csv")
    scaled, scores = _scaled(frame, _varied(frame))
    points = scaled(frame)
    model = GaussianProcess(points, scores)
    covariances = model.kernel.between(points, points) + model.kernel.noise * np.eye(len(points))
    inverse = np.linalg.inv(covariances)
    errors = inverse @ (scores - model.mean) / np.diag(inverse)
    return float(np.sqrt((errors**2).mean())), rank_correlation(scores, scores - errors)


def _varied(frame: pd.DataFrame) -> list[str]:
    columns = list(frame.columns)
    return columns[: columns.index("macs")]


def _last(frame: pd.DataFrame) -> str:
    return frame.columns[-1]


def _scaled(frame: pd.DataFrame, names: list[str]) -> tuple[Any, NDArray[np.float64]]:
    """How a frame becomes points, logarithms from 0 to 1 in the first one; and its scores."""

    def logs(some: pd.DataFrame) -> NDArray[np.float64]:
        return np.log(some[[*names, "macs"]].to_numpy(float))

    low, span = logs(frame).min(0), np.ptp(logs(frame), axis=0)
    return lambda some: (logs(some) - low) / span, frame[_last(frame)].to_numpy()


class Answers:
    """An executor that looks trainings up, one after another, and remembers what came to its end.

    Args:
        oracle: what it looks up in.
        seed: of the noise.
    """

    slots = 1

    def __init__(self, oracle: Oracle, seed: int) -> None:
        self.oracle, self.rng = oracle, np.random.default_rng([seed, 1])
        self.found: list[Truth] = []
        self.epochs: list[int] = []
        """Trained in all, when each of those came to its end."""
        self.trained = 0

    def submit(self, job: TrialJob) -> Future[Outcome]:
        truth = self.oracle.truths[tuple(job.draft.values.values())]
        epochs = job.until or len(truth.curve)
        self.trained += epochs - max(job.draft.rungs, default=0)
        score = scored(truth.curve[epochs - 1] + self.oracle.noise * self.rng.normal())
        if job.until is None:
            self.found.append(truth)
            self.epochs.append(self.trained)
        latency = None if truth.ms is None else predicted(RuntimeSpec(), job.spec.image_size, "cpu", truth.ms)
        rungs = {**job.draft.rungs, **({job.until: score} if job.until else {})}
        state = "running" if job.until else "complete"
        future: Future[Outcome] = Future()
        found = {"state": state, "score": score, "rungs": rungs, "latency": latency}
        future.set_result((job.draft.model_copy(update=found), this_machine()))
        return future

    def close(self) -> None:
        pass


def scored(*seeds: float) -> Score:
    """A score of which only the mIoU of each seed counts."""
    return Score(
        miou=fmean(seeds), pixel_accuracy=0, iou={}, constant_miou=0, images=1, seed_miou=tuple(map(float, seeds))
    )


class Pad:
    """The candidates of a run without a folder."""

    rejected_in_a_row = 0

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.records: list[Record] = []

    def unfinished(self) -> list[Record]:
        return []

    def begin(self, proposal: Proposal) -> TrialJob:
        assert proposal.spec is not None
        macs = self.oracle.truths[tuple(proposal.values.values())].macs
        draft = Record(
            number=proposal.number,
            state="running",
            origin=proposal.origin,
            name=proposal.name,
            repeats=proposal.repeats,
            identity=proposal.identity,
            values=dict(proposal.values),
            sampler_notes=dict(proposal.notes),
            image_size=proposal.spec.image_size,
            cost=Cost(parameters=0, macs=macs, fvcore_flops=macs, paper_flops=macs),
            started="",
            machine="",
        )
        return TrialJob(proposal.spec, Path(), draft)

    def finish(self, record: Record) -> None:
        self.records.append(record)

    def met(self, machine: Machine) -> None:
        pass
