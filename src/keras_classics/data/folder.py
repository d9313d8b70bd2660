"""Sources of images: a folder of classes, a zip archive of one, or a table that lists them."""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_classics.data.decode import IMAGE_SUFFIXES
from keras_classics.data.formats import not_read
from keras_classics.data.groups import by_pattern
from keras_classics.data.listing import (
    SPLIT_NAMES,
    Item,
    Listing,
    Split,
    check_classes,
    check_known,
    check_trained,
    natural,
    normal,
)
from keras_classics.data.storage import (
    Archive,
    Folder,
    file_mode,
    is_archive,
    named,
)
from keras_classics.data.table import TABLE_SUFFIXES, list_table
from keras_classics.errors import DataError
from keras_classics.host.regular import kind_of

_LAYOUT = "put the images of each class into a sub-folder that bears the name of the class"


@dataclass(frozen=True, slots=True)
class _Found:
    """An image whose class is not yet known: its folders, less those that only name a split."""

    name: str
    folders: tuple[str, ...]
    split: Split | None


def scan(
    source: Path | str,
    *,
    classes: Sequence[str] | None = None,
    group_by: str | None = None,
    root: Path | str | None = None,
) -> Listing:
    """List the images of a folder, an archive or a table; no image is opened, nothing written.

    In a folder, or a zip archive of one, sub-folders are classes. They are followed to any depth,
    and hidden files skipped. A folder named train or training, val, valid, validation or dev, test
    or testing, in any case and at any depth, decides the split of what is below it (the innermost
    one, where several do). Of the other folders on the way to an image, the first in which images
    differ is its class: `cat/x.jpg`, `train/cat/x.jpg`, `cat/train/x.jpg` and
    `set/train/cat/some/where/x.jpg` are all of the class "cat". Classes of the same name in
    different places are therefore never merged.

    One folder with the name of a training or validation split, alone of its kind among class
    folders and holding the images itself, is a class: `plane`, `ship`, `train`.

    A table, by the ending .csv or .tsv, has a line for each image: see `table.list_table`.

    Args:
        source: the folder, archive or table.
        classes: names of the classes that a model knows, in the order of its outputs. The labels
            then follow these; a class without images, a single class and missing splits are fine.
        group_by: a column of the table, or a regular expression that is searched in the name of
            each image: see `groups.by_pattern`. None for no groups.
        root: folder or archive that the paths of a table are relative to; None for the folder that
            it lies in.

    Returns:
        The listing. Classes are in natural order ("2" before "10"), or as given.

    Raises:
        DataError: there is no such source, no image, no class, only one class, a class that the
            model does not know, the splits leave out some images or classes, the groups are not
            to be had, or something cannot be read.
    """
    path = named(source)
    mode = file_mode(path)
    if mode is None:
        raise DataError(f"{path}: no such folder; check the path")
    if stat.S_ISREG(mode) and path.suffix.lower() in TABLE_SUFFIXES:
        return list_table(
            path, _storage(named(root) if root else path.parent), classes, group_by=group_by
        )
    storage = _storage(path)
    if root is not None:
        raise DataError(
            f"root={root}: is for a table (.csv) of paths, and {path} is none; leave out"
        )
    listing = _list_folders(storage, classes)
    return listing if group_by is None else by_pattern(listing, group_by)


def _storage(path: Path) -> Folder | Archive:
    mode = file_mode(path)
    if mode is None:
        raise DataError(f"{path}: no such folder; check the path")
    if stat.S_ISDIR(mode):
        return Folder(path)
    if stat.S_ISREG(mode) and is_archive(path):
        return Archive(path)
    raise DataError(
        f"{path}: is {kind_of(mode)}, not a folder; give the folder of the classes, a .zip of "
        "it, or a .csv of paths and labels"
    )


def _list_folders(storage: Folder | Archive, classes: Sequence[str] | None) -> Listing:
    root = storage.place
    images, ignored = storage.files()
    if not images:
        if unread := not_read(ignored):
            raise DataError(f"{root}: contains no images but {unread}")
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{root}: contains no images (looked for {endings}); {_LAYOUT}")
    found = _found(images, frozenset(classes or ()))
    level = _class_level(root, found, frozenset(classes or ()))
    inside = [image for image in found if len(image.folders) > level]
    outside = [image.name for image in found if len(image.folders) <= level]
    names = {normal(image.folders[level]) for image in inside}
    if classes is None:
        check_classes(root, set(names))
        _check_splits(root, inside)
        known = tuple(sorted(names, key=natural))
    else:
        known = tuple(classes)
        check_known(root, names, known)
    labels = {normal(name): label for label, name in enumerate(known)}
    listing = Listing(
        root=root,
        classes=known,
        items=tuple(
            Item(image.name, labels[normal(image.folders[level])], image.split) for image in inside
        ),
        ignored=tuple(Path(name) for name in sorted([*ignored, *outside])),
        archive=storage if isinstance(storage, Archive) else None,
    )
    if classes is None:
        check_trained(listing)
    return listing


def _found(images: Iterable[str], known: frozenset[str]) -> list[_Found]:
    above = {name: name.rpartition("/")[0] for name in images}
    parts_of = {folder: tuple(folder.split("/")) if folder else () for folder in above.values()}
    marks = _split_folders(parts_of.values(), known)
    kept: dict[str, tuple[tuple[str, ...], Split | None]] = {}
    for folder, parts in parts_of.items():
        depths = [depth for depth in range(len(parts)) if parts[: depth + 1] in marks]
        kept[folder] = (
            tuple(part for depth, part in enumerate(parts) if depth not in depths),
            SPLIT_NAMES[parts[depths[-1]].casefold()] if depths else None,
        )
    return [_Found(name, *kept[folder]) for name, folder in above.items()]


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
        splits = {name for name in names if name.casefold() in SPLIT_NAMES}
        for name in splits:
            leaf = (*parent, name) not in children
            # A test folder without classes is common (unlabelled images); the others are not.
            lone = len(splits) == 1 < len(names) and SPLIT_NAMES[name.casefold()] != "test"
            if not (leaf and (lone or name in known)):
                marks.add((*parent, name))
    return frozenset(marks)


def _class_level(root: Path, found: Sequence[_Found], known: frozenset[str]) -> int:
    """Depth, in the folders of an image, at which the classes stand."""
    deepest = max(len(image.folders) for image in found)
    if deepest == 0:
        raise DataError(f"{root}: has {len(found)} images but no class sub-folders; {_LAYOUT}")
    known = frozenset(map(normal, known))
    for level in range(deepest):
        names = {normal(image.folders[level]) for image in found if len(image.folders) > level}
        if len(names) > 1 or names <= known:
            return level
    # One chain of folders: with classes to go by, its first is the one to complain of.
    return 0 if known else deepest - 1


def _check_splits(root: Path, inside: Sequence[_Found]) -> None:
    """Either no image or every image is in a split folder."""
    unsplit = [image for image in inside if image.split is None]
    if unsplit and len(unsplit) < len(inside):
        example = next(image for image in inside if image.split is not None)
        raise DataError(
            f"{root}: {example.name} is in a split folder but {unsplit[0].name} is in none; "
            "move one or the other"
        )
