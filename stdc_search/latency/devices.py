"""Where networks are timed: on this machine, or on the device that `latency.on` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from stdc_search.device.bench import Bench
from stdc_search.device.hardware import physical_cores
from stdc_search.device.runtimes import Opener, UnavailableError, open_file
from stdc_search.latency.fixed import fixed_work
from stdc_search.latency.remote import Remote, connect
from stdc_search.records import Machine
from stdc_search.spec.measurement import ELSEWHERE, RuntimeSpec


class Here:
    """This machine."""

    machine: Machine | None = None
    """A record names it anyway."""
    open_file: Opener = staticmethod(open_file)

    @property
    def cores(self) -> int:
        return physical_cores()

    def bench(self, cores: int) -> Bench:
        return Bench(cores, fixed_work())

    def forget(self) -> None:
        """Images stay where they are."""


class Place(NamedTuple):
    """The address of a device, by which networks are grouped."""

    on: str | None
    python: str

    @classmethod
    def of(cls, runtime: RuntimeSpec) -> Place:
        return cls(runtime.on, runtime.python)

    @contextmanager
    def open(self) -> Iterator[Here | Remote]:
        """The device.

        Raises:
            UnavailableError: it cannot be reached, or lacks something.
        """
        if self.on is None:
            yield Here()
        elif self.on == ELSEWHERE:
            raise UnavailableError(
                f"`on: {ELSEWHERE}`: nothing can be timed there; its times come from the table of `stdc-search bundle`"
            )
        else:
            with connect(self.on, self.python) as remote:
                yield remote
