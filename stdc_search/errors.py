"""Errors that are a person's to mend, and the words that messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """A person's mistake: printed without traceback, exit code 2."""


class DamagedError(UserError):
    """A file that we wrote is not as it was written."""


class FolderInUseError(UserError):
    """Another process runs in a run folder."""


def brief(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def closest(word: object, legal: Iterable[object]) -> str:
    """`did you mean ...?`, or all legal words where none is alike."""
    words = [str(item) for item in legal]
    meant = alike(word, words)
    return f"did you mean `{meant}`?" if meant else f"legal: {', '.join(words) or 'none'}"


def alike(word: object, words: Iterable[str]) -> str | None:
    """The word that is spelt most alike, if any is."""
    return next(iter(difflib.get_close_matches(str(word), list(words), n=1, cutoff=0.7)), None)


def several(items: Sequence[object], most: int = 5) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more
