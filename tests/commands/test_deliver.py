"""Exported files label images as the network does, in a process that knows nothing of this package."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from PIL import Image, ImageOps

from stdc_search.commands import deliver as room
from stdc_search.commands.deliver import deliver, describe
from stdc_search.commands.labeller import of_file
from stdc_search.commands.predict import predict
from stdc_search.data.decoding import read_image
from stdc_search.data.pixels import center_crop
from stdc_search.deploy.export import Pixels, run
from stdc_search.deploy.folding import deployed
from stdc_search.errors import UserError
from stdc_search.network.builder import build
from stdc_search.network.weights import save_weights
from stdc_search.palette import colours
from stdc_search.spec.base import replace
from stdc_search.spec.choices import Format
from stdc_search.spec.data import CAMVID_CLASSES
from stdc_search.spec.run import RunSpec, load
from tests.onnx_files import conv
from tests.tiny_networks import SIZE

ENDINGS = (".onnx", ".xml", ".pt2", ".param")
CELLS = (64, 96)
STAGES = [{"width": 16, "depth": 1}, {"width": 32, "depth": 1}, {"width": 32, "depth": 1}]
BACKBONE = {"kind": "stdc", "stem": [{"width": 8}, {"width": 8}], "stages": STAGES}
SEGMENTER = {"kind": "segmenter", "classes": 11, "backbone": BACKBONE, "decoder": {"width": 16}, "head": {"width": 16}}
CLASSIFIER = {"kind": "classifier", "classes": 7, "backbone": BACKBONE, "width": 16, "hidden": 16}


def spec(network, **sections):
    return RunSpec.model_validate({"image_size": SIZE, "network": network, **sections})


@pytest.fixture(scope="module")
def scenes():
    return spec(SEGMENTER, data={"kind": "scenes", "size": SIZE, "train": 4, "val": 1})


@pytest.fixture(scope="module")
def cells(scenes):
    """Its sides are multiples of 32."""
    return replace(scenes, {"image_size": CELLS, "data.size": CELLS})


@pytest.fixture(scope="module")
def weights(scenes, tmp_path_factory):
    return saved(scenes, tmp_path_factory.mktemp("weights"))


def saved(spec, folder):
    torch.manual_seed(0)
    save_weights(build(spec.network), folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.fixture
def picture(tmp_path):
    pixels = torch.randint(256, (*SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)).numpy()
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def labels_of(spec, weights, picture):
    module = build(spec.network)
    room.load_weights(module, weights)
    pixels = torch.from_numpy(np.asarray(Image.open(picture)).copy())[None]
    return Pixels(deployed(module, "labels")).eval()(pixels)[0].numpy()


def wrong_where_sure(labels, scores):
    """Pixels whose label is not the best one, without those whose two best scores are as good as tied."""
    best = scores.topk(2, dim=1).values
    sure = best[:, 0] - best[:, 1] > 1e-4 * scores.abs().max()
    return int(((labels.long() != scores.argmax(1)) & sure).sum())


def run_example(folder, picture, to, expected=0):
    """What the example beside a file prints, in its folder and in a process that cannot import this package."""
    (network,) = (path for path in folder.iterdir() if path.suffix in ENDINGS)
    blocked = folder / "blocked" / "stdc_search"
    blocked.mkdir(parents=True, exist_ok=True)
    (blocked / "__init__.py").write_text("raise ImportError('an exported file needs none of this')")
    ended = subprocess.run(
        [sys.executable, f"run_{to}.py", network.name, str(picture)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "blocked")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == expected, ended.stderr
    return ended.stderr if expected else ended.stdout


@pytest.fixture(scope="module")
def delivered(scenes, weights, tmp_path_factory):
    """The folder of a file of each format."""
    folder = tmp_path_factory.mktemp("delivered")
    return {to: deliver(scenes, weights, to, folder / to)[0].parent for to in get_args(Format)}


@pytest.mark.parametrize("to", get_args(Format))
def test_the_example_of_each_format_labels_an_image_as_the_network_does(to, scenes, weights, picture, tmp_path):
    written = deliver(scenes, weights, to, tmp_path / "out")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "out").iterdir()}
    assert {"about.json", f"run_{to}.py"} < {path.name for path in written}
    printed = run_example(tmp_path / "out", picture, to)
    with Image.open(tmp_path / "out" / "labels.png") as mask:
        assert np.array_equal(np.asarray(mask), labels_of(scenes, weights, picture))
        assert mask.getpalette()[:33] == colours(CAMVID_CLASSES).flatten().tolist()
    *shares, saved = printed.splitlines()
    assert all(line.split(":")[0] in CAMVID_CLASSES for line in shares) and saved == "saved: labels.png"


@pytest.mark.parametrize("to", ["onnx", "openvino", pytest.param("torch", marks=pytest.mark.slow)])
def test_a_dynamic_file_labels_images_of_any_number_and_size(to, cells, weights, tmp_path):
    out = tmp_path / "out"
    path = next(one for one in deliver(cells, weights, to, out, dynamic=["batch", "size"]) if one.suffix in ENDINGS)
    about = json.loads((out / "about.json").read_text())
    assert about["input"] == "image: uint8, N x H x W x 3, RGB; H and W are multiples of 32, at least 64"
    assert about["output"] == "labels: uint8, N x H x W"
    module = build(cells.network)
    room.load_weights(module, weights)
    network = Pixels(deployed(module, "logits")).eval()
    for shape in ((1, *CELLS), (4, 96, 64), (2, 64, 160)):
        images = torch.randint(256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(6))
        assert wrong_where_sure(run(path, images), network(images)) == 0
    Image.fromarray(images[0].numpy()).resize(CELLS[::-1]).save(tmp_path / "cells.png")
    run_example(out, tmp_path / "cells.png", to)
    pixels = torch.from_numpy(np.asarray(Image.open(tmp_path / "cells.png")).copy())[None]
    with Image.open(out / "labels.png") as mask:
        assert wrong_where_sure(torch.from_numpy(np.asarray(mask).copy())[None], network(pixels)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("dynamic", "shape"), [("batch", (5, *CELLS)), ("size", (1, 160, 64))])
def test_one_of_number_and_size_can_stay_fixed(dynamic, shape, cells, weights, tmp_path):
    path = next(one for one in deliver(cells, weights, "onnx", tmp_path, dynamic=[dynamic]) if one.suffix == ".onnx")
    run(path, torch.zeros(*shape, 3, dtype=torch.uint8))
    other = (5, *CELLS) if dynamic == "size" else (1, 160, 64)
    with pytest.raises(Exception, match="Got invalid dimensions for input: image"):
        run(path, torch.zeros(*other, 3, dtype=torch.uint8))


def test_files_of_ncnn_are_not_dynamic(cells, weights, tmp_path):
    with pytest.raises(UserError, match="files of ncnn have fixed sizes; leave out --dynamic"):
        deliver(cells, weights, "ncnn", tmp_path / "out", dynamic=["batch"])


def test_a_package_that_ncnn_needs_is_named(cells, weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pnnx", None)
    with pytest.raises(UserError, match=r"ncnn needs two packages here .*; type: pip install ncnn pnnx"):
        deliver(cells, weights, "ncnn", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_pnnx_or_ncnn_cannot_take_is_told(cells, weights, tmp_path, monkeypatch):
    class Odd(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.linalg.qr(image[:, :2])[0]

    monkeypatch.setattr(room, "build", lambda _: Odd())
    monkeypatch.setattr(room, "load_weights", lambda *_: None)
    with pytest.raises(UserError, match=r"lacks an operator|cannot convert this network"):
        deliver(cells, weights, "ncnn", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dynamic_size_is_of_whole_cells(scenes, weights, tmp_path):
    told = r"multiples of 32, at least 64, and `image_size` is \[70, 32\]; write \[96, 64\] there"
    with pytest.raises(UserError, match=told):
        deliver(replace(scenes, {"image_size": (70, 32)}), weights, "onnx", tmp_path / "out", dynamic=["size"])
    assert not (tmp_path / "out").exists()


def test_a_network_that_needs_its_size_is_told_and_not_written(cells, weights, tmp_path, monkeypatch):
    class Fixed(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image[:, :2] * torch.ones(CELLS)

    monkeypatch.setattr(room, "build", lambda _: Fixed())
    monkeypatch.setattr(room, "load_weights", lambda *_: None)
    for to in ("onnx", "torch"):  # after an error inside of OpenVINO a later run of it was a segmentation fault
        told = r"this network cannot have dynamic sizes \(.+\); leave out --dynamic size"
        with pytest.raises(UserError, match=told):
            deliver(cells, weights, to, tmp_path / "out", dynamic=["size"])
    assert not (tmp_path / "out").exists()


def test_every_kind_of_segmenter_is_described_as_one(weights):
    assert describe(load("specs/baselines/enet.yaml"), weights)["output"] == "labels: uint8, 1 x 360 x 640"
    assert describe(spec(CLASSIFIER), weights)["output"] == "labels: int64, 1"


@pytest.mark.parametrize("to", get_args(Format))
def test_an_example_turns_a_photo_as_viewers_show_it(to, delivered, picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(picture) as upright:
        upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert run_example(delivered[to], tmp_path / "turned.png", to) == run_example(delivered[to], picture, to)
    with Image.open(delivered[to] / "labels.png") as mask:
        assert (mask.height, mask.width) == SIZE


@pytest.mark.parametrize("to", get_args(Format))
def test_an_example_refuses_a_photo_of_16_bits_as_predict_does(to, delivered, tmp_path):
    Image.fromarray(np.full(SIZE, 40000, np.uint16)).save(tmp_path / "deep.png")
    told = run_example(delivered[to], tmp_path / "deep.png", to, expected=1)
    with pytest.raises(UserError) as refused:
        read_image(tmp_path / "deep.png")
    assert told.strip() == str(refused.value)


@pytest.mark.parametrize("to", get_args(Format))
def test_a_classifier_is_exported_to_the_index_of_its_class(to, picture, tmp_path):
    classifier = spec(CLASSIFIER)
    weights = saved(classifier, tmp_path)
    deliver(classifier, weights, to, tmp_path / "out")
    expected = labels_of(classifier, weights, picture)
    assert run_example(tmp_path / "out", picture, to) == f"class {expected}: 100.0%\n"


@pytest.mark.parametrize("to", get_args(Format))
def test_an_example_shows_a_classifier_the_middle_of_a_photo(to, tmp_path):
    """As it is scored. The photo has a third of each primary colour, and each class is a colour."""
    height, width = SIZE
    photo = np.zeros((100, 300, 3), np.uint8)
    for third in range(3):
        photo[:, 100 * third : 100 * third + 100, third] = 255
    Image.fromarray(photo).save(tmp_path / "photo.png")
    code = (Path(room.__file__).parent / "examples" / f"run_{to}.py").read_text("utf-8")
    (line,) = (node for node in ast.parse(code).body if isinstance(node, ast.If) and "border" in ast.unparse(node.test))
    names = {"image": Image.open(tmp_path / "photo.png"), "width": width, "height": height, "ImageOps": ImageOps}
    names |= {"about": describe(spec(CLASSIFIER), saved(spec(CLASSIFIER), tmp_path)), "Image": Image}
    exec(compile(ast.Module([line], []), "example", "exec"), names)
    shown = torch.from_numpy(np.array(names["image"])).permute(2, 0, 1)
    scored = center_crop(torch.from_numpy(photo).permute(2, 0, 1), SIZE)
    assert (shown.float() - scored.float()).abs().mean() < 1
    assert "border" not in describe(spec(SEGMENTER), saved(spec(SEGMENTER), tmp_path))


def test_a_file_says_what_it_is(scenes, weights, tmp_path):
    deliver(scenes, weights, "onnx", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "about.json").read_text("utf-8"))
    inside = {one.key: one.value for one in onnx.load(tmp_path / "out" / "network.onnx").metadata_props}
    assert json.loads(inside["about"]) == about
    assert about["classes"] == list(CAMVID_CLASSES)
    assert about["image_size"] == list(SIZE)
    assert about["network"]["backbone"]["stages"][0]["width"] == 16
    assert len(about["weights"]["sha256"]) == 64
    assert str(Path.cwd()) not in json.dumps(about)


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8_labels_most_of_an_image_alike(to, scenes, weights, picture, tmp_path):
    (network, *_) = (
        path for path in deliver(scenes, weights, to, tmp_path / "out", int8=True) if path.suffix in (".onnx", ".xml")
    )
    pixels = torch.from_numpy(np.asarray(Image.open(picture)).copy())[None]
    found = run(network, pixels)[0].numpy()
    assert 0.7 < (found == labels_of(scenes, weights, picture)).mean() <= 1
    assert json.loads((tmp_path / "out" / "about.json").read_text("utf-8"))["precision"] == "int8"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"to": "torch"}, "int8 is available for onnx and openvino only"),
        ({"to": "ncnn"}, "int8 is available for onnx and openvino only"),
        ({"data": None}, "needs images for calibration; add the section `data`"),
    ],
)
def test_int8_that_cannot_be_is_refused_before_anything_is_done(changes, told, scenes, weights, tmp_path):
    run = scenes.model_copy(update={"data": None}) if "data" in changes else scenes
    with pytest.raises(UserError, match=told):
        deliver(run, weights, changes.get("to", "onnx"), tmp_path / "out", int8=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_labels_otherwise_is_not_left_behind(scenes, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("stdc_search.deploy.export.run", lambda path, image: torch.zeros(1, *SIZE, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"network.pt2: its labels differ from the network's in \d+\.\d+% of an image"):
        deliver(scenes, weights, "torch", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", get_args(Format))
def test_an_example_is_of_20_lines_and_imports_nothing_of_this_package(to):
    text = Path(room.__file__).with_name("examples").joinpath(f"run_{to}.py").read_text("utf-8")
    body = ast.parse(text).body
    assert sum(not isinstance(node, ast.Import | ast.ImportFrom) for node in body[1:]) <= 20
    assert "stdc_search" not in text


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(Path("specs").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("to", get_args(Format))
def test_every_shipped_spec_is_exported_and_labels_an_image_alike(to, path, tmp_path):
    shipped = load(path)
    weights = saved(shipped, tmp_path)
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(256, (*shipped.image_size, 3), dtype=torch.uint8, generator=generator)
    Image.fromarray(pixels.numpy()).save(tmp_path / "picture.png")
    deliver(shipped, weights, to, tmp_path / "out")
    printed = run_example(tmp_path / "out", tmp_path / "picture.png", to)
    module = build(shipped.network)
    room.load_weights(module, weights)
    scores = Pixels(deployed(module, "logits")).eval()(pixels[None])[0]
    if scores.ndim == 1:
        assert printed == f"class {scores.argmax()}: 100.0%\n"
        return
    with Image.open(tmp_path / "out" / "labels.png") as mask:
        assert wrong_where_sure(torch.from_numpy(np.asarray(mask).copy())[None], scores[None]) == 0


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_predict_runs_a_delivered_file_as_its_example_does(to, delivered, picture, tmp_path):
    (network,) = (path for path in delivered[to].iterdir() if path.suffix in (".onnx", ".xml"))
    with Image.open(picture) as image:
        image.resize((100, 70)).save(tmp_path / "large.png")
    labeller = of_file(network)
    predict(labeller, [tmp_path / "large.png"], tmp_path / "out")
    run_example(delivered[to], tmp_path / "large.png", to)
    with Image.open(tmp_path / "out" / "large.png") as ours, Image.open(delivered[to] / "labels.png") as theirs:
        assert ours.size == (100, 70)
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))
        assert ours.getpalette()[:33] == theirs.getpalette()[:33]
    assert len(labeller.seconds) == 1


def test_predict_refuses_files_that_export_did_not_write(tmp_path):
    conv(tmp_path / "other.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    for name, message in (
        ("other.onnx", r"other\.onnx: was not written by `stdc-search export`; name it in a spec"),
        ("broken.onnx", r"broken\.onnx: cannot be read: .*; export it again"),
        ("missing.xml", r"missing\.xml: does not exist; give a file that `stdc-search export` wrote"),
    ):
        with pytest.raises(UserError, match=message):
            of_file(tmp_path / name)


@pytest.mark.slow
def test_predict_refuses_the_file_of_a_classifier(tmp_path):
    classifier = spec(CLASSIFIER)
    deliver(classifier, saved(classifier, tmp_path), "onnx", tmp_path / "out")
    with pytest.raises(UserError, match="is a classifier, which does not output label maps"):
        of_file(tmp_path / "out" / "network.onnx")


def test_files_go_into_the_working_folder(scenes, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deliver(scenes, weights, "torch", Path())
    assert {path.name for path in tmp_path.iterdir()} >= {"about.json", "run_torch.py"}
    assert not [path for path in tmp_path.parent.iterdir() if path.name.startswith(f".{tmp_path.name}.")]
