"""What labelling tools write: one file per tool, and a function that recognises a tool's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stdc_search.data.formats import coco, hub, labelme, roboflow, supervisely, voc, yolo

FORMATS = (voc, roboflow, yolo, supervisely, coco, labelme, hub)


def recognise(folder: Path) -> dict[str, Any] | None:
    """The section `data`, without `root`, for a folder as a labelling tool writes it; None for other folders.

    Raises:
        DataError: the folder looks like a tool's, and a file of it is broken.
    """
    found = (module.recognise(folder) for module in FORMATS)
    return next((section for section in found if section is not None), None)
