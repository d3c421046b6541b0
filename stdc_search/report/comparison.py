"""Fronts of several runs side by side: one table, hypervolumes, what accuracy each attains within a budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from stdc_search.ranking import compressed, front, hypervolume, reference_point
from stdc_search.records import METRICS, Direction
from stdc_search.report.candidates import ALWAYS
from stdc_search.report.comparison_plot import ComparisonPicture, Line, Steps, draw_comparison
from stdc_search.report.plots import axis_along, edges, encode, expected_figures
from stdc_search.report.reading import Results
from stdc_search.report.tables import print_table, save_table
from stdc_search.storage import write_atomically

BUDGETS = 8
"""Rows of the table of attained accuracies."""
REPEATS = 3
"""Fewest runs for which what half and all of them attain is shown."""


@dataclass(frozen=True, eq=False)
class Front:
    """The front of a run."""

    name: str
    """What the run is called; different for each."""
    frame: pd.DataFrame
    """Its networks, with the columns of `candidates.candidates`."""
    points: NDArray[np.float64]
    """Their objectives, scores as expected: [networks, objectives]."""

    @classmethod
    def of(cls, name: str, results: Results, objectives: Mapping[str, Direction]) -> Front:
        """The front of a run's results; of a run without a search, its network."""
        frame = results.frame.loc[results.frame["front"]].reset_index(drop=True)
        points = np.stack([expected_figures(frame, metric) for metric in objectives], axis=-1)
        return cls(name, frame, points)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several fronts, held against each other."""

    fronts: Sequence[Front]
    objectives: Mapping[str, Direction]
    title: str
    notes: Sequence[str] = ()
    """What limits the comparison."""

    @cached_property
    def networks(self) -> pd.DataFrame:
        """A row for each network of a front, with the runs that have a network which is better in every objective."""
        rows = [self._row(one, i, row) for one in self.fronts for i, row in enumerate(one.frame.to_dict("records"))]
        frame = pd.DataFrame(rows)
        by = METRICS[self._edges[0]].title
        return frame.sort_values(by, ignore_index=True, kind="stable") if by in frame else frame

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row for each run: how large its front is, its hypervolume, and how much of it other runs dominate."""
        volumes = [self._volume([one]) for one in self.fronts]
        union = self._volume(self.fronts)
        return pd.DataFrame(
            [
                {
                    "run": one.name,
                    "networks on its front": len(one.frame),
                    "dominated by others %": 100 * np.mean([bool(self._better(one, i)) for i in range(len(one.frame))]),
                    "hypervolume": volume,
                    "of the joint front %": 100 * volume / union,
                }
                for one, volume in zip(self.fronts, volumes, strict=True)
            ]
        )

    @cached_property
    def attained(self) -> pd.DataFrame:
        """The best expected accuracy of each run within budgets; from three runs on, what half and all of them attain.

        NaN where a run has no network within a budget. Empty unless the objectives are a score and a cost or a time.
        """
        x, y, _ = self._edges
        if not self._is_attained:
            return pd.DataFrame()
        scale = METRICS[x].scale
        budgets = _budgets(np.concatenate([expected_figures(one.frame, x) for one in self.fronts]) / scale)
        columns = {one.name: _best_within(self._along(one, x), self._along(one, y), budgets) for one in self.fronts}
        found = pd.DataFrame({f"{name} %": values for name, values in columns.items()})
        if len(self.fronts) >= REPEATS:
            values = found.to_numpy().T
            found["half of the runs %"], found["all runs %"] = _by_half(values), values.min(axis=0)
        found.insert(0, f"at most {METRICS[x].title}", budgets)
        return found

    @property
    def reference(self) -> dict[str, float]:
        """The reference point of the hypervolumes, in the units of tables."""
        point = reference_point(self._compressed(self.fronts), self._directions)
        logs = self._logarithmic
        return {
            name: (math.exp(value) if log else value) / METRICS[name].scale
            for name, value, log in zip(self.objectives, point, logs, strict=True)
        }

    @property
    def picture(self) -> ComparisonPicture:
        """The fronts as a picture."""
        x, y, third = self._edges
        every = [np.concatenate([self._along(one, name) for one in self.fronts]) for name in (x, y)]
        lines = []
        for one in self.fronts:
            half = one.frame[f"interval.{y}"].tolist() if f"interval.{y}" in one.frame else [None] * len(one.frame)
            dots = zip(self._along(one, x).tolist(), self._along(one, y).tolist(), half, strict=True)
            lines.append(Line(one.name, tuple(dots)))
        words = "expected " * any(f"expected.{y}" in one.frame for one in self.fronts)
        return ComparisonPicture(
            self.title,
            axis_along(x, self.objectives, every[0]),
            axis_along(y, self.objectives, every[1], words),
            tuple(lines),
            connected=third is None and len(self.objectives) == 2,
            half=self._half() if self._is_attained and len(self.fronts) >= REPEATS else (),
        )

    def save(self, folder: Path) -> list[Path]:
        """Write the tables and the picture: `networks`, `summary` and `attained` as tables, `fronts` as PNG and SVG."""
        paths: list[Path] = []
        tables = self._tables()
        for name, frame in tables.items():
            paths += save_table(frame, folder / name, caption=self.title)
        for stale in folder.glob("attained.*") if "attained" not in tables else ():  # of an earlier comparison
            stale.unlink()
        figure = draw_comparison(self.picture)
        for ending in (".png", ".svg"):
            write_atomically(path := folder / f"fronts{ending}", encode(figure, ending))
            paths.append(path)
        return paths

    def print(self, console: Console | None = None) -> None:
        """Print the tables, and below the last one the notes."""
        titles = {"networks": self.title, "summary": "Hypervolume", "attained": "Attained expected accuracy"}
        tables = self._tables()
        for name, frame in tables.items():
            last = name == [*tables][-1]
            print_table(frame, titles[name], [self._measure(), *self.notes] if last else (), console)

    def _tables(self) -> dict[str, pd.DataFrame]:
        tables = {"networks": self.networks, "summary": self.summary, "attained": self.attained}
        return {name: frame for name, frame in tables.items() if not frame.empty}

    def _measure(self) -> str:
        """How hypervolumes were computed."""
        titles = {name: METRICS[name].title for name in self.objectives}
        point = ", ".join(f"{self.reference[name]:.4g} {title.split()[-1]}" for name, title in titles.items())
        logs = [titles[name] for name, log in zip(self.objectives, self._logarithmic, strict=True) if log]
        over = f" over the logarithm of {' and '.join(logs)}" if logs else ""
        return f"Hypervolume{over}, with the reference point {point}"

    def _row(self, one: Front, index: int, row: Mapping[Any, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"run": one.name, "network": row["name"]}
        for name in dict.fromkeys([*self.objectives, *ALWAYS]):
            if name not in row or pd.isna(row[name]):
                continue
            title = METRICS[name].title
            if name in self.objectives and f"expected.{name}" in row:
                found |= {f"expected {title}": row[f"expected.{name}"], f"± {title}": row[f"interval.{name}"]}
            found[title] = row[name] / METRICS[name].scale
        return {**found, "dominated by": ", ".join(self._better(one, index))}

    def _better(self, one: Front, index: int) -> list[str]:
        """The other runs with a network that dominates this one."""
        point = one.points[index]
        return [
            other.name
            for other in self.fronts
            if other is not one and _dominates(other.points, point, self._directions)
        ]

    @property
    def _directions(self) -> list[Direction]:
        return [*self.objectives.values()]

    @cached_property
    def _edges(self) -> tuple[str, str, str | None]:
        return edges(self.fronts[0].frame, self.objectives)

    @property
    def _is_attained(self) -> bool:
        """Whether a cost or time is exchanged for a score, and nothing else counts."""
        x, y, third = self._edges
        both = {x: "minimize", y: "maximize"}
        return third is None and dict(self.objectives) == both and y.startswith("score.")

    def _along(self, one: Front, metric: str) -> NDArray[np.float64]:
        """A metric of a front in the unit of tables, scores as expected."""
        return expected_figures(one.frame, metric) / METRICS[metric].scale

    @property
    def _logarithmic(self) -> list[bool]:
        points = np.concatenate([one.points for one in self.fronts])
        return [bool(changed) for changed in (compressed(points, self._directions) != points).any(axis=0)]

    def _compressed(self, some: Sequence[Front]) -> NDArray[np.float64]:
        """The points of some fronts on scales that all fronts decide."""
        every = compressed(np.concatenate([one.points for one in self.fronts]), self._directions)
        owner = np.concatenate([np.full(len(one.points), i) for i, one in enumerate(self.fronts)])
        return every[np.isin(owner, [i for i, one in enumerate(self.fronts) if one in some])]

    def _volume(self, some: Sequence[Front]) -> float:
        reference = reference_point(self._compressed(self.fronts), self._directions)
        return float(hypervolume(self._compressed(some), reference, self._directions))

    def _half(self) -> Steps:
        """The accuracy that half of the runs attain within each time or cost."""
        x, y, _ = self._edges
        at = np.unique(np.concatenate([self._along(one, x) for one in self.fronts]))
        each = [_best_within(self._along(one, x), self._along(one, y), at) for one in self.fronts]
        half = _by_half(np.array(each))
        return tuple((float(a), float(b)) for a, b in zip(at, half, strict=True) if not math.isnan(b))


def _dominates(points: NDArray[np.float64], point: NDArray[np.float64], directions: Sequence[Direction]) -> bool:
    """Whether any of several points dominates one."""
    return not front(np.vstack([points, point]), directions)[-1]


def _by_half(attained: NDArray[np.float64]) -> NDArray[np.float64]:
    """What at least half of the runs attain: [runs, budgets] -> [budgets]; NaN is nothing."""
    ordered = -np.sort(-attained, axis=0)  # the highest first, NaN last
    return ordered[math.ceil(len(attained) / 2) - 1]


def _best_within(x: NDArray[np.float64], y: NDArray[np.float64], budgets: Iterable[float]) -> list[float]:
    """The highest y among those whose x is within each budget; NaN where there is none."""
    return [float(y[x <= budget].max(initial=-math.inf)) if (x <= budget).any() else math.nan for budget in budgets]


def _budgets(values: NDArray[np.float64]) -> list[float]:
    """Round budgets from the smallest value to the largest, spread over their logarithm."""
    spread = np.geomspace(values.min(), values.max(), BUDGETS)
    return list(dict.fromkeys(_up(value) for value in spread.tolist()))


def _up(value: float) -> float:
    """A positive number rounded up to two digits."""
    digits = 1 - math.floor(math.log10(value))
    return round(math.ceil(round(value * 10.0**digits, 6)) / 10.0**digits, max(digits, 0))
