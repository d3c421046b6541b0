"""Data sets of the Hugging Face hub that were downloaded: Parquet files with images in them, or an `imagefolder`.

Parquet: the file's name starts with the split (`train-00000-of-00004.parquet`), and each row has the bytes of an image
and of a mask. They are written to files once, beside drawn labels, since images are read by path everywhere else.
imagefolder: `metadata.csv` or `metadata.jsonl` with the columns `file_name` and, for a column `label`,
`label_file_name`, relative to the file. Nothing is downloaded here.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.decoding import decoder
from stdc_search.data.drawing import labels_folder
from stdc_search.data.files import LabelledFiles, Sample, files_below, keep_paired, nfc, read_text, resolve_root
from stdc_search.data.formats.annotations import image_at
from stdc_search.data.formats.pairing import names_of
from stdc_search.data.splits import usual_split
from stdc_search.errors import several
from stdc_search.spec.formats import HubSpec
from stdc_search.storage import write_atomically

METADATA = ("metadata.csv", "metadata.jsonl")
ROWS = 64
"""Number of rows to read at a time."""


def open_hub(spec: HubSpec, split: Split, data_root: Path | None, problems: list[str] | None = None) -> LabelledFiles:
    """Open one split."""
    root = resolve_root(spec.root, data_root)
    tables = _tables(root)
    shards = _shards(root)
    if tables:
        samples = {sample.name: sample for table in tables for sample in _listed(table, spec, root)}
        chosen = names_of(spec.split, split, samples, root, root)
    elif shards:
        rows = {name: (path, row) for path in shards for name, row in _names(path, root)}
        chosen = names_of(spec.split, split, rows, root, root)
        wanted = {*chosen}
        files = {path for path, _ in (rows[name] for name in chosen)}
        samples = {one.name: one for path in sorted(files) for one in _unpacked(path, spec, root) if one.name in wanted}
    else:
        raise DataError(f"{root}: has neither Parquet files nor {' or '.join(METADATA)}")
    found = [samples[name] for name in chosen]
    if problems is not None:
        found = keep_paired(found, problems)
    elif lost := [str(path) for _, *paths in found for path in paths if not path.is_file()]:
        raise DataError(f"{root}: {len(lost)} files that the metadata names are missing: {several(lost)}")
    return LabelledFiles(found, spec.class_names, decoder(spec.encoding, spec.class_names))


def recognise(folder: Path) -> dict[str, Any] | None:
    """The section `data` of a folder that looks like this format.

    Names of classes are in `id2label.json`. Most data sets do not have this file; then two names stand in for them.
    """
    if not _shards(folder) and not any(_mask_columns(table) for table in _tables(folder)):
        return None
    names = ["class 0", "class 1"]
    if (file := folder / "id2label.json").is_file():
        try:
            ids = {int(id): str(name) for id, name in json.loads(read_text(file)).items()}
        except (ValueError, AttributeError):
            raise DataError(f'{file}: is not a mapping from ids to names, such as {{"0": "road"}}') from None
        names = [name for _, name in sorted(ids.items())]
    columns = [column for table in _tables(folder) for column in _mask_columns(table)]
    split = usual_split(_places(folder)) or {"split": {"kind": "share"}}
    return {"kind": "hub", "class_names": names} | ({"label": columns[0]} if columns else {}) | split


def _places(folder: Path) -> list[str]:
    """Paths whose folders say the split of images, as their names will."""
    shards = [(path.parent, f"{path.stem.partition('-')[0]}/{path.name}") for path in _shards(folder)]
    rows = ((table.parent, row) for table in _tables(folder) for _, row in _rows(table))
    images = [(place, row.get("file_name") or row.get("image_file_name")) for place, row in rows]
    return [f"{place.relative_to(folder).as_posix()}/{name}" for place, name in (*shards, *images)]


def _tables(root: Path) -> list[Path]:
    return [path for path in files_below(root, (".csv", ".jsonl")) if path.name in METADATA]


def _shards(root: Path) -> list[Path]:
    return files_below(root, (".parquet",))


def _mask_columns(table: Path) -> list[str]:
    first = next((row for _, row in _rows(table)), {})
    columns = [name.removesuffix("_file_name") for name in first if name.endswith("_file_name")]
    return [column for column in columns if column != "image"]


def _rows(table: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Lines of a table and their places."""
    lines = read_text(table).splitlines()
    if table.suffix == ".csv":
        yield from ((f"{table}:{number}", row) for number, row in enumerate(csv.DictReader(lines), start=2))
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise DataError(f"{table}:{number}: is not a JSON object")
            yield f"{table}:{number}", row


def _listed(table: Path, spec: HubSpec, root: Path) -> list[Sample]:
    """Samples of an `imagefolder`'s table."""
    samples = []
    for where, row in _rows(table):
        image, mask = row.get("file_name") or row.get(f"{spec.image}_file_name"), row.get(f"{spec.label}_file_name")
        if not isinstance(image, str) or not isinstance(mask, str):
            columns = ", ".join(map(str, row))
            raise DataError(f"{where}: has no `file_name` or no `{spec.label}_file_name`; columns there: {columns}")
        paths = [image_at(written, [table.parent], root, table) for written in (image, mask)]
        samples.append(Sample(nfc(paths[0].relative_to(root).with_suffix("").as_posix()), *paths))
    return samples


def _names(path: Path, root: Path) -> Iterator[tuple[str, int]]:
    """Names of a Parquet file's rows: `data/train/00000-of-00001/000012` for `data/train-00000-of-00001.parquet`."""
    split, _, shard = path.stem.partition("-")
    place = nfc((path.parent / split / shard).relative_to(root).as_posix())
    yield from ((f"{place}/{row:06}", row) for row in range(_opened(path).metadata.num_rows))


def _unpacked(path: Path, spec: HubSpec, root: Path) -> Iterator[Sample]:
    """Samples of a Parquet file, whose images and masks are written to files unless they exist."""
    file = _opened(path)
    if missing := [name for name in (spec.image, spec.label) if name not in file.schema_arrow.names]:
        columns = ", ".join(file.schema_arrow.names)
        raise DataError(f"{path}: has no column {missing[0]!r}; columns there: {columns}. Write `image` and `label`")
    names = (name for name, _ in _names(path, root))
    for batch in file.iter_batches(batch_size=ROWS, columns=[spec.image, spec.label]):
        for name, row in zip(names, batch.to_pylist(), strict=False):
            image, label = (_kept(row[column], f"{path}: {column!r} of {name}") for column in (spec.image, spec.label))
            yield Sample(name, image, label)


def _kept(cell: Any, what: str) -> Path:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise DataError(f"{what} has no bytes; save the data set with its images (`to_parquet` embeds them)")
    file = labels_folder() / f"{hashlib.blake2b(content, digest_size=16).hexdigest()}.image"
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)
        except OSError as error:
            raise DataError(f"{file}: cannot be written: {error.strerror}; set $STDC_SEARCH_CACHE") from None
    return file


def _opened(path: Path) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(f"{path}: Parquet needs pyarrow; type: pip install pyarrow") from None
    try:
        return ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is not a Parquet file: {error}") from None
