"""Writes the report of a run: tables, pictures and the page. What only PyTorch and Optuna know is added here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from stdc_search.errors import UserError
from stdc_search.expectation.process import spread
from stdc_search.latency.parts import words_of
from stdc_search.latency.predictor import load_table
from stdc_search.network.cost import count_parts, named_parts
from stdc_search.records import Record, read
from stdc_search.report.page import Extras, write_page
from stdc_search.report.page.content import TimedPart
from stdc_search.report.writing import Report, write_report
from stdc_search.run_folder import RESULTS, SPEC
from stdc_search.search.study import Study
from stdc_search.spec.measurement import LatencySpec
from stdc_search.spec.run import RunSpec, load

FEWEST, MOST = 20, 1_000
"""Complete candidates for which importances are computed, and of which: of more, evenly spread ones."""
BEST = 0.25
"""Share of the candidates that count as good: what they have in common, and others lack, is important."""


def report(folder: Path) -> Report:
    """Write everything in a run's `report/`.

    Raises:
        UserError: the folder is not a run folder.
    """
    found = write_report(folder)
    if found.candidates.empty:
        return found
    run = load(folder / SPEC)
    extras = Extras(parts_of(run.latency), _importances(run, read(folder / RESULTS)))
    page = write_page(folder, found, extras)
    notes = (*found.notes[:-1], f"page: {page}", *found.notes[-1:])  # the last one names the best network
    return replace(found, paths=(*found.paths, page), notes=notes)


def parts_of(latency: LatencySpec | None) -> Callable[[RunSpec], list[TimedPart]]:
    """Gives the parts of a network, with predicted times if there is a table of times that can be read."""
    times: dict[str, float] = {}
    if latency is not None and latency.table is not None:
        with suppress(UserError):  # a report outlives the table, and the machine that it was made on
            times = load_table(latency.table, latency).parts

    def parts(run: RunSpec) -> list[TimedPart]:
        named = named_parts(run.network, run.image_size) if times else {}
        known = {name: times.get(words_of(part)) for name, part in named.items()}
        return [TimedPart(cost, known.get(cost.name)) for cost in count_parts(run.network, run.image_size)]

    return parts


def _importances(run: RunSpec, records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """By the objective, the importance of each varied parameter (PED-ANOVA); empty for few candidates.

    It compares the best quarter of the candidates with all of them, so it tells what the search has seen. An objective
    that is the same for all is left out.
    """
    complete = [one for one in records if one.state == "complete" and one.origin != "reference"]
    if run.search is None or len(complete) < FEWEST:
        return {}
    directions, found = run.search.objectives, {}
    frozen = Study(run).frozen  # this makes Optuna quiet
    study = optuna.create_study(directions=[*directions.values()])
    trials = [frozen(complete[i]) for i in spread(len(complete), MOST)]
    study.add_trials(trials)
    for i, (name, direction) in enumerate(directions.items()):
        if len({trial.values[i] for trial in trials}) == 1:
            continue
        sign = 1 if direction == "minimize" else -1  # the evaluator takes lower values for better ones

        def target(trial: optuna.trial.FrozenTrial, i: int = i, sign: int = sign) -> float:
            return sign * trial.values[i]

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*to achieve low `target` values", UserWarning)  # `sign` sees to that
            evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
            found[name] = get_param_importances(study, evaluator=evaluator, target=target)
    return found
