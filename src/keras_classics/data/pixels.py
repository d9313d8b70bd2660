"""All images of a data set, decoded once and side by side."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_classics.data.copies import HASH_BYTES, perceptual_hash
from keras_classics.data.decode import decoded
from keras_classics.data.fit import fit_image
from keras_classics.errors import DataError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from keras_classics.data.fit import CentralCrop, Fit
    from keras_classics.data.listing import Item
    from keras_classics.data.storage import Storage

MEMORY_BUDGET = 2 * 1024**3
"""Bytes of decoded images up to which they are kept in memory; more go to a file."""

# Images handed to the threads at a time: a future for each of a million would take gigabytes.
_WINDOW = 4096


@dataclass(frozen=True)
class Prints:
    """What tells copies among n images.

    Attributes:
        files: (n, 32) uint8, SHA-256 of the bytes of each file.
        pictures: (n, 32) uint8, the perceptual hash of each picture; zeros where it has none.
    """

    files: NDArray[np.uint8]
    pictures: NDArray[np.uint8]


@dataclass(frozen=True)
class Decoded:
    """The images that could be read, and the errors of those that could not.

    Attributes:
        images: (n, height, width, 3) uint8; beyond the memory budget, mapped from a file that
            disappears with the array. None of them, where they were not to be kept.
        items: the n items, in their order.
        skipped: one error an unreadable image, in their order.
        prints: of the n images, where they were asked for.
    """

    images: NDArray[np.uint8]
    items: tuple[Item, ...]
    skipped: tuple[ImageError, ...]
    prints: Prints | None = None


def decode_all(
    storage: Storage,
    items: Sequence[Item],
    size: tuple[int, int],
    fit: Fit | CentralCrop,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
    scratch: Path | None = None,
    prints: bool = False,
    keep: bool = True,
) -> Decoded:
    """Decode and fit every image once, in threads.

    Args:
        storage: gives the bytes of the images; nothing is written in it.
        items: the images wanted.
        size: height and width, in pixels.
        fit: as in `fit_image`.
        progress: called in this thread after each image, with how many are done and their number.
        workers: number of threads; None for one a processor.
        scratch: an existing folder for the file that takes more images than fit in memory; None
            for the system's temporary folder.
        prints: take the prints of the images, too.
        keep: the images; else they are decoded only to see which of them can be read.

    Returns:
        The images, and what was left out. An image that cannot be read costs only itself.

    Raises:
        DataError: there is nothing to decode, or none of it can be read, or no room for the file.
        ValueError: the size or the fit is not as described.
        KeyboardInterrupt: passed on as soon as the images in hand are done.
    """
    root = storage.place
    if not items:
        raise DataError(f"{root}: no images to decode")
    images = _allocate((len(items) if keep else 0, *size, 3), scratch)
    taken = _no_prints(len(items)) if prints else None

    def decode(index: int) -> ImageError | None:
        name = items[index].name
        path = root / name
        try:
            data = storage.read_bytes(name)
            # The steps of `fit_bytes`.
            with decoded(data, path) as picture:
                if keep:
                    images[index] = fit_image(picture.pixels, size, fit)
                if taken is not None:
                    _take(taken, index, data, picture.pixels)
        except ImageError as error:
            # A new one, as the traceback of the old one would keep the file's bytes alive.
            return ImageError(path, error.reason)
        return None

    errors: list[ImageError | None] = []
    pool = ThreadPoolExecutor(workers or processors(), thread_name_prefix="decode")
    try:
        for start in range(0, len(items), _WINDOW):
            for error in pool.map(decode, range(start, min(start + _WINDOW, len(items)))):
                errors.append(error)
                if progress is not None:
                    progress(len(errors), len(items))
    finally:
        pool.shutdown(cancel_futures=True)

    kept = [index for index, error in enumerate(errors) if error is None]
    skipped = tuple(error for error in errors if error is not None)
    if not kept:
        raise DataError(f"{root}: none of the {len(items)} images can be read; first {skipped[0]}")
    # In place, as there may be no room for a second copy.
    for place, index in enumerate(kept):
        if keep and place != index:
            images[place] = images[index]
    if taken is not None:
        taken = Prints(taken.files[kept], taken.pictures[kept])
    return Decoded(images[: len(kept)], tuple(items[index] for index in kept), skipped, taken)


def _no_prints(number: int) -> Prints:
    return Prints(
        np.zeros((number, hashlib.sha256().digest_size), np.uint8),
        np.zeros((number, HASH_BYTES), np.uint8),
    )


def _take(prints: Prints, index: int, data: bytes, image: NDArray[np.uint8]) -> None:
    prints.files[index] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
    found = perceptual_hash(image)
    if found is not None:
        prints.pictures[index] = np.frombuffer(found, np.uint8)


def _allocate(shape: tuple[int, int, int, int], scratch: Path | None) -> NDArray[np.uint8]:
    size = math.prod(shape)
    if size <= MEMORY_BUDGET:
        return np.empty(shape, np.uint8)
    folder = Path(scratch or tempfile.gettempdir())
    try:
        free = shutil.disk_usage(folder).free
        if free < size:
            raise DataError(
                f"{folder}: {free / 1e9:.1f} GB free, but the decoded images take "
                f"{size / 1e9:.1f} GB; free some space, or use a smaller image size"
            )
        # The file has no name, or loses it with its last user, however the program ends.
        with tempfile.TemporaryFile(dir=folder) as file:
            # Writing to a mapped file ends the program if the disk is full, so room is made now.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "r+" if file.seek(0, 2) else "w+", shape=shape)
    except OSError as error:
        raise DataError(
            f"{folder}: no room for {size / 1e9:.1f} GB of decoded images "
            f"({error.strerror or error})"
        ) from None


def processors() -> int:
    """Processors that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
