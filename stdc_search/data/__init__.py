"""Data sets, one file each, and the function that opens the one in a spec."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from stdc_search.data.camvid import open_camvid
from stdc_search.data.cityscapes import open_cityscapes
from stdc_search.data.dataset import SPLITS, DataError, Dataset, Split, class_shares
from stdc_search.data.folder import open_folder
from stdc_search.data.formats.coco import open_coco
from stdc_search.data.formats.hub import open_hub
from stdc_search.data.formats.labelme import open_labelme
from stdc_search.data.formats.roboflow import open_roboflow
from stdc_search.data.formats.supervisely import open_supervisely
from stdc_search.data.formats.voc import open_voc
from stdc_search.data.formats.yolo import open_yolo
from stdc_search.data.imagenet import open_imagenet
from stdc_search.data.scenes import Scenes
from stdc_search.spec.data import CamvidSpec, CityscapesSpec, DataSpec, FolderSpec, ImagenetSpec, ScenesSpec
from stdc_search.spec.formats import CocoSpec, HubSpec, LabelmeSpec, RoboflowSpec, SuperviselySpec, VocSpec, YoloSpec

__all__ = ["DataError", "Dataset", "Split", "class_shares", "open_dataset", "open_splits"]


def open_splits(
    spec: DataSpec, data_root: Path | None = None, problems: list[str] | None = None
) -> dict[Split, Dataset]:
    """Open both splits. Those of a folder share the list of its files, so they are opened together.

    Args:
        spec: as for `open_dataset`, like the others.
        data_root: where a relative root starts.
        problems: if given, it also collects why a split cannot be opened at all, and the split is left out.

    Raises:
        DataError: files are missing or do not pair up.
    """
    opened: dict[Split, Dataset] = {}
    for split in SPLITS:
        try:
            if not isinstance(spec, FolderSpec):
                opened[split] = open_dataset(spec, split, data_root, problems)
            elif not opened:
                opened |= open_folder(spec, data_root, problems)
        except DataError as error:
            if problems is None:
                raise
            problems.append(str(error))
    return opened


def open_dataset(
    spec: DataSpec, split: Split, data_root: Path | None = None, problems: list[str] | None = None
) -> Dataset:
    """Open one split of a data set.

    This finds and pairs all files. Their content is checked when they are read.

    Args:
        spec: the section `data` of a run.
        split: `train` is for training, `val` for scoring.
        data_root: folder against which a relative root is resolved; default: $STDC_SEARCH_DATA, else the working
            folder.
        problems: if given, collects a line for each file that is missing or has no counterpart, and the sample is
            skipped; otherwise such a file is an error.

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
            return open_folder(spec, data_root, problems)[split]
        case VocSpec():
            return open_voc(spec, split, data_root, problems)
        case RoboflowSpec():
            return open_roboflow(spec, split, data_root, problems)
        case CocoSpec():
            return open_coco(spec, split, data_root, problems)
        case LabelmeSpec():
            return open_labelme(spec, split, data_root, problems)
        case YoloSpec():
            return open_yolo(spec, split, data_root, problems)
        case SuperviselySpec():
            return open_supervisely(spec, split, data_root, problems)
        case HubSpec():
            return open_hub(spec, split, data_root, problems)
        case ImagenetSpec():
            return open_imagenet(spec, split, data_root, problems)
    assert_never(spec)
