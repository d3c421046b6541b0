"""Spaces whose accuracies are known, so that a search costs nothing: a table of real trainings, and a model of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, cached_property
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stdc_search.expectation.process import Floats, GaussianProcess
from stdc_search.latency import predicted, this_machine
from stdc_search.ranking import hypervolume, rank_correlation
from stdc_search.records import Cost, Direction, Machine, Record, Score
from stdc_search.search.driver import Driver
from stdc_search.search.executors import Outcome
from stdc_search.search.space import tabulate
from stdc_search.search.study import Proposal, Study
from stdc_search.spec.base import replace
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.run import RunSpec, load
from stdc_search.trial.trial import TrialJob

HERE = Path("experiments/search_benchmark")
SEEDS = Path("experiments/proxies/trainings.csv")
"""Networks of the table, each trained with several seeds."""
BOTH: list[Direction] = ["maximize", "minimize"]


class Truth(NamedTuple):
    """Of one network."""

    curve: tuple[float, ...]
    """mIoU after each epoch, without noise in a model."""
    macs: int
    losses: tuple[float, ...] = ()
    """Training loss of each epoch; none in the table, which does not have them."""
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
    luck: Floats | None = None
    """Covariances, [2 x epochs, 2 x epochs], of the noise of one training: in mIoU after each epoch, then in the
    logarithm of the loss. None if the table has one training a network, which counts as the truth."""

    @property
    def epochs(self) -> int:
        """Number of epochs of a full training."""
        return len(next(iter(self.truths.values())).curve)

    @property
    def noise(self) -> float:
        """Standard deviation of mIoU between full trainings of one network."""
        return 0.0 if self.luck is None else float(self.luck[self.epochs - 1, self.epochs - 1] ** 0.5)

    @cached_property
    def reference(self) -> tuple[float, float]:
        """The worst accuracy and the highest logarithm of costs."""
        every = self.truths.values()
        return min(one.curve[-1] for one in every), log(max(one.cost for one in every))

    @cached_property
    def whole(self) -> float:
        """Hypervolume of all networks."""
        return self._volume([*self.truths.values()])

    def trained(
        self, truth: Truth, seeds: int, epochs: int, rng: np.random.Generator, looked_at: int | None = None
    ) -> tuple[Score, tuple[float, ...]]:
        """What trainings of a network score, and their losses over the second half of the first epochs."""
        if self.luck is None:
            return scored(*[truth.curve[epochs - 1]] * seeds), ()
        nothing, looked_at = np.zeros(len(self.luck)), looked_at or epochs
        luck = rng.multivariate_normal(nothing, self.luck, seeds, check_valid="ignore", method="eigh")
        losses = np.array(truth.losses) * np.exp(luck[:, self.epochs :])
        its = losses[:, looked_at // 2 : looked_at].mean(1).tolist()
        return scored(*(truth.curve[epochs - 1] + luck[:, epochs - 1])), tuple(its)

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
    return Oracle(load(HERE / "table.yaml"), truths)


@cache
def timed() -> Oracle:
    """The networks of the table, whose times are not known before they are measured."""
    frame, whole = pd.read_csv(HERE / "times.csv"), table()
    times = {tuple(values): ms for *values, ms in frame.itertuples(index=False, name=None)}
    changes = {"search.objectives": {"score.miou": "maximize", "latency.median_ms": "minimize"}, "latency": {}}
    truths = {values: truth._replace(ms=times[values]) for values, truth in whole.truths.items()}
    return Oracle(replace(whole.spec, changes), truths)


@cache
def surrogate() -> Oracle:
    """What lies between the networks of the table, answered for by Gaussian processes, one an epoch. Those of mIoU are
    fitted to the table and its second seeds, those of losses to the networks with several seeds."""
    frame = pd.read_csv(HERE / "table.csv")
    names, spec = _varied(frame), load(HERE / "surrogate.yaml")
    space = tabulate(spec, processes=1).rename(columns={"cost.macs": "macs"})
    scaled, _ = _scaled(frame, names)
    trained = pd.concat([frame, pd.read_csv(HERE / "seeds.csv")])
    points, places = scaled(trained), scaled(space)
    curves = [GaussianProcess(points, scores).means(places) for scores in trained.filter(like="miou_").to_numpy().T]
    seeds = several_seeds()
    logs = seeds.assign(loss=np.log(seeds["loss"])).groupby([*names, "epoch"])["loss"].mean().unstack("epoch")
    points = scaled(logs.reset_index().merge(frame[[*names, "macs"]]))
    losses = [np.exp(GaussianProcess(points, its).means(places)) for its in logs.to_numpy().T]
    truths = {
        tuple(values): Truth(tuple(curve), macs, tuple(its))
        for values, curve, macs, its in zip(
            space[names].to_numpy().tolist(),
            np.transpose(curves).tolist(),
            space["macs"].astype(int).tolist(),
            np.transpose(losses).tolist(),
            strict=True,
        )
    }
    return Oracle(spec, truths, luck())


@cache
def formula() -> Oracle:
    """The surrogate's space with made-up accuracies, so that no model of ours has an advantage.

    Wider and deeper stages add less and less, the weakest stage limits the network, and three blocks are best. Each
    network has a random addition. Large networks need more epochs. Losses depend neither on the weakest stage nor on
    the addition.
    """
    whole = surrogate()
    values = np.array([*whole.truths], dtype=float)
    low, high = values.min(0), values.max(0)
    widths = np.log(values[:, :3] / low[:3]) / np.log(high[:3] / low[:3])
    depths = (values[:, 3:6] - low[3:6]) / (high[3:6] - low[3:6])
    stages = 1 - np.exp(-2.5 * (0.6 * widths + 0.4 * depths))
    ample = stages @ [1.2, 2.4, 3.6] - 0.6 * (values[:, 6] - 3) ** 2
    ends = 24 + ample + 2 * stages.min(1) + 0.4 * np.random.default_rng(0).standard_normal(len(values))
    epochs = np.arange(1, whole.epochs + 1)
    late = np.exp(-epochs / 4) - np.exp(-whole.epochs / 4)
    curves = ends[:, None] - late * (12 + 2 * ample[:, None])
    losses = np.exp(0.8 + 0.5 * late - 0.03 * (ample - ample.mean())[:, None])
    truths = {
        key: truth._replace(curve=tuple(curve), losses=tuple(its))
        for (key, truth), curve, its in zip(whole.truths.items(), curves.tolist(), losses.tolist(), strict=True)
    }
    return Oracle(whole.spec, truths, whole.luck)


def several_seeds() -> pd.DataFrame:
    """Networks of the table, each trained with several seeds: a row an epoch."""
    return pd.read_csv(SEEDS).query("schedule == 'decay'")


def luck() -> Floats:
    """Covariances, [2 x epochs, 2 x epochs], between trainings of one network: of the mIoU after each epoch, and of the
    logarithm of its loss."""
    seeds = several_seeds().assign(loss=lambda frame: np.log(frame["loss"]))
    curves = seeds.pivot(index=["network", "seed"], columns="epoch", values=["miou", "loss"])
    apart = curves - curves.groupby("network").transform("mean")
    return (apart.T @ apart / (len(curves) - curves.index.unique("network").size)).to_numpy()


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


def _scaled(frame: pd.DataFrame, names: list[str]) -> tuple[Callable[[pd.DataFrame], Floats], Floats]:
    """How a frame becomes points, logarithms from 0 to 1 in the first one; and its scores."""

    def logs(some: pd.DataFrame) -> Floats:
        return np.log(some[[*names, "macs"]].to_numpy(float))

    low, span = logs(frame).min(0), np.ptp(logs(frame), axis=0)
    return lambda some: (logs(some) - low) / span, frame[_last(frame)].to_numpy()


class Answers:
    """An executor that looks trainings up, one after another, and remembers what came to its end.

    Args:
        oracle: what it looks up in.
        seed: of the noise.
        losses: whether records have them.
    """

    slots = 1

    def __init__(self, oracle: Oracle, seed: int, *, losses: bool = True) -> None:
        self.oracle, self.seed, self.losses = oracle, seed, losses
        self.found: list[Truth] = []
        self.epochs: list[int] = []
        """Trained in all, when each of those came to its end."""
        self.trained = 0

    def submit(self, job: TrialJob) -> Future[Outcome]:
        truth = self.oracle.truths[tuple(job.draft.values.values())]
        assert job.spec.training is not None and job.spec.training.epochs is not None
        epochs = job.until or job.spec.training.epochs
        self.trained += epochs - max(job.draft.rungs, default=0)
        rng = np.random.default_rng([self.seed, 1, job.draft.number])  # the same at each rung
        score, losses = self.oracle.trained(truth, 1, epochs, rng, job.looked_at)
        if job.until is None:
            self.found.append(truth)
            self.epochs.append(self.trained)
        latency = None if truth.ms is None else predicted(RuntimeSpec(), job.spec.image_size, "cpu", truth.ms)
        rungs = {**job.draft.rungs, **({job.until: score} if job.until else {})}
        state = "running" if job.until else "complete"
        future: Future[Outcome] = Future()
        found = {
            "state": state,
            "score": score,
            "rungs": rungs,
            "latency": latency,
            "training_loss": (self.losses and losses) or None,
        }
        future.set_result((job.draft.model_copy(update=found), this_machine()))
        return future

    def close(self) -> None:
        pass


def searched(oracle: Oracle, changes: Mapping[str, Any], seed: int, *, losses: bool = True) -> tuple[Answers, Pad]:
    """Do a search without a training, by the driver that does the real ones.

    Args:
        oracle: what it searches in.
        changes: to the oracle's run.
        seed: random seed for the noise of trainings.
        losses: whether it learns from training losses, too.
    """
    study = Study(replace(oracle.spec, changes))
    if study.known_cost is not None:  # its costs were counted for the oracle
        study.known_cost.known_of_many = lambda many: [
            oracle.truths[tuple(study.values(one).values())].known for one in many
        ]
    answers, pad = Answers(oracle, seed, losses=losses), Pad(oracle)
    Driver(study, answers, pad, lambda _: None, lambda: None).run()
    return answers, pad


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
