"""All images of a data set, decoded once and side by side."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_classics.data.fit import load_image
from keras_classics.errors import DataError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from keras_classics.data.fit import CentralCrop, Fit
    from keras_classics.data.folder import Item

MEMORY_BUDGET = 2 * 1024**3
"""Bytes of decoded images up to which they are kept in memory; more go to a file."""

# Images handed to the threads at a time: a future for each of a million would take gigabytes.
_WINDOW = 4096


@dataclass(frozen=True)
class Decoded:
    """The images that could be read, and the errors of those that could not.

    Attributes:
        images: (n, height, width, 3) uint8; beyond the memory budget, mapped from a file that
            disappears with the array.
        items: the n items, in their order.
        skipped: one error an unreadable image, in their order.
    """

    images: NDArray[np.uint8]
    items: tuple[Item, ...]
    skipped: tuple[ImageError, ...]


def decode_all(
    root: Path | str,
    items: Sequence[Item],
    size: tuple[int, int],
    fit: Fit | CentralCrop,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
    scratch: Path | None = None,
) -> Decoded:
    """Decode and fit every image once, in threads.

    Args:
        root: the folder that the items' paths are relative to; nothing is written in it.
        items: the images wanted.
        size: height and width, in pixels.
        fit: as in `fit_image`.
        progress: called in this thread after each image, with how many are done and their number.
        workers: number of threads; None for one a processor.
        scratch: an existing folder for the file that takes more images than fit in memory; None
            for the system's temporary folder.

    Returns:
        The images, and what was left out. An image that cannot be read costs only itself.

    Raises:
        DataError: there is nothing to decode, or none of it can be read, or no room for the file.
        ValueError: the size or the fit is not as described.
        KeyboardInterrupt: passed on as soon as the images in hand are done.
    """
    root = Path(root)
    if not items:
        raise DataError(f"{root}: no images to decode")
    images = _allocate((len(items), *size, 3), scratch)

    def decode(index: int) -> ImageError | None:
        path = root / items[index].path
        try:
            images[index] = load_image(path, size, fit)
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
        if place != index:
            images[place] = images[index]
    return Decoded(images[: len(kept)], tuple(items[index] for index in kept), skipped)


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
