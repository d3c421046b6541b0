"""What a run is about to do, and about how long it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from stdc_search.records import Record
from stdc_search.spec.run import RunSpec
from stdc_search.trial.estimate import estimate_seconds
from stdc_search.trial.training import Datasets


def plan(
    spec: RunSpec, records: Sequence[Record], datasets: Datasets | None, candidates: int, slots: int = 1
) -> Iterator[str]:
    """Lines on the space, on the candidates that are done and to do, and on the minutes that they take.

    Args:
        spec: the run.
        records: of candidates that are done.
        datasets: where networks are trained.
        candidates: that are still to be trained, at most.
        slots: how many at a time.
    """
    if spec.search is not None:
        size = spec.search.size
        space = f"{size:,} combinations" if size != float("inf") else "infinitely many combinations"
        yield f"Space: {space} of {len(spec.search.vary)} varied things, before limits."
    if spec.training is None or datasets is None:
        if spec.data is not None:
            yield "Nothing is trained on `data`: there is no section `training`."
        return
    done = sum(record.state != "rejected" for record in records)
    if candidates <= 0:
        yield f"Candidates: {done} trained, none to do."
        return
    taken = [sum(record.seconds.values()) for record in records if record.state == "complete"]
    if taken:
        seconds, basis = mean(taken), "the mean of those that are done"
    else:
        seconds = estimate_seconds(spec, spec.training, datasets)
        basis = "by a short trial of the file's own network; larger ones take longer"
    yield (
        f"Candidates: {done} trained, up to {candidates} to do, "
        f"about {seconds * candidates / max(slots, 1) / 60:.0f} minutes in all "
        f"({seconds / 60:.1f} each{f', {slots} at a time' if slots > 1 else ''}, {basis})."
    )
