"""The check of a folder, whole or quick."""

from __future__ import annotations

import dataclasses
import hashlib
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from keras_classics.data import pixels
from keras_classics.data.check.copies import near_groups
from keras_classics.data.check.cost import Cost, estimate
from keras_classics.data.check.facts import Facts, format_of, look_at_all
from keras_classics.data.check.findings import (
    FEWEST,
    FEWEST_TO_LEARN,
    HUGE,
    UNEVEN,
    Finding,
    Kind,
    Place,
    findings_of,
)
from keras_classics.data.folder import Item, Listing, is_image_name, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from keras_classics.errors import ImageError

FOLDER_SIZE = 64
"""Pixels of the sides of the images by which `classics train` learns unless told otherwise."""

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Check:
    """What a folder holds, and what was found in it.

    Attributes:
        folder: as it was named.
        images: number of images that belong to a class, readable or not.
        classes: readable images of each class.
        splits: readable images of each split that the folder makes; empty if it makes none.
        near: whether near copies were looked for.
        cost: an estimate of what reading the images takes.
        findings: those to mend first.
    """

    folder: str
    images: int
    classes: dict[str, int]
    splits: dict[str, int]
    near: bool
    cost: Cost
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing must be mended."""
        return all(finding.severity != "mend" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"sound": self.sound, **dataclasses.asdict(self)}


def check(
    folder: Path | str,
    *,
    size: int = FOLDER_SIZE,
    near: bool = True,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Check:
    """Look through a folder of images before a network learns from it; nothing is written.

    Every file is read and decoded once, as training does it.

    Args:
        folder: as for `scan`.
        size: height and width of the network's input, in pixels.
        near: look for near copies, too.
        progress: called with how many images are done and their number, and once more in the
            same way while near copies are looked for.
        workers: number of threads; None for one a processor. It changes nothing but the time.

    Returns:
        What was found; the same for the same files.

    Raises:
        DataError: as in `scan`.
        ValueError: the size is not positive.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    listing = scan(folder)
    workers = workers or pixels.processors()
    facts = look_at_all(
        listing.root, listing.items, at_least=size, near=near, workers=workers, progress=progress
    )
    readable = [fact for fact in facts if fact.error is None]
    items = [fact.item for fact in readable]
    found: dict[Kind, list[Place]] = defaultdict(list)
    found["unreadable"] = [_place(fact.item, fact.error) for fact in facts if fact.error]
    copies = _alike((fact.pixels, fact.item) for fact in readable)
    _sort_copies(found, copies.values())
    if near:
        _sort_copies(found, _near(readable, copies, progress), near=True)
    _compare_classes(found, listing, items)
    for fact in readable:
        for kind, note in _particulars(fact, size):
            found[kind].append(_place(fact.item, note))
    _look_beside(found, listing)
    return Check(
        folder=str(listing.root),
        images=len(facts),
        classes=_by_class(listing, items),
        splits=_by_split(items),
        near=near,
        cost=estimate(facts, size=size, workers=workers),
        findings=findings_of(found),
    )


def quick_check(listing: Listing, skipped: Sequence[ImageError] = ()) -> tuple[Finding, ...]:
    """The part of the check that costs nearly nothing beside the reading that training does.

    Files are opened only where others have the same size, to tell copies byte for byte.

    Args:
        listing: the images of a run, with their splits if they have been assigned.
        skipped: those that could not be read, which the listing may still hold.

    Returns:
        Unreadable images, copies, and what is wrong with the classes; those to mend first.
    """
    unreadable = {error.path: error.reason for error in skipped}
    items = [item for item in listing.items if listing.root / item.path not in unreadable]
    found: dict[Kind, list[Place]] = defaultdict(list)
    for path, reason in unreadable.items():
        relative = path.relative_to(listing.root) if path.is_relative_to(listing.root) else path
        found["unreadable"].append(Place((relative.as_posix(),), reason))
    by_size = _alike((_size(listing.root / item.path), item) for item in items)
    candidates = (item for alike in by_size.values() if len(alike) > 1 for item in alike)
    copies = _alike((_digest(listing.root / item.path), item) for item in candidates)
    copies.pop(None, None)
    _sort_copies(found, copies.values())
    _compare_classes(found, listing, items)
    return findings_of(found)


def _particulars(fact: Facts, size: int) -> Iterator[tuple[Kind, str]]:
    """What is special about a readable file, each with a note."""
    shape = f"{fact.width}×{fact.height}"
    if min(fact.width, fact.height) < size:
        yield "tiny", shape
    if fact.width * fact.height > HUGE:
        yield "huge", shape
    for trait in fact.traits:
        yield trait, fact.format if trait == "wrong-ending" else ""


def _alike(keyed: Iterable[tuple[_Key, Item]]) -> dict[_Key, list[Item]]:
    groups: dict[_Key, list[Item]] = defaultdict(list)
    for key, item in keyed:
        groups[key].append(item)
    return groups


def _near(
    readable: Sequence[Facts],
    copies: dict[bytes, list[Item]],
    progress: Callable[[int, int], None] | None,
) -> list[list[Item]]:
    """Groups of pictures that are nearly the same, each with its exact copies."""
    hashed = {fact.pixels: fact.hash for fact in reversed(readable) if fact.hash is not None}
    pictures = [pixels for pixels in copies if pixels in hashed]
    hashes = np.array([np.frombuffer(hashed[pixels], np.uint8) for pixels in pictures])
    groups = near_groups(hashes.reshape(-1, 32), progress=progress)
    return [
        sorted(
            (item for index in group for item in copies[pictures[index]]),
            key=lambda item: item.path.as_posix(),
        )
        for group in groups
    ]


def _sort_copies(
    found: dict[Kind, list[Place]], groups: Iterable[Sequence[Item]], *, near: bool = False
) -> None:
    """Put each group where it belongs; one that crosses both splits and classes, in both."""
    for group in groups:
        if len(group) < 2:
            continue
        place = Place(tuple(item.path.as_posix() for item in group))
        splits = len({item.split for item in group}) > 1
        classes = len({item.label for item in group}) > 1
        if splits:
            found["near-copies-across-splits" if near else "copies-across-splits"].append(place)
        if classes:
            found["near-copies-across-classes" if near else "copies-across-classes"].append(place)
        if not splits and not classes:
            found["near-copies" if near else "copies"].append(place)


def _compare_classes(
    found: dict[Kind, list[Place]], listing: Listing, items: Sequence[Item]
) -> None:
    """What the numbers and the names of the classes tell."""
    counts = _by_class(listing, items)
    learning = _by_class(listing, [item for item in items if item.split in (None, "train")])
    for name, count in counts.items():
        if count < FEWEST or learning[name] < FEWEST_TO_LEARN:
            found["few-images"].append(Place((name,), f"{count}, {learning[name]} to learn from"))
    smallest = min(learning, key=learning.__getitem__)
    largest = max(learning, key=learning.__getitem__)
    if learning[largest] >= UNEVEN * learning[smallest]:
        found["imbalance"] = [Place((name,), f"{learning[name]:,}") for name in (largest, smallest)]
    spelt = defaultdict(list)
    for name in listing.classes:
        spelt["".join(name.split()).casefold()].append(name)
    found["similar-names"] = [Place(tuple(names)) for names in spelt.values() if len(names) > 1]
    for split in _by_split(items):
        there = {item.label for item in items if item.split == split}
        found["missing-in-split"] += [
            Place((name,), split)
            for label, name in enumerate(listing.classes)
            if label not in there
        ]


def _look_beside(found: dict[Kind, list[Place]], listing: Listing) -> None:
    """What stands beside the images that belong to a class."""
    for path in listing.ignored:
        if is_image_name(path) and (listing.root / path).is_file():
            found["outside-classes"].append(Place((path.as_posix(),)))
        # Opening a pipe would wait for ever.
        elif (listing.root / path).is_file() and (form := format_of(listing.root / path)):
            found["overlooked"].append(Place((path.as_posix(),), form))
        else:
            found["other-files"].append(Place((path.as_posix(),)))
    classes: set[Path] = set()
    filled: set[Path] = set()
    for item in listing.items:
        names = [unicodedata.normalize("NFC", part) for part in item.path.parts]
        depth = names.index(listing.classes[item.label]) + 1
        classes.add(Path(*item.path.parts[:depth]))
        filled |= {*item.path.parents}
    for parent in sorted({path.parent for path in classes}, key=Path.as_posix):
        for folder in sorted((listing.root / parent).iterdir()):
            hidden = folder.name.startswith(".") or folder.name == "__MACOSX"
            if not hidden and parent / folder.name not in filled and folder.is_dir():
                found["empty-folder"].append(Place(((parent / folder.name).as_posix(),)))


def _by_class(listing: Listing, items: Iterable[Item]) -> dict[str, int]:
    counts = Counter(item.label for item in items)
    return {name: counts[label] for label, name in enumerate(listing.classes)}


def _by_split(items: Iterable[Item]) -> dict[str, int]:
    counts = Counter(item.split for item in items)
    return {split: counts[split] for split in ("train", "val", "test") if counts[split]}


def _place(item: Item, note: str | None = "") -> Place:
    return Place((item.path.as_posix(),), note or "")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:  # which decoding will report, with the name of the file
        return None


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
