"""Labels that are drawn once and kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stdc_search.data import DataError
from stdc_search.data.drawing import Drawing, Shape, check_points, drawn, labels_folder
from tests.data.conftest import write_image

SIZE = (6, 8)


def rows(geometry: Any, size: tuple[int, int]) -> np.ndarray:
    """A shape that is a range of rows."""
    first, last = geometry
    if last > size[0]:
        raise ValueError("is too long")
    return (np.arange(size[0]) >= first)[:, None] & (np.arange(size[0]) < last)[:, None] & np.ones(size, bool)


def drawing(folder: Path, *shapes: tuple[int | None, int, int], name: str = "a", background: int | None = 0) -> Drawing:
    image = folder / f"{name}.jpg"
    if not image.exists():
        write_image(image, SIZE)
    found = [Shape(f"shape {i}", index, [first, last]) for i, (index, first, last) in enumerate(shapes)]
    return Drawing(name, image, folder / f"{name}.json", SIZE, background, found, rows)


def label(path: Path) -> list[int]:
    with Image.open(path) as image:
        return np.asarray(image)[:, 0].tolist()


def test_later_shapes_cover_earlier_ones(tmp_path: Path) -> None:
    (sample,) = drawn([drawing(tmp_path, (1, 0, 4), (None, 3, 5))], None)
    assert label(sample.label) == [1, 1, 1, 255, 255, 0]


def test_a_label_is_drawn_once(tmp_path: Path) -> None:
    drawings = [drawing(tmp_path, (1, 0, 2), name=name) for name in "ab"]
    files = [sample.label for sample in drawn(drawings, None)]
    assert files[0] != files[1] and {*labels_folder().iterdir()} == {*files}
    times = [file.stat().st_mtime_ns for file in files]
    drawn(drawings, None)
    assert [file.stat().st_mtime_ns for file in files] == times


@pytest.mark.parametrize("change", [{"background": 1}, {"background": None}])
def test_whatever_a_label_depends_on_leads_to_another_file(change: dict[str, Any], tmp_path: Path) -> None:
    before = drawing(tmp_path, (1, 0, 2)).file
    assert drawing(tmp_path, (1, 0, 2), **change).file != before
    assert len({before, drawing(tmp_path, (0, 0, 2)).file, drawing(tmp_path, (1, 0, 3)).file}) == 3
    assert drawing(tmp_path, (1, 0, 2)).file == before


def test_an_image_that_is_replaced_is_checked_again(tmp_path: Path) -> None:
    drawn([drawing(tmp_path, (1, 0, 2))], None)
    write_image(tmp_path / "a.jpg", (60, 80))
    with pytest.raises(DataError, match=r"annotates .*a\.jpg as 6 x 8"):
        drawn([drawing(tmp_path, (1, 0, 2))], None)


def test_faults_are_raised_together_or_collected(tmp_path: Path) -> None:
    gone = drawing(tmp_path, name="gone")
    gone.image.unlink()
    drawings = [drawing(tmp_path, (1, 0, 9)), gone, drawing(tmp_path, (1, 0, 2), name="b")]
    with pytest.raises(DataError, match=r"a\.json: shape 0 of a\.jpg is too long\n.*gone\.jpg: no such image") as error:
        drawn(drawings, None)
    problems: list[str] = []
    assert [sample.name for sample in drawn(drawings, problems)] == ["b"]
    assert sorted(problems) == sorted(str(error.value).splitlines())


def test_many_faults_of_a_kind_are_counted(tmp_path: Path) -> None:
    like = r"shape 0 of n0\.jpg is too long \[and 6 more like this: n1\.json, n2\.json and 4 more\]\n7 problems in all"
    with pytest.raises(DataError, match=like):
        drawn([drawing(tmp_path, (1, 0, 9 + i), name=f"n{i}") for i in range(7)], None)


def test_an_image_of_another_size_is_an_error(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", (8, 6))
    with pytest.raises(DataError, match=r"a\.json: annotates .*a\.jpg as 6 x 8 \(height x width\), .* image is 8 x 6"):
        drawn([drawing(tmp_path)], None)


def test_an_image_is_as_large_as_its_orientation_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (6, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert len(drawn([drawing(tmp_path)], None)) == 1


@pytest.mark.slow
def test_processes_may_draw_the_same_labels_at_the_same_time(tmp_path: Path) -> None:
    for i in range(40):
        write_image(tmp_path / "images" / f"{i}.jpg", SIZE)
        write_label = tmp_path / "labels" / f"{i}.txt"
        write_label.parent.mkdir(exist_ok=True)
        write_label.write_text("0 0 0 0.5 0 0.5 0.5 0 0.5")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [car]\n")
    code = (
        "from stdc_search.data import open_dataset; from stdc_search.spec.formats import YoloSpec\n"
        f"spec = YoloSpec(kind='yolo', root={str(tmp_path)!r}, class_names=('a', 'car'), background='a', "
        "split={'kind': 'share', 'val': 0.5})\n"
        "data = open_dataset(spec, 'train'); print([data.label(i).sum().item() for i in range(len(data))])"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate()[0] for process in running}
    assert said == {f"{[20] * 20}\n"}
    assert {file.suffix for file in labels_folder().iterdir()} == {".png"}


def test_a_folder_that_cannot_be_written_is_named_with_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STDC_SEARCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written: .*; set \$STDC_SEARCH_CACHE to another folder"):
        drawn([drawing(tmp_path)], None)


def test_labels_are_kept_beside_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STDC_SEARCH_CACHE")
    monkeypatch.chdir(tmp_path)
    assert labels_folder() == tmp_path / "runs" / "labels"


def test_points_may_lie_a_little_outside() -> None:
    assert len(check_points([-2, 0, 10, 8, 3, 3], SIZE, least=3)) == 3
    with pytest.raises(ValueError, match=r"has the point \(-2\.5, 0\), outside the image of 8 x 6 \(width x height\)"):
        check_points([[-2.5, 0], [1, 1], [2, 2]], SIZE, least=3)
