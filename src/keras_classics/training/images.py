"""The images of a run: decoded once, each in its part."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keras_classics.data.digits import load_digits_images
from keras_classics.data.folder import Item, Listing, assign_splits, scan
from keras_classics.data.pixels import decode_all
from keras_classics.errors import DataError, ImageError
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Listener, Reading


@dataclass(frozen=True)
class Images:
    """Decoded images with their parts."""

    source: str
    images: npt.NDArray[np.uint8]  # (n, h, w, 3)
    labels: npt.NDArray[np.int64]
    parts: npt.NDArray[np.str_]  # "train", "val" or "test"
    listing: Listing
    skipped: tuple[ImageError, ...]

    def part(self, name: str) -> npt.NDArray[np.int64]:
        """The indices of the images of one part."""
        return np.flatnonzero(self.parts == name)


def list_images(config: TrainConfig) -> Listing:
    """The images and their parts, before anything is decoded."""
    if config.folder is not None:
        return assign_splits(scan(config.folder), seed=config.seed)
    _, labels, names = load_digits_images(8)
    items = tuple(Item(Path(f"{i:04d}"), int(label)) for i, label in enumerate(labels))
    return assign_splits(Listing(Path("digits"), names, items), seed=config.seed)


def decode_images(
    listing: Listing, size: int, config: TrainConfig, scratch: Path, tell: Listener
) -> Images:
    """Decode the images of a listing, or take the digits.

    Args:
        listing: The images and their parts.
        size: Height and width in pixels.
        config: Says whether there is a folder, and how images become square.
        scratch: Takes the decoded images that memory does not hold.
        tell: Told how many images are decoded.

    Raises:
        DataError: If a class has too few images that can be read.
    """
    skipped: tuple[ImageError, ...] = ()
    if config.folder is None:
        images, _, _ = load_digits_images(size)
    else:
        decoded = decode_all(
            listing.root,
            listing.items,
            (size, size),
            config.fit,
            progress=lambda done, total: tell(Reading(done, total)),
            scratch=scratch,
        )
        images, skipped = decoded.images, decoded.skipped
        if skipped:
            listing = _readable(listing, decoded.items, skipped, config.seed)
    return Images(
        source="the digits of scikit-learn" if config.folder is None else str(config.folder),
        images=images,
        labels=np.array([item.label for item in listing.items], dtype=np.int64),
        parts=np.array([item.split for item in listing.items]),
        listing=listing,
        skipped=skipped,
    )


def _readable(
    listing: Listing, items: tuple[Item, ...], skipped: tuple[ImageError, ...], seed: int
) -> Listing:
    """The split of the images that can be read, drawn as if there were no others.

    Raises:
        DataError: If a class has too few of them.
    """
    for label, name in enumerate(listing.classes):
        if not any(item.label == label for item in items):
            raise DataError(
                f"{listing.root}: no image of the class {name!r} can be read; first {skipped[0]}"
            )
    given = {item.path: item.split for item in scan(listing.root).items}
    undecided = tuple(dataclasses.replace(item, split=given[item.path]) for item in items)
    return assign_splits(dataclasses.replace(listing, items=undecided), seed=seed)
