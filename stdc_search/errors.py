"""Errors that are a person's to mend, and the words that messages share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys, that change the order of others, or that no encoding has."""


def inert(text: object) -> str:
    """Text that a terminal only prints: control characters, except tabs and new lines, become escapes (`\\x1b`)."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


class UserError(ValueError):
    """A person's mistake: printed without traceback, exit code 2."""

    advice = ""
    """What `run` and `check` print after it."""

    def __str__(self) -> str:
        return inert(super().__str__())


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
    """The first word that says more, as `score.miou` of `miou`, else the one that is spelt most alike, if any is."""
    words = list(words)
    parts = {*_parts(word)}
    more = next((one for one in words if parts and parts <= {*_parts(one)} and one != word), None)
    return more or next(iter(difflib.get_close_matches(str(word), words, n=1, cutoff=0.7)), None)


def _parts(word: object) -> list[str]:
    return re.findall(r"[a-z][a-z0-9]*", str(word).lower())


def several(items: Sequence[object], most: int = 5) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def alike_in_one(lines: Iterable[str], most: int = 3) -> list[str]:
    """Problems of files, `FILE: PROBLEM`; those of one kind become one line if there are more than `most` of them.

    Problems are of one kind if they differ only in files, numbers and quoted words.
    """
    kinds: dict[str, list[str]] = {}
    for line in lines:
        kinds.setdefault(_kind(line), []).append(line)
    told: list[str] = []
    for found in kinds.values():
        if len(found) <= most:
            told += found
            continue
        files = list(dict.fromkeys(re.split(r"[/\\]", line.partition(": ")[0])[-1] for line in found))
        examples = f": {several(files[1:], most - 1)}" if len(files) == len(found) else ""
        told.append(f"{found[0]} [and {len(found) - 1} more like this{examples}]")
    return told


def first_of(lines: Sequence[str], most: int = 5) -> str:
    """The text of an error that names the first problems of files."""
    kinds = alike_in_one(lines)
    if kinds == [*lines] and len(lines) <= most:
        return "\n".join(lines)
    return "\n".join([*kinds[:most], f"{len(lines)} problems in all; with a spec, `stdc-search data` lists them"])


def _kind(line: str) -> str:
    """A problem without its file, and with a # for each file, number and quoted word in it."""
    problem = re.sub(r"""'[^']*'|`[^`]*`|\S*/\S+|\S+\.[a-zA-Z]\w+|\d[\d.]*""", "#", line.partition(": ")[2])
    return re.sub(r"#(,? #)*( and # more)?", "#", problem)
