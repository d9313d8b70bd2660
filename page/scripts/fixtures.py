"""Writes test/fixtures: graphs as the server gives them, for the tests of the page's arithmetic.

The test of the page compares the files with what the server gives now.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
from keras import layers

from keras_classics.architectures.analysis import analyse
from keras_classics.architectures.catalog import CATALOG
from keras_classics.architectures.frame import build
from keras_classics.explorer.graph import graph

FOLDER = Path(__file__).parent.parent / "test" / "fixtures"


def zoo() -> keras.Model:
    """Every kind of layer that the page knows, with every setting that changes a number."""
    image = keras.Input((61, 47, 6), name="image")
    convolutions = []
    for kernel in (1, 2, 3, (5, 3), 7):
        for padding in ("same", "valid"):
            for strides, dilation in ((1, 1), (2, 1), ((3, 2), 1), (1, 2), (1, (2, 3))):
                conv = layers.Conv2D(
                    8,
                    kernel,
                    strides=strides,
                    dilation_rate=dilation,
                    padding=padding,
                    use_bias=padding == "same",
                    groups=2 if kernel == 3 else 1,
                )
                convolutions.append(conv(image))
    for padding in ("same", "valid"):
        for strides in (1, 2, 3):
            convolutions += [
                layers.DepthwiseConv2D(3, strides=strides, padding=padding, depth_multiplier=2)(
                    image
                ),
                layers.SeparableConv2D(
                    10, (3, 5), strides=strides, padding=padding, use_bias=False
                )(image),
                layers.MaxPooling2D((3, 2), strides=strides, padding=padding)(image),
                layers.AveragePooling2D(2, padding=padding)(image),
            ]
    x = layers.ZeroPadding2D(((1, 2), (3, 0)))(image)
    x = layers.Cropping2D(((2, 1), (0, 4)))(x)
    plain = layers.BatchNormalization(name="whole_bn")(x)
    bare = layers.BatchNormalization(scale=False, name="scaleless_bn")(x)
    least = layers.BatchNormalization(scale=False, center=False, name="least_bn")(x)
    x = layers.Concatenate(name="concat")([plain, layers.ReLU()(bare), least])
    x = layers.Add(name="add")([x, layers.Dropout(0.5)(x)])
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="last_conv")(x)
    flat = layers.Flatten()(layers.MaxPooling2D(4)(x))
    features = layers.Dense(5, use_bias=False)(flat)
    pooled = layers.GlobalAveragePooling2D()(x)
    largest = layers.GlobalMaxPooling2D(keepdims=True)(x)
    head = layers.Dense(3, activation="softmax", name="head")(pooled)
    # Squeeze-and-excite, and scaling inside the graph by numbers given and by weights.
    gate = layers.Conv2D(4, 1, activation="sigmoid")(layers.Reshape((1, 1, 4))(pooled))
    gated = layers.Activation("swish")(layers.Multiply(name="excite")([x, gate]))
    gated = layers.DepthwiseConv2D(3, strides=2, name="gated")(layers.ReLU(6.0)(gated))
    scaled = layers.Normalization(mean=[0.5] * 6, variance=[0.1] * 6)(layers.Rescaling(0.1)(image))
    scaled = layers.Normalization(name="weighted")(scaled)
    ends = [head, features, largest, gated, scaled]
    return keras.Model(image, [*ends, *convolutions], name="zoo")


def graphs() -> dict[str, Any]:
    """The graphs by name."""
    keras.utils.clear_session()
    models = {
        "zoo": zoo(),
        "vgg16": build(CATALOG["vgg16"], width=0.125, classes=10, input_shape=(64, 64, 3)),
        "resnet50": build(CATALOG["resnet50"], width=0.25, classes=10, input_shape=(97, 97, 3)),
        "inception_v3": build(
            CATALOG["inception_v3"], width=0.25, classes=10, input_shape=(139, 139, 3)
        ),
    }
    return {
        name: json.loads(
            graph(
                SimpleNamespace(  # type: ignore[arg-type]
                    id=name, model=model, analysis=analyse(model), channels_first=False
                )
            ).model_dump_json()
        )
        for name, model in models.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in graphs().items():
        text = json.dumps(content, separators=(",", ":"))
        FOLDER.joinpath(f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
