"""The check of a folder, whole or quick."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from keras_classics.data import pixels
from keras_classics.data.check.cost import Cost, estimate
from keras_classics.data.check.facts import HEAD, Facts, format_of, look_at_all
from keras_classics.data.check.findings import (
    BALANCED,
    FEWEST,
    FEWEST_TO_LEARN,
    HUGE,
    UNEVEN,
    Finding,
    Kind,
    Place,
    findings_of,
)
from keras_classics.data.copies import HASH_BYTES, near_groups
from keras_classics.data.folder import scan
from keras_classics.data.listing import Item, Listing, normal
from keras_classics.data.storage import is_image_name
from keras_classics.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from keras_classics.data.storage import Storage

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Check:
    """What a folder, archive or table holds, and what was found in it.

    Attributes:
        folder: the folder, archive or table, as it was named.
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
    size: int,
    near: bool = True,
    group_by: str | None = None,
    root: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Check:
    """Look through a folder of images before a network learns from it; nothing is written.

    Every file is read and decoded once, as training does it.

    Args:
        folder: as for `scan`.
        size: height and width of the network's input, in pixels.
        near: look for near copies, too.
        group_by: as for `scan`; groups in several splits are then found, too.
        root: as for `scan`.
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
    listing = scan(folder, group_by=group_by, root=root)
    workers = workers or pixels.processors()
    facts = look_at_all(
        listing.storage,
        listing.items,
        near=near,
        workers=workers,
        progress=progress,
    )
    readable = [fact for fact in facts if fact.error is None]
    items = [fact.item for fact in readable]
    found: dict[Kind, list[Place]] = defaultdict(list)
    found["unreadable"] = [_place(fact.item, fact.error) for fact in facts if fact.error]
    copies = _alike((fact.pixels, fact.item) for fact in readable)
    _sort_copies(found, copies.values())
    if near:
        _sort_copies(found, _near(readable, copies, progress), near=True)
    _sort_groups(found, items)
    _compare_classes(found, listing, items)
    for fact in readable:
        for kind, note in _particulars(fact, size):
            found[kind].append(_place(fact.item, note))
    _look_beside(found, listing)
    return Check(
        folder=str(listing.source),
        images=len(facts),
        classes=_by_class(listing, items),
        splits=_by_split(items),
        near=near,
        cost=estimate(facts, size=size, workers=workers),
        findings=findings_of(found),
    )


def quick_check(
    listing: Listing,
    skipped: Sequence[ImageError] = (),
    *,
    copies: Sequence[Sequence[str]] | None = None,
    balance: str = "none",
) -> tuple[Finding, ...]:
    """The part of the check that costs nearly nothing beside the reading that training does.

    Args:
        listing: the images of a run, with their splits if they have been assigned.
        skipped: those that could not be read, which the listing may still hold.
        copies: groups of files that are the same, by their names. None looks for them, and opens
            files where others have the same size.
        balance: what the run does about imbalance: "none", "weights" or "sampling".

    Returns:
        Unreadable images, copies, groups in several splits, and what is wrong with the classes;
        those to mend first.
    """
    unreadable = {error.path: error.reason for error in skipped}
    items = list(listing.items)
    if unreadable:
        items = [item for item in items if listing.root / item.name not in unreadable]
    found: dict[Kind, list[Place]] = defaultdict(list)
    for path, reason in unreadable.items():
        relative = path.relative_to(listing.root) if path.is_relative_to(listing.root) else path
        found["unreadable"].append(Place((relative.as_posix(),), reason))
    by_name = {item.name: item for item in items}
    groups = same_files(listing.storage, items) if copies is None else copies
    _sort_copies(found, ([by_name[n] for n in group if n in by_name] for group in groups))
    _sort_groups(found, items)
    _compare_classes(found, listing, items)
    findings = findings_of(found)
    return tuple(map(_balanced, findings, repeat(balance))) if balance in BALANCED else findings


def _balanced(finding: Finding, balance: str) -> Finding:
    """What is said of imbalance where a run does something about it."""
    if finding.kind != "imbalance":
        return finding
    text = finding.text.partition(";")[0]
    advice = "look at the figures per class"
    return dataclasses.replace(finding, text=f"{text}; {BALANCED[balance]}", advice=advice)


def _particulars(fact: Facts, size: int) -> Iterator[tuple[Kind, str]]:
    """What is special about a readable file, each with a note."""
    shape = f"{fact.width}×{fact.height}"
    if min(fact.width, fact.height) < size:
        yield "tiny", shape
    if fact.width * fact.height > HUGE:
        yield "huge", shape
    for trait in fact.traits:
        yield trait, fact.format if trait == "wrong-ending" else ""


def same_files(storage: Storage, items: Sequence[Item]) -> list[list[str]]:
    """Groups of files with the same bytes, by their names."""
    by_size = _alike((storage.size(item.name), item) for item in items)
    candidates = [item for alike in by_size.values() if len(alike) > 1 for item in alike]
    by_digest = _alike((_digest(storage, item), item) for item in candidates)
    return [[item.name for item in same] for digest, same in by_digest.items() if digest]


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
    hashes = np.frombuffer(b"".join(hashed[pixels] for pixels in pictures), np.uint8)
    groups = near_groups(hashes.reshape(-1, HASH_BYTES), progress=progress)
    return [
        sorted(
            (item for index in group for item in copies[pictures[index]]),
            key=lambda item: item.name,
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
        place = Place(tuple(item.name for item in group))
        splits = len({item.split for item in group}) > 1
        classes = len({item.label for item in group}) > 1
        if splits:
            found["near-copies-across-splits" if near else "copies-across-splits"].append(place)
        if classes:
            found["near-copies-across-classes" if near else "copies-across-classes"].append(place)
        if not splits and not classes:
            found["near-copies" if near else "copies"].append(place)


def _sort_groups(found: dict[Kind, list[Place]], items: Iterable[Item]) -> None:
    """Groups that lie on several sides, each with an image of every side."""
    sides: dict[str, dict[str | None, str]] = defaultdict(dict)
    for item in items:
        if item.group is not None:
            sides[item.group].setdefault(item.split, item.name)
    found["groups-across-splits"] = [
        Place(tuple(names.values()), group) for group, names in sides.items() if len(names) > 1
    ]


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
        name = path.as_posix()
        head = listing.storage.head(name, HEAD)
        if head is not None and is_image_name(path):
            found["outside-classes"].append(Place((name,)))
        elif head is not None and (form := format_of(path, head)):
            found["overlooked"].append(Place((name,), form))
        else:
            found["other-files"].append(Place((name,)))
    if listing.table:
        return  # which names files, whatever folders they are in
    parents: set[str] = set()
    filled: set[str] = set()
    for folder, label in {(item.name.rpartition("/")[0], item.label) for item in listing.items}:
        names = folder.split("/")
        depth = [normal(name) for name in names].index(listing.classes[label])
        parents.add("/".join(names[:depth]))
        filled |= {"/".join(names[:end]) for end in range(1, len(names) + 1)}
    for parent in sorted(parents):
        for name in listing.storage.folders(parent or "."):
            path_there = f"{parent}/{name}" if parent else name
            if path_there not in filled:
                found["empty-folder"].append(Place((path_there,)))


def _by_class(listing: Listing, items: Iterable[Item]) -> dict[str, int]:
    counts = Counter(item.label for item in items)
    return {name: counts[label] for label, name in enumerate(listing.classes)}


def _by_split(items: Iterable[Item]) -> dict[str, int]:
    counts = Counter(item.split for item in items)
    return {split: counts[split] for split in ("train", "val", "test") if counts[split]}


def _place(item: Item, note: str | None = "") -> Place:
    return Place((item.name,), note or "")


def _digest(storage: Storage, item: Item) -> bytes | None:
    try:
        return hashlib.sha256(storage.read_bytes(item.name)).digest()
    except ImageError:  # which decoding will report
        return None
