"""What a layer sees and what it looks for: feature maps and filters, as numbers and as pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.errors import ClassicsError
from keras_classics.explanation.probe import BATCH_SIZE, Array, Probe

Picture = npt.NDArray[np.uint8]


def feature_maps(
    probe: Probe, images: npt.NDArray[Any], layer: str, *, batch_size: int = BATCH_SIZE
) -> Array:
    """The feature maps of a layer or a block's end: (b, h, w, c) -> (b, h', w', k).

    Raises:
        ClassicsError: If the name is not known or gives no feature maps, or as `Probe.run`.
    """
    probe.map_layer(layer)
    return probe.run(images, [layer], batch_size=batch_size).taps[layer]


def filters(probe: Probe, layer: str | None = None) -> Array:
    """The kernels of a convolution, one filter after the other: (k, h, w, c); c is 1 of depthwise.

    Args:
        probe: In the network.
        layer: A convolution, depthwise or not, or a block, of which the first one is meant;
            default: the network's first, whose filters have the colours of the image.

    Raises:
        ClassicsError: If the layer is no 2D convolution, or there is none.
    """
    convolves = convolution(probe, layer)
    kernel = np.asarray(keras.ops.convert_to_numpy(convolves.kernel), np.float32)
    if isinstance(convolves, keras.layers.DepthwiseConv2D):  # (h, w, c, m), each over one channel
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    return np.moveaxis(kernel, -1, 0)


def convolution(probe: Probe, name: str | None = None) -> Any:
    """The layer that `filters` shows.

    Raises:
        ClassicsError: As `filters`.
    """
    if name is None:
        inside: tuple[str, ...] = probe.tree.layers
    elif name in probe.blocks:
        inside = probe.blocks[name].layers
    else:
        inside = (probe.layer(name),)
    layers = (probe.model.get_layer(layer) for layer in inside)
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    found = next((layer for layer in layers if isinstance(layer, kinds)), None)
    if found is None:
        where = repr(name) if name else f"model {probe.model.name!r}"
        raise ClassicsError(f"{where}: no 2D convolution, whose filters could be shown.")
    return found


def colours(
    layer: Any, to_input: Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]
) -> list[int] | None:
    """Where red, green and blue stand among the channels that a convolution reads.

    Caffe's networks read blue first. None for a convolution that does not read the image.

    Args:
        layer: A convolution.
        to_input: From pictures (b, 1, 3), red first, to what the network reads.
    """
    tensor = layer.input
    while not isinstance(reader := tensor._keras_history[0], keras.layers.InputLayer):
        scales = isinstance(reader, keras.layers.Normalization)  # has statistics for weights
        if (reader.weights and not scales) or isinstance(reader.input, (list, tuple)):
            return None
        tensor = reader.input
    pixels = np.diag([255, 255, 255]).astype(np.uint8)[:, None, :]  # one of each colour
    change = to_input(pixels) - to_input(np.zeros_like(pixels))
    return [int(i) for i in change[:, 0].argmax(axis=-1)]


def pictures_of_filters(kernels: Array) -> Picture:
    """Filters (k, h, w, c) as pictures (k, h, w, 3), grey where a weight is 0.

    Filters over three channels show them as red, green and blue; of any other, the strongest input
    channel of each is shown, in grey.
    """
    if kernels.shape[-1] != 3:
        places = strongest_inputs(kernels)[:, None, None, None]
        kernels = np.repeat(np.take_along_axis(kernels, places, axis=-1), 3, axis=-1)
    largest = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    relative = np.divide(kernels, largest, out=np.zeros_like(kernels), where=largest > 0)
    return _to_bytes((relative + 1) / 2)


def strongest_inputs(kernels: Array) -> npt.NDArray[np.int64]:
    """The input channel that each filter (k, h, w, c) weighs most, in sum: (k,)."""
    return np.asarray(np.abs(kernels).sum(axis=(1, 2)).argmax(axis=-1), np.int64)


def pictures_of_maps(maps: Array) -> Picture:
    """The feature maps of one image (h, w, k) as grey pictures (k, h, w), each over its range."""
    low, high = maps.min(axis=(0, 1)), maps.max(axis=(0, 1))
    span = np.where(high > low, high - low, 1)
    return _to_bytes(np.moveaxis((maps - low) / span, -1, 0))


def sheet(pictures: Picture, *, columns: int | None = None, gap: int = 1) -> Picture:
    """Pictures (k, h, w) or (k, h, w, 3) side by side in rows, with white between them.

    Args:
        pictures: At least one.
        columns: In a row; default: about as many as there are rows.
        gap: Pixels between pictures.

    Raises:
        ClassicsError: If there are no pictures, or columns is less than 1.
    """
    if not len(pictures) or (columns is not None and columns < 1):
        raise ClassicsError(f"{len(pictures)} pictures, columns={columns}: at least 1 is needed.")
    columns = columns or int(np.ceil(np.sqrt(len(pictures))))
    rows = -(-len(pictures) // columns)
    height, width = pictures.shape[1:3]
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap, *pictures.shape[3:])
    page = np.full(size, 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        page[top : top + height, left : left + width] = picture
    return page


def _to_bytes(values: npt.NDArray[Any]) -> Picture:
    """0..1 onto 0..255."""
    return np.asarray(np.round(255 * np.clip(values, 0, 1)), np.uint8)
