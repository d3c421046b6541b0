"""A folder of labelled images -> a spec that runs."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stdc_search.commands import init as command
from stdc_search.commands.draft import FINALS, TRIALS, plan, sizes
from stdc_search.commands.init import init
from stdc_search.commands.run import run
from stdc_search.data import open_dataset
from stdc_search.errors import UserError
from stdc_search.records import read
from stdc_search.run_folder import RESULTS
from stdc_search.spec.base import replace
from stdc_search.spec.data import FolderSpec
from stdc_search.spec.editor import FILE, modeline
from stdc_search.spec.own import NamedSpec
from stdc_search.spec.run import load, schema
from tests.data.formats import scene
from tests.data.formats.scene import NAMES, WRITERS


def quiet(what: str, done: int, total: int) -> None:
    assert 0 < done <= total and what


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training takes a minute, which nobody measures."""
    monkeypatch.setattr(command, "estimate_seconds", lambda *_: 60.0)


def write_folder(root: Path, count: int = 6) -> Path:
    """Images and masks of two classes."""
    for number in range(count):
        for name, pixels in (("images", (8 * number, 90, 30)), ("masks", None)):
            (root / name).mkdir(parents=True, exist_ok=True)
            size = (40, 36)
            if pixels is not None:
                Image.new("RGB", size, pixels).save(root / name / f"{number}.jpg")
            else:
                Image.fromarray(np.arange(prod(size), dtype=np.uint16).reshape(size[::-1]).astype(np.uint8) % 2).save(
                    root / name / f"{number}.png"
                )
    return root


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", WRITERS)
def test_what_each_tool_writes_becomes_a_legal_spec(kind: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "export")
    lines = init(tmp_path / "export", tmp_path / "spec.yaml", 2, quiet)
    spec = load(tmp_path / "spec.yaml")
    assert spec.data is not None and spec.data.kind == kind and spec.search is not None
    assert spec.network.classes == len(NAMES)
    assert lines[0].startswith("Data: 2 training and 2 validation images, 3 classes")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*WRITERS, "folder"])
def test_what_each_tool_writes_is_trained_for_an_epoch(kind: str, tmp_path: Path) -> None:
    write = WRITERS.get(kind, write_folder)
    write(tmp_path / "export")
    init(tmp_path / "export", tmp_path / "spec.yaml", 0.05, quiet)
    spec = load(tmp_path / "spec.yaml")
    run(replace(spec, {"search": None, "training.epochs": 1, "latency": None}), tmp_path / "run")
    assert [record.state for record in read(tmp_path / "run" / RESULTS)] == ["complete"]


@pytest.mark.usefixtures("quick")
def test_splits_with_folders_of_their_own_get_a_list_of_pairs_beside_the_spec(tmp_path: Path) -> None:
    for side in ("train", "val"):
        write_folder(tmp_path / "data" / side)
    init(tmp_path / "data", tmp_path / "spec.yaml", 2, quiet)
    data = load(tmp_path / "spec.yaml").data
    assert isinstance(data, FolderSpec) and data.pairs == tmp_path / "spec.csv"
    assert (tmp_path / "spec.csv").read_text("utf-8").count("\n") == 13


@pytest.mark.usefixtures("quick")
def test_editors_find_the_schema_beside_a_new_spec(tmp_path: Path) -> None:
    init(write_folder(tmp_path / "data"), tmp_path / "spec.yaml", 2, quiet)
    assert (tmp_path / "spec.yaml").read_text("utf-8").startswith(f"{modeline(FILE)}\n# A first search")
    assert json.loads((tmp_path / FILE).read_text("utf-8")) == schema()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_a_class_that_no_image_shows_is_left_out(kind: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "export")
    for file in tmp_path.glob("export/annotations/*.json"):
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "categories": [{"id": 0, "name": "tree"}, *content["categories"]]}))
    for file in tmp_path.glob("export/data.yaml"):
        file.write_text(file.read_text().replace("car]", "car, tree]").replace("'car']", "'car', 'tree']"))
    lines = init(tmp_path / "export", tmp_path / "spec.yaml", 2, quiet)
    spec = load(tmp_path / "spec.yaml")
    assert isinstance(spec.data, NamedSpec) and {*spec.data.class_names} == {*NAMES}
    assert spec.data.map == {"tree": "ignore"} and "Check: no image shows tree, so `map` leaves that out." in lines


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["coco", "roboflow", "voc"])
def test_a_class_that_only_val_shows_is_ignored(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scene.BOXES, "d", (*scene.BOXES["d"], scene.Box("tree", 12, 0, 15, 3)))
    monkeypatch.setattr(scene, "NAMES", (*NAMES, "tree"))
    monkeypatch.setitem(scene.COLOURS, "tree", (9, 9, 9))
    WRITERS[kind](tmp_path / "export")
    lines = init(tmp_path / "export", tmp_path / "spec.yaml", 2, quiet)
    data = load(tmp_path / "spec.yaml").data
    assert isinstance(data, NamedSpec) and data.class_names == NAMES and data.map == {"tree": "ignore"}
    assert any("no training image shows tree, so these pixels of val are ignored" in line for line in lines)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 0, 2), (3, 9, 4)])
@pytest.mark.parametrize("coloured", [False, True])
def test_so_is_an_id_or_a_colour_of_masks(ids: tuple[int, int, int], coloured: bool, tmp_path: Path) -> None:
    palette = np.array([(10, 20, number + 1) for number in range(10)] if coloured else range(10), np.uint8)
    for number in range(8):
        side = tmp_path / "data" / ("val" if number > 5 else "train")
        for name in ("images", "masks"):
            (side / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36)).save(side / f"images/{number}.jpg")
        pixels = np.resize(ids if number == 7 else ids[:2], (36, 40))
        Image.fromarray(palette[pixels]).save(side / f"masks/{number}.png")
    lines = init(tmp_path / "data", tmp_path / "spec.yaml", 2, quiet)
    spec = load(tmp_path / "spec.yaml")
    assert spec.data is not None and spec.network.classes == 2
    assert sum("no training image shows" in line for line in lines) == 1
    val = open_dataset(spec.data, "val")
    assert [sorted(set(val.label(i).flatten().tolist())) for i in range(2)] == [[0, 1], [0, 1, 255]]


@pytest.mark.usefixtures("quick")
def test_few_images_make_a_small_batch(tmp_path: Path) -> None:
    init(write_folder(tmp_path / "data", 3), tmp_path / "spec.yaml", 2, quiet)
    training = load(tmp_path / "spec.yaml").training
    assert training is not None and training.batch == 2


@pytest.mark.usefixtures("quick")
def test_an_existing_spec_is_kept(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"spec\.yaml exists"):
        init(write_folder(tmp_path / "data"), tmp_path / "spec.yaml", 2, quiet)
    assert (tmp_path / "spec.yaml").read_text() == "mine"


@pytest.mark.parametrize(("content", "message"), [("nothing", "no such folder"), ("empty", "holds no image")])
def test_a_folder_without_images_writes_nothing(tmp_path: Path, content: str, message: str) -> None:
    if content == "empty":
        (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=message):
        init(tmp_path / "data", tmp_path / "spec.yaml", 2, quiet)
    assert not (tmp_path / "spec.yaml").exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("count", "message"), [(1, "at least 2"), (2, "1 images to train on are too few")])
def test_one_or_two_labelled_images_are_too_few(tmp_path: Path, count: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        init(write_folder(tmp_path / "data", count), tmp_path / "spec.yaml", 2, quiet)
    assert not (tmp_path / "spec.yaml").exists()


@pytest.mark.usefixtures("quick")
def test_a_label_of_another_size_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    Image.new("L", (9, 9)).save(tmp_path / "data/masks/2.png")
    with pytest.raises(UserError, match=r"2\.png: is 9 x 9 .* both must have the same size"):
        init(tmp_path / "data", tmp_path / "spec.yaml", 2, quiet)
    assert not (tmp_path / "spec.yaml").exists()


@pytest.mark.usefixtures("quick")
def test_all_broken_files_are_named_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    Image.new("L", (9, 9)).save(tmp_path / "data/masks/2.png")
    for number in (4, 5):
        (tmp_path / f"data/masks/{number}.png").write_bytes(b"no image")
    (tmp_path / "data/images/3.jpg").write_bytes(b"no image")
    with pytest.raises(UserError) as error:
        init(tmp_path / "data", tmp_path / "spec.yaml", 2, quiet)
    assert "4.png: cannot be read" in str(error.value) and "5.png: cannot be read" in str(error.value)
    for number in (4, 5):
        (tmp_path / f"data/masks/{number}.png").unlink()
    with pytest.raises(UserError) as error:
        init(tmp_path / "data", tmp_path / "spec.yaml", 2, quiet)
    assert all(name in str(error.value) for name in ("2.png", "3.jpg"))


@pytest.mark.usefixtures("quick")
def test_the_folder_of_images_alone_leads_to_the_folder_of_both(tmp_path: Path) -> None:
    write_folder(tmp_path / "my data")
    with pytest.raises(UserError, match=r"images and no masks, .* in masks; .*`stdc-search init '.*my data'`"):
        init(tmp_path / "my data/images", tmp_path / "spec.yaml", 2, quiet)


@pytest.mark.usefixtures("quick")
def test_photos_that_will_be_squeezed_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", 7)
    for file in (tmp_path / "data/images/6.jpg", tmp_path / "data/masks/6.png"):
        Image.open(file).resize((30, 60)).save(file)
    lines = init(tmp_path / "data", tmp_path / "spec.yaml", 2, quiet)
    assert any("of another shape, such as 60 x 30, " in line and "1 of 6 that were looked at" in line for line in lines)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("way", "side", "told"), [(3, 30, True), (6, 40, True), (1, 40, False)])
@pytest.mark.parametrize("both", [False, True])
def test_turned_photos_whose_labels_fit_both_ways_are_counted(
    way: int, side: int, told: bool, both: bool, tmp_path: Path
) -> None:
    write_folder(tmp_path / "data")
    exif = Image.Exif()
    exif[0x0112] = way
    for file in (tmp_path / "data/images/4.jpg", tmp_path / "data/masks/4.png"):
        how = {"exif": exif} if both or file.suffix == ".jpg" else {}
        Image.open(file).resize((40, side)).save(file, **how)
    lines = init(tmp_path / "data", tmp_path / "spec.yaml", 2, quiet)
    found = [line for line in lines if "their labels fit both ways" in line]
    assert [line[:15] for line in found] == ["Check: 1 of 6 p"] * (told and not both)


# The plan


def seconds(size: tuple[int, int], epochs: int) -> float:
    return prod(size) * epochs * 1e-4


@pytest.mark.parametrize("hours", [1, 2, 8, 40])
def test_a_plan_fits_the_hours(hours: float) -> None:
    made = plan(hours, (480, 640), 48, seconds)
    assert made.hours <= hours
    assert TRIALS[0] <= made.trials <= TRIALS[1] and made.finals in FINALS


def test_more_hours_make_larger_images_and_no_worse_a_search() -> None:
    plans = [plan(hours, (480, 640), 400, seconds) for hours in (0.5, 1, 2, 4, 8, 16, 32)]
    areas = [prod(made.image_size) for made in plans]
    assert areas == sorted(areas) and areas[0] < areas[-1]
    assert [made.epochs for made in plans] == sorted(made.epochs for made in plans)


def test_too_few_hours_make_the_shortest_plan_which_says_its_hours() -> None:
    made = plan(0.05, (480, 640), 48, lambda *_: 3600.0)
    assert made.hours > 0.05
    assert (made.image_size, made.finals, made.trials) == (sizes((480, 640))[-1], FINALS[-1], TRIALS[0])


@pytest.mark.parametrize("stored", [(480, 640), (640, 480), (1080, 1920), (256, 256), (40, 50), (3000, 4000)])
def test_sizes_are_multiples_of_the_stride_with_about_the_aspect(stored: tuple[int, int]) -> None:
    found = sizes(stored)
    assert all(side % 32 == 0 for size in found for side in size)
    assert all(abs(w / h / (stored[1] / stored[0]) - 1) < 0.2 for h, w in found)
    assert [prod(size) for size in found] == sorted((prod(size) for size in found), reverse=True)
