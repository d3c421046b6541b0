"""Networks -> their latencies, measured in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stdc_search.data import open_dataset
from stdc_search.deploy.quantize import calibration_images
from stdc_search.latency import Entry, Timing, race
from stdc_search.network.builder import build
from stdc_search.spec.measurement import LatencySpec, varied
from stdc_search.spec.run import RunSpec


def time_networks(
    specs: Mapping[str, RunSpec],
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    threads: int | None = None,
    on: str | None = None,
    python: str | None = None,
    *,
    data_root: Path | None = None,
) -> list[tuple[str, Timing]]:
    """Measure networks as their sections `latency` describe; all networks on one device take turns.

    Args:
        specs: runs by name.
        runtimes: replace those of the specs.
        precisions: replace those of the specs.
        threads: replaces that of the specs.
        on: replaces the device of the specs.
        python: replaces its Python.
        data_root: folder that a relative `data.root` starts from; int8 is calibrated on training images.

    Returns:
        The name and time of each network on each runtime.

    Raises:
        UserError: a runtime is not available here, does not support a precision, or computes another result.
    """
    names: list[str] = []
    entries: list[Entry] = []
    for name, spec in specs.items():
        wanted = varied(spec.latency or LatencySpec(), runtimes, precisions, threads, on, python)
        calibration = None
        if spec.data is not None and any(one.precision == "int8" for one in wanted):
            calibration = calibration_images(open_dataset(spec.data, "train", data_root), spec.image_size)
        module = build(spec.network)
        names += [name] * len(wanted)
        entries += [Entry(module, spec.image_size, one, calibration=calibration) for one in wanted]
    how = [spec.latency or LatencySpec() for spec in specs.values()]
    timings = race(entries, warmup=max(one.warmup for one in how), repeats=max(one.repeats for one in how))
    return list(zip(names, timings, strict=True))
