"""Images and masks by name -> the samples of a split."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from stdc_search.data.dataset import DataError, Split
from stdc_search.data.files import IMAGE_ENDINGS, Sample, check_disjoint, check_unique, keep_paired, nfc, read_list
from stdc_search.data.splits import divided
from stdc_search.errors import alike, several
from stdc_search.spec.formats import BySplit
from stdc_search.spec.splits import SplitByList

NO_LIST = "its path is relative to `data.root`. Without lists, write `split: {kind: share}`"


def names_of(split: BySplit, side: Split, names: Collection[str], root: Path, place: Path) -> list[str]:
    """Names of one split's images.

    Args:
        split: how to split.
        side: the split.
        names: those of all images.
        root: what paths of lists are relative to.
        place: where the images are, for messages.

    Raises:
        DataError: a list is missing, has other names, or shares one with the other list.
    """
    if not isinstance(split, SplitByList):
        return divided(names, split, place)[side]
    lists = {"train": root / split.train, "val": root / split.val}
    sides = {part: _listed(path, names, place) for part, path in lists.items()}
    check_disjoint(sides["train"], sides["val"], root)
    return sides[side]


class Files(NamedTuple):
    """Files by name, and the folder where the others would be."""

    folder: Path
    paths: Mapping[str, Path]

    def path(self, name: str, ending: str) -> Path:
        return self.paths.get(name, self.folder / f"{name}{ending}")


def paired(names: Collection[str], images: Files, masks: Files, problems: list[str] | None) -> list[Sample]:
    """Samples of these names; what lacks an image or a mask is an error, or a line in `problems`."""
    samples = [Sample(name, images.path(name, ".jpg"), masks.path(name, ".png")) for name in names]
    if problems is not None:
        return keep_paired(samples, problems)
    for what, files in (("image", images), ("mask", masks)):
        if lost := [name for name in names if name not in files.paths]:
            raise DataError(f"{files.folder}: {len(lost)} of {len(names)} samples have no {what}: {several(lost)}")
    return samples


def tell_unlabelled(images: Files, masks: Files, problems: list[str] | None) -> None:
    """Tell which images have no mask, where no list says which are meant: by a line in `problems`, or a warning."""
    if not (left := [name for name in images.paths if name not in masks.paths]):
        return
    have = "image has" if len(left) == 1 else "images have"
    text = f"{images.folder}: {len(left)} {have} no mask in {masks.folder.name}, so not used: {several(left)}"
    if problems is not None:
        problems.append(text)
    else:
        warnings.warn(text, stacklevel=2)


def _listed(path: Path, names: Collection[str], place: Path) -> list[str]:
    """Names in a list, which may have the endings of images."""
    listed = [nfc(line.replace("\\", "/")) for line in read_list(path, NO_LIST)]
    found = [str(Path(line).with_suffix("")) if line.lower().endswith(IMAGE_ENDINGS) else line for line in listed]
    if unknown := [name for name in found if name not in names]:
        meant = alike(unknown[0], names)
        raise DataError(
            f"{path}: {len(unknown)} of {len(found)} names are not in {place}: {several(unknown)}; "
            + (f"did you mean `{meant}`?" if meant else f"names there are like `{next(iter(names))}`")
        )
    check_unique(found, path)
    return found
