"""What is wrong with a spec, where, and the nearest thing that works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stdc_search.errors import UserError, inert

TOLD = 20
"""Problems that a message names; it only counts the others."""


@dataclass(frozen=True)
class Problem:
    """One thing to mend: `file:line: dotted.path: message`, as far as each is known."""

    path: str
    """Dotted path of the field; empty: the whole."""
    message: str
    """What is wrong, the rule, and the nearest value that works."""
    file: Path | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        names = (name.replace("\n", "\\n") for name in (place, self.path))
        return inert(": ".join(part for part in (*names, self.message) if part))

    def within(self, path: str) -> Problem:
        """The same problem, seen from a spec that holds this one at `path`."""
        if self.file is not None:  # it stands in another file, whose paths start anew
            return self
        return Problem(f"{path}.{self.path}".strip("."), self.message)

    def located(self, file: Path, lines: Mapping[str, int]) -> Problem:
        """The same problem with the line of its path, or of the nearest path around it that the file has."""
        if self.file is not None:
            return self
        path = self.path
        while path and path not in lines:
            path = path.rpartition(".")[0]
        return Problem(self.path, self.message, file, lines.get(path))


class SpecError(UserError):
    """A spec cannot be used; holds every problem that was found."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    @classmethod
    def of(cls, message: str) -> SpecError:
        """An error of one problem that has no place in a file."""
        return cls(Problem("", message))

    def __str__(self) -> str:
        return "\n".join(self._told)

    @property
    def brief(self) -> str:
        """The same on one line, for a table or a record."""
        return "; ".join(self._told)

    @property
    def _told(self) -> list[str]:
        more = len(self.problems) - TOLD
        return [*map(str, self.problems[:TOLD]), *([f"and {more:,} more problems"] if more > 0 else [])]


def at(path: str, message: str) -> SpecError:
    """For validators: an error at a dotted path that starts from the spec that is validated."""
    return SpecError(Problem(path, message))


def shown(value: object) -> str:
    """A value as a message shows it: short, and as it is written in a file."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
