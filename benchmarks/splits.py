"""How well groups are divided, and how many images one more moves, beside scikit-learn.

    python benchmarks/splits.py

divides simulated data sets by `assign_splits` and by scikit-learn's StratifiedGroupKFold, and
prints how far the held-out part of a class is from the part that was wanted, and how many of the
other images change sides when one image is added to one group.
"""

from __future__ import annotations

import random
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from keras_classics.data.listing import Item, Listing
from keras_classics.data.splits import assign_splits

SETS = 60
FOLDS = 7  # the nearest to 15 % that whole folds come


@dataclass(frozen=True)
class Kind:
    """A kind of data set."""

    groups: int
    most: int  # images of a group, evenly from 1
    classes: int
    mixed: bool  # images of one group are of any class


KINDS = (
    Kind(groups=30, most=40, classes=2, mixed=False),
    Kind(groups=100, most=20, classes=2, mixed=False),
    Kind(groups=100, most=20, classes=5, mixed=True),
    Kind(groups=300, most=30, classes=10, mixed=False),
)


def simulated(kind: Kind, seed: int) -> Listing:
    """A data set without files."""
    rng = random.Random(seed)
    items = []
    for group in range(kind.groups):
        own = rng.randrange(kind.classes)
        for i in range(rng.randint(1, kind.most)):
            label = rng.randrange(kind.classes) if kind.mixed else own
            items.append(Item(f"{label}/{group}-{i}.jpg", label, None, f"g{group}"))
    return Listing(Path("simulated"), tuple(map(str, range(kind.classes))), tuple(items))


def by_lots(listing: Listing, seed: int) -> np.ndarray:
    """Which images are held out."""
    return np.array([item.split == "test" for item in assign_splits(listing, seed=seed).items])


def by_folds(listing: Listing, seed: int) -> np.ndarray:
    """The same by scikit-learn."""
    labels = np.array([item.label for item in listing.items])
    groups = np.array([item.group for item in listing.items])
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    held_out = np.zeros(len(labels), bool)
    held_out[next(iter(folds.split(labels, labels, groups)))[1]] = True
    return held_out


def main() -> None:
    """Measure and print."""
    sys.stdout.write(
        "| groups | images of each | classes | off by | off by, scikit-learn | moved | moved, "
        "scikit-learn |\n|---:|---:|---|---:|---:|---:|---:|\n"
    )
    for kind in KINDS:
        cells = []
        for divide, wanted in ((by_lots, 0.15), (by_folds, 1 / FOLDS)):
            off, moved = [], []
            for seed in range(SETS):
                listing = simulated(kind, seed)
                labels = np.array([item.label for item in listing.items])
                held_out = divide(listing, seed)
                off += [
                    abs(held_out[labels == label].mean() - wanted) for label in range(kind.classes)
                ]
                more = replace(listing, items=(*listing.items, Item("0/new.jpg", 0, None, "g0")))
                moved.append((divide(more, seed)[:-1] != held_out).mean())
            cells.append((statistics.mean(off), statistics.mean(moved)))
        (our_off, our_moved), (their_off, their_moved) = cells
        mixed = f"{kind.classes}, mixed" if kind.mixed else kind.classes
        sys.stdout.write(
            f"| {kind.groups} | 1 to {kind.most} | {mixed} | {our_off:.1%} | {their_off:.1%} | "
            f"{our_moved:.1%} | {their_moved:.1%} |\n"
        )


if __name__ == "__main__":
    main()
