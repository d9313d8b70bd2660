"""What one pass over the files of a folder learns: each is read once and decoded once."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from keras_classics.data import decode
from keras_classics.data.copies import perceptual_hash
from keras_classics.data.depth import is_deep
from keras_classics.data.formats import foreign
from keras_classics.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from keras_classics.data.listing import Item
    from keras_classics.data.storage import Storage

Trait = Literal[
    "rotated",
    "greyscale",
    "palette",
    "cmyk",
    "transparent",
    "16-bit",
    "animated",
    "flat",
    "wrong-ending",
]

_ENDINGS: dict[type[ImageFile], tuple[str, ...]] = {
    JpegImageFile: (".jpg", ".jpeg", ".jpe", ".jfif"),
    PngImageFile: (".png",),
    GifImageFile: (".gif",),
    BmpImageFile: (".bmp",),
    TiffImageFile: (".tif", ".tiff"),
    PpmImageFile: (".ppm", ".pgm", ".pnm", ".pbm"),
    WebPImageFile: (".webp",),
}
HEAD = 16
"""Bytes of a file that tell its format."""

LEAST_RANGE = 1 / 4
"""Of the range of values: a picture that uses less is nearly black, white or of one grey."""
_STRAY = 0.001  # of the pixels may lie outside the range

# Files handed to the threads at a time: a future for each of a million would take gigabytes.
_WINDOW = 4096


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one file.

    Attributes:
        item: the image, as the folder lists it.
        error: why it cannot be read; the rest is then empty.
        width: in pixels, as stored in the file.
        height: in pixels.
        format: by the contents, such as "JPG".
        traits: what is special about it.
        pixels: digest of the decoded picture.
        hash: perceptual hash, where the picture has one and it was asked for.
        seconds: that reading and decoding took.
    """

    item: Item
    error: str | None = None
    width: int = 0
    height: int = 0
    format: str = ""
    traits: tuple[Trait, ...] = ()
    pixels: bytes = b""
    hash: bytes | None = None
    seconds: float = 0.0


def look_at_all(
    storage: Storage,
    items: Sequence[Item],
    *,
    near: bool,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Facts]:
    """The facts of all images, in their order, whatever the number of threads.

    Args:
        storage: gives the bytes of the images.
        items: the images.
        near: compute perceptual hashes.
        workers: number of threads.
        progress: called in this thread after each image, with how many are done and their number.
    """
    facts: list[Facts] = []
    pool = ThreadPoolExecutor(workers, thread_name_prefix="check")
    try:
        for start in range(0, len(items), _WINDOW):
            part = items[start : start + _WINDOW]
            for fact in pool.map(lambda item: _look_at(storage, item, near=near), part):
                facts.append(fact)
                if progress is not None:
                    progress(len(facts), len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    return facts


def format_of(path: Path, head: bytes) -> str | None:
    """The format that a file is in, read or not, such as "JPG"; None if it is no image.

    Args:
        path: of the file.
        head: `HEAD` bytes of it.
    """
    if form := foreign(path, head):
        return form
    try:
        return _format(decode.opener_of(path, head))
    except ImageError:
        return None


def _format(opener: type[ImageFile]) -> str:
    return _ENDINGS[opener][0].lstrip(".").upper()


def _look_at(storage: Storage, item: Item, *, near: bool) -> Facts:
    path = storage.place / item.name
    began = time.perf_counter()
    try:
        data = storage.read_bytes(item.name)
        with decode.decoded(data, path) as picture:
            seconds = time.perf_counter() - began
            return _facts(item, path, data, picture, seconds, near=near)
    except ImageError as error:
        return Facts(item, error=error.reason)


def _facts(
    item: Item, path: Path, data: bytes, picture: decode.Picture, seconds: float, *, near: bool
) -> Facts:
    opener = decode.opener_of(path, data)
    pixels, mode = picture.pixels, picture.mode
    traits: dict[Trait, bool] = {
        "rotated": picture.orientation != 1,
        "greyscale": mode in {"1", "L", "LA", "La"} or is_deep(mode),
        "palette": mode in {"P", "PA"},
        "cmyk": mode == "CMYK",
        "transparent": picture.transparent,
        "16-bit": picture.deep,
        "animated": decode.several(data, path) is not None,
        "flat": _range_used(pixels) < LEAST_RANGE,
        "wrong-ending": path.suffix.lower() not in _ENDINGS[opener],
    }
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.data)
    return Facts(
        item,
        width=picture.width,
        height=picture.height,
        format=_format(opener),
        traits=tuple(trait for trait, true in traits.items() if true),
        pixels=digest.digest(),
        hash=perceptual_hash(pixels) if near else None,
        seconds=seconds,
    )


def _range_used(pixels: NDArray[np.uint8]) -> float:
    """The part of the range of values that all but a few pixels use, from 0 to 1."""
    counts = cv2.calcHist([pixels.reshape(-1, 1)], [0], None, [256], [0, 256]).ravel().cumsum()
    low, high = np.searchsorted(counts, np.array([_STRAY, 1 - _STRAY]) * counts[-1])
    return float(high - low) / 255
