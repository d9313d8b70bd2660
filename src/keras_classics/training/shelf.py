"""The images of many runs that differ in their size: divided once, decoded once a size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from keras_classics.data.digits import load_digits_images
from keras_classics.data.pictures import ArrayPictures, Pictures, StoredPictures
from keras_classics.data.pixels import MEMORY_BUDGET, decode_all
from keras_classics.errors import DataError
from keras_classics.training.config import Sizes
from keras_classics.training.events import Reading
from keras_classics.training.images import Images, decode_images
from keras_classics.training.task import Task

NONE = ArrayPictures(np.empty((0, 0, 0, 3), np.uint8))


class Shelf:
    """Images by the size of the inputs; every size has the same images in the same parts.

    Args:
        scratch: Takes the decoded images that memory does not hold.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._first: Images | None = None
        self._pictures: dict[tuple[Sizes, bool], Pictures] = {}

    def images(self, task: Task) -> Images:
        """Those of a run.

        Raises:
            DataError: As in `decode_images`, or if an image has gone since.
        """
        # As `decode_images` decides it.
        sizes, whole = task.sizes, task.recipe.augmentation.view == "whole"
        kept = whole and sizes == Sizes(sizes.test, sizes.test, task.config.fit)
        key = (sizes, kept)
        if self._first is None:
            found = decode_images(
                task.listing,
                sizes,
                task.recipe,
                task.config,
                scratch=self.scratch,
                tell=task.tell,
            )
            self._pictures[key] = found.pictures
            self._first = dataclasses.replace(found, pictures=NONE)
        if key not in self._pictures:
            self._make_room()
            self._pictures[key] = self._decoded(self._first, task, kept=kept)
        return dataclasses.replace(
            self._first, pictures=self._pictures[key], test_size=sizes.test, fit=sizes.fit
        )

    def _decoded(self, first: Images, task: Task, *, kept: bool) -> Pictures:
        sizes, listing = task.sizes, first.listing
        if task.config.folder is None:
            return ArrayPictures(load_digits_images(max(sizes.train, sizes.test))[0])
        if not kept:
            return StoredPictures(listing.storage, [item.name for item in listing.items])
        decoded = decode_all(
            listing.storage,
            listing.items,
            (sizes.test, sizes.test),
            sizes.fit,
            progress=lambda done, total: task.tell(Reading(done, total)),
            scratch=self.scratch,
        )
        if decoded.skipped:
            raise DataError(f"{decoded.skipped[0]}; it could be read before.")
        return ArrayPictures(decoded.images)

    def _make_room(self) -> None:
        """Give up the sizes that were decoded first, where all do not fit into memory."""
        while self._pictures and sum(map(_bytes, self._pictures.values())) > MEMORY_BUDGET:
            del self._pictures[next(iter(self._pictures))]


def _bytes(pictures: Pictures) -> int:
    return pictures.images.nbytes if isinstance(pictures, ArrayPictures) else 0
