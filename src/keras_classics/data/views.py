"""The part of a picture that a network sees while it learns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_classics.data.fit import fit_image, resize

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from keras_classics.data.augment import Augmentation
    from keras_classics.data.fit import CentralCrop, Fit

    Read = Callable[[int | None], NDArray[np.uint8]]

_ATTEMPTS = 10  # to draw an area that lies within the picture, as torchvision
_PAPERS_INPUT = 224


class Box(NamedTuple):
    """A rectangle in a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def view(
    read: Read,
    size: tuple[int, int],
    fit: Fit | CentralCrop,
    spec: Augmentation | None,
    rng: np.random.Generator | None,
) -> NDArray[np.uint8]:
    """Read a picture and cut out what the network sees, at the size of its input.

    Args:
        read: gives the picture (h, w, 3) uint8, upright; its argument says how many pixels of the
            shorter side suffice (None: all of them), as in `read_image`.
        size: height and width wanted, in pixels.
        fit: as in `fit_image`, for the whole picture.
        spec: says which part; None for the whole picture.
        rng: how many numbers are drawn from it depends on the kind of the view alone; none for the
            whole picture.

    Returns:
        A new array (*size, 3) uint8.
    """
    if spec is None or spec.view == "whole" or rng is None:
        return fit_image(read(None), size, fit)  # as `fit_bytes`
    if spec.view == "random_area":
        return _random_area(read, size, spec, rng)
    return _scale_jitter(read, size, spec, rng)


def _random_area(
    read: Read, size: tuple[int, int], spec: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    draws = rng.random((_ATTEMPTS + 1, 2))
    areas = spec.area[0] + (spec.area[1] - spec.area[0]) * draws[1:, 0]
    low, high = np.log(spec.aspect)
    aspects = np.exp(low + (high - low) * draws[1:, 1])
    # In a square, the narrowest case, a part of this shorter side has the pixels of the input.
    enough = np.ceil(
        np.maximum(size[0] * np.sqrt(aspects / areas), size[1] / np.sqrt(areas * aspects))
    ).astype(int)
    picture = read(int(enough[0]))
    box, attempt = area_box(picture.shape[:2], areas, aspects, spec.aspect, draws[0])
    if enough[attempt] > enough[0]:
        picture = read(int(enough[attempt]))
        box, _ = area_box(picture.shape[:2], areas, aspects, spec.aspect, draws[0])
    return _cut(picture, box, size)


def area_box(
    shape: tuple[int, ...],
    areas: NDArray[np.float64],
    aspects: NDArray[np.float64],
    limits: tuple[float, float],
    place: NDArray[np.float64],
) -> tuple[Box, int]:
    """The first drawn area that lies within a picture, and which one it is.

    Args:
        shape: height and width of the picture.
        areas: as parts of the picture.
        aspects: width by height.
        limits: of the aspects, which a box that stands in for all of them keeps to.
        place: from the top and from the left, 0 to 1.
    """
    height, width = shape
    for attempt, (area, aspect) in enumerate(zip(areas, aspects, strict=True)):
        pixels = area * height * width
        wide, high = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < wide <= width and 0 < high <= height:
            top, left = (
                int(part * (rest + 1))
                for part, rest in zip(place, (height - high, width - wide), strict=True)
            )
            return Box(top, left, high, wide), attempt
    # As torchvision: the largest central box whose aspect is within the limits.
    wide = max(1, min(width, round(height * limits[1])))
    high = max(1, min(height, round(width / limits[0])))
    return Box((height - high) // 2, (width - wide) // 2, high, wide), 0


def _scale_jitter(
    read: Read, size: tuple[int, int], spec: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    scale, *place = rng.random(3)
    low, high = spec.shorter_side
    shorter = (low + (high - low) * scale) * max(size) / _PAPERS_INPUT
    picture = read(math.ceil(shorter))
    return _cut(picture, jitter_box(picture.shape[:2], size, shorter, place), size)


def jitter_box(
    shape: tuple[int, ...], size: tuple[int, int], shorter: float, place: list[float]
) -> Box:
    """What a crop of a scaled picture shows, in pixels of the picture before it is scaled.

    Args:
        shape: height and width of the picture.
        size: height and width of the crop.
        shorter: pixels of the shorter side of the scaled picture.
        place: from the top and from the left, 0 to 1.
    """
    # Cutting before resizing spares the work on what is thrown away.
    scale = min(shape) / shorter
    high, wide = (
        min(side, max(1, round(wanted * scale))) for side, wanted in zip(shape, size, strict=True)
    )
    top, left = (
        int(part * (rest + 1))
        for part, rest in zip(place, (shape[0] - high, shape[1] - wide), strict=True)
    )
    return Box(top, left, high, wide)


def _cut(picture: NDArray[np.uint8], box: Box, size: tuple[int, int]) -> NDArray[np.uint8]:
    top, left, height, width = box
    return resize(picture[top : top + height, left : left + width], size)
