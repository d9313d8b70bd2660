"""Grey pictures of more than 8 bits a sample to 8 bits, by the range that their file states.

A range taken from the darkest and the brightest pixel would give two pictures of one scene
different greys, and one pixel could turn a picture black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from PIL import Image

_AT_A_TIME = 2**20  # pixels, as larger arrays would hold a picture several times

# Tags of TIFF.
_BITS, _PHOTOMETRIC, _FORMAT = 258, 262, 339
_MOST_USED, _LEAST, _MOST = 281, 340, 341
_WHITE_IS_ZERO, _UNSIGNED = 0, 1

_FLOAT_RANGES = (1.0, 255.0, 65535.0)
_INTEGER_RANGES = (255.0, 65535.0, 2.0**32 - 1)
_OUTLIERS = 0.01  # of the pixels may lie above a range


def is_deep(mode: str) -> bool:
    """Whether pictures of a mode of Pillow are grey of more than 8 bits."""
    return mode in {"I", "F"} or mode.startswith("I;16")


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """A picture in parts of its whole width, each with the row at which it begins."""
    width, height = image.size
    rows = max(1, _AT_A_TIME // max(1, width))
    if rows >= height:
        yield 0, image
        return
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(height, top + rows)))


def to_8_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Grey of more than 8 bits to (h, w) uint8: 0 for the lowest value, 255 for the highest.

    The range of values is, in this order,

    1. what a TIFF states as `SMinSampleValue` and `SMaxSampleValue`;
    2. for 16-bit integers, 0 to 2 ** bits - 1: by `BitsPerSample`, by a `MaxSampleValue` that is
       such a number, or else 0 to 65535 (32767 for signed ones);
    3. for 32-bit integers and floats, whose files state none, from 0 to the least of 1 (floats
       alone), 255, 65535 and 2 ** 32 - 1 that at most one pixel in a hundred exceeds.

    What lies outside is clipped. The transparent value of a PNG becomes white.
    """
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    low, high = _range(image, tags)
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    clear = image.info.get("transparency")
    grey = np.empty(image.size[::-1], np.uint8)
    for top, strip in strips(image):
        values = _values(strip, tags)
        with np.errstate(all="ignore"):  # infinity is clipped as well
            scaled = np.clip(np.rint((values - low) * (255 / (high - low))), 0, 255)
        part = grey[top : top + len(values)]
        part[:] = 255 - scaled if inverted else scaled
        if isinstance(clear, int):
            part[values == clear] = 255
    return grey


def _values(image: Image.Image, tags: Any) -> NDArray[np.float64]:
    values = np.asarray(image)
    if image.mode == "I" and tags.get(_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED:
        values = values.view(np.uint32)  # Pillow knows none
    return np.nan_to_num(values.astype(np.float64), posinf=np.inf, neginf=-np.inf)


def _range(image: Image.Image, tags: Any) -> tuple[float, float]:
    """The values that become 0 and 255."""
    stated = _number(tags.get(_LEAST)) or 0.0, _number(tags.get(_MOST))
    if stated[1] is not None and stated[1] > stated[0]:
        return stated[0], stated[1]
    if image.mode == "F":
        return 0.0, _fitting(image, tags, _FLOAT_RANGES)
    bits = tags.get(_BITS, (16,))[0]
    if bits > 16:
        return 0.0, _fitting(image, tags, _INTEGER_RANGES)
    signed = tags.get(_FORMAT, (_UNSIGNED,))[0] != _UNSIGNED
    nominal = 2 ** (bits - signed) - 1
    used = _number(tags.get(_MOST_USED))
    if used is not None and 255 <= used < nominal and (int(used) + 1).bit_count() == 1:
        return 0.0, float(int(used))
    return 0.0, float(nominal)


def _fitting(image: Image.Image, tags: Any, ranges: tuple[float, ...]) -> float:
    """The least of some ranges that hold nearly all pixels; the last one if none does."""
    above = np.zeros(len(ranges))
    for _, strip in strips(image):
        values = _values(strip, tags)
        above += [np.count_nonzero(values > most) for most in ranges]
    allowed = max(1, _OUTLIERS * image.width * image.height)
    return next((most for most, n in zip(ranges, above, strict=True) if n <= allowed), ranges[-1])


def _number(value: Any) -> float | None:
    """The first of the numbers that a tag holds; None where it holds none."""
    first = value[0] if isinstance(value, tuple) and value else value
    try:
        number = float(first)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
