"""Files and listings for the tests of what reads and divides them."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from keras_classics.data.listing import Item, Listing


def make(root: Path, *files: str) -> Path:
    """Files with their own names as contents: listing opens none of them."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def found(listing: Listing) -> dict[str, tuple[str, str | None]]:
    return {
        item.path.as_posix(): (listing.classes[item.label], item.split) for item in listing.items
    }


def listing_of(counts: dict[str, int], split: str | None = None, root: str = "root") -> Listing:
    classes = tuple(counts)
    items = tuple(
        Item(f"{split or ''}/{name}/{number:04}.jpg", label, split)
        for label, name in enumerate(classes)
        for number in range(counts[name])
    )
    return Listing(Path(root), classes, items)


def together(*listings: Listing) -> Listing:
    first = listings[0]
    return Listing(first.root, first.classes, tuple(item for one in listings for item in one.items))


def tally(listing: Listing) -> dict[str, Counter]:
    counts: dict[str, Counter] = defaultdict(Counter)
    for item in listing.items:
        counts[listing.classes[item.label]][item.split] += 1
    return counts
