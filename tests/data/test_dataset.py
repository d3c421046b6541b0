from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch

from stdc_search.data import DataError, open_dataset
from stdc_search.data.cache import Cached
from stdc_search.errors import UserError
from stdc_search.spec.annotations import kinds_of
from stdc_search.spec.data import CamvidSpec, CityscapesSpec, DataSpec, FolderSpec, ImagenetSpec, ScenesSpec
from stdc_search.spec.own import OwnSpec
from tests.data.formats.scene import NAMES, WRITERS

KINDS = get_args(get_args(DataSpec)[0])


@pytest.fixture
def spec(
    request: pytest.FixtureRequest,
    camvid: Path,
    cityscapes: Path,
    class_folders: Path,
    folder: Callable[..., Path],
    tmp_path: Path,
) -> DataSpec:
    """A small data set of the kind that is the fixture's parameter."""
    if request.param is ScenesSpec:
        return ScenesSpec(kind="scenes", size=(32, 40), train=3, val=2)
    if request.param is CamvidSpec:
        return CamvidSpec(kind="camvid", root=camvid)
    if request.param is CityscapesSpec:
        return CityscapesSpec(kind="cityscapes", root=cityscapes)
    if request.param is ImagenetSpec:
        return ImagenetSpec(kind="imagenet", root=class_folders, classes=3)
    if request.param is FolderSpec:
        return FolderSpec(kind="folder", root=folder("a", "b", "c", "d", "e"), class_names=("road", "tree"))
    if issubclass(request.param, OwnSpec):
        (kind,) = kinds_of(request.param)
        root = camvid.with_name(kind)
        return request.param(root=root, class_names=NAMES, **WRITERS[kind](root))
    raise NotImplementedError(f"{request.param} has no data set here yet")


each_kind = pytest.mark.parametrize("spec", KINDS, indirect=True)


@each_kind
def test_a_label_is_read_alone_as_with_its_image(spec: DataSpec) -> None:
    data = open_dataset(spec, "train")
    for each in (data, Cached(data, limit=1e9)):
        assert all(torch.equal(each.label(index), each[index][1]) for index in range(len(each)))


@each_kind
def test_the_files_of_a_sample_are_there_unless_it_is_drawn(spec: DataSpec) -> None:
    data = open_dataset(spec, "train")
    files = data.files(0)
    assert Cached(data, limit=0).files(0) == files
    assert len(files) == (0 if isinstance(spec, ScenesSpec) else 1 if isinstance(spec, ImagenetSpec) else 2)
    assert all(file.is_file() for file in files)


@each_kind
@pytest.mark.parametrize("split", ["train", "val"])
def test_samples_are_uint8_images_and_labels_of_known_ids(spec: DataSpec, split: str) -> None:
    data = open_dataset(spec, split)
    assert len(data.class_names) == spec.classes
    assert isinstance(spec, ImagenetSpec) or data.class_names == spec.class_names
    assert len(data) > 0
    for index in range(len(data)):
        image, label = data[index]
        assert image.dtype == torch.uint8
        if isinstance(spec, ImagenetSpec):
            assert label.dtype == torch.int64 and label.shape == ()
        else:
            assert label.dtype == torch.uint8 and image.shape == (3, *label.shape)
        assert set(label.unique().tolist()) <= {*range(len(data.class_names)), 255}


@each_kind
def test_a_sample_is_the_same_each_time(spec: DataSpec) -> None:
    first, second = open_dataset(spec, "train"), open_dataset(spec, "train")
    for mine, theirs in ((first[1], second[1]), (first[1], first[1])):
        assert torch.equal(mine[0], theirs[0]) and torch.equal(mine[1], theirs[1])


@each_kind
def test_train_and_val_share_no_image(spec: DataSpec) -> None:
    train, val = open_dataset(spec, "train"), open_dataset(spec, "val")
    assert {train.name(i) for i in range(len(train))}.isdisjoint(val.name(i) for i in range(len(val)))
    assert not any(torch.equal(train[i][0], val[k][0]) for i in range(len(train)) for k in range(len(val)))


@each_kind
def test_one_pass_ends(spec: DataSpec) -> None:
    data = open_dataset(spec, "val")
    with pytest.raises(IndexError):
        data[len(data)]


def test_broken_data_is_a_persons_mistake() -> None:
    assert issubclass(DataError, UserError) and issubclass(UserError, ValueError)
