"""Mixup and CutMix: two images of a batch in one, and their labels with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Mixing:
    """How the images of a batch are mixed, each with the one at the same place from the end.

    Attributes:
        mixup: alpha of mixup (Zhang et al. 2017, https://arxiv.org/abs/1710.09412): two images are
            averaged, with weights drawn from Beta(alpha, alpha). 0 for never.
        cutmix: alpha of CutMix (Yun et al. 2019, https://arxiv.org/abs/1905.04899): a rectangle of
            one image is set into the other; its area is drawn from Beta(alpha, alpha). 0 for never.
        switch: probability that a batch is CutMix's, where both alphas are above 0.
        probability: that a batch is mixed at all.
    """

    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=100)] = 0.0
    switch: Annotated[float, Field(ge=0, le=1)] = 0.5
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0


def mixing_rng(seed: int, epoch: int, batch: int) -> np.random.Generator:
    """The random numbers for the mixing of one batch, whoever makes it and whenever.

    Args:
        seed: of the run; not negative, as the others.
        epoch: counted from 0.
        batch: its number in the epoch, from 0.
    """
    # The first key keeps these apart from the numbers for the order and for the images.
    seeds = np.random.SeedSequence((seed, epoch), spawn_key=(3, batch))
    return np.random.Generator(np.random.PCG64(seeds))


def mix(
    images: NDArray[np.float32],
    labels: NDArray[np.float32],
    spec: Mixing,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mix a batch at random.

    Args:
        images: (b, h, w, 3).
        labels: (b, classes); each row sums to one.
        spec: whether and how.
        rng: the random numbers.

    Returns:
        Images and labels of the same shapes; each row of labels still sums to one.
    """
    mixed, switched = rng.random(2)
    if mixed >= spec.probability or not (spec.mixup or spec.cutmix):
        return images, labels
    if spec.cutmix and (switched < spec.switch or not spec.mixup):
        height, width = images.shape[1:3]
        kept = rng.beta(spec.cutmix, spec.cutmix)
        centre = int(rng.integers(height)), int(rng.integers(width))
        return cutmix(images, labels, kept=kept, centre=centre)
    return mixup(images, labels, kept=rng.beta(spec.mixup, spec.mixup))


def mixup(
    images: NDArray[np.float32], labels: NDArray[np.float32], *, kept: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average each image with its partner.

    Args:
        images: (b, h, w, 3); not changed.
        labels: (b, classes); not changed.
        kept: weight of the image itself, 0 to 1.
    """
    own, other = np.float32(kept), np.float32(1 - kept)
    mixed = images * own
    mixed += other * images[::-1]
    return mixed, labels * own + labels[::-1] * other


def cutmix(
    images: NDArray[np.float32],
    labels: NDArray[np.float32],
    *,
    kept: float,
    centre: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Set a rectangle of its partner into each image.

    Args:
        images: (b, h, w, 3); not changed.
        labels: (b, classes); not changed. They are weighted by the areas that are really seen, as
            the rectangle may jut out.
        kept: part of each image that would be kept if it did not, 0 to 1.
        centre: row and column of the rectangle's centre.
    """
    ends = []
    for side, middle in zip(images.shape[1:3], centre, strict=True):
        cut = int(side * math.sqrt(1 - kept))
        ends.append((max(0, middle - cut // 2), min(side, middle + (cut + 1) // 2)))
    (top, bottom), (left, right) = ends
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = images[::-1, top:bottom, left:right]
    other = (bottom - top) * (right - left) / (images.shape[1] * images.shape[2])
    return mixed, labels * np.float32(1 - other) + labels[::-1] * np.float32(other)
