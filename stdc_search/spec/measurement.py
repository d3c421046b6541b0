"""The measurement: on which runtime a network is timed, and how; how its accuracy is scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from stdc_search.spec.base import RelativePath, replace
from stdc_search.spec.choices import PRECISIONS, Precision, Runtime
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import Spec, rule

Side = Annotated[int, Field(ge=32)]


class RuntimeSpec(Spec):
    """What is timed, and where."""

    runtime: Runtime = "eager"
    """`eager` is plain PyTorch, `compile` torch.compile; `onnxruntime` and `openvino` run the exported network."""
    output: Literal["labels", "logits"] = "labels"
    """`labels`: the uint8 label map that is deployed; `logits`: scores a pixel at image size."""
    precision: Precision = "fp32"
    """Of weights and features; int8 is calibrated on training images of the section `data`."""
    device: Literal["cpu", "cuda", "tensorrt"] | None = None
    """`tensorrt` is ONNX Runtime's execution provider; default: the GPU if the runtime has one here."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """Of PyTorch's tensors: NCHW or NHWC in memory."""
    threads: PositiveInt | None = None
    """CPU threads; default: one a physical core."""
    batch: PositiveInt = 1
    """Images a call."""

    @rule
    def _runtime_has_the_precision(self) -> Iterator[Problem]:
        if self.precision not in (theirs := PRECISIONS[self.runtime]):
            have = ", ".join(theirs)
            yield Problem("precision", f"{self.runtime} has no {self.precision}; use one of {have}, or another runtime")

    @rule
    def _runtime_has_the_device(self) -> Iterator[Problem]:
        if self.device == "tensorrt" and self.runtime != "onnxruntime":
            yield Problem("device", "only onnxruntime runs networks in TensorRT; set `runtime: onnxruntime`")
        if self.device == "cuda" and self.runtime == "openvino":
            yield Problem("device", "OpenVINO does not run on CUDA; use `runtime: onnxruntime`")

    @rule
    def _runtime_takes_the_memory_format(self) -> Iterator[Problem]:
        if self.memory_format != "contiguous" and self.runtime not in ("eager", "compile"):
            yield Problem("memory_format", f"{self.runtime} chooses its own memory format; remove it")


class LatencySpec(RuntimeSpec):
    """How `latency.median_ms` is measured."""

    warmup: PositiveInt = 5
    """Runs before the first that counts, at least; they go on until they become no faster."""
    repeats: Annotated[int, Field(ge=3)] = 30
    """Runs that count; with several networks they take turns."""
    also: tuple[RuntimeSpec, ...] = ()
    """Further runtimes, reported beside the first."""
    table: RelativePath | None = None
    """A search's times are predicted with this table of `stdc-search calibrate`, and measured for its front only.
    Relative to the spec's file."""


def varied(
    spec: LatencySpec, runtimes: Sequence[str] | None, precisions: Sequence[str] | None, threads: int | None
) -> list[RuntimeSpec]:
    """The runtimes of a spec; those given here replace its own, each in each of the given precisions.

    Raises:
        SpecError: a runtime or precision does not exist, or a runtime does not support a precision.
    """
    base = [spec, *spec.also] if runtimes is None else [spec]
    changes = [
        {
            **({} if runtime is None else {"runtime": runtime, "memory_format": "contiguous", "precision": "fp32"}),
            **({} if precision is None else {"precision": precision}),
            **({} if threads is None else {"threads": threads}),
        }
        for runtime in runtimes or [None]
        for precision in precisions or [None]
    ]
    return [replace(one, change) for one in base for change in changes]


class WindowSpec(Spec):
    """Parts of an image that a network sees one after the other; where they overlap, the mean counts."""

    size: tuple[Side, Side]
    """[height, width] of a window, at the size that the image is scaled to."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 1 / 3
    """Share of a window that the next one covers too, at least."""


class EvaluationSpec(Spec):
    """How accuracy is scored. The defaults are the paper's: one scale, no flip, labels at their full size."""

    scales: Annotated[tuple[Annotated[float, Field(ge=0.1, le=10)], ...], Field(min_length=1)] = (1.0,)
    """Scales of `image_size` that a network sees; probabilities are averaged."""
    flip: bool = False
    """Whether it sees each image mirrored, too."""
    window: WindowSpec | None = None
    """Sliding windows; null shows the network the whole image."""
    boundary: Annotated[int, Field(ge=1, le=30)] = 3
    """Pixels that a boundary may be off to be right, for `score.boundary_f`."""

    @property
    def views(self) -> int:
        """How often a network looks at an image."""
        return len(self.scales) * (1 + self.flip)
