"""RandAugment and TrivialAugment: operations on an image, and how they are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from keras_classics.data.erasing import MEAN_COLOUR

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Colour = tuple[int, int, int]

Bilinear = Image.Resampling.BILINEAR
Bicubic = Image.Resampling.BICUBIC


class Ground(NamedTuple):
    """What an operation that moves pixels needs to know besides its amount."""

    resample: Image.Resampling
    fill: Colour


def _affine(image: Image.Image, matrix: tuple[float, ...], ground: Ground) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, ground.resample, fillcolor=ground.fill
    )


def _solarize_add(image: Image.Image, amount: float, _: Ground) -> Image.Image:
    tones = [min(255, tone + int(amount)) if tone < 128 else tone for tone in range(256)]
    return image.point(tones * 3)


# Amounts: shears by tangent, translations in pixels (to the left and up), rotations in degrees
# against the clock, enhancements with 1 for no change, bits kept, and the tone to invert from.
OPERATIONS: dict[str, Callable[[Image.Image, float, Ground], Image.Image]] = {
    "identity": lambda image, _, __: image,
    "shear_x": lambda image, amount, ground: _affine(image, (1, amount, 0, 0, 1, 0), ground),
    "shear_y": lambda image, amount, ground: _affine(image, (1, 0, 0, amount, 1, 0), ground),
    "translate_x": lambda image, amount, ground: _affine(image, (1, 0, amount, 0, 1, 0), ground),
    "translate_y": lambda image, amount, ground: _affine(image, (1, 0, 0, 0, 1, amount), ground),
    "rotate": lambda image, amount, ground: image.rotate(
        amount, ground.resample, fillcolor=ground.fill
    ),
    "brightness": lambda image, amount, _: ImageEnhance.Brightness(image).enhance(amount),
    "colour": lambda image, amount, _: ImageEnhance.Color(image).enhance(amount),
    "contrast": lambda image, amount, _: ImageEnhance.Contrast(image).enhance(amount),
    "sharpness": lambda image, amount, _: ImageEnhance.Sharpness(image).enhance(amount),
    "posterize": lambda image, amount, _: ImageOps.posterize(image, int(amount)),
    "solarize": lambda image, amount, _: ImageOps.solarize(image, amount),  # type: ignore[arg-type]
    "solarize_add": _solarize_add,
    "autocontrast": lambda image, _, __: ImageOps.autocontrast(image),
    "equalize": lambda image, _, __: ImageOps.equalize(image),
    "invert": lambda image, _, __: ImageOps.invert(image),
}
"""From an RGB image, an amount and the ground to another image."""


class Amount(NamedTuple):
    """How much of an operation."""

    of: Callable[[float, int], float]  # from the level, 0 to 1, and the image's side in pixels
    signed: bool  # every second time it is taken negative


# timm's set "inc1" (auto_augment.py). Enhancements are drawn to either side of 1, all else of 0.
RAND_AUGMENT: dict[str, Amount] = {
    "autocontrast": Amount(lambda level, _: level, signed=False),
    "equalize": Amount(lambda level, _: level, signed=False),
    "invert": Amount(lambda level, _: level, signed=False),
    "rotate": Amount(lambda level, _: 30 * level, signed=True),
    "posterize": Amount(lambda level, _: max(1, 4 - int(4 * level)), signed=False),
    "solarize": Amount(lambda level, _: 256 - int(256 * level), signed=False),
    "solarize_add": Amount(lambda level, _: int(110 * level), signed=False),
    "colour": Amount(lambda level, _: 0.9 * level, signed=True),
    "contrast": Amount(lambda level, _: 0.9 * level, signed=True),
    "brightness": Amount(lambda level, _: 0.9 * level, signed=True),
    "sharpness": Amount(lambda level, _: 0.9 * level, signed=True),
    "shear_x": Amount(lambda level, _: 0.3 * level, signed=True),
    "shear_y": Amount(lambda level, _: 0.3 * level, signed=True),
    "translate_x": Amount(lambda level, side: 0.45 * level * side, signed=True),
    "translate_y": Amount(lambda level, side: 0.45 * level * side, signed=True),
}

# torchvision's TrivialAugmentWide; its translations are in pixels, whatever the image's size.
TRIVIAL_AUGMENT: dict[str, Amount] = {
    "identity": Amount(lambda level, _: level, signed=False),
    "shear_x": Amount(lambda level, _: 0.99 * level, signed=True),
    "shear_y": Amount(lambda level, _: 0.99 * level, signed=True),
    "translate_x": Amount(lambda level, _: int(32 * level), signed=True),
    "translate_y": Amount(lambda level, _: int(32 * level), signed=True),
    "rotate": Amount(lambda level, _: 135 * level, signed=True),
    "brightness": Amount(lambda level, _: 0.99 * level, signed=True),
    "colour": Amount(lambda level, _: 0.99 * level, signed=True),
    "contrast": Amount(lambda level, _: 0.99 * level, signed=True),
    "sharpness": Amount(lambda level, _: 0.99 * level, signed=True),
    "posterize": Amount(lambda level, _: round(8 - 6 * level), signed=False),
    "solarize": Amount(lambda level, _: 255 * (1 - level), signed=False),
    "autocontrast": Amount(lambda level, _: level, signed=False),
    "equalize": Amount(lambda level, _: level, signed=False),
}
_BINS = 31

ENHANCEMENTS = frozenset({"brightness", "colour", "contrast", "sharpness"})

_PROBABILITY = 0.5  # that a drawn operation of RandAugment is applied


def rand_augment(
    image: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    operations: int,
    magnitude: float,
    std: float,
) -> NDArray[np.uint8]:
    """Apply operations of one magnitude, as timm's `rand-m{magnitude}-mstd{std}-inc1`.

    Cubuk et al. 2019, https://arxiv.org/abs/1909.13719. As in timm, an operation is drawn with
    replacement and left out with probability 0.5, and what comes in has ImageNet's mean colour.

    Args:
        image: (h, w, 3) uint8; not changed.
        rng: the random numbers.
        operations: how many are drawn.
        magnitude: 0 to 10.
        std: deviation of the normal distribution about the magnitude.

    Returns:
        A new array (h, w, 3) uint8.
    """
    picture = Image.fromarray(image)
    names = tuple(RAND_AUGMENT)
    for _ in range(operations):
        name = names[rng.integers(len(names))]
        level = min(max(rng.normal(magnitude, std), 0), 10) / 10
        ground = Ground(Bicubic if rng.random() < 0.5 else Bilinear, MEAN_COLOUR)
        if rng.random() < _PROBABILITY:
            amount = amount_of(RAND_AUGMENT, name, level, picture, negative=rng.random() < 0.5)
            picture = OPERATIONS[name](picture, amount, ground)
    return np.array(picture)


def trivial_augment(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Apply one operation of one magnitude, both drawn evenly, as torchvision's wide set.

    Müller & Hutter 2021, https://arxiv.org/abs/2103.10158. What comes in from outside is black.

    Args:
        image: (h, w, 3) uint8; not changed.
        rng: three numbers are drawn from it.

    Returns:
        A new array (h, w, 3) uint8.
    """
    picture = Image.fromarray(image)
    name = tuple(TRIVIAL_AUGMENT)[rng.integers(len(TRIVIAL_AUGMENT))]
    level = rng.integers(_BINS) / (_BINS - 1)
    negative = bool(rng.random() < 0.5)
    amount = amount_of(TRIVIAL_AUGMENT, name, level, picture, negative=negative)
    return np.array(OPERATIONS[name](picture, amount, Ground(Bilinear, (0, 0, 0))))


def amount_of(
    table: dict[str, Amount], name: str, level: float, image: Image.Image, *, negative: bool
) -> float:
    """The amount of an operation at a level of 0 to 1."""
    side = image.height if name == "translate_y" else image.width
    amount = table[name].of(level, side)
    if negative and table[name].signed:
        amount = -amount
    if name in ENHANCEMENTS:
        return max(1 + amount, 0.1) if table is RAND_AUGMENT else 1 + amount
    return amount
