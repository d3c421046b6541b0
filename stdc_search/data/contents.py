"""A fingerprint of a run's data: its files and label counts. A resumed run checks that they have not changed.

Files are identified by their path below `data.root`, so the root may move. Content is compared by size and hash. The
hash covers a whole mask, but only the first bytes of an image: an edited image almost always has another size.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from stdc_search.data.dataset import Dataset, Split
from stdc_search.data.drawing import labels_folder
from stdc_search.data.files import resolve_root
from stdc_search.data.reading import Told
from stdc_search.data.survey import Labels, count_labels
from stdc_search.data.threads import readers
from stdc_search.errors import DamagedError, several
from stdc_search.spec.data import DataSpec, ScenesSpec

HEAD = 4096
"""Number of bytes of an image to hash."""
BLOCK = 256
"""Number of samples that a thread processes at a time."""


class File(NamedTuple):
    """One file."""

    size: int
    modified_ns: int
    """A file with unchanged size and time is not hashed again. A copied file may have a different time."""
    hash: str

    @property
    def content(self) -> tuple[int, str]:
        """What does not change when the file is moved."""
        return self.size, self.hash


Files = Mapping[str, tuple[File, ...]]
"""The files of each sample, keyed by image path."""


class Contents(BaseModel):
    """The fingerprint."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    data: dict[str, Any]
    """The section `data` without `root`."""
    labels: dict[Split, Labels]
    files: dict[Split, Files]

    @classmethod
    def read(cls, path: Path) -> Contents | None:
        """Read what an earlier start wrote; None if there was none.

        Raises:
            DamagedError: the file is damaged.
        """
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return _read(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1)  # a start reads it several times, which takes a second for 100,000 images
def _read(path: Path, size: int, modified_ns: int) -> Contents:
    """Read a file; its size and modification time are keys of the cache."""
    try:
        return Contents.model_validate_json(path.read_bytes())
    except ValidationError:
        raise DamagedError(f"{path}: damaged; delete it, and the next start will write it again") from None


def look(
    spec: DataSpec,
    splits: Mapping[Split, Dataset],
    data_root: Path | None = None,
    before: Contents | None = None,
    told: Callable[[str, Split, int, int], None] = lambda *_: None,
) -> Contents:
    """Take the fingerprint of a run's data.

    Args:
        spec: the section `data`.
        splits: the data set of each split.
        data_root: folder against which a relative `data.root` is resolved.
        before: an earlier fingerprint; labels are read again only if a file has changed.
        told: called with what is read ("files" or "labels"), the split, the number of samples done and the total.

    Raises:
        DataError: a mask is broken.
    """
    root = None if isinstance(spec, ScenesSpec) else resolve_root(spec.root, data_root)
    known = before.files if before else {}
    files: dict[Split, Files] = {
        split: _files(data, root, known.get(split, {}), partial(told, "files", split)) for split, data in splits.items()
    }
    section = spec.model_dump(mode="json", exclude={"root"})
    if before and before.data == section and not differences(before.files, files):
        return before.model_copy(update={"files": files})
    labels: dict[Split, Labels] = {
        split: count_labels(data, split, partial(told, "labels", split)) for split, data in splits.items()
    }
    return Contents(data=section, labels=labels, files=files)


def differences(
    old: Mapping[Split, Files], new: Mapping[Split, Files], splits: Sequence[Split] = ("train", "val")
) -> list[str]:
    """The differences, one line per split."""
    lines = []
    for split in splits:
        a, b = old.get(split, {}), new.get(split, {})
        kinds = {
            "added": [name for name in b if name not in a],
            "removed": [name for name in a if name not in b],
            "changed": [name for name in b if name in a and _content(a[name]) != _content(b[name])],
        }
        found = [f"{len(names)} {kind} ({several(names, 3)})" for kind, names in kinds.items() if names]
        if found:
            lines.append(f"{split} images: {', '.join(found)}")
    return lines


def _content(files: Sequence[File]) -> list[tuple[int, str]]:
    return [file.content for file in files]


def _files(data: Dataset, root: Path | None, known: Files, told: Told) -> Files:
    """Files of each sample; those with unchanged size and time keep their known hash."""
    bases = [os.path.join(base, "") for base in (root, labels_folder()) if base is not None]

    def mark(index: int) -> tuple[str, tuple[File, ...]]:
        paths = [str(path) for path in data.files(index)]
        name = _place(paths[0], bases)
        old = known.get(name, ())
        return name, tuple(_file(path, old[i] if i < len(old) else None, whole=i > 0) for i, path in enumerate(paths))

    if not len(data) or not data.files(0):
        return {}
    files: dict[str, tuple[File, ...]] = {}
    blocks = [range(start, min(start + BLOCK, len(data))) for start in range(0, len(data), BLOCK)]
    with readers() as pool:
        for marked in pool.map(lambda block: [mark(index) for index in block], blocks):
            files.update(marked)
            told(len(files), len(data))
    return files


def _place(path: str, bases: Sequence[str]) -> str:
    """A path below the root, or below the folder of drawn labels; the same on every file system."""
    below = next((path[len(base) :] for base in bases if path.startswith(base)), path)
    return unicodedata.normalize("NFC", below.replace(os.sep, "/"))


def _file(path: str, old: File | None, whole: bool) -> File:
    status = os.stat(path)
    if old and (old.size, old.modified_ns) == (status.st_size, status.st_mtime_ns):
        return old
    with open(path, "rb", buffering=0) as stream:
        content = stream.readall() if whole else stream.read(HEAD)
    return File(status.st_size, status.st_mtime_ns, hashlib.blake2b(content, digest_size=8).hexdigest())
