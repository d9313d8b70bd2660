"""A folder of images as a data set: its classes, its splits, and the manifest that records them."""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
import stat
import unicodedata
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from keras_classics.data.decode import IMAGE_SUFFIXES
from keras_classics.errors import DataError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Split = Literal["train", "val", "test"]

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
# What Windows says of a name with an asterisk: there can be no such file.
_INVALID_NAME = 123
_MANIFEST_FIELDS = ("path", "label", "split")
_LAYOUT = "put the images of each class into a sub-folder that bears the name of the class"


@dataclass(frozen=True)
class Item:
    """One image of a data set.

    Attributes:
        path: relative to the root of the listing.
        label: index into the classes of the listing.
        split: what the image is used for; None while that is undecided.
    """

    path: Path
    label: int
    split: Split | None = None


@dataclass(frozen=True)
class Listing:
    """The images of a folder, in the order of their paths.

    Attributes:
        root: the folder.
        classes: names of the classes; labels index them.
        items: the images that belong to a class, sorted by path.
        ignored: files that are no images and images outside any class, relative to the root.
    """

    root: Path
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    ignored: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Found:
    """An image whose class is not yet known: its folders, less those that only name a split."""

    path: Path
    folders: tuple[str, ...]
    split: Split | None


def scan(folder: Path | str, *, classes: Sequence[str] | None = None) -> Listing:
    """List the images of a folder with one sub-folder a class; nothing is opened or written.

    Sub-folders are followed to any depth, and hidden files skipped. A folder named train or
    training, val, valid, validation or dev, test or testing, in any case and at any depth, decides
    the split of what is below it (the innermost one, where several do). Of the other folders on the
    way to an image, the first in which images differ is its class: `cat/x.jpg`,
    `train/cat/x.jpg`, `cat/train/x.jpg` and `set/train/cat/some/where/x.jpg` are all of the class
    "cat". Classes of the same name in different places are therefore never merged.

    One folder with the name of a training or validation split, alone of its kind among class
    folders and holding the images itself, is a class: `plane`, `ship`, `train`.

    Args:
        folder: the root of the data set.
        classes: names of the classes that a model knows, in the order of its outputs. The labels
            then follow these; a class without images, a single class and missing splits are fine.

    Returns:
        The listing. Classes are in natural order ("2" before "10"), or as given.

    Raises:
        DataError: there is no such folder, no image, no class, only one class, a class that the
            model does not know, the split folders leave out some images or classes, or something
            cannot be read.
    """
    root = named(folder)
    _check_root(root)
    images, ignored = image_files(root)
    if not images:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(one_line(f"{root}: contains no images (looked for {endings}); {_LAYOUT}"))
    found = _found(images, frozenset(classes or ()))
    level = _class_level(root, found, frozenset(classes or ()))
    inside = [image for image in found if len(image.folders) > level]
    outside = [image.path for image in found if len(image.folders) <= level]
    names = {_normal(image.folders[level]) for image in inside}
    if classes is None:
        _check_classes(root, inside, level)
        _check_splits(root, inside, level)
        known = tuple(sorted(names, key=_natural))
    else:
        known = tuple(classes)
        _check_known(root, names, known)
    labels = {_normal(name): label for label, name in enumerate(known)}
    return Listing(
        root=root,
        classes=known,
        items=tuple(
            Item(image.path, labels[_normal(image.folders[level])], image.split) for image in inside
        ),
        ignored=tuple(sorted([*ignored, *outside], key=Path.as_posix)),
    )


def assign_splits(
    listing: Listing,
    *,
    seed: int,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
) -> Listing:
    """Decide for every image whether it trains, chooses the epoch, or measures the result.

    What the folder says is kept, and the rest is drawn class by class, so that the images of the
    split "test" are never those by which the epoch was chosen:

    - no split, or only train: all images are divided by the fractions. Every class has at least one
      image in train and in test, and from three images on in val;
    - train and test: val is drawn from train, by its fraction;
    - train and val: the given val becomes test, as it is the one set that the folder holds back,
      and a new val is drawn from train;
    - all three: nothing is drawn.

    An image's lot depends on its path and the seed alone: it is the same on every machine, and
    adding images moves few of the others.

    Args:
        listing: from `scan`.
        seed: another seed draws other images.
        fractions: of train, val and test; positive, with the sum 1.

    Returns:
        A listing with the same items, each with a split.

    Raises:
        DataError: a class has a single image where train and test both need one, or none to train.
        ValueError: the fractions are not as described.
    """
    if min(fractions) <= 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise ValueError(f"fractions must be positive with the sum 1, got {fractions}")
    given = {item.split for item in listing.items if item.split is not None}
    if given == {"train", "val", "test"} and all(item.split for item in listing.items):
        return listing
    whole = not given & {"val", "test"}
    drawn: dict[Path, Split] = {}
    for label, items in _by_label(listing.items).items():
        pool = items if whole else [item for item in items if item.split == "train"]
        if whole and len(pool) == 1:
            raise DataError(
                one_line(
                    f"{listing.root}: the class {listing.classes[label]!r} has a single image "
                    f"({pool[0].path.as_posix()}); add images or remove the folder"
                )
            )
        if not pool:
            raise DataError(
                one_line(
                    f"{listing.root}: the class {listing.classes[label]!r} has no images for "
                    "train; add some or remove the class"
                )
            )
        tests = _share(len(pool), fractions[2]) if whole else 0
        # A class of two has one to learn from and one to be judged by.
        vals = _share(len(pool), fractions[1]) if len(pool) >= (3 if whole else 2) else 0
        while len(pool) - tests - vals < 1:
            tests, vals = (tests - 1, vals) if tests > vals else (tests, vals - 1)
        lots = sorted(pool, key=lambda item: _lot(item.path, seed))
        drawn |= dict.fromkeys((item.path for item in lots[:tests]), "test")
        drawn |= dict.fromkeys((item.path for item in lots[tests : tests + vals]), "val")
        drawn |= dict.fromkeys((item.path for item in lots[tests + vals :]), "train")
    return replace(
        listing,
        items=tuple(replace(item, split=drawn.get(item.path, "test")) for item in listing.items),
    )


def write_manifest(listing: Listing, path: Path | str) -> None:
    """Record which image has which class and split, as a CSV file with `path,label,split`.

    Args:
        listing: its labels are written as names of classes.
        path: the file to write; it appears complete or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # Names of files need not be Unicode everywhere; this keeps their bytes.
        with part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.writer(file, lineterminator="\n")
            # csv ends a line at a carriage return that it reads, but need not quote one it writes.
            quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            rows.writerow(_MANIFEST_FIELDS)
            for item in listing.items:
                row = (item.path.as_posix(), listing.classes[item.label], item.split or "")
                (quoted if any("\r" in field for field in row) else rows).writerow(row)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(
            one_line(f"{path}: cannot be written ({error.strerror or error})")
        ) from None


def read_manifest(path: Path | str) -> tuple[dict[str, str], ...]:
    """The rows of a manifest, each with the keys path, label (a class name) and split.

    Raises:
        DataError: there is no such file, or it is not a manifest.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.DictReader(file, strict=True)
            rows = tuple(reader)
            fields = tuple(reader.fieldnames or ())
    except OSError as error:
        raise _unreadable(path, error) from None
    except csv.Error as error:
        raise DataError(one_line(f"{path}: is not a manifest ({error})")) from None
    if fields != _MANIFEST_FIELDS:
        fields_text = ",".join(_MANIFEST_FIELDS)
        raise DataError(
            one_line(f"{path}: is not a manifest; its first line must be {fields_text}")
        )
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(
                one_line(f"{path}: row {line} does not have {len(_MANIFEST_FIELDS)} fields")
            )
    return rows


def fingerprint(listing: Listing) -> str:
    """SHA-256, in hexadecimal, of every image's path, class and size in bytes.

    The same data give the same fingerprint on every machine, whatever folder they are in and
    however they are split. No image is read.
    """
    digest = hashlib.sha256()
    for item in listing.items:
        try:
            size = str((listing.root / item.path).stat().st_size)
        except OSError:
            size = "gone"  # which decoding will report, with the name of the file
        fields = (item.path.as_posix(), listing.classes[item.label], size)
        # A null byte cannot occur in a path, so no two data sets can be confused.
        digest.update("\0".join((*fields, "")).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images below a folder, by their ending, and its other files.

    Links to folders are followed; what is hidden, and the `__MACOSX` of an archive, is skipped.

    Returns:
        Both relative to the folder and sorted.

    Raises:
        DataError: a folder cannot be read.
    """
    images: list[Path] = []
    others: list[Path] = []
    for path, regular in _files(folder, Path(), frozenset()):
        (images if regular and is_image_name(path) else others).append(path)
    return sorted(images, key=Path.as_posix), sorted(others, key=Path.as_posix)


def is_image_name(path: Path) -> bool:
    """Whether a file is an image by its ending, in any case."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def named(path: str | os.PathLike[str]) -> Path:
    """A path as a person gave it; a DataError where it is the empty string.

    That would stand for the current folder, which an unset shell variable does not mean.
    """
    if not os.fspath(path):
        raise DataError('an empty path names no file or folder; give "." for the current folder')
    return Path(path)


def file_mode(path: Path) -> int | None:
    """What stands at a path, links followed, in the terms of `stat`; None where there is nothing.

    `Path.exists` and its like hide or raise what prevents a look, by the version of Python.

    Raises:
        DataError: there is no telling: the permissions or the name forbid it.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # the latter for a null byte
        if getattr(error, "winerror", None) == _INVALID_NAME:
            return None
        raise _unreadable(path, error) from None


def one_line(message: str) -> str:
    """A message with line breaks and other control characters escaped.

    Names of files may hold them, and bytes that are no text, which not every terminal can print.
    """
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
        else char
        for char in message
    )


def _unreadable(path: Path, error: OSError | ValueError, advice: str = "") -> DataError:
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return DataError(one_line(f"{path}: cannot be read ({reason}){advice}"))


def _check_root(root: Path) -> None:
    mode = file_mode(root)
    if mode is None:
        raise DataError(one_line(f"{root}: no such folder; check the path"))
    if not stat.S_ISDIR(mode):
        raise DataError(
            one_line(f"{root}: is a file, not a folder; give the folder that holds the classes")
        )


def _files(
    root: Path, folder: Path, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[Path, bool]]:
    """Visible files below a folder of the root, and whether each can be read like a file.

    Links that lead nowhere, pipes and devices cannot: opening a pipe would wait for ever.
    """
    try:
        status = (root / folder).stat()
        with os.scandir(root / folder) as entries:
            listed = [(entry.name, entry.is_dir(), entry.is_file()) for entry in entries]
    except OSError as error:
        advice = "; change its permissions or move it away"
        raise _unreadable(root / folder, error, advice) from None
    # Links to folders are followed, as data sets are often made of them, but not in a circle.
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for name, is_folder, is_file in listed:
        if name.startswith(".") or name == "__MACOSX":
            continue
        if is_folder:
            yield from _files(root, folder / name, above | {here})
        else:
            yield folder / name, is_file


def _found(images: Iterable[Path], known: frozenset[str]) -> list[_Found]:
    folders = {path: path.parent.parts for path in images}
    marks = _split_folders(folders.values(), known)
    found: list[_Found] = []
    for path, parts in folders.items():
        depths = [depth for depth in range(len(parts)) if parts[: depth + 1] in marks]
        found.append(
            _Found(
                path,
                tuple(part for depth, part in enumerate(parts) if depth not in depths),
                _SPLIT_NAMES[parts[depths[-1]].casefold()] if depths else None,
            )
        )
    return found


def _split_folders(
    folders: Iterable[tuple[str, ...]], known: frozenset[str]
) -> frozenset[tuple[str, ...]]:
    """Those folders, of all on the way to an image, that name a split."""
    children: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for parts in folders:
        for depth, part in enumerate(parts):
            children[parts[:depth]].add(part)
    marks: set[tuple[str, ...]] = set()
    for parent, names in list(children.items()):
        splits = {name for name in names if name.casefold() in _SPLIT_NAMES}
        for name in splits:
            leaf = (*parent, name) not in children
            # A test folder without classes is common (unlabelled images); the others are not.
            lone = len(splits) == 1 < len(names) and _SPLIT_NAMES[name.casefold()] != "test"
            if not (leaf and (lone or name in known)):
                marks.add((*parent, name))
    return frozenset(marks)


def _class_level(root: Path, found: Sequence[_Found], known: frozenset[str]) -> int:
    """Depth, in the folders of an image, at which the classes stand."""
    deepest = max(len(image.folders) for image in found)
    if deepest == 0:
        raise DataError(
            one_line(f"{root}: has {len(found)} images but no class sub-folders; {_LAYOUT}")
        )
    known = frozenset(map(_normal, known))
    for level in range(deepest):
        names = {_normal(image.folders[level]) for image in found if len(image.folders) > level}
        if len(names) > 1 or names <= known:
            return level
    # One chain of folders: with classes to go by, its first is the one to complain of.
    return 0 if known else deepest - 1


def _check_classes(root: Path, inside: Sequence[_Found], level: int) -> None:
    names = {_normal(image.folders[level]) for image in inside}
    if len(names) == 1:
        raise DataError(
            one_line(
                f"{root}: has only one class, {names.pop()!r}; "
                "add a sub-folder with images of another"
            )
        )


def _check_splits(root: Path, inside: Sequence[_Found], level: int) -> None:
    """Either no image or every image is in a split folder, and every class has one to train on."""
    unsplit = [image for image in inside if image.split is None]
    if len(unsplit) == len(inside):
        return
    if unsplit:
        example = next(image for image in inside if image.split is not None)
        raise DataError(
            one_line(
                f"{root}: {example.path.as_posix()} is in a split folder but "
                f"{unsplit[0].path.as_posix()} is in none; move one or the other"
            )
        )
    trained = {_normal(image.folders[level]) for image in inside if image.split == "train"}
    for image in inside:
        name = _normal(image.folders[level])
        if name not in trained:
            raise DataError(
                one_line(
                    f"{root}: the class {name!r} has images for {image.split} "
                    f"({image.path.as_posix()}) but none for train; add some or remove the class"
                )
            )


def _check_known(root: Path, names: set[str], known: Sequence[str]) -> None:
    unknown = sorted(names - set(map(_normal, known)), key=_natural)
    if unknown:
        raise DataError(
            one_line(
                f"{root}: the model does not know the class {_quoted(unknown, most=3)}; "
                f"it knows {_quoted(known, most=10)}; rename or remove the folder"
            )
        )


def _by_label(items: Iterable[Item]) -> dict[int, list[Item]]:
    groups: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.label].append(item)
    return groups


def _share(count: int, fraction: float) -> int:
    """A fraction of some images, but at least one."""
    return max(1, round(count * fraction))


def _lot(path: Path, seed: int) -> bytes:
    name = path.as_posix().encode("utf-8", "surrogateescape")
    return hashlib.sha256(b"%d\0%s" % (seed, name)).digest()


def _natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sorts "2" before "10"; the name itself decides between "a" and "A"."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), name


def _normal(name: str) -> str:
    """One spelling for accented letters, which macOS writes to disk in another."""
    return unicodedata.normalize("NFC", name)


def _quoted(names: Sequence[str], *, most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
