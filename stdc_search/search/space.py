"""All networks of a search space, or a sample, with their exact costs."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import qmc

from stdc_search.errors import UserError
from stdc_search.network.cost import Counts, count_quickly
from stdc_search.records import INSIDE, LEGAL
from stdc_search.search.parent import end_with_parent
from stdc_search.spec.base import replace, replacer, value_at
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec
from stdc_search.spec.start import PRESETS, StartSpec
from stdc_search.spec.vary import Choice, VarySpec
from stdc_search.spec.whole import WholeSpec

WHOLE, SAMPLE = 1_000_000, 100_000
"""Spaces up to the first number are tabulated whole; of larger ones, and infinite ones, the second many."""
CHUNK = 4096
"""Networks that a process counts at a time."""
SEVERAL = 100_000
"""Networks that several processes are worth starting for: each of them imports PyTorch, and meets the parts of the
space for the first time."""
ILLEGAL = -1
COSTS = tuple(f"cost.{name}" for name in Counts._fields)


def tabulate(
    spec: RunSpec,
    sample: int | None = None,
    *,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Count every network of a space, or a sample in which each value of each varied thing is as frequent.

    Args:
        spec: a run with a search.
        sample: how many networks; default: all if they are at most `WHOLE`, else `SAMPLE`.
        seed: of the sample.
        processes: default: one a core; small tables take one.
        progress: called with the number of networks done and of all.

    Returns:
        A row a network: the varied values by their names, whether it is a `LEGAL` one, its costs (0 where it is not),
        and whether it lies `INSIDE` the limits on cost; times are not looked at.
    """
    search = spec.required_search
    if sample is None and search.size > WHOLE:
        sample = SAMPLE
    if sample is not None and sample >= search.size:
        sample = None
    options, indices = _sampled(search.vary, sample, seed) if sample else _all(search.vary)
    counts = []
    for done in _counted(spec, options, _chunks(indices), processes or os.cpu_count() or 1):
        counts.append(done)
        if progress is not None:
            progress(min(len(counts) * CHUNK, len(indices)), len(indices))
    table = pd.DataFrame({name: _column(choices)[indices[:, i]] for i, (name, choices) in enumerate(options.items())})
    costs = np.concatenate(counts)
    table[LEGAL] = legal = costs[:, 0] != ILLEGAL
    table[list(COSTS)] = np.where(legal[:, None], costs, 0)
    inside = legal
    for metric, limit in search.limits.items():
        if metric in COSTS:
            inside = inside & (limit.excess(table[metric].to_numpy()) <= 0)
    table[INSIDE] = inside
    return table


def draw(spec: RunSpec, count: int, *, seed: int = 0) -> list[RunSpec]:
    """Legal networks among `count` sampled combinations, or among all if there are fewer."""
    search = spec.required_search
    options, indices = _all(search.vary) if count >= search.size else _sampled(search.vary, count, seed)
    make, found = maker(spec, options), []
    for combination in indices.tolist():
        with suppress(SpecError):
            found.append(make(combination))
    return found


def maker(spec: RunSpec, options: Mapping[str, Sequence[Any]]) -> Callable[[Sequence[int]], RunSpec]:
    """The run of each combination of values, given by the index of each varied thing's.

    It raises SpecError where they are illegal together.

    Args:
        spec: a run with a search.
        options: the values of each varied thing.
    """
    search = spec.required_search
    paths = {name: search.paths(name) for name in search.vary}
    slots = [i for i, name in enumerate(options) for _ in paths[name]]
    make = replacer(spec.without_search(), {path: options[name] for name in options for path in paths[name]})
    return lambda combination: make([combination[slot] for slot in slots])


def count_many(
    spec: RunSpec, options: Mapping[str, Sequence[Any]], indices: NDArray[np.intp], processes: int
) -> NDArray[np.int64]:
    """Costs of combinations, a row each in the order of `COSTS`; `ILLEGAL` where values are illegal together."""
    return np.concatenate(list(_counted(spec, options, _chunks(indices), processes)))


def values_in_space(spec: RunSpec, candidate: RunSpec) -> dict[str, Any] | None:
    """The varied values that give a candidate; none if it lies outside of the space."""
    search, base = spec.required_search, spec.without_search()
    values = {}
    for name, vary in search.vary.items():
        paths = search.paths(name)
        first, *others = [value_at(candidate, path) for path in paths]
        if any(other != first for other in others):
            return None
        if isinstance(vary, Choice):  # a value may be a sub-spec without its defaults
            chosen = (replace(base, dict.fromkeys(paths, value)) for value in vary.of)
            matching = [value for value, its in zip(vary.of, chosen, strict=True) if value_at(its, paths[0]) == first]
        else:
            matching = [first] if vary.contains(first) else []
        if not matching:
            return None
        values[name] = matching[0]
    return values


def landmarks(spec: RunSpec) -> dict[str, Counts]:
    """Costs of the search's start networks, and of STDC1 and STDC2 where what varies can make their backbones."""
    own = spec.required_search.networks
    found = {}
    for start in (*own, *(StartSpec(name=name, network=network) for name, network in PRESETS.items())):
        try:
            run = spec.start_candidate(start)
            backbone = None if isinstance(run.network, WholeSpec) else run.network.backbone
            if start in own or backbone == PRESETS[start.name].backbone:
                found.setdefault(start.name, count_quickly(run.network, run.image_size))
        except SpecError:  # a network of other parts, such as a library's trunk, has no such landmark
            continue
    return found


def _all(vary: Mapping[str, VarySpec]) -> tuple[dict[str, Sequence[Any]], NDArray[np.intp]]:
    """The values of each varied thing, and every combination of their indices."""
    options: dict[str, Sequence[Any]] = {name: one.values for name, one in vary.items()}
    sizes = [len(choices) for choices in options.values()]
    return options, np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)


def _sampled(vary: Mapping[str, VarySpec], sample: int, seed: int) -> tuple[dict[str, Sequence[Any]], NDArray[np.intp]]:
    """The same for a Latin hypercube: along each varied thing the values are spread evenly."""
    unit = qmc.LatinHypercube(len(vary), rng=np.random.default_rng(seed)).random(sample)
    options, columns = {}, []
    for (name, one), shares in zip(vary.items(), unit.T, strict=True):
        if one.size == math.inf:
            options[name], column = [one.position(share) for share in shares.tolist()], np.arange(sample)
        else:
            used, column = np.unique((shares * one.size).astype(np.intp), return_inverse=True)
            options[name] = [one.values[i] for i in used.tolist()]
        columns.append(column)
    return options, np.stack(columns, axis=1)


def _chunks(indices: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK)]


def _counted(
    spec: RunSpec, options: Mapping[str, Sequence[Any]], chunks: Sequence[NDArray[np.intp]], processes: int
) -> Any:
    """The counts of each chunk, in their order."""
    if processes == 1 or CHUNK * len(chunks) <= SEVERAL:
        return map(_Counter(spec, options), chunks)
    return _counted_by_processes(spec, options, chunks, processes)


def _counted_by_processes(
    spec: RunSpec, options: Mapping[str, Sequence[Any]], chunks: Sequence[NDArray[np.intp]], processes: int
) -> Any:
    context = multiprocessing.get_context("spawn")  # torch has threads, which a fork would not take along
    with ProcessPoolExecutor(processes, context, _begin, (spec, options)) as pool:
        try:
            yield from pool.map(_count_chunk, chunks)
        except BrokenProcessPool:
            raise UserError(
                "the processes that count candidates ended; their output says why; "
                "a script that calls `run` needs `if __name__ == '__main__':` before it"
            ) from None


class _Counter:
    """Costs of combinations, given by the index of each varied thing's value."""

    def __init__(self, spec: RunSpec, options: Mapping[str, Sequence[Any]]) -> None:
        self.make = maker(spec, options)

    def __call__(self, indices: NDArray[np.intp]) -> NDArray[np.int64]:
        counts = np.full((len(indices), len(COSTS)), ILLEGAL, np.int64)
        for row, combination in enumerate(indices.tolist()):
            try:
                run = self.make(combination)
                counts[row] = count_quickly(run.network, run.image_size)
            except SpecError:
                continue
        return counts


_COUNTER: list[_Counter] = []
"""A process's own."""


def _begin(spec: RunSpec, options: Mapping[str, Sequence[Any]]) -> None:
    end_with_parent()
    _COUNTER[:] = [_Counter(spec, options)]


def _count_chunk(indices: NDArray[np.intp]) -> NDArray[np.int64]:
    return _COUNTER[0](indices)


def _column(choices: Sequence[Any]) -> NDArray[Any]:
    """Values as a column; lists and sub-specs as JSON."""
    if all(isinstance(choice, int | float | str) for choice in choices):
        return np.asarray(choices)
    return np.asarray([choice if isinstance(choice, str) else json.dumps(choice) for choice in choices])
