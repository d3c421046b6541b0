"""Where a search trains its candidates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Tag

from stdc_search.spec.base import default_kind
from stdc_search.spec.rules import Spec


class InProcessSpec(Spec):
    """Candidates are trained one after another in the process that searches."""

    kind: Literal["in_process"] = "in_process"


class ProcessesSpec(Spec):
    """Candidates are trained side by side in processes of this machine; while one is timed, the others pause."""

    kind: Literal["processes"]
    workers: PositiveInt | None = None
    """Number of processes; default: as many as the machine has CPU threads for."""
    threads: PositiveInt = 1
    """CPU threads of each training; two trainings of one thread are faster than one after the other with two."""
    timeout: PositiveFloat | None = None
    """Seconds after which a candidate is stopped and recorded as failed."""


class RaySpec(Spec):
    """Candidates are trained on the machines of a Ray cluster, which share the run's folder and the data."""

    kind: Literal["ray"]
    address: str = "auto"
    """Address of the cluster: `auto` for the cluster of this machine, `local` to start one on this machine only."""
    cpus_per_trial: PositiveFloat = 1.0
    """CPU threads of each training."""
    gpus_per_trial: NonNegativeFloat = 0.0
    """GPUs of each training; 0.5 lets two share one."""
    timeout: PositiveFloat | None = None
    """Seconds after which a candidate is stopped and recorded as failed."""
    retries: NonNegativeInt = 3
    """How often a candidate is restarted from its last checkpoint when its machine is lost."""


ExecutorSpec = Annotated[
    Annotated[InProcessSpec, Tag("in_process")]
    | Annotated[ProcessesSpec, Tag("processes")]
    | Annotated[RaySpec, Tag("ray")],
    Discriminator(default_kind("in_process")),
]
"""`kind` is `in_process` where it is not written."""
