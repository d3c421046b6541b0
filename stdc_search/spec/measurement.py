"""The measurement: on which runtime a network is timed, and how; how its accuracy is scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from stdc_search.spec.base import Spec

Side = Annotated[int, Field(ge=32)]


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
