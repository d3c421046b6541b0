"""Images and labels in files: how to find, list and pair them, and what to say if that fails."""

from __future__ import annotations

import codecs
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from stdc_search.data.dataset import DataError
from stdc_search.data.decoding import UNREAD_ENDINGS, Masks, advice, orientation, read_image
from stdc_search.errors import alike, several

LOSSY_ENDINGS = (".jpg", ".jpeg", ".webp")
MASK_ENDINGS = (".png", ".bmp", ".tif", ".tiff")
IMAGE_ENDINGS = (".png", *LOSSY_ENDINGS, ".bmp", ".tif", ".tiff")


class Sample(NamedTuple):
    name: str
    image: Path
    label: Path


class LabelledFiles:
    """A data set of image files and mask files, which are read at each access.

    Images and masks are rotated according to their EXIF orientation, as in image viewers.

    Args:
        samples: the samples, in order.
        class_names: one per class.
        masks: decoder of the masks.
    """

    def __init__(self, samples: Sequence[Sample], class_names: tuple[str, ...], masks: Masks) -> None:
        self.samples, self.class_names, self.masks = samples, class_names, masks

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, index: int) -> str:
        return self.samples[index].name

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.samples[index]
        image, label = _both(lambda: read_image(sample.image), lambda: self.masks.read(sample.label))
        if image.shape[1:] != label.shape:
            raise DataError(_misfit(sample, image.shape[1:], label.shape))
        return image, label

    def label(self, index: int) -> Tensor:
        return self.masks.read(self.samples[index].label)

    def files(self, index: int) -> tuple[Path, ...]:
        return self.samples[index].image, self.samples[index].label


def _misfit(sample: Sample, image: Sequence[int], label: Sequence[int]) -> str:
    """The error message for an image and a label whose (height, width) differ."""
    message = (
        f"{sample.label}: is {label[0]} x {label[1]} (height x width), but its image {sample.image} is "
        f"{image[0]} x {image[1]}"
    )
    for path, other in ((sample.image, "mask"), (sample.label, "image")):
        if [*image] == [*label][::-1] and (way := orientation(path)) > 4:
            return (
                f"{message}. EXIF orientation {way} turned {path.name}, and the {other} fits its raw pixels only; turn "
                f"the {other} too, or remove the orientation (`exiftool -Orientation= {path.name}`)"
            )
    return f"{message}; both must have the same size"


def _both(image: Callable[[], Tensor], label: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """The results of both reads; if both files are broken, the error names both."""
    try:
        pixels = image()
    except DataError as error:
        try:
            label()
        except DataError as other:
            raise DataError(f"{error}\n{other}") from None
        raise
    return pixels, label()


def files_below(folder: Path, endings: Collection[str]) -> list[Path]:
    """Files with these endings in a folder and its sub-folders, sorted. Links are followed, hidden files skipped.

    A folder that several links lead to counts once, so that cyclic links end and no image is read twice.

    Raises:
        DataError: a folder cannot be read, or a link leads nowhere.
    """
    return [Path(path) for path in _paths_below(folder, endings)]


def _paths_below(folder: Path, endings: Collection[str]) -> list[str]:
    """The same as text: in a folder of 100,000 files, each operation on a `Path` takes a second."""
    found: list[str] = []
    wanted = {"", *endings}  # files without ending, too: a link that leads nowhere may mean a folder
    seen = {str(parent) for parent in Path(os.path.realpath(folder)).parents}  # a link to these would be a loop
    starts = [str(folder)]
    for start in starts:  # linked folders come last, so that a file is found by its real path if possible
        for place, folders, names in os.walk(start, onerror=_unreadable):
            real = os.path.realpath(place)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not name.startswith(".")]
            starts += (path for name in folders if os.path.islink(path := os.path.join(place, name)))
            within = os.path.join(place, "")
            found += (within + name for name in names if not name.startswith(".") and _ending(name) in wanted)
    check_links(found)
    # By folder, then by name, as paths compare: no character comes before this separator.
    return sorted((path for path in found if _ending(path)), key=lambda path: path.replace(os.sep, "\0"))


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def named_files(folder: Path, endings: Collection[str], without: Path | None = None) -> dict[str, Path]:
    """Files of a folder and its sub-folders, by relative path without ending; one sub-folder can be excluded.

    Raises:
        DataError: the folder is missing, has no such file, or has two of one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder{hint(folder)}")
    start = len(os.path.join(folder, ""))
    excluded = os.path.join(without, "") if without is not None and folder in without.parents else None
    paths: list[Path] = []
    for path in _paths_below(folder, endings):
        if excluded is not None and path.startswith(excluded):
            continue
        paths.append(Path(path))
    found = files_by_name(((_name(str(path)[start:]), path) for path in paths), folder)
    if not found:
        raise DataError(f"{folder}: contains no file that ends in {' or '.join(endings)}{hint(folder / '*')}")
    return found


def files_by_name(files: Iterable[tuple[str, Path]], place: Path) -> dict[str, Path]:
    """Files by their names, which must differ: `a.jpg` and `a.png` have one name.

    Raises:
        DataError: two files have the same name; `place` is where they are from.
    """
    found: dict[str, Path] = {}
    for name, path in files:
        if (other := found.setdefault(name, path)) != path:
            raise DataError(f"{place}: {other.name} and {path.name} have the same name; which one is `{name}`?")
    return found


def _name(below: str) -> str:
    """The name of a file: its path below a folder, without its ending."""
    return nfc(os.path.splitext(below)[0].replace(os.sep, "/"))


def _unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None


def check_readable(folder: Path, images: Collection[str], problems: list[str] | None) -> None:
    """Raise, or collect, photos in a format that cannot be read, unless the same image is there in another one."""
    start = len(os.path.join(folder, ""))
    unread = [Path(path) for path in _paths_below(folder, UNREAD_ENDINGS) if _name(path[start:]) not in images]
    messages = [f"{path}: {advice(path)}" for path in unread]
    if problems is not None:
        problems += messages
    elif messages:
        more = f". {len(messages) - 1} more photos have such a format" if len(messages) > 1 else ""
        raise DataError(messages[0] + more)


def check_links(paths: Iterable[str | Path]) -> None:
    """Raise if there are symbolic links that lead nowhere."""
    dead = [path for path in paths if os.path.islink(path) and not os.path.exists(path)]
    if dead:
        others = f", and {len(dead) - 1} more links lead nowhere" if len(dead) > 1 else ""
        raise DataError(f"{dead[0]}: links to {os.readlink(dead[0])}, which does not exist{others}")


def as_spelt(path: Path) -> Path:
    """The path as it is spelt on the disk: an accented letter is one character or two (Unicode NFC or NFD)."""
    if str(path).isascii() or path.exists():
        return path
    parent = as_spelt(path.parent)
    if not parent.is_dir():
        return path
    return parent / _names(parent, parent.stat().st_mtime_ns).get(nfc(path.name), path.name)


@lru_cache(maxsize=16)
def _names(folder: Path, changed: int) -> dict[str, str]:
    """Names in a folder by their NFC spelling; `changed`, the folder's modification time, is a key of the cache."""
    return {nfc(name): name for name in os.listdir(folder)}


def nfc(text: str) -> str:
    """Text in Unicode NFC: one of the two spellings of accented letters."""
    return unicodedata.normalize("NFC", text)


def resolve_root(root: Path, data_root: Path | None) -> Path:
    """The folder of a data set. A relative root starts from `data_root`, $STDC_SEARCH_DATA or the working folder.

    Raises:
        DataError: there is no such folder.
    """
    start, named = data_root, "--data-root"
    if start is None and (value := os.environ.get("STDC_SEARCH_DATA")):
        start, named = Path(value), "$STDC_SEARCH_DATA"
    elif start is None:
        start, named = Path(), "the working folder, since neither --data-root nor $STDC_SEARCH_DATA is given"
    path = as_spelt(Path(os.path.expanduser(start), os.path.expanduser(root)).absolute())
    if not path.is_dir():
        whence = " (`data.root`)" if root.is_absolute() else f" (`data.root` {root}, from {named})"
        raise DataError(f"{path}: no such folder{whence}{hint(path)}")
    return path


def read_list(path: Path, place: str) -> list[str]:
    """Stripped lines of a list, without the blank ones.

    Args:
        path: the list.
        place: where lists are expected, for the message if this one is missing.

    Raises:
        DataError: the list is missing, empty or not text.
    """
    path = as_spelt(path)
    if not path.is_file():
        raise DataError(f"{path}: no such list{hint(path)}; {place}")
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: lists no images; a list has one image per line")
    return lines


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 as Windows programs save it.

    Raises:
        DataError: the file has another encoding, or is not text.
    """
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # also UTF-16 without its mark
        raise DataError(f"{path}: is not text in UTF-8, or in UTF-16 with a byte order mark; save it as UTF-8")
    return text


def keep_paired(samples: Iterable[Sample], problems: list[str]) -> list[Sample]:
    """Samples with both files; appends a line to `problems` for each of the others."""
    whole = []
    for sample in samples:
        match sample.image.is_file(), sample.label.is_file():
            case True, True:
                whole.append(sample)
            case True, False:
                problems.append(f"{sample.image}: has no label; {sample.label} does not exist")
            case False, True:
                problems.append(f"{sample.label}: has no image; {sample.image} does not exist")
            case _:
                problems.append(f"{sample.image}: does not exist, nor does its label {sample.label}")
    return whole


def check_unique(names: Sequence[str], source: Path) -> None:
    """Raise if a list names an image twice."""
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})
    if twice:
        raise DataError(f"{source}: names {several(twice)} more than once; list each image once")


def check_disjoint(train: Iterable[str], val: Iterable[str], where: Path, remedy: str = "remove them from one") -> None:
    """Raise if an image is in both train and val."""
    both = sorted({*train} & {*val})
    if both:
        raise DataError(f"{where}: {len(both)} images are in both train and val: {several(both)}; {remedy}")


def hint(missing: Path) -> str:
    """A hint about a missing path: the most similar name in its folder, or the first few names."""
    folder = missing.parent
    if not folder.is_dir():
        return f"; {folder} does not exist either"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    meant = alike(missing.name, names)
    return f"; did you mean `{meant}`?" if meant else f"; {folder} holds {several(names) or 'nothing'}"
