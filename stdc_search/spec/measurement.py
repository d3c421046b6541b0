"""The measurement: how to time a network and how to score it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from stdc_search.spec.base import RelativePath, replace
from stdc_search.spec.choices import PRECISIONS, Precision, Runtime
from stdc_search.spec.problems import Problem, SpecError
from stdc_search.spec.rules import Spec, rule

Side = Annotated[int, Field(ge=32)]

ELSEWHERE = "elsewhere"
ADDRESS = re.compile(r"ssh://([\w.+~-]+@)?(\w[\w.-]*|\[[\da-fA-F:.]+(%\w+)?\])(:\d{1,5})?")
PYTHON = re.compile(r"[\w./~+-]+")
"""What a shell takes as one plain word."""
Address = Annotated[str, Field(json_schema_extra={"pattern": f"^({ELSEWHERE}|{ADDRESS.pattern})$"})]
Program = Annotated[str, Field(json_schema_extra={"pattern": f"^{PYTHON.pattern}$"})]


class RuntimeSpec(Spec):
    """What to time, and where."""

    runtime: Runtime = "eager"
    """`eager` is plain PyTorch, `compile` torch.compile; `onnxruntime`, `openvino` and `ncnn` run the exported network.
    ncnn gives scores, of which NumPy takes the best class."""
    output: Literal["labels", "logits"] = "labels"
    """`labels`: the uint8 label map that is deployed; `logits`: scores per pixel at image size."""
    precision: Precision = "fp32"
    """Precision of weights and features; int8 is calibrated on training images of the section `data`."""
    device: Literal["cpu", "cuda", "tensorrt", "gpu", "npu"] | None = None
    """`tensorrt` is ONNX Runtime's execution provider; `gpu` and `npu` are Intel's, in OpenVINO. Default: the CPU in
    OpenVINO; in other runtimes the GPU if they have one here."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """Memory format of PyTorch's tensors: NCHW or NHWC."""
    threads: PositiveInt | None = None
    """CPU threads; default: one per physical core."""
    batch: PositiveInt = 1
    """Images per call."""
    on: Address | None = None
    """The device to time on; default: this machine. `ssh://HOST` is reached as `ssh HOST` reaches it, user and port may
    be added: `ssh://pi@raspberrypi:22`. `elsewhere` cannot be reached: its times come from `table` alone."""
    python: Program = "python3"
    """Python of the device at `ssh://`, which needs NumPy and the runtime."""

    @rule
    def _runtime_has_the_precision(self) -> Iterator[Problem]:
        if self.precision not in (theirs := PRECISIONS[self.runtime]):
            have = ", ".join(theirs)
            yield Problem(
                "precision", f"{self.runtime} does not support {self.precision}; use one of {have}, or another runtime"
            )

    @rule
    def _runtime_has_the_device(self) -> Iterator[Problem]:
        if self.device == "tensorrt" and self.runtime != "onnxruntime":
            yield Problem("device", "only onnxruntime runs networks in TensorRT; set `runtime: onnxruntime`")
        if self.device == "cuda" and self.runtime in ("openvino", "ncnn"):
            yield Problem("device", f"{self.runtime} does not run on CUDA; use `runtime: onnxruntime`")
        if self.device in ("gpu", "npu") and self.runtime != "openvino":
            yield Problem(
                "device", "is Intel's, which only OpenVINO runs on; use `runtime: openvino`, or `device: cuda`"
            )

    @rule
    def _runtime_takes_the_batch(self) -> Iterator[Problem]:
        if self.batch > 1 and self.runtime == "ncnn":
            yield Problem("batch", "ncnn takes one image at a time; remove it")

    @rule
    def _device_has_an_address(self) -> Iterator[Problem]:
        if self.on not in (None, ELSEWHERE) and not ADDRESS.fullmatch(self.on or ""):
            yield Problem(
                "on", f"{self.on!r} is not an address; write `ssh://HOST`, `ssh://USER@HOST` or `{ELSEWHERE}`"
            )
        if self.on is not None and self.runtime in ("eager", "compile"):
            yield Problem("on", f"no PyTorch is used there, so {self.runtime} cannot run; use `runtime: onnxruntime`")

    @rule
    def _python_is_used(self) -> Iterator[Problem]:
        if not PYTHON.fullmatch(self.python):
            yield Problem("python", f"{self.python!r} is not the name or path of a program, such as `python3`")
        if self.python != "python3" and self.on in (None, ELSEWHERE):
            yield Problem("python", "is the Python of a device at `ssh://`; add `on`, or remove it")

    @rule
    def _runtime_takes_the_memory_format(self) -> Iterator[Problem]:
        if self.memory_format != "contiguous" and self.runtime not in ("eager", "compile"):
            yield Problem("memory_format", f"{self.runtime} chooses its own memory format; remove it")


class LatencySpec(RuntimeSpec):
    """How `latency.median_ms` is measured."""

    warmup: PositiveInt = 5
    """Least number of warm-up rounds, which are not counted; more follow until rounds stop getting faster."""
    repeats: Annotated[int, Field(ge=3)] = 30
    """Number of measured rounds; several networks take turns in each."""
    also: tuple[RuntimeSpec, ...] = ()
    """Further runtimes, reported beside the first; each names its own device (`on`)."""
    table: RelativePath | None = None
    """A table from `stdc-search calibrate`, which predicts the times of candidates; only the networks of the report are
    measured. Relative to the spec file."""

    @property
    def measured(self) -> LatencySpec:
        """How a network is measured that is not predicted: on this machine, if its device cannot be reached."""
        return self.model_copy(update={"table": None, "on": None if self.on == ELSEWHERE else self.on})

    @rule
    def _elsewhere_has_a_table(self) -> Iterator[Problem]:
        if self.on == ELSEWHERE and self.table is None:
            yield Problem(
                "table", f"`on: {ELSEWHERE}` takes times from a table; `stdc-search bundle` helps to make one"
            )
        if self.also and ELSEWHERE in (self.on, *(one.on for one in self.also)):
            yield Problem("also", f"nothing is measured `{ELSEWHERE}`, and further runtimes have no table; remove it")


def varied(
    spec: LatencySpec,
    runtimes: Sequence[str] | None,
    precisions: Sequence[str] | None,
    threads: int | None,
    on: Address | None = None,
    python: str | None = None,
) -> list[RuntimeSpec]:
    """The runtimes of a spec; the command line's replace them, each in each of the given precisions.

    Among several combinations, those that do not exist are left out with a warning.

    Raises:
        SpecError: a runtime or precision does not exist, or no runtime supports any of the precisions.
    """

    def changed(one: RuntimeSpec, change: dict[str, Any]) -> RuntimeSpec:
        try:
            return replace(one, change)
        except SpecError as error:
            options = {"precision": precisions, "runtime": runtimes, "threads": threads, "on": on, "python": python}
            raise SpecError(
                *(Problem(f"--{it.path}", it.message) if options.get(it.path) else it for it in error.problems)
            ) from None

    base = [spec, *spec.also] if runtimes is None else [spec]
    changes = [
        {
            **({} if runtime is None else {"runtime": runtime, "memory_format": "contiguous", "precision": "fp32"}),
            **({} if precision is None else {"precision": precision}),
            **({} if threads is None else {"threads": threads}),
            **({} if on is None else {"on": on}),
            **({} if python is None else {"python": python}),
        }
        for runtime in runtimes or [None]
        for precision in precisions or [None]
    ]
    every = [(one, change, *_combination(one, change)) for one, change in product(base, changes)]
    missing = {
        (runtime, precision)
        for _, _, runtime, precision in every
        if precision not in PRECISIONS.get(runtime, precision)
    }
    if all((runtime, precision) in missing for _, _, runtime, precision in every):
        missing = set()  # the first one is an error
    for runtime, precision in sorted(missing):
        warnings.warn(f"left out: {runtime} does not support {precision}", stacklevel=2)
    return [changed(one, change) for one, change, *both in every if tuple(both) not in missing]


def _combination(one: RuntimeSpec, change: Mapping[str, Any]) -> tuple[Runtime, Precision]:
    return change.get("runtime", one.runtime), change.get("precision", one.precision)


class WindowSpec(Spec):
    """Sliding windows: parts of an image that a network sees one after another; overlaps are averaged."""

    size: tuple[Side, Side]
    """[height, width] of a window, at the size that the image is scaled to."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 1 / 3
    """Least share of a window that the next one overlaps."""


class EvaluationSpec(Spec):
    """How accuracy is scored. The defaults are the paper's: one scale, no flip, labels at their full size."""

    antialias: bool = False
    """Whether images are smoothed when they shrink to `image_size`, as in training and in the examples beside exported
    files. The paper does not smooth."""

    scales: Annotated[tuple[Annotated[float, Field(ge=0.1, le=10)], ...], Field(min_length=1)] = (1.0,)
    """Scales of `image_size` that a network sees; probabilities are averaged."""
    flip: bool = False
    """Whether the network also sees each image mirrored."""
    window: WindowSpec | None = None
    """Sliding windows; null shows the network the whole image."""
    boundary: Annotated[int, Field(ge=1, le=30)] = 3
    """Tolerance of `score.boundary_f`: pixels by which a correct boundary may be off."""

    @property
    def views(self) -> int:
        """How often a network looks at an image."""
        return len(self.scales) * (1 + self.flip)
