"""A survey of a data set: number of images, share of each class, and likely mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from stdc_search.data import open_splits
from stdc_search.data.dataset import DataError, Dataset, Split
from stdc_search.data.decoding import orientation
from stdc_search.data.reading import Told, read_all, read_each
from stdc_search.errors import several
from stdc_search.palette import backgrounds
from stdc_search.records import IGNORED
from stdc_search.spec.data import DataSpec, FolderSpec
from stdc_search.spec.encodings import AnyEncoding, BinarySpec, ColoursSpec, IdsSpec
from stdc_search.spec.formats import HubSpec
from stdc_search.spec.own import IGNORE, NamedSpec, OwnSpec
from stdc_search.spec.problems import Problem
from stdc_search.spec.splits import SplitByGroup, SplitByShare


@dataclass(frozen=True)
class Labels:
    """Counts over the labels of one split."""

    split: Split
    class_names: tuple[str, ...]
    images: tuple[int, ...]
    """Number of images in which each class occurs."""
    labelled: tuple[int, ...]
    """Number of pixels of each class; number of images if each label is for a whole image."""
    ignored: int | None
    """Number of pixels without a class; None if each label is for a whole image."""
    samples: int
    """Number of images."""
    bare: tuple[int, ...] = field(default=(), kw_only=True)
    """Number of images that show nothing but each class; empty in older files."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class in all that is labelled, in percent."""
        return tuple(100 * count / max(sum(self.labelled), 1) for count in self.labelled)

    @property
    def ignored_share(self) -> float | None:
        """Share of pixels without a class, in percent."""
        return None if self.ignored is None else 100 * self.ignored / max(sum(self.labelled) + self.ignored, 1)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes that occur in no image."""
        return tuple(name for name, count in zip(self.class_names, self.images, strict=True) if not count)

    @property
    def present(self) -> tuple[str, ...]:
        """Classes that occur."""
        return tuple(name for name, count in zip(self.class_names, self.images, strict=True) if count)


@dataclass(frozen=True)
class Survey(Labels):
    """Counts over the usable samples, and what else reading every file has shown."""

    whole: tuple[int, ...]
    """Indices of the usable samples."""
    sizes: tuple[tuple[tuple[int, int], int], ...]
    """Each (height, width) with its number of images, the most common first."""
    turned: int
    """Number of images that their EXIF orientation rotates or mirrors."""
    broken: int
    """Number of unusable samples."""
    problems: tuple[str, ...]
    """What is wrong, one line per file."""

    def spread(self, most: int) -> list[int]:
        """Up to `most` of the usable samples, evenly spaced."""
        count = min(most, len(self.whole))
        return [self.whole[i * len(self.whole) // count] for i in range(count)]


def open_what_can_be(spec: DataSpec, data_root: Path | None = None) -> tuple[dict[Split, Dataset], list[str]]:
    """The splits that can be opened, without samples that lack a file, and the problems that were found."""
    problems: list[str] = []
    opened = open_splits(spec, data_root, problems)
    return opened, list(dict.fromkeys(problems))  # both splits report a problem that concerns both


def survey(data: Dataset, split: Split, told: Told | None = None) -> Survey:
    """Read every sample of a split, images and labels."""
    whole: list[int] = []
    problems: list[str] = []
    sizes: Counter[tuple[int, int]] = Counter()
    turned = 0
    tally = _Tally(data)
    for index, found in enumerate(read_each(range(len(data)), partial(_sample, data), told)):
        if isinstance(found, DataError):
            problems += str(found).splitlines()
        else:
            whole.append(index)
            sizes[found.size] += 1
            turned += found.turned
            tally.add(found.counts)
    return Survey(
        split=split,
        class_names=data.class_names,
        images=tally.images,
        labelled=tally.labelled,
        ignored=tally.ignored,
        samples=len(whole),
        bare=tally.bare,
        whole=tuple(whole),
        sizes=tuple(sizes.most_common()),
        turned=turned,
        broken=len(data) - len(whole),
        problems=tuple(problems),
    )


def count_labels(data: Dataset, split: Split, told: Told | None = None) -> Labels:
    """Read every label of a split, but no image.

    Raises:
        DataError: masks are broken; the message names the first ones.
    """
    return labels_of(split, data, read_all(range(len(data)), partial(label_counts, data), told))


def labels_of(split: Split, data: Dataset, counts: Iterable[torch.Tensor]) -> Labels:
    """Counts over a split, from those of each label (`label_counts`)."""
    tally = _Tally(data)
    for one in counts:
        tally.add(one)
    return Labels(split, data.class_names, tally.images, tally.labelled, tally.ignored, len(data), bare=tally.bare)


def faults(spec: DataSpec, labels: Mapping[Split, Labels]) -> list[Problem]:
    """Reasons why training on these labels makes no sense, with what to write instead; empty if there are none."""
    found = list(labels.values())
    if isinstance(spec, FolderSpec | HubSpec) and (problem := _meant_binary(spec, found)):
        return [problem]
    problems = [_nothing_labelled(one) for one in found if one.samples and not one.present]
    if problems:
        return problems
    train, val = labels.get("train"), labels.get("val")
    if isinstance(spec, OwnSpec) and train and train.samples and (lost := train.absent):
        problems.append(_cannot_be_learned(spec, lost, val))
    if val and len(val.present) == 1:
        message = (
            f"all labelled {_unit(val)} of val are {val.present[0]!r}, so predicting it everywhere scores 100 %; add "
            "images with other classes to val"
        )
        problems.append(Problem("data", message))
    return problems


def remarks(spec: DataSpec, labels: Mapping[Split, Labels]) -> list[str]:
    """Notes on data that is usable, but whose scores mean less than they seem to."""
    lines = []
    train, val = labels.get("train"), labels.get("val")
    if train and train.present and (lost := train.absent) and not isinstance(spec, OwnSpec):
        scored = [name for name in lost if val and name in val.present]
        costs = f"; {several(scored)} will score 0, since val has it" if scored else ""
        lines.append(f"train has no pixel of {several(lost)}, which cannot be learned{costs}.")
    if val and val.present and (lost := val.absent):
        lines.append(
            f"val has no pixel of {several(lost)}, which gets no score; mIoU is the mean over the other "
            f"{len(val.present)} classes."
        )
    return [*lines, *filter(None, (_without_objects(spec, one) for one in labels.values()))]


def _without_objects(spec: DataSpec, labels: Labels) -> str:
    """A note on images that show only background: tools write the same for images that nobody has labelled."""
    if count := sum(labels.bare[i] for i in backgrounds(spec) if labels.bare):
        return (
            f"{count:,} of {labels.samples:,} {labels.split} images show only background; leave out those that nobody "
            "has labelled."
        )
    return ""


def _unit(labels: Labels) -> str:
    return "images" if labels.ignored is None else "pixels"


def _meant_binary(spec: FolderSpec | HubSpec, labels: Sequence[Labels]) -> Problem | None:
    """The problem if black-and-white masks of two classes are read as ids, so that all white pixels are ignored."""
    ids = isinstance(spec.encoding, IdsSpec) and spec.encoding.ignore == IGNORED
    if not ids or spec.classes != 2 or not any(one.ignored for one in labels):
        return None
    if any(one.labelled[1] for one in labels) or not any(one.labelled[0] for one in labels):
        return None
    black, white = spec.class_names
    message = (
        f"the masks hold only 0 ({black}) and {IGNORED} (ignored), so no pixel is {white!r}; for black-and-white masks "
        f"write `encoding: {{kind: binary}}`, which reads {IGNORED} as {white!r}"
    )
    return Problem("data.encoding", message)


def _nothing_labelled(labels: Labels) -> Problem:
    what = "learn from" if labels.split == "train" else "score"
    message = (
        f"every pixel of the {labels.samples} {labels.split} masks is ignored, so there is nothing to {what}; check "
        "`data.encoding` and the masks"
    )
    return Problem("data", message)


def _cannot_be_learned(spec: OwnSpec, lost: Sequence[str], val: Labels | None) -> Problem:
    """The problem of classes without a training pixel, and its remedy: another split, fewer classes or more images."""
    message = f"no training mask has a pixel of {several([repr(name) for name in lost])}, which cannot be learned; "
    if val and (there := [name for name in lost if name in val.present]):
        message += f"val has {several([repr(name) for name in there])}, so "
        match spec:
            case OwnSpec(split=SplitByShare(seed=seed) | SplitByGroup(seed=seed)):
                message += f"draw another split (`seed: {seed + 1}` or higher), or use `kind: list`"
            case _:
                message += "move some of those images to train"
        return Problem("data.split", message)
    message += "add images that show it"
    kept = [name for name in spec.class_names if name not in lost]
    if len(kept) < 2 or (isinstance(spec, FolderSpec | HubSpec) and isinstance(spec.encoding, BinarySpec)):
        return Problem("data.class_names", message)
    message += f", or remove it: `class_names: [{', '.join(kept)}]`, `network.classes: {len(kept)}`"
    return Problem("data.class_names", message + _without(spec, lost, kept))


def _without(spec: OwnSpec, lost: Sequence[str], kept: Sequence[str]) -> str:
    """What else to change in a spec from which classes are removed."""
    match spec:
        case NamedSpec():
            return f", and write `map: {{{', '.join(f'{name}: {IGNORE}' for name in lost)}}}`"
        case FolderSpec(encoding=encoding) | HubSpec(encoding=encoding):
            return _without_codes(encoding, spec.class_names, kept)
    return ""


def _without_codes(encoding: AnyEncoding, names: Sequence[str], kept: Sequence[str]) -> str:
    match encoding:
        case ColoursSpec():
            return ", and remove its colour from `encoding.colours`"
        case IdsSpec(map=ids) if ids or list(names[: len(kept)]) != kept:
            before = ids or {id: id for id in range(len(names))}
            named = {id: IGNORE if index == IGNORE else names[index] for id, index in before.items()}
            places = {IGNORE: IGNORE, **{name: str(index) for index, name in enumerate(kept)}}
            new = {id: places[name] for id, name in named.items() if name in places}
            return f", and renumber the ids: `encoding: {{map: {{{', '.join(f'{a}: {b}' for a, b in new.items())}}}}}`"
    return ""


class _Sample(NamedTuple):
    size: tuple[int, int]
    turned: bool
    counts: torch.Tensor


class _Tally:
    """Sums over the labels of a split."""

    def __init__(self, data: Dataset) -> None:
        self._images = torch.zeros(len(data.class_names), dtype=torch.int64)
        self._labelled = torch.zeros_like(self._images)
        self._bare = torch.zeros_like(self._images)
        self.ignored: int | None = None

    def add(self, counts: torch.Tensor) -> None:
        """Add the counts of one label: one per class, then, if it is a mask, that of ignored pixels."""
        counts, rest = counts[: len(self._images)], counts[len(self._images) :]
        shown = counts > 0
        self._images += shown
        self._bare += shown & (shown.sum() == 1)
        self._labelled += counts
        if len(rest):
            self.ignored = (self.ignored or 0) + int(rest[-1])

    @property
    def images(self) -> tuple[int, ...]:
        return tuple(self._images.tolist())

    @property
    def labelled(self) -> tuple[int, ...]:
        return tuple(self._labelled.tolist())

    @property
    def bare(self) -> tuple[int, ...]:
        return tuple(self._bare.tolist())


def _sample(data: Dataset, index: int) -> _Sample:
    image, label = data[index]
    height, width = image.shape[1:]
    turned = any(orientation(file) != 1 for file in data.files(index)[:1])
    return _Sample((height, width), turned, _counts(label, len(data.class_names)))


def label_counts(data: Dataset, index: int) -> torch.Tensor:
    """Number of pixels of each class in a label, then of ignored ones; for a whole image, 1 for its class."""
    return _counts(data.label(index), len(data.class_names))


def _counts(label: torch.Tensor, classes: int) -> torch.Tensor:
    """Number of pixels of each class, then of ignored ones; one count per class if the label is for the image."""
    if label.ndim == 0:
        return torch.bincount(label[None], minlength=classes)
    counts = torch.bincount(label.flatten(), minlength=IGNORED + 1)
    return torch.cat([counts[:classes], counts[IGNORED:]])
