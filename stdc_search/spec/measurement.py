"""The measurement: on which runtime a network is timed, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from stdc_search.spec.base import Spec


class RuntimeSpec(Spec):
    """What is timed: image to label map, or to logits, at batch 1 in fp32."""

    runtime: Literal["eager", "onnxruntime"] = "eager"
    """`eager` is plain PyTorch; `onnxruntime` runs the exported network."""
    output: Literal["labels", "logits"] = "labels"
    """`labels`: the uint8 label map that is deployed; `logits`: scores a pixel at image size."""
    threads: PositiveInt | None = None
    """CPU threads; default: one a physical core."""


class LatencySpec(RuntimeSpec):
    """How `latency.median_ms` is measured."""

    warmup: PositiveInt = 5
    """Runs before the first that counts."""
    repeats: Annotated[int, Field(ge=3)] = 30
    """Runs that count; with several networks they take turns."""
    also: tuple[RuntimeSpec, ...] = ()
    """Further runtimes, reported beside the first."""
