"""Data sets: one file each, opened by what a spec says."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from stdc_search.data.camvid import open_camvid
from stdc_search.data.cityscapes import open_cityscapes
from stdc_search.data.dataset import DataError, Dataset, Split, class_shares
from stdc_search.data.folder import open_folder
from stdc_search.data.imagenet import open_imagenet
from stdc_search.data.scenes import Scenes
from stdc_search.spec.data import CamvidSpec, CityscapesSpec, DataSpec, FolderSpec, ImagenetSpec, ScenesSpec

__all__ = ["DataError", "Dataset", "Split", "class_shares", "open_dataset"]


def open_dataset(
    spec: DataSpec, split: Split, data_root: Path | None = None, problems: list[str] | None = None
) -> Dataset:
    """Open one split of a data set.

    All files are found and paired here; their contents are checked when they are read.

    Args:
        spec: the section `data` of a run.
        split: the images for training, or those for validation.
        data_root: where relative roots start; default: $STDC_SEARCH_DATA, else the working folder.
        problems: gets a line for each file that is missing or has no counterpart, which is then left out; where no
            list is given, such files are an error.

    Raises:
        DataError: files are missing or do not pair up.
    """
    match spec:
        case ScenesSpec():
            return Scenes(spec, split)
        case CamvidSpec():
            return open_camvid(spec, split, data_root, problems)
        case CityscapesSpec():
            return open_cityscapes(spec, split, data_root, problems)
        case FolderSpec():
            return open_folder(spec, split, data_root, problems)
        case ImagenetSpec():
            return open_imagenet(spec, split, data_root, problems)
    assert_never(spec)
