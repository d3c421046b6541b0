"""What a run writes: one record a candidate, appended to `results.jsonl` as it happens."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stdc_search.errors import DamagedError
from stdc_search.storage import append_line, is_endless

Direction = Literal["minimize", "maximize"]


class Metric(NamedTuple):
    """A number that a record has."""

    title: str
    """Title of a table column; its last word is the unit."""
    axis: str
    """Beside the axis of a picture."""
    direction: Direction
    """Which way is better."""
    scale: float = 1.0
    """What a record's number is divided by to be in the unit."""
    exact: str = ""
    """Title of a column of undivided numbers."""
    objective: bool = True
    """Whether a search may have it as an objective."""


BOUNDARY = "score.boundary_f"
IOU = "score.iou."
"""Before the name of a class: its IoU is a metric, too."""


class _Metrics(dict[str, Metric]):
    """Metrics by name; those of classes, whose names only the data knows, are made when they are asked for."""

    def __missing__(self, name: str) -> Metric:
        if not name.startswith(IOU):
            raise KeyError(name)
        label = name.removeprefix(IOU)
        return Metric(f"{label} IoU %", f"IoU of {label}, %", "maximize")


METRICS = _Metrics(
    {
        "cost.parameters": Metric("params M", "parameters, millions", "minimize", 1e6, "parameters"),
        "cost.macs": Metric("GMACs", "multiply-adds, GMACs", "minimize", 1e9, "MACs"),
        "cost.fvcore_flops": Metric("fvcore GFLOPs", "fvcore's FLOPs, 10⁹", "minimize", 1e9, "fvcore FLOPs"),
        "cost.paper_flops": Metric("paper GFLOPs", "FLOPs by the paper's rule, 10⁹", "minimize", 1e9, "paper's FLOPs"),
        "latency.median_ms": Metric("median ms", "latency, median ms per image", "minimize"),
        "latency.p95_ms": Metric("p95 ms", "latency, 95th percentile, ms per image", "minimize"),
        "latency.fps": Metric("FPS", "images per second", "maximize", objective=False),  # median_ms says the same
        "score.miou": Metric("mIoU %", "mIoU, %", "maximize"),
        "score.pixel_accuracy": Metric("pixel accuracy %", "pixel accuracy, %", "maximize"),
        BOUNDARY: Metric("boundary F %", "F-score of boundaries, %", "maximize"),
        "score.top1": Metric("top-1 %", "top-1 accuracy, %", "maximize"),
        "score.top5": Metric("top-5 %", "top-5 accuracy, %", "maximize"),
    }
)
"""All metrics, by the section of a record and the field in it; beside those listed, `score.iou.CLASS`."""

IGNORED = 255
"""The id of pixels without a class in label maps: read, predicted and written."""
LEGAL, INSIDE = "legal network", "inside the limits"
"""Columns of the table of a whole space."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Count = Annotated[int, Field(ge=0, lt=2**63)]


class Cost(_Value):
    """What `forward` needs at batch 1 in eval mode; training heads are not counted."""

    parameters: Count
    """Weights, scales and shifts (the classifier's unused batch norm included, as in the paper's count)."""
    macs: Count
    """Multiply-adds of convolutions, linear layers and matrix products."""
    fvcore_flops: Count
    """fvcore's default rule: macs, 2 a batch norm input, 1 a pooled input, 4 a bilinear output."""
    paper_flops: Count
    """The rule behind the paper's 813M and 1446M: macs, 2 a batch norm value, 1 a ReLU, 1 a pooled input."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            parameters=self.parameters + other.parameters,
            macs=self.macs + other.macs,
            fvcore_flops=self.fvcore_flops + other.fvcore_flops,
            paper_flops=self.paper_flops + other.paper_flops,
        )


class PartCost(_Value):
    """One part of a network at one image size."""

    name: str
    """Its place in the module: `backbone.stages.0.1`."""
    kind: str
    """Its class."""
    output: tuple[int, ...]
    """(C, H, W), or (C,); of the first output where there are several."""
    cost: Cost


class Latency(_Value):
    """Time of one batch on one runtime."""

    runtime: str
    output: Literal["labels", "logits"]
    image_size: tuple[int, int]
    batch: int = 1
    threads: int
    device: str = "cpu"
    """What ran it: cpu, cuda, tensorrt, gpu or npu."""
    machine: str | None = None
    """`Machine.id` of the device that `latency.on` names; None if that is the machine of the record."""
    precision: str = "fp32"
    memory_format: str = "contiguous"
    source: Literal["measured", "predicted"] = "measured"
    median_ms: float
    """Median time of one call, which processes a batch."""
    p5_ms: float | None = None
    p95_ms: float | None = None
    """None where it is predicted."""
    fps: float
    """Images a second: 1000 times the batch / median_ms."""
    samples: int
    cv: float | None = None
    """Coefficient of variation of the samples; none in records that are older than it, as the next two."""
    drift: float | None = None
    """By which share the median of their second half lies above that of the first."""
    steady: bool | None = None
    """Whether warming up ended, which means that calls stopped getting faster."""
    beside: int | None = None
    """Number of networks that took turns to be measured, this one included; None if it was measured alone."""
    other_load: float | None = None
    """Share of the cores' time that other processes took; none on a GPU, outside Linux and in older records."""
    throttled: bool | None = None
    """Whether heat slowed the CPU down meanwhile; none where the system does not say so, and in older records."""
    alone: bool | None = None
    """Whether no other process measured or trained with this package meanwhile; none in older records."""
    reference_ms: float | None = None
    """Mean time of fixed work that took turns with the network; none if there was none, and in older records."""
    reference_fastest_ms: float | None = None
    """The shortest time of that work which the measuring process had seen until then."""


class Score(_Value):
    """Accuracy of label maps on the validation images, of the last epoch's weights; in percent, means over seeds."""

    miou: float
    """Mean IoU of the classes that the validation labels have, so that it is over the same classes for every candidate.
    A class that is only predicted is not among them; torchmetrics and the Cityscapes scripts count it as 0."""
    pixel_accuracy: float
    boundary_f: float | None = None
    """Mean F-score of the boundaries of the classes that have some in the labels; none where no class has, and in
    records that are older than it."""
    iou: dict[str, float | None]
    """IoU a class; none for a class that the validation labels do not have."""
    constant_miou: float
    """mIoU of predicting the most common class everywhere: what a network must beat."""
    images: int
    seed_miou: tuple[float, ...]
    """mIoU of each of `training.seeds`."""

    def constant(self, metric: str) -> float:
        """What predicting the most common class everywhere gives by a metric; of an IoU, that of any other class."""
        if metric == "score.pixel_accuracy":
            return self.constant_miou * sum(value is not None for value in self.iou.values())
        return self.constant_miou if metric == "score.miou" else 0.0


class ImageScore(_Value):
    """Accuracy of the classes of whole images; otherwise as `Score`."""

    top1: float
    """Images whose class has the highest score."""
    top5: float
    """Images whose class is among the five highest."""
    constant_top1: float
    """top1 of predicting the most common class for every image."""
    images: int
    seed_top1: tuple[float, ...]
    """top1 of each of `training.seeds`."""

    def constant(self, metric: str) -> float:
        """What predicting the most common class for every image gives by a metric; of top5, at least."""
        return self.constant_top1


PIXEL_METRICS = tuple(name for name in METRICS if name.removeprefix("score.") in Score.model_fields)
IMAGE_METRICS = tuple(name for name in METRICS if name.removeprefix("score.") in ImageScore.model_fields)
"""Scores of a segmenter and of a classifier."""
SEEDED = {"score.miou": "seed_miou", "score.top1": "seed_top1"}
"""The metrics that are known for each training of a network, with the fields of `score` that have them."""


class StartedFrom(_Value):
    """Weights of another training that a candidate began with."""

    file: str
    """Name of the file."""
    taken: int
    """Tensors of the network that were found in it with their shape."""
    tensors: int
    """Tensors of the network."""
    other_shapes: int = 0
    """Tensors of the network that have another shape in it, and were left as they were: for example the last layers,
    where the number of classes differs."""


class TakenFrom(_Value):
    """The earlier run that a finished candidate was taken over from."""

    run: str
    """Its folder, as it was given."""
    number: int
    """The candidate's number there."""


class Machine(_Value):
    """Where a record was made."""

    id: str
    """Hash of all that follows except the commit; records with different ids are not to be compared by time."""
    device: str
    cpu: str
    cores: int
    threads: int
    memory_gb: float
    system: str
    driver: str | None
    governor: str | None = None
    """The frequency governor of its cores, if the system reports it."""
    versions: dict[str, str]
    commit: str | None


class Errors(_Value):
    """How far times lie from those measured."""

    mape: float
    """Mean of the errors, as shares of what was measured, in percent."""
    within_10: float
    """Networks whose error is at most 10 %, in percent."""
    largest: float
    """The largest error, in percent."""
    spearman: float
    """Rank correlation."""


class HeldOut(_Value):
    """A network that a table of times was not fitted to."""

    macs: int
    measured_ms: float
    again_ms: float
    predicted_ms: float


class TimeTable(_Value):
    """Times of the parts of a space's networks, as `calibrate` learnt them."""

    machine: str
    """`Machine.id` of where it was learnt; it says nothing of others."""
    described: Machine | None = None
    """That machine, so that a search elsewhere can name it."""
    runtime: dict[str, Any]
    """Its spec."""
    device: str
    parts: dict[str, float]
    """Milliseconds of each part, by its words."""
    networks: int
    """How many were measured for it."""
    held_out: int
    """Number of further networks, which its errors refer to."""
    errors: Errors
    """Errors of the predictions for the held-out networks."""
    repeatability: Errors
    """Errors of measuring the held-out networks a second time; no prediction can be better."""
    disturbed: int = 0
    """Measurements during which other processes used much of the CPU; 0 in tables that are older than it."""


def read_machines(path: Path) -> dict[str, Machine]:
    """Machines of a file by their ids; none where it is missing or damaged, which costs their description only."""
    try:
        return TypeAdapter(dict[str, Machine]).validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


Origin = Literal["base", "start", "reference", "sampler"]


class Record(_Value):
    """One candidate and how it ended."""

    format: Literal[1] = 1
    number: Annotated[int, Field(ge=0, lt=2**31)]
    """Also its folder: networks/0042."""
    state: Literal["complete", "stopped", "rejected", "failed", "running"]
    """`stopped`: early, at a rung. `running` is never in a file of results: it is being tried."""
    origin: Origin
    """`reference`: a start network outside the space, which the sampler never sees."""
    name: str | None = None
    """Name of a start network."""
    repeats: int | None = None
    """Number of the record whose network is trained again here, with other seeds."""
    identity: str | None
    """RunSpec.identity; None if the values give no legal network."""
    values: dict[str, Any]
    """Varied values by their name in `search.vary`."""
    image_size: tuple[int, int]
    sampler_notes: dict[str, Any] = {}
    """What the sampler wrote on Optuna's trial, such as NSGA-II's generation."""
    taken_from: TakenFrom | None = None
    """The earlier run that trained it; none if it was trained in this one."""
    cost: Cost | None = None
    started_from: StartedFrom | None = None
    latency: Latency | None = None
    latency_also: tuple[Latency, ...] = ()
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    """The precision that its training computed in; none without a training, and in older records."""
    training_loss: tuple[float, ...] | None = None
    """Mean loss over the second half of the epochs, of each of `training.seeds`; none in older records. With early
    stopping, only epochs before the first rung count."""
    score: Score | ImageScore | None = None
    rungs: dict[int, Score | ImageScore] = {}
    """With early stopping, the score at each rung, by its epochs."""
    reason: str | None = None
    """Why it was rejected or stopped, or failed."""
    seconds: dict[str, float] = {}
    """Wall-clock time of each step: count, time, train, score."""
    started: str
    """UTC, ISO 8601."""
    machine: str
    """Machine.id."""

    @property
    def trainings(self) -> int:
        """Number of trainings behind its score."""
        return len(getattr(self.score, "seed_miou", None) or getattr(self.score, "seed_top1", ()))

    def figure(self, name: str) -> float | None:
        """A measured number by its dotted name, or None: cost.macs, latency.median_ms, score.miou, score.iou.CLASS."""
        if name.startswith(IOU) and isinstance(self.score, Score):
            return self.score.iou.get(name.removeprefix(IOU))
        section, _, field = name.partition(".")
        return getattr(getattr(self, section, None), field, None)

    def metric(self, name: str) -> float:
        """A measured number that the record has.

        Raises:
            KeyError: it has no such number.
        """
        if (value := self.figure(name)) is None:
            raise KeyError(name)
        return value


def append(path: Path, record: BaseModel) -> None:
    """Add a record to a results file: one write, on disk when this returns."""
    append_line(path, record.model_dump_json())


def read(path: Path, fault: Callable[[Record], str | None] = lambda record: None) -> list[Record]:
    """Records of a results file, oldest first; empty if there is no file. An incomplete last line is ignored.

    A record whose number was there before stands in the place of that one.

    Args:
        path: the file.
        fault: tells what is wrong with a record, or None.

    Raises:
        DamagedError: another line is damaged.
    """
    if not path.exists():
        return []
    if is_endless(path):
        raise DamagedError(f"{path}: is a pipe or a device, not a file")
    status = path.stat()
    records: dict[int, Record] = {}
    for line, record in _lines(path, status.st_ino, status.st_size, status.st_mtime_ns):
        if problem := fault(record):
            raise _damaged(path, line, problem)
        records[record.number] = record
    return [*records.values()]


@lru_cache(maxsize=2)  # a command reads the records of a run and of its finals several times
def _lines(path: Path, inode: int, size: int, modified_ns: int) -> list[tuple[int, Record]]:
    """The records of a file, each with its line. What tells whether the file has changed is the key of the cache."""
    whole, _, _torn = path.read_bytes().rpartition(b"\n")
    found = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            found.append((number, Record.model_validate_json(line)))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            problem = f"is not a record of format 1: {place}{': ' * bool(place)}{first['msg']}"
            raise _damaged(path, number, problem) from None
    return found


def _damaged(path: Path, line: int, problem: str) -> DamagedError:
    return DamagedError(f"{path}:{line}: {problem}; repair that line, or remove it")
