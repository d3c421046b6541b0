"""A network on people's images."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from stdc_search.cli import app
from stdc_search.commands.labeller import with_weights
from stdc_search.commands.predict import predict
from stdc_search.data.cityscapes import LABEL_IDS
from stdc_search.data.decoding import read_image
from stdc_search.errors import UserError
from stdc_search.evaluation import views as evaluation
from stdc_search.network.builder import build
from stdc_search.network.weights import save_weights
from stdc_search.palette import colours
from stdc_search.spec.base import dump, replace
from stdc_search.spec.data import CAMVID_CLASSES
from tests.search_specs import tiny_search


@pytest.fixture(scope="module")
def spec():
    return tiny_search().without_search()


@pytest.fixture(scope="module")
def weights(spec, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(build(spec.network), path)
    return path


@pytest.fixture(scope="module")
def labeller(spec, weights):
    return with_weights(spec, weights)


def photograph(path: Path, size=(30, 50), seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_a_label_map_has_the_image_s_size_its_classes_and_their_colours(spec, labeller, tmp_path):
    path = photograph(tmp_path / "a.png")
    written, _ = predict(labeller, [path], tmp_path / "out")
    assert [file.name for file in written] == ["a.png", "a_overlay.png"]
    torch.manual_seed(0)
    expected = evaluation.predict(build(spec.network), read_image(path), evaluation.Views(spec.image_size), (30, 50))
    with Image.open(tmp_path / "out" / "a.png") as mask:
        assert np.array_equal(np.asarray(mask), expected.numpy())
        assert np.array_equal(np.asarray(mask.convert("RGB")), colours(CAMVID_CLASSES)[expected.numpy()])
    with Image.open(tmp_path / "out" / "a_overlay.png") as over:
        assert over.size == (50, 30)


def test_a_folder_is_all_images_below_it_in_their_places(labeller, tmp_path):
    for i, name in enumerate(("x/a.png", "x/deep/b.jpg", "y.png")):
        photograph(tmp_path / "in" / name, seed=i)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    predict(labeller, [tmp_path / "in"], tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")) == [
        "x/a.png", "x/a_overlay.png", "x/deep/b.png", "x/deep/b_overlay.png", "y.png", "y_overlay.png",
    ]  # fmt: skip


def test_linked_folders_are_followed_and_hidden_files_left_out(labeller, tmp_path):
    photograph(tmp_path / "elsewhere" / "a.png")
    photograph(tmp_path / "in" / "b.png", seed=1)
    (tmp_path / "in" / "._b.jpg").write_bytes(b"no image")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(".")
    written, _ = predict(labeller, [tmp_path / "in"], tmp_path / "out")
    found = [path.relative_to(tmp_path / "out").as_posix() for path in written]
    assert found == ["b.png", "b_overlay.png", "linked/a.png", "linked/a_overlay.png"]


def test_a_photo_is_labelled_as_viewers_show_it(labeller, tmp_path):
    path, exif = photograph(tmp_path / "a.png"), Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as upright:
        upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.png", exif=exif)
    predict(labeller, [path, tmp_path / "b.png"], tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.png") as a, Image.open(tmp_path / "out" / "b.png") as b:
        assert a.size == (50, 30) and a.tobytes() == b.tobytes()


def test_label_ids_are_those_that_the_cityscapes_server_takes(spec, tmp_path):
    spec = replace(spec.model_copy(update={"data": None, "training": None}), {"network.classes": 19})
    torch.manual_seed(0)
    module = build(spec.network)
    save_weights(module, tmp_path / "w.safetensors")
    path = photograph(tmp_path / "berlin_000000_000019_leftImg8bit.png")
    (written,), _ = predict(with_weights(spec, tmp_path / "w.safetensors"), [path], tmp_path / "out", label_ids=True)
    expected = evaluation.predict(module, read_image(path), evaluation.Views(spec.image_size), (30, 50))
    with Image.open(written) as found:
        assert found.mode == "L"
        assert np.array_equal(np.asarray(found), np.asarray(LABEL_IDS)[expected.numpy()])


def test_label_ids_of_other_classes_are_refused(labeller, tmp_path):
    with pytest.raises(UserError, match="the 19 classes of Cityscapes, but the network has 11"):
        predict(labeller, [photograph(tmp_path / "a.png")], tmp_path / "out", label_ids=True)


def test_what_cannot_be_predicted_is_told_before_anything_is_written(labeller, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no image")
    for images, message in (
        ([tmp_path / "empty"], "contains no image or video that ends in"),
        ([tmp_path / "broken.png"], "cannot be read"),
        ([tmp_path / "missing.png"], "cannot be read"),
        ([photograph(tmp_path / "out" / "b.png")], r"b\.png would be overwritten"),
    ):
        with pytest.raises(UserError, match=message):
            predict(labeller, images, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["b.png"]


def test_a_video_becomes_an_overlay_of_each_of_its_frames(spec, labeller, tmp_path, monkeypatch):
    frames = [np.full((30, 50, 3), 60 * i, np.uint8) for i in range(3)]
    overlays = []

    def redraw(source, target, draw, told):
        for i, frame in enumerate(frames, start=1):
            overlays.append(draw(frame))
            told(i)
        target.touch()

    monkeypatch.setattr("stdc_search.commands.predict.count_frames", lambda path: 3)
    monkeypatch.setattr("stdc_search.commands.predict.redraw", redraw)
    told = []
    written, speeds = predict(
        labeller,
        [tmp_path / "drive.MOV", photograph(tmp_path / "drive.png")],
        tmp_path / "out",
        told=lambda *done: told.append(done),
    )
    assert [path.name for path in written] == ["drive_overlay.mp4", "drive.png", "drive_overlay.png"]
    assert all(path.exists() for path in written)
    torch.manual_seed(0)
    module = build(spec.network)
    for frame, over in zip(frames, overlays, strict=True):
        image = torch.from_numpy(frame).permute(2, 0, 1)
        labels = evaluation.predict(module, image, evaluation.Views(spec.image_size), (30, 50))
        assert np.array_equal(over, labeller.palette.blend(frame, labels.to(torch.uint8).numpy()))
    assert [done for *done, _ in told] == [[1, 4], [2, 4], [3, 4], [3, 4], [4, 4]]
    assert all("network" in speed and "whole loop" in speed for *_, speed in told[:3])
    assert [speed.frames for speed in speeds.values()] == [3]


def test_label_ids_of_a_video_are_refused(spec, tmp_path):
    spec = replace(spec.model_copy(update={"data": None, "training": None}), {"network.classes": 19})
    save_weights(build(spec.network), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"a\.mp4: label ids are written for images only"):
        predict(with_weights(spec, tmp_path / "w.safetensors"), [tmp_path / "a.mp4"], tmp_path / "out", label_ids=True)


def test_an_overlay_and_another_image_s_label_map_are_written_apart(labeller, tmp_path):
    images = [photograph(tmp_path / "a.png"), photograph(tmp_path / "a_overlay.jpg")]
    written, _ = predict(labeller, images, tmp_path / "out")
    names = [path.name for path in written]
    assert names == ["a_png.png", "a_png_overlay.png", "a_overlay_jpg.png", "a_overlay_jpg_overlay.png"]


def test_images_of_one_name_are_written_apart(labeller, tmp_path):
    sources = [photograph(tmp_path / name, seed=i) for i, name in enumerate(("a/x.png", "b/x.png", "b/x.jpg", "y.png"))]
    written, _ = predict(labeller, [*sources, sources[0]], tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written if "overlay" not in path.name] == [
        "a/x.png", "b/x_png.png", "b/x_jpg.png", "y.png",
    ]  # fmt: skip


def test_names_that_look_like_options_or_are_no_images(labeller, spec, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photograph(Path("-name.png"))
    Path("spec.yaml").write_text(dump(spec), "utf-8")
    assert CliRunner().invoke(app, ["predict", "spec.yaml", str(weights), "--", "-name.png"]).exit_code == 0
    assert Path("runs/predict/-name.png").is_file()
    Path("loop.png").symlink_to("loop.png")
    os.mkfifo("pipe.png")
    os.mkfifo("pipe.mp4")
    Path("folder.png").mkdir()
    for name, complaint in {
        "loop.png": "is a link that leads to itself",
        "pipe.png": "is a pipe or a device",
        "pipe.mp4": "is a pipe or a device",
        "folder.png": "contains no image or video",
        "gone.png": "the file does not exist",
    }.items():
        with pytest.raises(UserError, match=f"^{name}: .*{complaint}"):
            predict(labeller, [name], Path("out"))
