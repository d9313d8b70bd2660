"""Arrays that are taken for pictures: the one door of all that classifies arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_classics.errors import ClassicsError


def as_pictures(given: ArrayLike, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pictures of a network's size; what would be taken for other pictures is refused.

    Args:
        given: (n, h, w, 3) red, green and blue, whole numbers from 0 to 255 of any integer type; a
            list of pictures (h, w, 3); or one picture (h, w, 3), which counts as a batch of one.
        size: h and w of the network's input, in pixels.

    Returns:
        (n, h, w, 3) uint8: the array that was given, if it is one.

    Raises:
        ClassicsError: If type, shape or range is another one.
    """
    images = _array(given, size)
    if images.dtype.kind not in "iu":
        scaled = images.dtype.kind == "f"
        raise ClassicsError(
            f"images: {images.dtype} numbers; pixels are whole numbers from 0 to 255 (uint8)"
            + ("; of 0 to 1, np.rint(255 * images).astype('uint8') makes them." if scaled else ".")
        )
    picture = (*size, 3)
    if images.shape == picture:
        images = images[None]
    if images.shape[1:] != picture:
        raise _misshapen("images", images.shape, size)
    if images.dtype != np.uint8:
        low, high = (int(images.min()), int(images.max())) if images.size else (0, 0)
        if low < 0 or high > 255:
            raise ClassicsError(
                f"images: numbers from {low} to {high}; pixels are whole numbers from 0 to 255."
            )
    return images.astype(np.uint8, copy=False)


def _array(given: ArrayLike, size: tuple[int, int]) -> NDArray[Any]:
    """What was given as one array; of a list, the first picture of another size is named."""
    if not isinstance(given, (list, tuple)):
        return np.asarray(given)
    if not given:
        return np.empty((0, *size, 3), np.uint8)
    try:
        parts = [np.asarray(part) for part in given]
    except ValueError as error:  # lists of unequal lengths
        raise ClassicsError(f"images: no arrays ({error}).") from None
    if len({part.shape for part in parts}) > 1:
        i = next(i for i, part in enumerate(parts) if part.shape != (*size, 3))
        raise _misshapen(f"images[{i}]", parts[i].shape, size)
    return np.stack(parts)


def _misshapen(what: str, shape: tuple[int, ...], size: tuple[int, int]) -> ClassicsError:
    height, width = size
    return ClassicsError(
        f"{what}: shape {shape}; (n, {height}, {width}, 3) or, of one picture, ({height}, {width}, "
        "3) is needed: height, width, and red, green and blue. keras_classics.data.fit.fit_image "
        "brings a picture to that size."
    )
