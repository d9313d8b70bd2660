"""The images of a run, each in its part: decoded once, or read anew in every epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_classics.data.copies import equal_groups, near_groups
from keras_classics.data.digits import load_digits_images
from keras_classics.data.fit import CentralCrop, Fit
from keras_classics.data.folder import scan
from keras_classics.data.listing import Item, Listing, contents
from keras_classics.data.pictures import ArrayPictures, Pictures, StoredPictures
from keras_classics.data.pixels import Prints, decode_all, processors
from keras_classics.data.splits import assign_splits, is_divided, limited
from keras_classics.data.views import view
from keras_classics.errors import DataError, ImageError
from keras_classics.training.config import Sizes, TrainConfig
from keras_classics.training.events import Listener, Reading
from keras_classics.training.recipe import Recipe

NEAR_LIMIT = 100_000
"""Images up to which near copies are looked for: the time grows with the square of their number."""


@dataclass(frozen=True)
class Images:
    """The images with their parts."""

    source: str
    pictures: Pictures
    test_size: int  # pixels of the square input in validation and use
    fit: Fit | CentralCrop  # how pictures become square there
    train_fit: Fit  # and in training, where they are seen whole
    labels: npt.NDArray[np.int64]
    parts: npt.NDArray[np.str_]  # "train", "val", "test", or "spare": see `limited`
    listing: Listing
    skipped: tuple[ImageError, ...]
    copies: tuple[tuple[str, ...], ...] = ()  # files that are the same, by their names
    contents: str | None = None  # identifies the bytes of all; None for the digits

    def part(self, name: str) -> npt.NDArray[np.int64]:
        """The indices of the images of one part."""
        return np.flatnonzero(self.parts == name)

    @property
    def counts(self) -> dict[str, int]:
        """The number of images in each part."""
        return {name: len(self.part(name)) for name in ("train", "val", "test")}

    def fitted(self, index: int) -> npt.NDArray[np.uint8]:
        """One image as validation and use see it: (test_size, test_size, 3) uint8."""
        size = (self.test_size, self.test_size)
        return view(partial(self.pictures.picture, index), size, self.fit, None, None)

    def chunks(
        self, indices: npt.NDArray[np.integer[Any]], length: int
    ) -> Iterator[npt.NDArray[np.uint8]]:
        """Images as validation and use see them, so many at a time: (n, h, w, 3) uint8."""
        with ThreadPoolExecutor(processors()) as pool:
            for start in range(0, len(indices), length):
                yield np.stack(list(pool.map(self.fitted, indices[start : start + length])))


def list_images(config: TrainConfig) -> Listing:
    """The images as the folder, archive or table holds them.

    Raises:
        DataError: If nothing can be learnt from them, as far as the names of the files tell.
    """
    if config.folder is not None:
        listing = scan(config.folder, group_by=config.group_by, root=config.root)
        assign_splits(listing, seed=config.seed)  # says at once what cannot be divided
        return listing
    _, labels, names = load_digits_images(8)
    items = tuple(Item(f"{i:04d}", int(label)) for i, label in enumerate(labels))
    return Listing(Path("digits"), names, items)


def decode_images(
    listing: Listing,
    sizes: Sizes,
    recipe: Recipe,
    config: TrainConfig,
    *,
    scratch: Path,
    tell: Listener,
) -> Images:
    """Decode the images of a listing, or take the digits, and divide those that can be read.

    Where training and validation see the same pixels, decoded images are kept; else they are read
    anew in every epoch, and decoded here only to find those that cannot be.

    Copies and near copies are kept together, as an image that was learnt from tests nothing.

    Args:
        listing: The images.
        sizes: Of the inputs.
        recipe: Says which part of the pictures training sees.
        config: Says whether there is a folder, how images become square, and the seed.
        scratch: Takes the decoded images that memory does not hold.
        tell: Told how many images are decoded.

    Raises:
        DataError: If a class has too few images that can be read.
    """
    skipped: tuple[ImageError, ...] = ()
    copies: list[list[str]] = []
    near: list[list[str]] = []
    whole: str | None = None
    kept = recipe.augmentation.view == "whole" and sizes == Sizes(
        sizes.test, sizes.test, config.fit
    )
    if config.folder is None:
        pictures: Pictures = ArrayPictures(load_digits_images(max(sizes.train, sizes.test))[0])
    else:
        decoded = decode_all(
            listing.storage,
            listing.items,
            (sizes.test, sizes.test),
            sizes.fit,
            progress=lambda done, total: tell(Reading(done, total)),
            scratch=scratch,
            prints=True,
            keep=kept,
        )
        skipped = decoded.skipped
        listing = dataclasses.replace(listing, items=decoded.items)
        pictures = (
            ArrayPictures(decoded.images)
            if kept
            else StoredPictures(listing.storage, [item.name for item in listing.items])
        )
        if decoded.prints is not None:
            copies = _named(listing, equal_groups(decoded.prints.files))
            near = _near_copies(listing, decoded.prints)
            whole = contents(listing, (digest.tobytes() for digest in decoded.prints.files))
    listing = assign_splits(listing, seed=config.seed, copies=copies, near=near)
    for label, name in enumerate(listing.classes):
        if not any(item.label == label and item.split == "train" for item in listing.items):
            raise DataError(
                f"{listing.source}: no training image of the class {name!r} can be read; "
                f"first {skipped[0]}"
            )
    labels = np.array([item.label for item in listing.items], dtype=np.int64)
    parts = np.array([item.split for item in listing.items], dtype="<U5")
    return Images(
        source="the digits of scikit-learn" if config.folder is None else str(config.folder),
        pictures=pictures,
        test_size=sizes.test,
        fit=sizes.fit,
        train_fit=config.fit,
        labels=labels,
        parts=limited(parts, labels, config.limit, seed=config.seed),
        listing=listing,
        skipped=skipped,
        copies=tuple(map(tuple, copies)),
        contents=whole,
    )


def _near_copies(listing: Listing, prints: Prints) -> list[list[str]]:
    """Pictures that are nearly the same, where images are yet to be divided."""
    if is_divided(listing) or len(listing.items) > NEAR_LIMIT:
        return []
    hashed = np.flatnonzero(prints.pictures.any(axis=1))
    groups = near_groups(prints.pictures[hashed])
    return _named(listing, [hashed[group].tolist() for group in groups])


def _named(listing: Listing, groups: list[list[int]]) -> list[list[str]]:
    return [[listing.items[index].name for index in group] for group in groups]
