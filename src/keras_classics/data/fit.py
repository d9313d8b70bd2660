"""Images of any shape to the one size of a network, the same way wherever a model meets them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import cv2
import numpy as np
from PIL import Image

from keras_classics.data.decode import decoded, read_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

Fit = Literal["crop", "pad", "stretch"]
"""What gives way when an image has another shape than the network's input: see `fit_image`."""


# Photographs shrunk by less are as near to Lanczos' filter with linear interpolation as with areas
# (4.15 and 4.19 grey levels at 1.02, 3.78 and 3.88 at 1.1, 3.88 and 3.66 at 1.25), in a fifth of
# the time. Beyond that, linear interpolation loses pixels.
AS_GOOD = 1.2


Interpolation = Literal["bilinear", "bicubic", "opencv-cubic"]
"""Pillow's, smooth where it shrinks; "opencv-cubic" looks at 4 x 4 pixels whatever the scale."""


@dataclass(frozen=True)
class CentralCrop:
    """The way in which accuracies on ImageNet are published: shrink, then cut out the middle."""

    resize: int  # pixels of the shorter side
    interpolation: Interpolation

    def corner(self, sides: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
        """Top and left of what is cut out of a resized image (*sides, 3), in pixels."""
        high, wide = (side - wanted for side, wanted in zip(sides, size, strict=True))
        if self.interpolation == "opencv-cubic":
            return high // 2, wide // 2
        return round(high / 2), round(wide / 2)


def fit_image(
    image: NDArray[np.uint8], size: tuple[int, int], fit: Fit | CentralCrop
) -> NDArray[np.uint8]:
    """Resize an image to a size, smoothly in both directions.

    Args:
        image: (h, w, 3) uint8.
        size: height and width wanted, in pixels.
        fit: "crop" fills the size and cuts what juts out, equally on both sides; "pad" shows the
            whole image between black bars; "stretch" shows the whole image and distorts it; a
            `CentralCrop` cuts the size out of the middle of the image, resized as it says.

    Returns:
        A new array (height, width, 3) uint8.

    Raises:
        ValueError: the image is not (h, w, 3) uint8, the size not positive or larger than the
            resized image, or the fit unknown.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"image must be (h, w, 3) uint8, got {image.shape} {image.dtype}")
    if min(size) < 1:
        raise ValueError(f"size must be at least 1 pixel in height and width, got {size}")
    if isinstance(fit, CentralCrop):
        return _central_crop(image, size, fit)
    if fit == "stretch":
        return resize(image, size)
    if fit == "crop":
        return resize(_centre(image, size), size)
    if fit == "pad":
        return _pad(image, size)
    raise ValueError(f"fit must be one of {', '.join(get_args(Fit))}; got {fit!r}")


def load_image(
    path: Path | str, size: tuple[int, int], fit: Fit | CentralCrop
) -> NDArray[np.uint8]:
    """Read an image file at the size of a network: in evaluation, prediction and export alike.

    Args:
        path: an image file.
        size: height and width wanted, in pixels.
        fit: as in `fit_image`.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ImageError: the file cannot be decoded.
        ValueError: as in `fit_image`.
    """
    path = Path(path)
    return fit_bytes(read_bytes(path), path, size, fit)


def fit_bytes(
    data: bytes, path: Path, size: tuple[int, int], fit: Fit | CentralCrop
) -> NDArray[np.uint8]:
    """The image that the bytes of a file hold, as `load_image`; the path names it in errors."""
    # At its full size: an export is given what any decoder gives, and must say the same of it.
    with decoded(data, path) as picture:
        return fit_image(picture.pixels, size, fit)


def _central_crop(
    image: NDArray[np.uint8], size: tuple[int, int], crop: CentralCrop
) -> NDArray[np.uint8]:
    """Resized and cut as torchvision and timm do it, or keras-applications."""
    if crop.resize < max(size):
        raise ValueError(f"size {size} does not fit into {crop.resize} pixels")
    height, width = image.shape[:2]
    shorter = min(height, width)
    height, width = height * crop.resize // shorter, width * crop.resize // shorter
    if crop.interpolation == "opencv-cubic":
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    else:
        how = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        picture = Image.fromarray(image).resize((width, height), how[crop.interpolation])
        resized = np.asarray(picture)
    top, left = crop.corner((height, width), size)
    return np.array(resized[top : top + size[0], left : left + size[1]], np.uint8)


def _centre(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The largest centred part of an image (h, w, 3) that has the proportions of `size`."""
    # Cutting before resizing spares the work on what is thrown away.
    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    cut_height = min(height, max(1, round(size[0] * scale)))
    cut_width = min(width, max(1, round(size[1] * scale)))
    top, left = (height - cut_height) // 2, (width - cut_width) // 2
    return image[top : top + cut_height, left : left + cut_width]


def _pad(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    # One division of whole numbers each, so that what is exported can find the same sizes.
    if width * size[0] > height * size[1]:
        inner = (max(1, round(height * size[1] / width)), size[1])
    else:
        inner = (size[0], max(1, round(width * size[0] / height)))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    padded = np.zeros((*size, 3), np.uint8)
    padded[top : top + inner[0], left : left + inner[1]] = resize(image, inner)
    return padded


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w, 3) to (*size, 3), averaged over areas where it shrinks, linear where it grows."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image.copy()
    resized = image
    # Where one side shrinks and the other grows, OpenCV's area filter would not smooth the first.
    smaller = (min(size[0], height), min(size[1], width))
    if max(height / size[0], width / size[1]) > AS_GOOD:
        resized = cv2.resize(resized, smaller[::-1], interpolation=cv2.INTER_AREA)
    if resized.shape[:2] != size:
        resized = cv2.resize(resized, size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized
