"""One run from its file to its folder: resumes, tries candidates, reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from stdc_search.commands.begin import FINALS_FREE, agreed, begin_folder, check_machine, check_own_spec, look_at_data
from stdc_search.commands.plan import images_seen, plan
from stdc_search.commands.report import report as report_of
from stdc_search.commands.screen import Screen
from stdc_search.data.contents import Contents
from stdc_search.data.survey import remarks
from stdc_search.errors import UserError
from stdc_search.latency.forecast import Forecast, reach_devices
from stdc_search.records import Record, read_machines
from stdc_search.report.survey import summary
from stdc_search.report.words import label, title_of
from stdc_search.report.writing import Report, front_so_far, write_report
from stdc_search.run_folder import FINALS, MACHINES, SPEC, default_folder, locked
from stdc_search.search.candidates import Candidates
from stdc_search.search.driver import Driver
from stdc_search.search.executors import make_executor
from stdc_search.search.finals import Finals, finalists
from stdc_search.search.mirror import Mirror
from stdc_search.search.shown import measure_shown
from stdc_search.search.study import Proposal, Study
from stdc_search.search.takeover import Earlier, TakeOver, take_over_finals
from stdc_search.spec.advice import advice
from stdc_search.spec.data import DataSpec
from stdc_search.spec.executor import ExecutorSpec, InProcessSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.search import SearchSpec
from stdc_search.spec.shipped import shipped
from stdc_search.training.parallel import announce, leads
from stdc_search.trial.training import Datasets, follow
from stdc_search.trial.trial import run_trial


def run(
    spec: RunSpec | str | Path,
    out: str | Path | None = None,
    *,
    earlier: Sequence[str | Path] = (),
    data_root: str | Path | None = None,
    console: Console | None = None,
    screen: Screen | None = None,
) -> Report:
    """Do everything that a spec describes, in a folder that keeps every result; an existing folder resumes.

    With several processes (`parallel.py`), the first one leads and the others take part in its trainings.

    Args:
        spec: a spec, its file, or the name of a shipped one.
        out: the run's folder; default: `runs/` and the name of the file; a run's own spec goes on with that run.
        earlier: folders of earlier runs, whose finished trainings are taken over where they fit.
        data_root: where a relative `data.root` starts.
        console: where plan, progress and report are printed; default: nowhere.
        screen: prints them in another form; default: as text for people.

    Raises:
        SpecError: the file is wrong, or the folder began with another spec.
        FolderInUseError: another process runs in the folder.
        DataError: the data is missing or broken.
        UserError: nothing can be taken over from a folder of `earlier`.
    """
    source = None
    if not isinstance(spec, RunSpec):
        source = shipped(Path(spec))
        out = out or default_folder(source)
        spec = load(source)
    if out is None:
        raise ValueError("`out` is missing: a spec that does not come from a file needs a folder for its run")
    root = Path(data_root).absolute() if data_root is not None else None
    # A person's mistakes are found before there is a folder.
    if earlier and spec.search is None:
        raise UserError("--from: only a search takes trainings over, and the section `search` is missing; add one")
    sources = [Earlier.open(Path(folder), Path(out)) for folder in earlier]
    datasets = None
    if spec.data is not None and spec.uses_data:
        datasets = Datasets.open(spec.data, spec.training.cache_gb if spec.training else 0, root)
    check_machine(spec, datasets, source)
    forecast = Forecast.of(spec.latency)
    devices = reach_devices(spec.latency, forecast)
    if not leads():
        follow(datasets)
        return write_report(Path(out))
    screen = screen or Screen(console or Console(quiet=True))
    try:
        contents = None
        if spec.data is not None and datasets is not None:
            contents = look_at_data(spec, datasets, Path(out), root, screen, source)
        taken = [TakeOver(one, agreed(Path(out), spec, contents), contents, forecast, devices) for one in sources]
        with locked(Path(out)) as folder:
            if source is not None and source.resolve() == (folder / SPEC).resolve():
                check_own_spec(folder, spec)
            spec = begin_folder(folder, spec, contents)
            for text in advice(spec):
                screen.say(f"Note: {text}.")
            if spec.data is not None and contents is not None:
                _tell_data(spec.data, contents, screen)
            finished = partial(screen.finished, run=folder)
            candidates = Candidates(spec, folder, finished, predict=forecast, data_root=root)
            for device in devices:
                candidates.met(device)
            if spec.search is not None:
                for one in taken:
                    one.do(candidates, datasets, screen.say)
                with _begun_finals(spec, folder, contents, screen, root) as finals:
                    _search(spec, spec.search, candidates, finals, datasets, forecast, screen, sources)
            elif not candidates.complete:
                _try_one(spec, candidates, datasets, screen)
            report = report_of(folder)
            screen.report(report)
            if not candidates.complete:
                last = candidates.records[-1]
                raise SpecError.of(f"{folder}: no network was completed; {last.number:04d} {last.state}: {last.reason}")
            return report
    finally:
        announce(None)


def _tell_data(spec: DataSpec, contents: Contents, screen: Screen) -> None:
    """How many images, which classes, and what scores on them do not say."""
    for text in summary(contents.labels["train"], contents.labels["val"]):
        screen.paragraph(text)
    for text in remarks(spec, contents.labels):
        screen.say(f"Note: {text}")


def _try_one(spec: RunSpec, candidates: Candidates, datasets: Datasets | None, screen: Screen) -> None:
    """Try the spec's own network."""
    for text in plan(spec, candidates.records, datasets, 1):
        screen.say(text)
    job = candidates.begin(Proposal(len(candidates.records), {}, spec, "base"))
    if isinstance(job, Record):
        candidates.finish(job)
    else:
        with screen.bar(job) as progress:
            candidates.finish(run_trial(job, datasets, progress))


@contextmanager
def _begun_finals(
    spec: RunSpec, folder: Path, contents: Contents | None, screen: Screen, data_root: Path | None
) -> Iterator[Candidates | None]:
    """Open the folder of the finals and give their candidates, or None without finals."""
    if spec.required_search.finals is None or not spec.required_search.finals.networks:
        yield None
        return
    with locked(folder / FINALS) as place:
        finals = begin_folder(place, spec.finals_run, contents, FINALS_FREE)
        yield Candidates(finals, place, partial(screen.finished, run=place, top=folder), data_root=data_root)


def _search(
    spec: RunSpec,
    search: SearchSpec,
    candidates: Candidates,
    finals: Candidates | None,
    datasets: Datasets | None,
    forecast: Forecast | None,
    screen: Screen,
    earlier: Sequence[Earlier],
) -> None:
    """Try candidates until all trials are done, measure the networks of the report, and run the finals."""
    if forecast is not None:
        forecast.check(spec)
    study = Study(spec, candidates.records, forecast)
    mirror = Mirror(study, candidates.folder)
    most = search.size + len(search.networks)  # references are no combinations of the space
    done = finals.complete if finals is not None else []
    with closing(make_executor(search.executor, datasets, screen.bar)) as executor:
        left = int(min(search.trials, most)) - study.trained
        for text in plan(spec, candidates.records, datasets, left, executor.slots, done):
            screen.say(text)
        with screen.search("search", left, study.trained):

            def learnt() -> None:
                mirror.add(candidates.records)
                screen.front(lambda: front_so_far(spec, candidates.records))

            Driver(study, executor, candidates, screen.say, learnt, screen.follow).run()
    also = [record.number for record in done]
    if spec.latency and measure_shown(candidates, search, spec.latency, datasets, forecast, screen.say, also):
        mirror.rewrite(candidates.records)  # it has the times of before
    mirror.add(candidates.records, last=True)
    mirror.close()
    if rejected := candidates.rejected_in_a_row:
        fastest = min((one.latency.median_ms for one in candidates.records if one.latency is not None), default=None)
        if fastest is not None and not candidates.complete:
            screen.say(f"No network was inside the limits; the fastest takes {fastest:.1f} ms.")
        screen.say(
            f"The last {rejected} candidates were all rejected, the last one because {candidates.records[-1].reason}; "
            "to have more, widen `limits` or the ranges of `vary`."
        )
    elif study.hopeless:
        text = f"{study.hopeless}; widen `limits` or the ranges of `vary`"
        if not candidates.complete:
            raise SpecError.of(f"{candidates.folder}: {text}")
        screen.say(f"Search ended: {text}.")
    elif study.trained < search.trials:
        screen.say(f"The space is exhausted: every network was tried, with {study.trained} trainings.")
    if finals is not None:
        _finals(spec, search, candidates, finals, datasets, screen, earlier)


def _finals(
    spec: RunSpec,
    search: SearchSpec,
    candidates: Candidates,
    finals: Candidates,
    datasets: Datasets | None,
    screen: Screen,
    earlier: Sequence[Earlier],
) -> None:
    """Train the finalists at full length. Their latencies come from the search."""
    chosen = finalists(candidates.complete, search)
    if lost := {start.name for start in search.networks} - {record.name for record in chosen}:
        screen.say(f"No finals for {', '.join(sorted(map(title_of, lost)))}: the search did not complete them.")
    study = Finals(finals.spec, chosen, finals.records, candidates.folder)
    take_over_finals(earlier, study, finals, screen.say)
    if left := [label(record) for record in chosen if record.number not in study.begun]:
        screen.say(f"Finals: {', '.join(left)}.")
    if left or finals.unfinished():
        executor = make_executor(_patient(search.executor, spec, datasets), datasets, screen.bar)
        with closing(executor), screen.search("finals", len(left), len(study.begun)):
            Driver(study, executor, finals, screen.say, lambda: None, screen.follow).run()
    measured = {record.number: record for record in candidates.complete}
    machines = read_machines(candidates.folder / MACHINES)
    for record in finals.complete:
        if record.latency is None or (timed := measured.get(record.number)) is None:
            continue
        times = {"latency": timed.latency, "latency_also": timed.latency_also, "machine": timed.machine}
        if (updated := record.model_copy(update=times)) != record:
            finals.keep(updated)
            for machine in {timed.machine, timed.latency and timed.latency.machine} & machines.keys():
                finals.met(machines[machine])


def _patient(executor: ExecutorSpec, spec: RunSpec, datasets: Datasets | None) -> ExecutorSpec:
    """An executor whose timeout, if it has one, is longer by as much as the trainings of the finals are."""
    finals = spec.finals_run.training
    if isinstance(executor, InProcessSpec) or executor.timeout is None or datasets is None:
        return executor
    if spec.training is None or finals is None:
        return executor
    longer = images_seen(finals, len(datasets.train)) / images_seen(spec.training, len(datasets.train))
    return executor.model_copy(update={"timeout": executor.timeout * max(longer, 1.0)})
