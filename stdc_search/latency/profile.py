"""The time of each part of a network, from a runtime's own profile of the whole network."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from stdc_search.deploy.export import INPUT
from stdc_search.errors import UserError
from stdc_search.latency.runtimes import onnxruntime_session, openvino_request
from stdc_search.spec.measurement import RuntimeSpec

Nodes = list[tuple[str, float]]
"""Names and milliseconds of what a runtime made of a network's operators, in the order in which they ran."""


class Profile(NamedTuple):
    """A network made ready to be profiled."""

    run: Callable[[], object]
    finish: Callable[[], list[Nodes]]
    """Gives the nodes of each run; to be called once, after the last."""


def profile(spec: RuntimeSpec, content: bytes, images: Tensor, threads: int) -> Profile:
    """Prepare a network on a runtime that reports the time of each node.

    Args:
        spec: runtime and precision.
        content: an ONNX file whose nodes are named after their modules, as `to_onnx` names them.
        images: a batch.
        threads: CPU threads.

    Raises:
        UserError: the runtime does not report it.
    """
    check_profiled(spec)
    make = _onnxruntime if spec.runtime == "onnxruntime" else _openvino
    return make(spec, content, images, threads)


def check_profiled(spec: RuntimeSpec) -> None:
    """Reject a runtime that does not report the time of each node.

    Raises:
        UserError: it does not.
    """
    if spec.runtime not in ("onnxruntime", "openvino"):
        raise UserError(
            f"{spec.runtime} does not report the time of each node; use `--runtime onnxruntime` or openvino"
        )


def _onnxruntime(spec: RuntimeSpec, content: bytes, images: Tensor, threads: int) -> Profile:
    folder = tempfile.TemporaryDirectory()
    session, _ = onnxruntime_session(spec, content, threads, Path(folder.name) / "profile")

    def finish() -> list[Nodes]:
        events = json.loads(Path(session.end_profiling()).read_bytes())
        folder.cleanup()
        runs: list[Nodes] = [[]]
        for event in events:
            if event["name"] == "model_run":  # ends a run
                runs.append([])
            elif event["cat"] == "Node":
                runs[-1].append((event["name"], event["dur"] / 1e3))
        return runs[:-1]

    return Profile(partial(session.run, None, {INPUT: images.numpy()}), finish)


def _openvino(spec: RuntimeSpec, content: bytes, images: Tensor, threads: int) -> Profile:
    request = openvino_request(spec, content, threads, profile=True)
    runs: list[Nodes] = []
    pixels = {INPUT: images.numpy()}

    def run() -> None:
        request.infer(pixels)
        nodes = request.get_profiling_info()
        runs.append([(node.node_name, node.real_time.total_seconds() * 1e3) for node in nodes])

    return Profile(run, lambda: runs)


def shares(nodes: Nodes, parts: Sequence[str]) -> dict[str, float]:
    """Which share of a run's time each part takes.

    What belongs to no part, such as a change of memory format, belongs to the part that ran before it, at the start to
    the first.

    Args:
        nodes: of one run.
        parts: names of modules, the first one running first.
    """
    longest_first = sorted(parts, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    found, part = dict.fromkeys(parts, 0.0), parts[0]
    for name, milliseconds in nodes:
        if match := pattern.search(name.rpartition("/")[0]):
            part = match[0]
        found[part] += milliseconds
    total = sum(found.values())
    return {part: milliseconds / total for part, milliseconds in found.items()}


def mean_shares(runs: Iterable[Nodes], parts: Sequence[str]) -> dict[str, float]:
    """The same over several runs, so no share depends on a single run."""
    each = [shares(nodes, parts) for nodes in runs]
    return {part: sum(one[part] for one in each) / len(each) for part in parts}
