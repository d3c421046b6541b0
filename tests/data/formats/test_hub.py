"""Data sets of the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stdc_search.data import DataError, open_dataset
from stdc_search.data.contents import differences, look
from stdc_search.data.formats import recognise
from tests.data.conftest import write_image
from tests.data.formats.conftest import SPEC, Opened
from tests.data.formats.scene import NAMES, SIZE, SPLITS, label_of, save, write_text


@pytest.fixture
def table(root: Path) -> dict[str, Any]:
    """An `imagefolder` with a table for each split, and its section `data`."""
    for side, form in (("train", "csv"), ("val", "jsonl")):
        rows = [{"file_name": f"{name}.jpg", "mask_file_name": f"masks/{name}.png"} for name in SPLITS[side]]
        for name in SPLITS[side]:
            write_image(root / side / f"{name}.jpg", SIZE)
            save(label_of(name), root / side / "masks" / f"{name}.png")
        lines = [json.dumps(row) for row in rows] if form == "jsonl" else [",".join(row.values()) for row in rows]
        head = [] if form == "jsonl" else ["file_name,mask_file_name"]
        write_text(root / side / f"metadata.{form}", "\n".join([*head, *lines]))
    return {"kind": "hub", "root": root, "class_names": NAMES, "label": "mask"}


def opened_table(section: dict[str, Any], side: Any = "train") -> Any:
    return open_dataset(SPEC.validate_python(section), side)


def test_an_imagefolder_is_read_by_its_tables(table: dict[str, Any]) -> None:
    for side, names in SPLITS.items():
        data = opened_table(table, side)
        assert [data.label(index).tolist() for index in range(2)] == [label_of(name).tolist() for name in names]


def test_an_imagefolder_is_recognised(table: dict[str, Any], root: Path) -> None:
    (root / "id2label.json").write_text(json.dumps(dict(enumerate(NAMES))))
    found = {"kind": "hub", "class_names": [*NAMES], "label": "mask", "split": {"kind": "folders"}}
    assert recognise(root) == found


def test_a_file_that_a_table_names_and_that_is_missing_is_an_error(table: dict[str, Any], root: Path) -> None:
    (root / "train" / "masks" / "a.png").unlink()
    with pytest.raises(DataError, match=r"1 files that the metadata names are missing: .*masks/a\.png"):
        opened_table(table)


def test_a_column_that_is_missing_is_named(table: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"metadata\.csv:2: has no `file_name` or no `label_file_name`; columns there"):
        opened_table(table | {"label": "label"})


def test_a_column_that_a_parquet_file_lacks_is_named(opened: Opened) -> None:
    with pytest.raises(DataError, match=r"parquet: has no column 'annotation'; columns there: image, label"):
        opened("hub", label="annotation")


def test_a_parquet_file_that_is_broken_is_named(opened: Opened, root: Path) -> None:
    opened("hub")
    (root / "data" / "train-00000-of-00001.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet: is not a Parquet file"):
        opened("hub")


def test_cells_without_bytes_are_an_error(opened: Opened, root: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    opened("hub")
    rows = [{"image": {"bytes": None, "path": "a.jpg"}, "label": {"bytes": b"", "path": "a.png"}}]
    parquet.write_table(arrow.Table.from_pylist(rows), root / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"'image' of data/train/00000-of-00001/000000 has no bytes"):
        opened("hub")


def test_the_fingerprint_does_not_depend_on_where_images_are_unpacked(
    opened: Opened, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened("hub")
    spec = SPEC.validate_python({"kind": "hub", "root": root, "class_names": NAMES})
    before = look(spec, {"train": opened("hub")}).files
    monkeypatch.setenv("STDC_SEARCH_CACHE", str(tmp_path / "elsewhere"))
    assert differences(before, look(spec, {"train": opened("hub")}).files) == []


def test_an_empty_folder_is_an_error(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: has neither Parquet files nor metadata\.csv or metadata\.jsonl"):
        opened("hub", root=tmp_path / "empty")
