"""The images of a data set, their classes, splits and groups, and what identifies them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from keras_classics.data.storage import Archive, Folder, Storage
from keras_classics.errors import DataError

Split = Literal["train", "val", "test"]

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Names of splits, in lower case, of folders and in tables."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a data set.

    The name is text, as a million paths would take half a gigabyte.

    Attributes:
        name: path relative to the root of the listing, with forward slashes.
        label: index into the classes of the listing.
        split: what the image is used for; None while that is undecided.
        group: images of one group, such as a patient or a scene, are never divided; None without.
    """

    name: str
    label: int
    split: Split | None = None
    group: str | None = None

    @property
    def path(self) -> Path:
        """The name as a path, relative to the root of the listing."""
        return Path(self.name)


@dataclass(frozen=True)
class Listing:
    """The images of a folder, an archive or a table, in the order of their names.

    Attributes:
        root: the folder or the archive that the names of the items are relative to.
        classes: names of the classes; labels index them.
        items: the images that belong to a class, sorted by name.
        ignored: files that are no images and images outside any class, relative to the root.
        archive: the root, where it is an archive.
        table: the file that lists the images, where one does.
    """

    root: Path
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    ignored: tuple[Path, ...] = ()
    archive: Archive | None = None
    table: Path | None = None

    @property
    def storage(self) -> Storage:
        """What gives the bytes of the items, by their names."""
        return self.archive or Folder(self.root)

    @property
    def source(self) -> Path:
        """What a person named: the table, the archive or the folder."""
        return self.table or self.root


def fingerprint(listing: Listing) -> str:
    """SHA-256, in hexadecimal, of every image's path, class and size in bytes.

    The same data give the same fingerprint on every machine, whatever folder they are in and
    however they are split. No image is read.
    """
    digest = hashlib.sha256()
    storage = listing.storage
    for item in listing.items:
        size = storage.size(item.name)
        # Decoding will report what has gone, with the name of the file.
        fields = (item.name, listing.classes[item.label], "gone" if size is None else str(size))
        # A null byte cannot occur in a path, so no two data sets can be confused.
        digest.update("\0".join((*fields, "")).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def contents(listing: Listing, digests: Iterable[bytes]) -> str:
    """SHA-256, in hexadecimal, of every image's path, class and bytes.

    It tells what the fingerprint cannot: that files of the same size hold something else. Reading
    them all only for this would take long, so a run takes it while it decodes.

    Args:
        listing: the images.
        digests: of their bytes, in the same order, all equally long.
    """
    whole = hashlib.sha256()
    for item, digest in zip(listing.items, digests, strict=True):
        text = f"{item.name}\0{listing.classes[item.label]}\0"
        whole.update(text.encode("utf-8", "surrogateescape") + digest)
    return whole.hexdigest()


def check_classes(source: Path, names: set[str]) -> None:
    """Raise a DataError for a single class."""
    if len(names) == 1:
        raise DataError(f"{source}: has only one class, {names.pop()!r}; add images of another")


def check_trained(listing: Listing) -> None:
    """Raise a DataError for a class that has images in some split, but none to train on."""
    trained = {item.label for item in listing.items if item.split in (None, "train")}
    for item in listing.items:
        if item.label not in trained:
            name = listing.classes[item.label]
            raise DataError(
                f"{listing.source}: the class {name!r} has images for {item.split} "
                f"({item.name}) but none for train; add some or remove the class"
            )


def check_known(source: Path, names: Iterable[str], known: Sequence[str]) -> None:
    """Raise a DataError for classes that a model does not know."""
    unknown = sorted(set(names) - set(map(normal, known)), key=natural)
    if unknown:
        where = "folder" if source.is_dir() else "class"
        raise DataError(
            f"{source}: the model does not know the class {quoted(unknown, most=3)}; "
            f"it knows {quoted(known, most=10)}; rename or remove the {where}"
        )


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sorts "2" before "10"; the name itself decides between "a" and "A"."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), name


def normal(name: str) -> str:
    """One spelling for accented letters, which macOS writes to disk in another."""
    return unicodedata.normalize("NFC", name)


def quoted(names: Sequence[str], *, most: int) -> str:
    """Names for a message, no more than so many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
