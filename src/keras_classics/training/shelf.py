"""What many runs share: images, divided once and decoded once a size; heads, fitted once."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keras_classics.data.digits import load_digits_images
from keras_classics.data.pictures import ArrayPictures, Pictures, StoredPictures
from keras_classics.data.pixels import MEMORY_BUDGET, decode_all
from keras_classics.errors import DataError
from keras_classics.host.staging import check_space
from keras_classics.training.config import Sizes
from keras_classics.training.events import Reading
from keras_classics.training.features import Told
from keras_classics.training.fitted_head import fit_head_of, put_head
from keras_classics.training.head import Head
from keras_classics.training.images import Images, decode_images
from keras_classics.training.start import StartingNetwork
from keras_classics.training.task import Task

NONE = ArrayPictures(np.empty((0, 0, 0, 3), np.uint8))


@dataclass(frozen=True)
class KeptHead:
    """A head, and what it says of the validation part: (n, classes)."""

    head: Head
    val: npt.NDArray[np.float32]


class Shelf:
    """Images by the size of the inputs; every size has the same images in the same parts.

    Args:
        scratch: Takes features, and the decoded images that memory does not hold.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._first: Images | None = None
        self._pictures: dict[tuple[Sizes, bool], Pictures] = {}
        self._heads: dict[tuple[str, int], KeptHead] = {}

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

    def head(self, task: Task, network: StartingNetwork, data: Images, *, told: Told) -> KeptHead:
        """Put the head of a network and a size into the network; fitted where it was not before.

        Raises:
            OutputError: If the features do not fit on the disk.
        """
        key = (task.architecture.name, task.sizes.test)
        if key in self._heads:
            put_head(network.model, network, self._heads[key].head)
            return self._heads[key]
        place = self.scratch / f".features-{key[0]}-{key[1]}"
        place.mkdir(exist_ok=True)  # a process that was killed leaves what it computed
        try:
            check_space(place, 4 * network.head.input.shape[-1] * len(data.labels))
            fitted = fit_head_of(task, network, data, place, told=told)
            self._heads[key] = KeptHead(fitted.head, fitted.probabilities(data.part("val")))
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return self._heads[key]

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
