"""Random changes that leave an image's class as it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import cv2
import numpy as np
from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from keras_classics.data.colour import distort, shift_along_components
from keras_classics.data.erasing import erase
from keras_classics.data.policies import rand_augment, trivial_augment

if TYPE_CHECKING:
    from numpy.typing import NDArray

View = Literal["whole", "random_area", "scale_jitter"]
"""Which part of a picture the network sees while it learns: see `Augmentation`."""

Policy = Literal["none", "rand_augment", "trivial_augment"]
"""A drawn sequence of operations on the image: see `Augmentation`."""


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"must be the lower limit, then the upper one, got {list(limits)}")
    return limits


# TOML has lists only, so that a pair may be one; its numbers are as strict as all others.
_Positive = Annotated[float, Field(gt=0)]
_Limits = Annotated[tuple[_Positive, _Positive], Field(strict=False), AfterValidator(_ascending)]
_Part = Annotated[float, Field(gt=0, le=1)]
_Parts = Annotated[tuple[_Part, _Part], Field(strict=False), AfterValidator(_ascending)]
_Side = Annotated[float, Field(ge=224, le=22400)]
_Sides = Annotated[tuple[_Side, _Side], Field(strict=False), AfterValidator(_ascending)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Augmentation:
    """How far an image may be changed; each amount is drawn evenly up to its limit, either way.

    The changes come in this order: the view; shift to flip, in one resampling; brightness and
    contrast; the policy; the principal components; the colour distortion; the erased rectangle.

    Attributes:
        shift: along each axis, as a fraction of the image's height or width, 0 to 1.
        zoom: 0.1 scales by 0.9 to 1.1; 0 up to, but not including, 1.
        rotate: degrees about the centre, 0 to 180.
        flip: mirror every second image, left to right.
        brightness: added to every pixel, as a fraction of white, 0 to 1.
        contrast: 0.2 scales the distance from middle grey by 0.8 to 1.2; 0 to 1.
        view: the part of the picture. "whole" fits it into the input as in evaluation;
            "random_area" cuts out a rectangle of random area and aspect (Szegedy et al. 2014,
            https://arxiv.org/abs/1409.4842); "scale_jitter" scales the picture, keeping its
            proportions, until its shorter side has a random length, and cuts the input out of it
            at a random place (Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556).
        area: of "random_area", as parts of the picture.
        aspect: of "random_area", width by height; drawn evenly in its logarithm.
        shorter_side: of "scale_jitter", in pixels for an input of 224, as papers state it; other
            inputs scale it along. Two equal numbers make a fixed scale.
        policy: "rand_augment" (Cubuk et al. 2019, https://arxiv.org/abs/1909.13719, with timm's
            operations and ranges, each applied with probability 0.5) or "trivial_augment"
            (Müller & Hutter 2021, https://arxiv.org/abs/2103.10158, the wide set of torchvision).
        operations: of "rand_augment", how many are drawn.
        magnitude: of "rand_augment", 0 to 10.
        magnitude_std: of "rand_augment": the magnitude of each operation is drawn from a normal
            distribution of this deviation, and kept within 0 to 10.
        pca: deviation of the shift along ImageNet's principal components of colour, 0.1 in
            Krizhevsky et al. 2012, https://doi.org/10.1145/3065386.
        distortion: Inception's of brightness, saturation, hue and contrast, as in TF-slim.
        erase: probability that a rectangle is erased (Zhong et al. 2017,
            https://arxiv.org/abs/1708.04896).
        erase_area: of the rectangle, as parts of the image.
        erase_aspect: of the rectangle, height by width; drawn evenly in its logarithm.
        repeats: how often an epoch shows the same image, each time changed differently; it shows
            fewer images in turn (Hoffer et al. 2019, https://arxiv.org/abs/1901.09335).

    Raises:
        ValueError: a limit is outside the range given here, of the wrong type, or unknown.
    """

    shift: float = Field(default=0.0, ge=0, le=1)
    zoom: float = Field(default=0.0, ge=0, lt=1)
    rotate: float = Field(default=0.0, ge=0, le=180)
    flip: bool = False
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)
    view: View = "whole"
    area: _Parts = (0.08, 1.0)
    aspect: _Limits = (3 / 4, 4 / 3)
    shorter_side: _Sides = (256.0, 512.0)
    policy: Policy = "none"
    operations: int = Field(default=2, ge=1, le=20)
    magnitude: float = Field(default=7.0, ge=0, le=10)
    magnitude_std: float = Field(default=0.5, ge=0, le=10)
    pca: float = Field(default=0.0, ge=0, le=1)
    distortion: bool = False
    erase: float = Field(default=0.0, ge=0, le=1)
    erase_area: _Parts = (0.02, 0.33)
    erase_aspect: _Limits = (0.3, 3.3)
    repeats: int = Field(default=1, ge=1, le=64)


def rng_for(seed: int, epoch: int, index: int, repetition: int = 0) -> np.random.Generator:
    """The random numbers of one image in one epoch, whoever processes it and whenever.

    Args:
        seed: of the run; not negative, as the others.
        epoch: counted from 0.
        index: of the image in its data set.
        repetition: how often the epoch has shown the image before.
    """
    # The first key keeps these apart from the numbers for the order and for the mixing.
    key = (2, repetition) if repetition else ()
    seeds = np.random.SeedSequence((seed, epoch, index), spawn_key=key)
    return np.random.Generator(np.random.PCG64(seeds))


def augment(
    image: NDArray[np.uint8], spec: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Change an image at random; all but the view, which `keras_classics.data.views` cuts out.

    What comes in from beyond the border is the image mirrored.

    Args:
        image: (h, w, 3) uint8; not changed.
        spec: the limits of the change.
        rng: whatever the limits, the same numbers are drawn from it, so that raising one limit
            leaves the other changes as they were.

    Returns:
        A new array (h, w, 3) uint8.
    """
    draws = rng.uniform(-1, 1, 7)
    changed = image.copy()
    if spec.shift or spec.zoom or spec.rotate or (spec.flip and draws[4] > 0):
        changed = _moved(image, spec, draws)
    if spec.brightness or spec.contrast:
        changed = cv2.LUT(changed, _tones(spec, draws))
    if spec.policy != "none" or spec.pca or spec.distortion or spec.erase:
        changed = _beyond(changed, spec, rng)
    return changed


def _beyond(
    image: NDArray[np.uint8], spec: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The changes that papers name, each with random numbers of its own."""
    policy, pca, colour, rectangle = rng.integers(2**63, size=4)
    if spec.policy == "rand_augment":
        image = rand_augment(
            image,
            np.random.default_rng(policy),
            operations=spec.operations,
            magnitude=spec.magnitude,
            std=spec.magnitude_std,
        )
    elif spec.policy == "trivial_augment":
        image = trivial_augment(image, np.random.default_rng(policy))
    if spec.pca:
        image = shift_along_components(image, np.random.default_rng(pca), std=spec.pca)
    if spec.distortion:
        image = distort(image, np.random.default_rng(colour))
    if spec.erase:
        image = erase(
            image,
            np.random.default_rng(rectangle),
            probability=spec.erase,
            area=spec.erase_area,
            aspect=spec.erase_aspect,
        )
    return image


def _moved(
    image: NDArray[np.uint8], spec: Augmentation, draws: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Shifted, zoomed, turned and mirrored in one resampling."""
    if not (spec.shift or spec.zoom or spec.rotate):
        mirrored: NDArray[np.uint8] = cv2.flip(image, 1)  # the same pixels, many times faster
        return mirrored
    height, width = image.shape[:2]
    moved: NDArray[np.uint8] = cv2.warpAffine(
        image,
        _affine(height, width, spec, draws),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return moved


def _affine(
    height: int, width: int, spec: Augmentation, draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The (2, 3) matrix that takes points of the image to points of the result."""
    angle = math.radians(spec.rotate * draws[0])
    scale = 1 + spec.zoom * draws[1]
    mirror = -1.0 if spec.flip and draws[4] > 0 else 1.0
    turn = scale * np.array(
        [
            [mirror * math.cos(angle), -math.sin(angle)],
            [mirror * math.sin(angle), math.cos(angle)],
        ]
    )
    # Pixels are counted at their centres, so the middle of 4 of them is 1.5.
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    moved = centre + spec.shift * draws[2:4] * (width, height)
    return np.column_stack([turn, moved - turn @ centre])


def _tones(spec: Augmentation, draws: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The new value of each of the 256 old ones."""
    grey = 127.5
    old = np.arange(256) - grey
    new = grey + old * (1 + spec.contrast * draws[6]) + 255 * spec.brightness * draws[5]
    tones: NDArray[np.uint8] = np.clip(np.rint(new), 0, 255).astype(np.uint8)
    return tones
