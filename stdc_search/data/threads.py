"""Threads that read files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from stdc_search.device.hardware import usable_cpus


def readers() -> ThreadPoolExecutor:
    """One thread a core.

    Decoders release the GIL, but small images are mostly Python: with Python's default of six threads on two cores,
    threads waited for the GIL and took three times the CPU time.
    """
    return ThreadPoolExecutor(len(usable_cpus()))
