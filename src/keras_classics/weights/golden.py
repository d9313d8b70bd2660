"""Golden outputs: what every network must compute, whatever machine and backend it runs on.

A small network gets weights that are drawn the same everywhere, and sees a picture that is made
here; its outputs stand in `golden.json`. They tell a network that computes from one that does not,
without a download.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures import frame
from keras_classics.architectures.frame import Architecture, with_channels

FILE = "golden.json"
TOLERANCE = 1e-4  # of the largest output; backends differ by some 1e-6
_WIDTH, _CLASSES = 0.125, 10
# Of deeper networks two blocks a stage: through fifty with random weights, rounding decides.
_MOST_BLOCKS = 20
# Even down to the last feature maps, where zeros on one side and on both differ; and odd, where
# rounding up and down do.
_HEIGHT_AND_WIDTH = (128, 107)


def picture(side: int) -> npt.NDArray[np.uint8]:
    """A picture with edges, colours and textures: (side, side, 3), the same bytes everywhere."""
    row, column = np.mgrid[0:side, 0:side]
    middle = side // 2
    red = 255 * column // side
    green = np.where((row - middle) ** 2 + (column - middle) ** 2 < (side // 3) ** 2, 230, 60)
    blue = 128 * (row * 16 // side % 2) + 127 * (column * 8 // side % 2)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def golden_outputs(architecture: Architecture) -> npt.NDArray[np.float32] | None:
    """The outputs that are on record for a network of the catalog: (classes,) logits."""
    text = resources.files(__package__).joinpath(FILE).read_text("utf-8")
    outputs = json.loads(text).get(architecture.name)
    return None if outputs is None else np.array(outputs, np.float32)


def record_outputs(architectures: Iterable[Architecture]) -> None:
    """Put the outputs of networks on record, in this package's own file: for its developers."""
    outputs = json.loads(resources.files(__package__).joinpath(FILE).read_text("utf-8")) | {
        architecture.name: [float(f"{value:.7g}") for value in computed_outputs(architecture)]
        for architecture in architectures
    }
    rows = ",\n".join(f'  "{name}": {json.dumps(values)}' for name, values in outputs.items())
    (Path(__file__).parent / FILE).write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")


def computed_outputs(architecture: Architecture) -> npt.NDArray[np.float32]:
    """The same outputs, computed here and now."""
    deep = sum(architecture.depths) > _MOST_BLOCKS
    model = frame.build(
        architecture,
        width=_WIDTH,
        depths=[min(2, depth) for depth in architecture.depths] if deep else None,
        classes=_CLASSES,
        classifier_activation=None,
        input_shape=with_channels(_HEIGHT_AND_WIDTH, 3),
    )
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(_drawn(layer, weight.name, tuple(weight.shape)))
    height, width = _HEIGHT_AND_WIDTH
    image = picture(height)[None, :, :width].astype(np.float32)
    if architecture.mode is None:
        image = image / np.float32(127.5) - np.float32(1)
    outputs: npt.NDArray[np.float32] = outputs_of(model, image)[0]
    return outputs


def outputs_of(model: keras.Model, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a model makes of images (b, h, w, c): (b, ...), of its first output."""
    if keras.config.image_data_format() == "channels_first":
        images = np.moveaxis(images, -1, 1)
    outputs = model.predict_on_batch(images)
    first = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
    return np.asarray(keras.ops.convert_to_numpy(first), np.float32)


def _drawn(layer: keras.Layer, weight: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Random numbers of a weight, drawn by NumPy's old generator, which never changes."""
    draw = np.random.RandomState(zlib.crc32(f"{layer.name}/{weight}".encode()))
    if weight == "kernel":
        # An output reads one channel of a depthwise kernel (h, w, c, 1), all of any other.
        read = shape[:2] if isinstance(layer, keras.layers.DepthwiseConv2D) else shape[:-1]
        values = draw.standard_normal(shape) * np.sqrt(2 / np.prod(read))
    elif weight in ("gamma", "moving_variance"):
        values = draw.uniform(0.6, 1.2, shape)
    else:
        values = 0.1 * draw.standard_normal(shape)
    return np.asarray(values, np.float32)
