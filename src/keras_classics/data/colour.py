"""The changes of colour that AlexNet's and Inception's authors trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Principal components of the colours of ImageNet's pixels, red, green and blue from 0 to 1, and
# their variances: those published with fb.resnet.torch, which the other libraries took over.
_VARIANCES = np.array([0.2175, 0.0188, 0.0045])
_COMPONENTS = np.array(
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)  # one a column

# TF-slim's distort_color (inception_preprocessing.py): limits, and the orders drawn from.
_BRIGHTNESS = 32 / 255
_SATURATION = (0.5, 1.5)
_HUE = 0.2
_CONTRAST = (0.5, 1.5)
_ORDERS = (
    ("brightness", "saturation", "hue", "contrast"),
    ("saturation", "brightness", "contrast", "hue"),
    ("contrast", "hue", "brightness", "saturation"),
    ("hue", "saturation", "contrast", "brightness"),
)


def shift_along_components(
    image: NDArray[np.uint8], rng: np.random.Generator, *, std: float
) -> NDArray[np.uint8]:
    """Add the same colour to all pixels, drawn along ImageNet's principal components.

    Krizhevsky et al. 2012, section 4.1, with `std` 0.1.

    Args:
        image: (h, w, 3) uint8; not changed.
        rng: three normal numbers are drawn from it.
        std: of the amount of each component, in units of its variance.

    Returns:
        A new array (h, w, 3) uint8.
    """
    shift = 255 * _COMPONENTS @ (_VARIANCES * rng.normal(0, std, 3))
    tones = np.clip(np.rint(np.arange(256)[:, None] + shift), 0, 255).astype(np.uint8)
    shifted: NDArray[np.uint8] = cv2.LUT(image, tones[None])
    return shifted


def distort(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, saturation, hue and contrast, in one of four orders, as TF-slim does.

    Args:
        image: (h, w, 3) uint8; not changed.
        rng: five numbers are drawn from it.

    Returns:
        A new array (h, w, 3) uint8, clipped once, at the end.
    """
    order = _ORDERS[rng.integers(len(_ORDERS))]
    amounts = {
        "brightness": rng.uniform(-_BRIGHTNESS, _BRIGHTNESS),
        "saturation": rng.uniform(*_SATURATION),
        "hue": rng.uniform(-_HUE, _HUE),
        "contrast": rng.uniform(*_CONTRAST),
    }
    pixels = np.divide(image, np.float32(255), dtype=np.float32)
    for name in order:
        pixels = _STEPS[name](pixels, np.float32(amounts[name]))
    pixels *= np.float32(255)
    return np.rint(np.clip(pixels, 0, 255, out=pixels), out=pixels).astype(np.uint8)


def _brighter(pixels: NDArray[np.float32], delta: np.float32) -> NDArray[np.float32]:
    return pixels + delta


def _contrasted(pixels: NDArray[np.float32], factor: np.float32) -> NDArray[np.float32]:
    """Each channel scaled about its own mean, as tf.image.adjust_contrast."""
    mean = np.array(cv2.mean(pixels)[:3], np.float32)
    return (pixels - mean) * factor + mean


def _saturated(pixels: NDArray[np.float32], factor: np.float32) -> NDArray[np.float32]:
    """HSV's saturation scaled, at most to 1; (h, w, 3) as all of these."""
    # Hue and value stay where all channels move from or to the largest one in proportion.
    red, green, blue = cv2.split(pixels)
    value = cv2.max(cv2.max(red, green), blue)
    spread = value - cv2.min(cv2.min(red, green), blue)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = np.where(spread > 0, value / spread, factor)
    # Out of 0 to 1 brightness may have made colours that have no saturation; they are clipped.
    scale = np.clip(np.minimum(factor, most), 0, None)[..., None]
    value = value[..., None]
    saturated: NDArray[np.float32] = value - (value - pixels) * scale
    return saturated


def _turned(pixels: NDArray[np.float32], delta: np.float32) -> NDArray[np.float32]:
    """HSV's hue turned by a part of the circle."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * delta) % 360
    turned: NDArray[np.float32] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return turned


_STEPS = {
    "brightness": _brighter,
    "saturation": _saturated,
    "hue": _turned,
    "contrast": _contrasted,
}
