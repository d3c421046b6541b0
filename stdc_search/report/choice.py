"""The network to take from a run: the most accurate one by expectation, within bounds on time and cost."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stdc_search.errors import UserError, several
from stdc_search.records import METRICS, read_machines
from stdc_search.report.bounds import Bound, amount
from stdc_search.report.candidates import first
from stdc_search.report.reading import Results
from stdc_search.report.verdict import barred_note, limits_note
from stdc_search.report.words import NAMED, REFERENCE, conditions, doubtful, machine_note
from stdc_search.run_folder import MACHINES, WEIGHTS
from stdc_search.spec.whole import OnnxFileSpec

TIME = "latency.median_ms"
UNTIMED = (
    "there are no times, since its spec has no section `latency`; bound GMACs or M (parameters) instead, or add the "
    "section and run it into a new folder with `--from {folder}`, which keeps the trainings"
)


@dataclass(frozen=True, eq=False, repr=False)
class Choice:
    """A network of a run, and what to know before it is deployed."""

    results: Results
    """What it was chosen from: the finals if one of them fits, else the search."""
    number: int
    row: dict[str, Any]
    """Its row of the table of candidates: every figure."""
    notes: tuple[str, ...]
    """Whole sentences: doubts, and networks that were passed over."""

    @property
    def name(self) -> str:
        """The name of a start network, else the number as in the folder."""
        return self.row["name"]

    @property
    def metric(self) -> str | None:
        """The score that it was chosen by; None if nothing was scored."""
        return _accuracy(self.results)

    @property
    def accuracy(self) -> float | None:
        """The expected score, in percent; the mean score if there is no expectation."""
        return None if self.metric is None else float(self.row[expected_name(self.results.frame, self.metric)])

    @property
    def interval(self) -> float | None:
        """Half of the width of the 95 % interval of the expected score."""
        return _number(self.row.get(f"interval.{self.metric}"))

    @property
    def median_ms(self) -> float | None:
        """The median time of a call."""
        return _number(self.row.get(TIME))

    @property
    def macs(self) -> int:
        """Multiply-adds at its image size."""
        return int(self.row["cost.macs"])

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return int(self.row["cost.parameters"])

    @property
    def spec(self) -> Path:
        """Its `spec.yaml`, which runs by itself."""
        return self.results.spec_of(self.number)

    @property
    def weights(self) -> Path:
        """Its weights, of the first seed."""
        return weights_of(self.results, self.number)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.number} of {str(self.results.folder)!r})"

    def __str__(self) -> str:
        lines = [(what, text) for what, text in self._figures() if text]
        width = max(len(what) for what, _ in lines) + 2
        return "\n".join([*(f"{what:{width}}{text}" for what, text in lines), *self.notes, *self._commands()])

    def _figures(self) -> Iterator[tuple[str, str]]:
        named = "" if self.name == f"{self.number:04d}" else f" ({self.name})"
        yield "network", f"{self.number:04d}{named}, {_stage(self.results)}"
        yield from self._scores()
        if self.median_ms is not None:
            p95 = _number(self.row.get("latency.p95_ms"))
            tail = "" if p95 is None else f", p95 {amount(TIME, p95)}"
            batch = f" per batch of {self.row['latency.batch']}" if self.row["latency.batch"] > 1 else ""
            yield "time", f"median {amount(TIME, self.median_ms)}{tail}{batch}"
        cost = f"{amount('cost.macs', self.macs)}, {amount('cost.parameters', self.parameters)}"
        yield "cost", f"{cost} at {self.row['image_size'].replace('x', ' × ')}"
        record = next(one for one in self.results.complete if one.number == self.number)
        yield "conditions", conditions([record], read_machines(self.results.folder / MACHINES))
        yield "spec", str(self.spec)

    def _scores(self) -> Iterator[tuple[str, str]]:
        if self.metric is None or self.accuracy is None:
            yield "score", "none: its spec has no training"
            return
        title = METRICS[self.metric].title.removesuffix(" %")
        if self.interval is not None:
            yield f"expected {title}", f"{self.accuracy:.1f} % ± {self.interval:.1f} (95 % interval)"
        trainings = int(_number(self.row.get("seeds")) or 1)
        error = _number(self.row.get("error"))
        luck = f"mean of {trainings} trainings" if trainings > 1 else "of one training"
        spread = f", standard error {error:.1f}" if error is not None else ""
        yield title, f"{self.row[self.metric]:.1f} % ({luck}{spread})"

    def _commands(self) -> Iterator[str]:
        """What to type next."""
        spec, weights = (shlex.quote(str(path)) for path in (self.spec, self.weights))
        if self.metric is None:
            return
        if not self.weights.is_file():
            yield f"Its weights {self.weights} are missing; train it again: stdc-search run {spec}"
            return
        if not isinstance(self.results.run.network, OnnxFileSpec):
            yield f"export:  stdc-search export {spec} {weights}"
        if self.results.run.network.task == "segmentation":
            yield f"predict: stdc-search predict {spec} {weights} IMAGE"


def choose(search: Results, bounds: Sequence[Bound] = ()) -> Choice:
    """Choose the network with the highest expected accuracy within bounds.

    Only networks of the search space can be chosen whose folder exists and that nothing bars from the front, such as
    a limit on a score. Without a score, the first objective decides, else the number.

    Args:
        search: a run. If it has finals, these are looked at first, since their networks are trained at full length.
        bounds: at most one a metric.

    Raises:
        UserError: no network fits; the message names the nearest.
    """
    finals = search.finals
    for results in filter(None, (finals, search)):
        eligible = _eligible(results)
        fitting = _within(eligible, bounds)
        if fitting.empty:
            continue
        row = fitting.iloc[0].to_dict()
        notes = [*_remarks(results, row, bounds)]
        if finals is not None and results is finals:
            notes.append(_left_out(search, finals, int(row["number"]), bounds))
        if finals is not None and results is search:
            notes.insert(0, "No network of the finals fits; this one has only the short training of the search")
        return Choice(results, int(row["number"]), row, tuple(filter(None, notes)))
    raise UserError(f"{search.folder}: {_why_none(search, bounds)}")


def weights_of(results: Results, number: int) -> Path:
    """A network's weights, of the first seed; of an ONNX file, the file itself."""
    network = results.run.network
    return network.path.path if isinstance(network, OnnxFileSpec) else results.spec_of(number).with_name(WEIGHTS)


def _eligible(results: Results) -> pd.DataFrame:
    """What can be chosen, the best first."""
    left = results.left
    if left.empty:
        return left
    inside = left.loc[left["origin"] != REFERENCE]
    if "barred" in inside:
        inside = inside.loc[inside["barred"].fillna("") == ""]
    return _sorted(inside, results)


def _sorted(frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """By expected accuracy; of equals, the cheaper first."""
    by = _accuracy(results)
    if by is not None:
        cheaper = [name for name in (TIME, "cost.macs", "number") if name in frame]
        return frame.sort_values([expected_name(frame, by), *cheaper], ascending=[False, *(True for _ in cheaper)])
    return frame.sort_values([first(results.objectives, "minimize") or "number", "number"])


def _accuracy(results: Results) -> str | None:
    """The score that networks are chosen by."""
    scores = ("score.miou", "score.top1")
    return first(results.objectives, "maximize") or next((name for name in scores if name in results.frame), None)


def expected_name(frame: pd.DataFrame, metric: str) -> str:
    """The column of the expected score, or of the mean score if there is none."""
    return f"expected.{metric}" if f"expected.{metric}" in frame else metric


def _within(frame: pd.DataFrame, bounds: Sequence[Bound]) -> pd.DataFrame:
    """The rows within all bounds; a network without the figure is not."""
    for bound in bounds:
        frame = frame.loc[frame[bound.metric] <= bound.at_most] if bound.metric in frame else frame.iloc[:0]
    return frame


def _why_none(search: Results, bounds: Sequence[Bound]) -> str:
    """Why nothing can be chosen, and what is nearest."""
    if not search.complete:
        return "no network is finished; continue it with `stdc-search run`"
    several_frames = [_eligible(results) for results in (search.finals, search) if results is not None]
    every = pd.concat(several_frames, ignore_index=True)
    if every.empty:
        reasons = ["their folders were removed" if search.left.empty else "", barred_note(search.frame)]
        return f"no network can be chosen: {'; '.join(filter(None, reasons)) or 'all are references'}"
    if any(bound.metric not in every or every[bound.metric].count() == 0 for bound in bounds):  # costs are known
        return UNTIMED.format(folder=search.folder)
    least = [_least(every, bound.metric) for bound in bounds]
    wanted = " and ".join(f"at most {bound}" for bound in bounds)
    return f"no network has {wanted}; {' and '.join(least)}"


def _least(frame: pd.DataFrame, metric: str) -> str:
    """The network with the least of a metric."""
    row = frame.loc[frame[metric].idxmin()]
    word = "fastest" if metric == TIME else "smallest"
    return f"the {word} is {row['name']} with {amount(metric, row[metric], up=True)}"


def _remarks(results: Results, row: Mapping[str, Any], bounds: Sequence[Bound]) -> Iterator[str]:
    """What to know about a chosen row."""
    frame, search = results.frame, results.run.search
    shaky = doubtful(results.complete, results.records)
    if row["name"] in shaky:
        yield f"Its time is doubtful: {shaky[row['name']]}"
    if search is not None and len(frame) > 1 and (by := _accuracy(results)) == expected_name(frame, by or ""):
        yield "There are no expected scores, so the score that it was chosen by is partly luck"
    yield _passed_over(results, row, bounds, shaky)
    yield _better(frame.loc[frame["origin"] == REFERENCE], results, row, bounds, "outside the search space")
    removed = frame.loc[(frame["origin"] != REFERENCE) & ~frame["number"].isin(results.left["number"])]
    yield _better(removed, results, row, bounds, "removed from the run folder")
    if row.get("latency.source") == "predicted":
        yield "Its time is predicted; measure it with `stdc-search time`"
    yield machine_note(frame, results.objectives)
    yield limits_note(pd.DataFrame([row]), search.limits) if search else ""
    declared = search is not None and search.finals is not None and search.finals.networks
    if declared and results.finals is None:
        yield "The finals are not trained yet, so this is a guess from short trainings"


def _passed_over(results: Results, row: Mapping[str, Any], bounds: Sequence[Bound], shaky: Collection[str]) -> str:
    """More accurate networks that only a doubtful time keeps from being chosen."""
    others = _within(_eligible(results), [bound for bound in bounds if bound.metric != TIME])
    beyond = others.loc[others["name"].isin([*shaky]) & (others["number"] != row["number"])]
    why = "whose time is doubtful and above the bound"
    return _better(beyond, results, row, [], why)


def _left_out(search: Results, finals: Results, chosen: int, bounds: Sequence[Bound]) -> str:
    """Networks within bounds that the finals left out, though the search expects more of them than of the chosen."""
    by, own = _accuracy(search), search.frame.loc[search.frame["number"] == chosen]
    if by is None or own.empty:
        return ""
    column = expected_name(search.frame, by)
    others = _within(_eligible(search), bounds)
    others = others.loc[~others["number"].isin(finals.frame["number"]) & (others[column] > own.iloc[0][column])]
    names = [f"{one['name']} ({one[column]:.1f} %)" for _, one in others.iterrows()]
    mine = f"{own.iloc[0]['name']} ({own.iloc[0][column]:.1f} %)"
    return f"Not in the finals, though the search expects more of them than of {mine}: {several(names, NAMED)}" * bool(
        names
    )


def _better(frame: pd.DataFrame, results: Results, row: Mapping[str, Any], bounds: Sequence[Bound], why: str) -> str:
    """The networks of a frame that are within bounds and more accurate than a row; empty if none is."""
    by = _accuracy(results)
    if by is None:
        return ""
    column = expected_name(frame, by)
    better = _sorted(_within(frame, bounds), results)
    better = better.loc[better[column] > row[column]]
    names = [f"{one['name']} ({one[column]:.1f} %)" for _, one in better.iterrows()]
    return f"More accurate, but {why}: {several(names, NAMED)}" if names else ""


def _stage(results: Results) -> str:
    """Where a network is from."""
    if results.run.search is None:
        return f"the network of {results.name}"
    return f"from the {'finals' if results.are_finals else 'search'} of {results.name}"


def _number(value: Any) -> float | None:
    """A figure of a row; none if it is missing."""
    return None if value is None or pd.isna(value) else float(value)
