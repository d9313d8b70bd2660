"""Small random changes that leave an image's class as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be changed; each amount is drawn evenly up to its limit, either way.

    Attributes:
        shift: along each axis, as a fraction of the image's height or width, 0 to 1.
        zoom: 0.1 scales by 0.9 to 1.1; 0 up to, but not including, 1.
        rotate: degrees about the centre, 0 to 180.
        flip: mirror every second image, left to right.
        brightness: added to every pixel, as a fraction of white, 0 to 1.
        contrast: 0.2 scales the distance from middle grey by 0.8 to 1.2; 0 to 1.

    Raises:
        ValueError: a limit is outside the range given here.
    """

    shift: float = 0.0
    zoom: float = 0.0
    rotate: float = 0.0
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        limits = {"shift": 1.0, "zoom": 1.0, "rotate": 180.0, "brightness": 1.0, "contrast": 1.0}
        for name, limit in limits.items():
            value = getattr(self, name)
            if not 0 <= value <= limit or (name == "zoom" and value == limit):
                raise ValueError(f"{name} must be from 0 to {limit:g}, got {value}")


def rng_for(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one image in one epoch, whoever processes it and whenever.

    Args:
        seed: of the run; not negative, as the others.
        epoch: counted from 0.
        index: of the image in its data set.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch, index))))


def augment(
    image: NDArray[np.uint8], spec: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Change an image at random, resampling it once.

    What comes in from beyond the border is the image mirrored.

    Args:
        image: (h, w, 3) uint8; not changed.
        spec: the limits of the change.
        rng: seven numbers are drawn from it, whatever the limits, so that raising one limit leaves
            the other changes as they were.

    Returns:
        A new array (h, w, 3) uint8.
    """
    draws = rng.uniform(-1, 1, 7)
    changed = image.copy()
    if spec.shift or spec.zoom or spec.rotate or (spec.flip and draws[4] > 0):
        height, width = image.shape[:2]
        changed = cv2.warpAffine(
            image,
            _affine(height, width, spec, draws),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    if spec.brightness or spec.contrast:
        changed = cv2.LUT(changed, _tones(spec, draws))
    return changed


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
