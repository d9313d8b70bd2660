"""Attributions to pixels: which of them speak for a class, for networks of any layers.

Integrated gradients (arXiv 1703.01365), SmoothGrad (1706.03825) and occlusion (1311.2901). They
explain scores, the numbers before the softmax; images and baselines are as the network reads them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_classics.architectures.frame import whole
from keras_classics.errors import ClassicsError
from keras_classics.explanation.probe import BATCH_SIZE, Array, Classes, Probe

Baseline = float | npt.NDArray[Any]  # what counts as nothing; broadcast to (b, h, w, c)


@dataclass(frozen=True)
class Integrated:
    """Integrated gradients and how nearly they add up."""

    attributions: Array  # (b, h, w, c): of each number of the image
    differences: Array  # (b,): the score of the image less that of the baseline
    gaps: Array  # (b,): the sum of the attributions less that difference; 0 if steps were infinite


def integrated_gradients(
    probe: Probe,
    images: npt.NDArray[Any],
    *,
    classes: Classes = None,
    baseline: Baseline = 0.0,
    steps: int = 50,
    batch_size: int = BATCH_SIZE,
) -> Integrated:
    """1703.01365, equation 1, integrated by Gauss and Legendre's rule.

    Args:
        probe: In the network.
        images: (b, h, w, c).
        classes: One for all images, or one for each; None for each image's most probable one.
        baseline: An image, or a number for all pixels.
        steps: Points between baseline and image at which gradients are taken.
        batch_size: Images that go through the network at a time.

    Raises:
        ClassicsError: If steps is less than 1, the baseline of another shape, or as `Probe.run`.
    """
    _at_least("steps", steps, 1)
    whole_image = probe.run(images, batch_size=batch_size)
    chosen = probe.chosen(classes, whole_image.scores)
    images = np.asarray(images, np.float32)
    start = _like(baseline, images)
    points, weights = np.polynomial.legendre.leggauss(steps)
    fractions = ((points + 1) / 2).astype(np.float32)
    attributions = np.zeros(images.shape, np.float64)
    for i, index in enumerate(chosen):
        way = start[i] + fractions[:, None, None, None] * (images[i] - start[i])
        found = probe.gradients(way, [probe.input], int(index), batch_size=batch_size)
        mean = np.tensordot(weights / 2, found.gradients[probe.input].astype(np.float64), axes=1)
        attributions[i] = mean * (images[i] - start[i])
    rows = np.arange(len(images))
    empty = probe.run(start, batch_size=batch_size).scores[rows, chosen]
    differences = whole_image.scores[rows, chosen] - empty
    gaps = attributions.sum(axis=(1, 2, 3)) - differences
    return Integrated(attributions.astype(np.float32), differences, gaps.astype(np.float32))


def smooth_grad(
    probe: Probe,
    images: npt.NDArray[Any],
    *,
    classes: Classes = None,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Array:
    """1706.03825: the mean gradient (b, h, w, c) over noisy copies of each image.

    Args:
        probe: In the network.
        images: (b, h, w, c).
        classes: As in `integrated_gradients`; those of the images without noise.
        samples: Noisy copies of an image.
        noise: Standard deviation, as a part of the range from the image's least value to its
            largest; with 0 and one sample this is the plain gradient of 1312.6034.
        seed: The same seed gives the same noise.
        batch_size: Images that go through the network at a time.

    Raises:
        ClassicsError: If samples is less than 1 or noise less than 0, or as `Probe.run`.
    """
    _at_least("samples", samples, 1)
    if not (isinstance(noise, (int, float)) and 0 <= noise < math.inf):
        raise ClassicsError(f"noise={noise!r}: a part of the image's range, 0 or more, is needed.")
    chosen = probe.chosen(classes, probe.run(images, batch_size=batch_size).scores)
    images = np.asarray(images, np.float32)
    means = []
    for image, index in zip(images, chosen, strict=True):
        copies = image + noisy(image, samples=samples, noise=noise, seed=seed)
        found = probe.gradients(copies, [probe.input], int(index), batch_size=batch_size)
        means.append(found.gradients[probe.input].mean(axis=0, dtype=np.float64))
    return np.stack(means).astype(np.float32)


def noisy(image: Array, *, samples: int, noise: float, seed: int) -> Array:
    """SmoothGrad's noise for an image (h, w, c): (samples, h, w, c), the same for every image."""
    deviation = noise * float(image.max() - image.min())
    normal = np.random.default_rng(seed).normal(size=(samples, *image.shape))
    return np.asarray(deviation * normal, np.float32)


def occlusion(
    probe: Probe,
    images: npt.NDArray[Any],
    *,
    classes: Classes = None,
    window: int | None = None,
    stride: int | None = None,
    baseline: Baseline = 0.0,
    batch_size: int = BATCH_SIZE,
) -> Array:
    """1311.2901, section 4.2: what the score loses where a window is covered, (b, h, w).

    Each pixel's value is the mean over the windows that cover it; those at the border may be cut.

    Args:
        probe: In the network.
        images: (b, h, w, c).
        classes: As in `integrated_gradients`.
        window: Height and width of what is covered, in pixels; default: a quarter of the image's
            shorter side.
        stride: Pixels between windows; default: a quarter of the window.
        baseline: What covers; an image, or a number for all pixels.
        batch_size: Images that go through the network at a time.

    Raises:
        ClassicsError: If window or stride are out of range, or as `Probe.run`.
    """
    whole_image = probe.run(images, batch_size=batch_size)
    chosen = probe.chosen(classes, whole_image.scores)
    images = np.asarray(images, np.float32)
    sides = images.shape[1:3]
    window = max(1, min(sides) // 4) if window is None else window
    _at_least("window", window, 1, min(sides))
    stride = max(1, window // 4) if stride is None else stride
    _at_least("stride", stride, 1, window)
    tops, lefts = ([i * stride for i in range(-(-(n - window) // stride) + 1)] for n in sides)
    places = [
        (slice(top, top + window), slice(left, left + window)) for top in tops for left in lefts
    ]
    cover = _like(baseline, images)
    maps = []
    for i, index in enumerate(chosen):
        losses, counts = np.zeros(sides), np.zeros(sides)
        for first in range(0, len(places), batch_size):
            part = places[first : first + batch_size]
            covered = np.repeat(images[i : i + 1], len(part) if not first else batch_size, axis=0)
            for image, place in zip(covered, part, strict=False):
                image[place] = cover[i][place]
            scores = probe.run(covered, batch_size=batch_size).scores[:, index]
            for place, score in zip(part, scores, strict=False):
                losses[place] += whole_image.scores[i, index] - score
                counts[place] += 1
        maps.append(losses / counts)
    return np.stack(maps).astype(np.float32)


def _at_least(name: str, value: Any, least: int, most: float = math.inf) -> None:
    number = whole(value)
    if number is None or not least <= number <= most:
        allowed = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ClassicsError(f"{name}={value!r}: a whole number {allowed} is needed.")


def _like(baseline: Baseline, images: Array) -> Array:
    """A baseline in the shape of the images."""
    try:
        return np.broadcast_to(np.asarray(baseline, np.float32), images.shape)
    except (ValueError, TypeError):
        raise ClassicsError(
            f"baseline of shape {np.shape(baseline)}: a number, or an image of shape "
            f"{images.shape[1:]}, is needed."
        ) from None
