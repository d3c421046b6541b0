"""What varies in a search: ranges of numbers and choices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from math import exp, inf, log
from random import Random
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt

from stdc_search.spec.base import plain
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import ONCE, Spec, rule

Sets = Annotated[tuple[str, ...], Field(min_length=1)] | None


class _Listed(Spec):
    """What varies over values that can be listed."""

    @property
    @abstractmethod
    def values(self) -> Sequence[Any]:
        """All values, in their order."""

    @property
    @abstractmethod
    def ordered(self) -> bool:
        """Whether neighbouring values are alike."""

    @property
    def size(self) -> int:
        return len(self.values)

    def coordinates(self, value: Any) -> list[float]:
        """Where a value lies, from 0 to 1; a choice without an order has a dimension per value."""
        index = self.values.index(plain(value))  # records have lists for tuples
        if self.ordered:
            return [index / max(self.size - 1, 1)]
        return [float(i == index) for i in range(self.size)]

    def position(self, share: float, lead: float = 0.5) -> Any:
        """The value at a share of the way from the first to the last.

        Args:
            share: 0 to 1.
            lead: the part of a step after which the next value is taken.
        """
        return self.values[int(share * (self.size - 1) + lead)]

    def draw(self, rng: Random) -> Any:
        """A random value."""
        return rng.choice(self.values)


class IntRange(_Listed):
    """Whole numbers low, low + step, ..., high."""

    kind: Literal["int"]
    low: int
    """The least value."""
    high: int
    """The greatest value."""
    step: PositiveInt = 1
    """Distance from one value to the next."""
    sets: Sets = None
    """Dotted paths that take the value together; default: the entry's own name."""

    @rule
    def _range(self) -> Iterator[Problem]:
        if self.low > self.high:
            yield Problem("low", f"`low` {self.low} is above `high` {self.high}; swap them")
            return
        rest = (self.high - self.low) % self.step
        if rest:
            yield Problem(
                "high",
                f"`high` {self.high} is not `low` {self.low} plus a multiple of `step` {self.step}; "
                f"the nearest that are: {self.high - rest} or {self.high - rest + self.step}",
            )

    @property
    def ends(self) -> dict[str, int]:
        """The values that are tried when a file is read, by their place in this entry."""
        return {"low": self.low, "high": self.high}

    @property
    def values(self) -> range:
        return range(self.low, self.high + 1, self.step)

    @property
    def ordered(self) -> bool:
        """Whether neighbouring values are alike."""
        return True

    def contains(self, value: Any) -> bool:
        return value in self.values


class FloatRange(Spec):
    """Real numbers from low to high."""

    kind: Literal["float"]
    low: float
    """The least value."""
    high: float
    """The greatest value."""
    log: bool = False
    """Whether values are spread evenly over the logarithm."""
    sets: Sets = None
    """Dotted paths that take the value together; default: the entry's own name."""

    @rule
    def _range(self) -> Iterator[Problem]:
        if self.low > self.high:
            yield Problem("low", f"`low` {self.low} is above `high` {self.high}; swap them")
        if self.log and self.low <= 0:
            yield Problem("low", f"`low` {self.low} has no logarithm; with `log` it must be above 0")

    @property
    def ends(self) -> dict[str, float]:
        """The values that are tried when a file is read, by their place in this entry."""
        return {"low": self.low, "high": self.high}

    @property
    def values(self) -> tuple[float]:
        """The only value.

        Raises:
            ValueError: there are infinitely many.
        """
        if self.low != self.high:
            raise ValueError(f"the real numbers from {self.low} to {self.high} cannot be listed")
        return (self.low,)

    @property
    def size(self) -> float:
        return 1 if self.low == self.high else inf

    @property
    def ordered(self) -> bool:
        """Whether neighbouring values are alike."""
        return True

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def coordinates(self, value: float) -> list[float]:
        """Where a value lies, from 0 to 1."""
        if self.low == self.high:
            return [0.0]
        if not self.log:
            return [(value - self.low) / (self.high - self.low)]
        return [(log(value) - log(self.low)) / (log(self.high) - log(self.low))]

    def position(self, share: float, lead: float = 0.5) -> float:
        """The value at a share, 0 to 1, of the way from `low` to `high`; real numbers have no steps to lead in."""
        if not self.log:
            return self.low + share * (self.high - self.low)
        exact = exp(log(self.low) + share * (log(self.high) - log(self.low)))
        return min(max(exact, self.low), self.high)  # rounding may pass the ends

    def draw(self, rng: Random) -> float:
        """A random value."""
        return self.position(rng.random())


class Choice(_Listed):
    """One of several values; a value may be a whole sub-spec."""

    kind: Literal["choice"]
    of: Annotated[tuple[Any, ...], Field(min_length=1, json_schema_extra=ONCE), AfterValidator(plain)]
    """The values."""
    sets: Sets = None
    """Dotted paths that take the value together; default: the entry's own name."""

    @property
    def ends(self) -> dict[str, Any]:
        """The values that are tried when a file is read, by their place in this entry."""
        return {f"of.{i}": value for i, value in enumerate(self.of)}

    @property
    def values(self) -> tuple[Any, ...]:
        return self.of

    def contains(self, value: Any) -> bool:
        return plain(value) in self.of

    @property
    def ordered(self) -> bool:
        """Whether neighbouring values are alike: they are numbers in ascending order."""
        numbers = [value for value in self.of if isinstance(value, int | float) and not isinstance(value, bool)]
        return len(numbers) == len(self.of) and numbers == sorted(numbers)


VarySpec = Annotated[IntRange | FloatRange | Choice, Field(discriminator="kind")]
