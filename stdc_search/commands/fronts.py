"""Compares the fronts of several runs, if that means anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stdc_search.data.contents import Contents, differences
from stdc_search.errors import UserError, several
from stdc_search.records import METRICS, Direction, Latency, Machine, Record, read_machines
from stdc_search.report.comparison import Comparison, Front
from stdc_search.report.reading import Results, read_results
from stdc_search.report.words import device, doubtful
from stdc_search.run_folder import CONTENTS, MACHINES
from stdc_search.spec.compare import changes

NAMED = 8
"""Most differences of specs that a note names."""
UNCHECKED = "its validation images cannot be compared with those of the others, since data.json is missing"


def compare(*folders: str | Path) -> Comparison:
    """Compare the fronts of several runs: those of their finals if all have finals, else those of the searches.

    A run without a search takes part with its only network. Give `RUN/finals` to compare finals with something else.

    Args:
        folders: run folders, at least two.

    Raises:
        UserError: a folder is not a run, has no front, or comparing the runs would mean nothing: they have other
            objectives, scores on other images, or times of other devices.
    """
    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) < max(len(paths), 2):
        raise UserError("give at least two runs, each once")
    runs = [read_results(path) for path in paths]
    finals = [run.finals for run in runs if run.finals is not None]
    with_finals = len(finals) == len(runs)
    runs = finals if with_finals else runs
    names, contents = _names(runs), [Contents.read(run.folder / CONTENTS) for run in runs]
    objectives = _objectives(runs)
    for run in runs:
        _check_front(run, objectives)
    if any(metric.startswith("score.") for metric in objectives):
        _check_data(runs, contents)
    if any(metric.startswith("latency.") for metric in objectives):
        _check_devices(names, runs)
    fronts = [Front.of(name, run, objectives) for name, run in zip(names, runs, strict=True)]
    what = "Fronts of the finals" if with_finals else "Fronts"
    notes = [*_notes(names, runs, objectives), *_notes_on_data(names, runs, contents)]
    if finals and not with_finals and not any(run.are_finals for run in runs):
        notes.append("Only some runs have finals, so the searches are compared; give RUN/finals to compare finals")
    return Comparison(fronts, objectives, f"{what} of {several(names)}", notes)


def _names(runs: Sequence[Results]) -> list[str]:
    """The names of the runs, finals beside other results as such; their folders where names would be the same."""
    mixed = len({run.are_finals for run in runs}) > 1
    names = [run.name + " finals" * (mixed and run.are_finals) for run in runs]
    return [name if names.count(name) == 1 else str(run.folder) for name, run in zip(names, runs, strict=True)]


def _objectives(runs: Sequence[Results]) -> dict[str, Direction]:
    """What all searches look for, in the order of the first one."""
    searches = [run for run in runs if run.objectives]
    if not searches:
        raise UserError(
            "none of the runs has a search, so there is no front; compare networks with `stdc-search report`"
        )
    first, *others = searches
    for other in others:
        if other.objectives != first.objectives:
            told = [f"\n  {run.folder}: {', '.join(map(' '.join, run.objectives.items()))}" for run in (first, other)]
            raise UserError("the objectives differ, so the fronts cannot be compared" + "".join(told))
    return first.objectives


def _check_front(run: Results, objectives: Mapping[str, Direction]) -> None:
    frame = run.frame
    if frame.empty:
        raise UserError(f"{run.folder}: no network is finished; continue it with `stdc-search run`")
    if not any(frame["front"]):
        raise UserError(f"{run.folder}: has no network on a front; look at `stdc-search report {run.folder}`")
    on_front = frame.loc[frame["front"]]
    if missing := [name for name in objectives if name not in on_front or on_front[name].count() < len(on_front)]:
        raise UserError(f"{run.folder}: lacks {', '.join(missing)}, which the other runs have as an objective")


def _check_data(runs: Sequence[Results], contents: Sequence[Contents | None]) -> None:
    """Check that all scores are of the same images and labels.

    Raises:
        UserError: they are not.
    """
    first, a = runs[0], contents[0]
    for other, b in zip(runs[1:], contents[1:], strict=True):
        told: list[str] = []
        if a is not None and b is not None:
            told = differences(a.files, b.files, ("val",))
            if not told and a.labels["val"] != b.labels["val"]:
                told = ["the validation labels are others"]
        else:
            old, new = (one.run.model_dump(mode="json", exclude={"data": {"root"}})["data"] for one in (first, other))
            told = [f"data.{change.path}: {change.old} and {change.new}" for change in changes(old, new)]
        if told:
            raise UserError(
                f"{first.folder} and {other.folder}: scored on other data, so their scores cannot be compared\n  "
                + "\n  ".join(told)
            )


def _check_devices(names: Sequence[str], runs: Sequence[Results]) -> None:
    """Check that all times of the fronts are of one device.

    Raises:
        UserError: they are not.
    """
    known = _machines(runs)
    places = {
        name: {_place(latency, machine) for latency, machine in _timed(run, known)} for name, run in _by(names, runs)
    }
    if len(set().union(*places.values())) > 1:
        told = [f"  {name}: {' and '.join(sorted(its))}" for name, its in places.items()]
        raise UserError(
            "the times are of different devices, so they cannot be compared\n"
            + "\n".join(told)
            + "\nTime the networks together on one device: stdc-search time RUN/networks/*/spec.yaml ..."
        )


def _by(names: Sequence[str], runs: Sequence[Results]) -> Iterator[tuple[str, Results]]:
    yield from zip(names, runs, strict=True)


def _machines(runs: Sequence[Results]) -> dict[str, Machine]:
    """The machines that any of the runs describes; finals may leave that to their search."""
    found: dict[str, Machine] = {}
    for run in runs:
        for folder in (run.folder.parent, run.folder) if run.are_finals else (run.folder,):
            found |= read_machines(folder / MACHINES)
    return found


def _timed(run: Results, machines: Mapping[str, Machine]) -> Iterator[tuple[Latency, Machine | str]]:
    """The times of a front, each with its machine, or the machine's id if that is all that is known."""
    for record in _of_front(run):
        if record.latency is not None:
            identifier = record.latency.machine or record.machine
            yield record.latency, machines.get(identifier, identifier)


def _of_front(run: Results) -> list[Record]:
    numbers = {*run.frame.loc[run.frame["front"], "number"]}
    return [record for record in run.complete if record.number in numbers]


def _place(latency: Latency, machine: Machine | str) -> str:
    """The hardware that a time is of. Software may differ: a note says so."""
    if isinstance(machine, str):
        return f"machine {machine[:8]}, which machine.json does not describe"
    if latency.device == "cpu":
        return f"{machine.cpu}, {machine.cores} cores"
    return f"{latency.device} of {device(machine)}"


def _notes(names: Sequence[str], runs: Sequence[Results], objectives: Mapping[str, Direction]) -> Iterator[str]:
    """What limits the comparison, though it means something."""
    if any(metric.startswith("latency.") for metric in objectives):
        yield from _notes_on_times(names, runs)
    yield from _notes_on_luck(runs, objectives)
    for name, run in [*_by(names, runs)][1:]:
        a, b = (one.run.model_dump(mode="json", exclude={"data": {"root"}}) for one in (runs[0], run))
        found = [f"{one.path} ({_brief(one.old)}, {_brief(one.new)})" for one in changes(a, b)]
        if found:
            yield f"{names[0]} and {name} differ in {several(found, NAMED)}"


def _notes_on_data(names: Sequence[str], runs: Sequence[Results], contents: Sequence[Contents | None]) -> Iterator[str]:
    for name, run, one in zip(names, runs, contents, strict=True):
        if one is None and run.run.data is not None:
            yield f"{name}: {UNCHECKED}"
        elif one is not None and contents[0] is not None and differences(contents[0].files, one.files, ("train",)):
            yield f"{names[0]} and {name} were trained on other images"


def _notes_on_luck(runs: Sequence[Results], objectives: Mapping[str, Direction]) -> Iterator[str]:
    """How far scores are known."""
    parts = []
    for metric in objectives:
        column = f"interval.{metric}"
        half = [run.frame.loc[run.frame["front"], column].mean() for run in runs if column in run.frame]
        if metric.startswith("score.") and len(half) < len(runs):
            yield "A score without an interval is that of its trainings alone, which is partly luck"
        if half:
            parts.append(f"{METRICS[metric].title.removesuffix(' %')} ± {max(half):.1f}")
    if parts:
        yield f"Smaller differences than the intervals may be luck: {', '.join(parts)} points"


def _notes_on_times(names: Sequence[str], runs: Sequence[Results]) -> Iterator[str]:
    ways: dict[str, str] = {}
    machines: set[str] = set()
    known = _machines(runs)
    for name, run in _by(names, runs):
        timed = [*_timed(run, known)]
        ways[name] = " and ".join(sorted({_way(latency) for latency, _ in timed}))
        if shaky := doubtful(_of_front(run), run.records):
            yield f"{name}: doubtful times of {several([*shaky])}"
        machines |= {machine if isinstance(machine, str) else machine.id for _, machine in timed}
    if len(set(ways.values())) > 1:
        yield f"Times were taken in different ways: {'; '.join(f'{name}: {way}' for name, way in ways.items())}"
    if len(machines) > 1:
        yield "Times are of the same hardware with other software versions, threads or settings (machine.json)"


def _way(latency: Latency) -> str:
    parts = [latency.runtime, latency.precision, f"{latency.threads} threads", f"batch {latency.batch}"]
    return ", ".join([*parts, latency.output, latency.source])


def _brief(value: object, longest: int = 24) -> str:
    if isinstance(value, dict):
        return "..."
    text = "none" if value is None else str(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
