"""The arithmetic between pixels and a network's input, which belongs to the network's weights.

The modes "tf", "torch" and "caffe" and their numbers are those of
keras.applications.imagenet_utils; "lite" is that of EfficientNet-Lite's authors,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite; "raw" is for
networks that normalise in their graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mode = Literal["tf", "torch", "caffe", "lite", "raw"]
"""How pixels become inputs: see `preprocess`."""

# Means and deviations of ImageNet's training images; Caffe's in the order blue, green, red.
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)
# Mean and divisor of every channel of the modes that treat the three alike.
_ALIKE = {"tf": (127.5, 127.5), "lite": (127.0, 128.0), "raw": (0.0, 1.0)}


@dataclass(frozen=True)
class Scaling:
    """What `preprocess` does, as `(image - mean) / deviation` of each channel."""

    mean: tuple[float, float, float]  # in grey levels, in the order of the result
    deviation: tuple[float, float, float]
    reverse: bool = False  # whether the channels are first put into the opposite order


def as_scaling(mode: Mode) -> Scaling:
    """A mode's numbers: `preprocess` with other roundings."""
    if mode == "torch":
        (r, g, b), (dr, dg, db) = _TORCH_MEAN, _TORCH_STD
        return Scaling((255 * r, 255 * g, 255 * b), (255 * dr, 255 * dg, 255 * db))
    if mode == "caffe":
        return Scaling(_CAFFE_MEAN, (1.0,) * 3, reverse=True)
    mean, deviation = _ALIKE[mode]
    return Scaling((mean,) * 3, (deviation,) * 3)


def preprocess(images: NDArray[Any], mode: Mode) -> NDArray[np.float32]:
    """Turn pixels into the input that a network's weights were trained on.

    Args:
        images: (..., width, 3) red, green and blue from 0 to 255, of any number type; not changed.
        mode: "tf" scales to -1..1; "torch" scales to 0..1 and standardises each channel; "caffe"
            subtracts each channel's mean and reverses the order of the channels; "lite" subtracts
            127 and divides by 128; "raw" only converts to float32.

    Returns:
        A new float32 array of the same shape.

    Raises:
        ValueError: the last axis does not hold three channels, or the mode is unknown.
    """
    if images.ndim < 2 or images.shape[-1] != 3:
        raise ValueError(f"images must be (..., width, 3), got {images.shape}")
    if mode == "raw":
        return images.astype(np.float32)
    if mode == "tf":
        scaled: NDArray[np.float32] = np.divide(images, np.float32(127.5), dtype=np.float32)
        scaled -= np.float32(1)
        return scaled
    if mode == "lite":
        # Exact: pixels up to 255 less 127 are whole, and 128 is a power of two.
        lite: NDArray[np.float32] = np.subtract(images, np.float32(127), dtype=np.float32)
        lite *= np.float32(1 / 128)
        return lite
    if mode == "caffe":
        return _by_channel(images[..., ::-1], 1.0, _CAFFE_MEAN, (1.0, 1.0, 1.0))
    if mode == "torch":
        return _by_channel(images, 255.0, _TORCH_MEAN, _TORCH_STD)
    raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}; got {mode!r}")


def _by_channel(
    images: NDArray[Any],
    scale: float,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> NDArray[np.float32]:
    """(..., w, 3) to (images / scale - mean) / std."""
    *lead, width, channels = images.shape
    result = np.empty((*lead, width, channels), np.float32)
    np.divide(images, np.float32(scale), out=result, casting="unsafe")
    # A whole row at a time: NumPy is several times slower when its inner loop has three steps.
    rows = result.reshape(*lead, width * channels)
    rows -= np.tile(np.asarray(mean, np.float32), width)
    rows /= np.tile(np.asarray(std, np.float32), width)
    return result
