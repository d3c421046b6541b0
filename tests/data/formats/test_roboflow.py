"""Roboflow's masks beside their images."""

from __future__ import annotations

from pathlib import Path

import pytest

from stdc_search.data import DataError
from tests.data.formats.conftest import Opened
from tests.data.formats.scene import label_of, save


def test_a_mask_that_is_missing_is_named(opened: Opened, root: Path) -> None:
    opened("roboflow")
    (root / "train" / "b_mask.png").unlink()
    with pytest.raises(DataError, match="export: 1 of 2 samples have no mask: train/b"):
        opened("roboflow")


def test_an_id_that_the_table_lacks_is_an_error(opened: Opened, root: Path) -> None:
    opened("roboflow")
    save(label_of("a") + 1, root / "train" / "a_mask.png")
    with pytest.raises(DataError, match=r"a_mask\.png: has class id 3 .* legal ids are 0 \(background\) to 2 \(car\)"):
        opened("roboflow").label(0)


def test_a_table_that_differs_between_splits_is_an_error(opened: Opened, root: Path) -> None:
    opened("roboflow")
    (root / "valid" / "_classes.csv").write_text("0, background\n1, car\n2, road\n")
    with pytest.raises(DataError, match=r"valid/_classes\.csv: has other classes than .*train/_classes\.csv"):
        opened("roboflow")


@pytest.mark.parametrize("row", ["x, tree", "256, tree", "1, tree", "3, road", "3"])
def test_a_line_of_the_table_that_cannot_be_used_is_named(row: str, opened: Opened, root: Path) -> None:
    opened("roboflow")
    with (root / "train" / "_classes.csv").open("a") as table:
        table.write(f"{row}\n")
    with pytest.raises(DataError, match=rf"_classes\.csv:5: '{row}' must be `id, name`, with an id up to 255"):
        opened("roboflow")


def test_masks_without_a_table_are_a_folder(opened: Opened, root: Path) -> None:
    opened("roboflow")
    for path in root.rglob("_classes.csv"):
        path.unlink()
    with pytest.raises(DataError, match=r"has no _classes\.csv; .* use `kind: folder` with `images` and `masks` both"):
        opened("roboflow")


def test_other_names_of_folders_are_given(opened: Opened, root: Path) -> None:
    opened("roboflow")
    (root / "valid").rename(root / "test")
    with pytest.raises(DataError, match=r"no image lies in a folder named val or valid or validation; .* test, train"):
        opened("roboflow")
    assert len(opened("roboflow", "val", split={"kind": "folders", "val": ["test"]})) == 2
