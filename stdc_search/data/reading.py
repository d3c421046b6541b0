"""Reading many files with all cores, where one broken file does not hide the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from stdc_search.data.dataset import DataError
from stdc_search.data.threads import readers
from stdc_search.errors import first_of

AHEAD = 256
"""Number of items to queue at a time."""

Item = TypeVar("Item")
Found = TypeVar("Found")
Told = Callable[[int, int], None]
"""Called with the number of items that were read, and of all."""


def read_all(items: Sequence[Item], read: Callable[[Item], Found], told: Told | None = None) -> Iterator[Found]:
    """The result of `read` for each item, in order.

    Raises:
        DataError: items are broken; the message names the first ones. It comes after all others.
    """
    problems: list[str] = []
    for found in read_each(items, read, told):
        if isinstance(found, DataError):
            problems += str(found).splitlines()
        else:
            yield found
    if problems:
        raise DataError(first_of(problems))


def read_each(
    items: Sequence[Item], read: Callable[[Item], Found], told: Told | None = None
) -> Iterator[Found | DataError]:
    """The result of `read` for each item, in order, or its error."""

    def attempt(item: Item) -> Found | DataError:
        try:
            return read(item)
        except DataError as error:
            return error

    with readers() as pool:
        for start in range(0, len(items), AHEAD):
            for done, found in enumerate(pool.map(attempt, items[start : start + AHEAD]), start=start + 1):
                yield found
                if told is not None:
                    told(done, len(items))
