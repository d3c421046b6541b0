"""Why a measured time is not to be trusted."""

from __future__ import annotations

import math

from stdc_search.device.disturbance import BUSY
from stdc_search.records import Latency

UNSURE, DRIFTING = 0.05, 0.05
"""Share of a median by which its 95 % interval may reach to each side, and drift, above which a time is doubtful."""
MEDIAN = 1.96 * math.sqrt(math.pi / 2)
"""Half of the width of the 95 % interval of a median, in standard deviations over the root of the samples' number."""
SLOWED = 1.5
"""How many times its shortest time the fixed work may take before a time is doubted."""


def doubts(latency: Latency, fastest_ms: float | None = None) -> str:
    """Why a time is not to be ranked by; empty where nothing speaks against it.

    Args:
        latency: a time.
        fastest_ms: the shortest time of the fixed work that is known of its machine, beside its own.
    """
    return ", ".join(reasons(latency, fastest_ms))


def reasons(latency: Latency, fastest_ms: float | None = None) -> list[str]:
    """The same, one by one."""
    parts = []
    if latency.steady is False:
        parts.append("calls kept getting faster")
    if latency.cv is not None and (unsure := MEDIAN * latency.cv / math.sqrt(latency.samples)) > UNSURE:
        parts.append(f"samples spread by {latency.cv:.0%}, so their median may be off by {unsure:.0%}")
    if latency.drift is not None and abs(latency.drift) > DRIFTING:
        parts.append(f"they drifted by {latency.drift:+.0%}")
    if latency.other_load is not None and latency.other_load > BUSY:
        parts.append(f"other processes used {latency.other_load:.0%} of the CPU while this was measured")
    if latency.alone is False:
        parts.append("a training or another measurement on this machine did not pause for it")
    if latency.throttled:
        parts.append("heat slowed the CPU down while this was measured")
    if latency.reference_ms is not None and latency.reference_fastest_ms is not None:
        fastest = min(filter(None, (fastest_ms, latency.reference_fastest_ms)), default=latency.reference_ms)
        if latency.reference_ms > SLOWED * fastest:
            times = latency.reference_ms / fastest
            parts.append(f"a fixed computation took {times:.1f} times as long as when it ran undisturbed")
    return parts
