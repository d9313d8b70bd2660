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

    @property
    def counts(self) -> dict[str, int]:
        """The number of images in each part."""
        return {name: len(self.part(name)) for name in ("train", "val", "test")}


def list_images(config: TrainConfig) -> Listing:
    """The images as the folder holds them.

    Raises:
        DataError: If nothing can be learnt from the folder, as far as the names of its files tell.
    """
    if config.folder is not None:
        listing = scan(config.folder)
        assign_splits(listing, seed=config.seed)  # says at once what cannot be divided
        return listing
    _, labels, names = load_digits_images(8)
    items = tuple(Item(Path(f"{i:04d}"), int(label)) for i, label in enumerate(labels))
    return Listing(Path("digits"), names, items)


def decode_images(
    listing: Listing, size: int, config: TrainConfig, scratch: Path, tell: Listener
) -> Images:
    """Decode the images of a listing, or take the digits, and divide those that can be read.

    Args:
        listing: The images.
        size: Height and width in pixels.
        config: Says whether there is a folder, how images become square, and the seed.
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
        listing = dataclasses.replace(listing, items=decoded.items)
    listing = assign_splits(listing, seed=config.seed)
    for label, name in enumerate(listing.classes):
        if not any(item.label == label and item.split == "train" for item in listing.items):
            raise DataError(
                f"{listing.root}: no image of the class {name!r} to learn from can be read; "
                f"first {skipped[0]}"
            )
    return Images(
        source="the digits of scikit-learn" if config.folder is None else str(config.folder),
        images=images,
        labels=np.array([item.label for item in listing.items], dtype=np.int64),
        parts=np.array([item.split for item in listing.items]),
        listing=listing,
        skipped=skipped,
    )
