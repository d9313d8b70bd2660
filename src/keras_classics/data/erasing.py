"""Random erasing: a rectangle of an image is lost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# ImageNet's mean colour: torchvision erases after it has subtracted the mean, and fills with zeros.
MEAN_COLOUR = (124, 116, 104)

_ATTEMPTS = 10  # as torchvision: then the image stays whole


def erase(
    image: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    probability: float,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> NDArray[np.uint8]:
    """Fill a random rectangle with ImageNet's mean colour.

    Zhong et al. 2017, https://arxiv.org/abs/1708.04896, drawn as torchvision's RandomErasing.

    Args:
        image: (h, w, 3) uint8; not changed.
        rng: the random numbers.
        probability: that there is a rectangle.
        area: of the rectangle, as parts of the image, drawn evenly.
        aspect: height by width, drawn evenly in its logarithm.

    Returns:
        A new array (h, w, 3) uint8.
    """
    erased = image.copy()
    if rng.random() >= probability:
        return erased
    height, width = image.shape[:2]
    for _ in range(_ATTEMPTS):
        pixels = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        high, wide = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if high < height and wide < width:
            top, left = rng.integers(height - high + 1), rng.integers(width - wide + 1)
            erased[top : top + high, left : left + wide] = MEAN_COLOUR
            break
    return erased
