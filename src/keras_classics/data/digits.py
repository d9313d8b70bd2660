"""Handwritten digits that need no download: the first data set to try a network on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from keras_classics.data.fit import fit_image
from keras_classics.errors import DataError

# 1.4 GB of images; four times this size would take 22 GB, all to show 8 x 8 pixels.
_LARGEST_SIZE = 512


def load_digits_images(
    size: int,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """The 1,797 digits that come with scikit-learn, as images.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), test part;
    white on black, 8 x 8 pixels of 17 greys, enlarged here.

    Args:
        size: height and width wanted, in pixels; 512 at most.

    Returns:
        Images (1797, size, size, 3) uint8, labels (1797,) int64 and the names of the ten classes.

    Raises:
        DataError: the size is above 512, where the images would fill the memory.
        ValueError: the size is not positive.
    """
    if size > _LARGEST_SIZE:
        raise DataError(
            f"size={size}: the digits can be at most {_LARGEST_SIZE} x {_LARGEST_SIZE} pixels; "
            "choose a smaller size"
        )
    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    coloured = np.repeat(grey[..., None], 3, axis=3)
    images = np.stack([fit_image(image, (size, size), "stretch") for image in coloured])
    names = tuple(str(name) for name in digits.target_names)
    return images, digits.target.astype(np.int64), names
