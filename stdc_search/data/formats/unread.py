"""Exports that we do not read, and those of the same tool that we do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from stdc_search.data.dataset import DataError

LOOKED_AT = 2**16
"""Bytes at the start of a file."""
MOST = 100
"""Files of a folder that are looked at."""

OF_LABEL_STUDIO = (
    "export `COCO with Images` or `YOLO with Images`; of brush labels, export `Brush labels to COCO`, and put Label "
    "Studio's copies of the images into `images` beside it"
)
OF_YOLO = "write `data.yaml` with `train`, `val` and `names` into the data set's folder"
COLOURS = "label_colors.txt"
"""What CVAT writes beside the layouts of Cityscapes and KITTI; those data sets do not have it."""
OF_CVAT = "in CVAT, export `Segmentation mask 1.1`, with images"


class Unread(NamedTuple):
    """A kind of file that tells of an export."""

    names: str
    """Glob pattern."""
    has: tuple[bytes, ...]
    """Regular expressions, each found in its first bytes; none where its name says enough."""
    what: str
    instead: str
    beside: str = ""
    """A file that the folder must have, too."""


LIST, MAPPING = rb"\A\s*\[", rb"\A\s*\{"
EXPORTS = (
    Unread("task-*-annotation-*-by-*.png", (), "pictures of single labels of Label Studio", OF_LABEL_STUDIO),
    Unread("*.json", (LIST, rb'"completed_by"|labels": *\['), "Label Studio's own JSON", OF_LABEL_STUDIO),
    Unread("annotations/*.json", (MAPPING, rb'"dm_format_version"'), "JSON of Datumaro", OF_CVAT),
    Unread("annotations/*.json", (MAPPING, rb'"segments_info"'), "JSON of COCO's panoptic form", "export instances"),
    Unread("*.xml", (rb"<annotations>", rb"<(task|project|job|image)\b"), "CVAT's own XML", OF_CVAT),
    Unread("Annotations/**/*.xml", (rb"<annotation>", rb"<imagesize>"), "XML of LabelMe", OF_CVAT),
    Unread("Annotations/**/*.xml", (rb"<annotation>", rb"<bndbox>"), "XML with boxes", "label pixels or polygons"),
    Unread("**/*.json", (rb'"all_points_x"',), "JSON of VGG's annotator (VIA)", "convert it to COCO in that tool"),
    Unread("**/labels/**/*.txt", (rb"\A\d+( [0-9.]+){4}",), "a label of YOLO without the file of its classes", OF_YOLO),
    Unread("gtFine/**/*_labelIds.png", (), "a mask of CVAT's Cityscapes export, with its own ids", OF_CVAT, COLOURS),
    Unread("*/semantic_rgb/*.png", (), "a mask of CVAT's KITTI export", OF_CVAT, COLOURS),
)


def unread(folder: Path) -> DataError | None:
    """The error that says which export to take, if the folder is one that we do not read."""
    for export in EXPORTS:
        if not (folder / export.beside).exists():
            continue
        for file in islice(_files(folder, export.names), MOST):
            start = _start(file)
            if all(re.search(pattern, start) for pattern in export.has):
                return DataError(f"{file}: is {export.what}, which is not read; {export.instead}")
    return None


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    return (path for path in folder.glob(pattern) if path.is_file())


def _start(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(LOOKED_AT).removeprefix(b"\xef\xbb\xbf")
