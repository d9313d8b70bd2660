"""Feature visualisation: the image that a channel answers to most.

Olah, Mordvintsev and Schubert, 2017, https://distill.pub/2017/feature-visualization: the image is
sought by gradient ascent on its spectrum, scaled so that all frequencies count alike, in colours
that are as independent of each other as those of photographs, and shaken at every step. Here the
spectrum is that of the cosine transform, which is real and orthogonal: its transpose, which the
gradient needs, is its inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn, idctn
from scipy.special import expit

from keras_classics.architectures.frame import whole
from keras_classics.errors import ClassicsError
from keras_classics.explanation.probe import Array, Probe

# Square root of the covariance of red, green and blue in ImageNet, scaled: as in the article's
# library, lucid, whose network was trained on these photographs.
COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]]) / 0.48

STEPS = 128  # of gradient ascent
TINY = 1e-30  # where there is no gradient at all


@dataclass(frozen=True)
class Visualisation:
    """Images that channels answer to, and how much."""

    images: Array  # (n, h, w, c), as the network reads them
    pictures: npt.NDArray[np.uint8]  # (n, h, w, c) for the eye: red, green and blue
    activations: Array  # (n, steps + 1): the channel's mean before each step, and at the end


def visualise(
    probe: Probe,
    layer: str,
    channels: int | Sequence[int],
    *,
    size: int | None = None,
    low: float | npt.NDArray[Any] = -1.0,
    high: float | npt.NDArray[Any] = 1.0,
    order: Sequence[int] | None = None,
    steps: int = STEPS,
    rate: float = 0.1,
    jitter: int = 4,
    variation: float = 0.0,
    seed: int = 0,
) -> Visualisation:
    """Images that maximise the mean of channels of a layer or a block's end.

    Args:
        probe: In the network.
        layer: Or a block, with feature maps.
        channels: One or several; an image is sought for each.
        size: Height and width in pixels, where the network leaves them open.
        low: What the network reads for black: a number, or one for each channel.
        high: What it reads for white.
        order: Which colour each channel of its input is, such as (2, 1, 0) where it reads blue,
            green, red; default: as they are.
        steps: Of Adam's gradient ascent.
        rate: Of learning.
        jitter: Pixels by which the image is shifted at random at each step, around its border.
        variation: Weight of the total variation, which is subtracted; larger is smoother.
        seed: The same seed gives the same image.

    Raises:
        ClassicsError: If the layer or a channel is not known, or a number is out of range.
    """
    for name, value, least in (("steps", steps, 1), ("jitter", jitter, 0)):
        number = whole(value)
        if number is None or number < least:
            raise ClassicsError(f"{name}={value!r}: a whole number of at least {least} is needed.")
    wanted = [channels] if isinstance(channels, (int, np.integer)) else list(channels)
    if not wanted:
        raise ClassicsError("channels=(): at least one is needed.")
    shape = (len(wanted), *probe.image_shape(size))
    rng = np.random.default_rng(seed)
    frequencies = _frequencies(shape[1], shape[2])
    spectrum = rng.normal(0, 0.01, shape)
    mixing = COLOURS.T if shape[3] == 3 else np.eye(shape[3])
    span = np.asarray(high, np.float64) - low
    colours = list(range(shape[3]) if order is None else order)
    if sorted(colours) != list(range(shape[3])):
        raise ClassicsError(f"order={order!r}: each of 0 to {shape[3] - 1} once is needed.")
    first, second = np.zeros(shape), np.zeros(shape)  # Adam's moments
    activations = []
    for step in range(1, steps + 2):
        shown = expit(idctn(spectrum * frequencies, axes=(1, 2), norm="ortho") @ mixing)
        images = (low + span * shown[..., colours]).astype(np.float32)
        shift = tuple(rng.integers(-jitter, jitter + 1, 2)) if step <= steps else (0, 0)
        shaken = np.roll(images, shift, axis=(1, 2))
        means, gradients = probe.channel_gradients(shaken, layer, wanted)
        activations.append(means)
        if step > steps:
            break
        back = np.roll(gradients, (-shift[0], -shift[1]), axis=(1, 2)) * span
        back = back[..., np.argsort(colours)]
        back = (back - variation * _variation_gradient(shown)) * shown * (1 - shown)
        rise = dctn(back @ mixing.T, axes=(1, 2), norm="ortho") * frequencies
        # Adam gives every frequency the same step, also one whose gradient is rounding alone: so
        # what it adds to the denominator is measured by the whole gradient, whatever its scale.
        rise /= np.sqrt(np.square(rise).mean(axis=(1, 2, 3), keepdims=True)) + TINY
        first += 0.1 * (rise - first)
        second += 0.001 * (rise**2 - second)
        unbiased = first / (1 - 0.9**step), second / (1 - 0.999**step)
        spectrum += rate * unbiased[0] / (np.sqrt(unbiased[1]) + 0.1)
    pictures = np.asarray(np.round(255 * shown), np.uint8)
    return Visualisation(images, pictures, np.stack(activations, axis=1))


def _frequencies(height: int, width: int) -> npt.NDArray[np.float64]:
    """What each part of the spectrum counts, (h, w, 1): the finer, the less, as in photographs."""
    rows, columns = np.arange(height)[:, None] / (2 * height), np.arange(width) / (2 * width)
    radius = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    return np.asarray((0.25 / radius)[..., None])


def _variation_gradient(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of the mean squared difference between neighbours, down and across."""
    gradient = np.zeros_like(images)
    for axis in (1, 2):
        difference = np.diff(images, axis=axis)
        pad = [(0, 0)] * 4
        pad[axis] = (1, 0)
        gradient += np.pad(difference, pad)
        pad[axis] = (0, 1)
        gradient -= np.pad(difference, pad)
    return np.asarray(2 * gradient / (images.shape[1] * images.shape[2]))
