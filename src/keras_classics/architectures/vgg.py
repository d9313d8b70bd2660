"""VGG16: Simonyan and Zisserman, 2014, https://arxiv.org/abs/1409.1556, table 1, column D.

Nothing but 3x3 convolutions and 2x2 pooling, deeper than anything before it.

Deviations from the paper, those of the published Keras weights: no dropout on fc1 and fc2 unless
asked for (the paper has 0.5). The test-time conversion of the dense layers into convolutions
(section 3.2) is `surgery.convolutional_top`.
"""

from __future__ import annotations

from functools import partial

import keras
from keras import KerasTensor, layers

from keras_classics.architectures.frame import (
    Activation,
    Architecture,
    Arguments,
    Shape,
    graph,
)
from keras_classics.architectures.layers import scaled
from keras_classics.architectures.tree import BlockKind

# Table 1, column D: filters of each block, and how many 3x3 convolutions it has.
FILTERS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)
HIDDEN = 4096  # width of the two hidden dense layers


def vgg_block(x: KerasTensor, *, filters: int, convolutions: int, name: str) -> KerasTensor:
    """3x3 convolutions with ReLU, 2x2 pooling: (b, h, w, c) -> (b, h / 2, w / 2, filters)."""
    conv = partial(layers.Conv2D, filters, 3, padding="same", activation="relu")
    for i in range(1, convolutions + 1):
        x = conv(name=f"{name}_conv{i}")(x)
    return layers.MaxPooling2D(2, strides=2, name=f"{name}_pool")(x)


def features(
    x: KerasTensor, *, width: float, depths: tuple[int, ...], prefix: str
) -> dict[str, KerasTensor]:
    """The five blocks: (b, h, w, c) -> (b, h / 32, w / 32, 512 width)."""
    ends = {}
    for i, (filters, convolutions) in enumerate(zip(FILTERS, depths, strict=True), start=1):
        x = vgg_block(
            x, filters=scaled(filters, width), convolutions=convolutions, name=f"{prefix}block{i}"
        )
        ends[f"block{i}"] = x
    return ends


def top(
    x: KerasTensor, *, width: float, prefix: str, classes: int, activation: Activation,
    dropout: float = 0.0,
) -> KerasTensor:  # fmt: skip
    """Two hidden dense layers (section 3.1: dropout 0.5), classes: (b, h, w, c) -> (b, classes)."""
    x = layers.Flatten(name=f"{prefix}flatten")(x)
    for hidden in ("fc1", "fc2"):
        x = layers.Dense(scaled(HIDDEN, width), activation="relu", name=prefix + hidden)(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"{prefix}{hidden}_dropout")(x)
    return layers.Dense(classes, activation=activation, name=f"{prefix}predictions")(x)


BLOCK = BlockKind(
    "vgg_block", r"(.+)_(?:conv\d+|pool)", "table 1", "conv", "name", vgg_block,
    needs=("_conv1", "_pool"),
)  # fmt: skip
VGG16 = Architecture(
    name="vgg16",
    title="VGG16",
    paper="https://arxiv.org/abs/1409.1556",
    year=2014,
    default_size=224,
    least_size=32,
    depths=DEPTHS,
    features=features,
    kinds=(BLOCK,),
    top=top,
    top_layers=("fc1", "fc2", "predictions"),
    fixes_size="top",
    traits=frozenset(),
    peers=(("keras", "VGG16"), ("torchvision", "vgg16"), ("timm", "vgg16")),
)
NETWORKS = (VGG16,)


def vgg16_sequential(
    *,
    input_shape: Shape | None = None,
    classes: int = 1000,
    classifier_activation: Activation = "softmax",
    name: str = "vgg16",
    width: float = 1.0,
    prefix: str = "",
    dropout: float = 0.0,
) -> keras.Sequential:
    """VGG16 with random weights through the Sequential API: the arguments are those of `VGG16`.

    A network without a branch needs no graph: a list of layers says it all. Same names, same order
    and same weights as `VGG16(weights=None)`, so that weights go from either to the other.

    Raises:
        ClassicsError: If an argument is out of its range.
    """
    arguments = Arguments(
        input_shape=input_shape, classes=classes, classifier_activation=classifier_activation,
        width=width, prefix=prefix, dropout=dropout,
    )  # fmt: skip
    input_name = "input_layer" if prefix else f"{VGG16.name}_input_layer"
    return keras.Sequential(graph(VGG16, arguments, input_name=input_name).layers, name=name)
