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

from keras_classics.architectures.frame import Activation, Architecture, input_shape_for
from keras_classics.architectures.layers import scaled
from keras_classics.architectures.tree import BlockKind
from keras_classics.errors import ClassicsError

# Table 1, column D: filters and number of 3x3 convolutions of each block.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
HIDDEN = 4096  # width of the two hidden dense layers


def block_layers(*, filters: int, convolutions: int, name: str) -> list[keras.Layer]:
    """The layers of one block: 3x3 convolutions with ReLU, then 2x2 pooling (section 2.1)."""
    return [
        *(
            layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"{name}_conv{i}")
            for i in range(1, convolutions + 1)
        ),
        layers.MaxPooling2D(2, strides=2, name=f"{name}_pool"),
    ]


def vgg_block(x: KerasTensor, *, filters: int, convolutions: int, name: str) -> KerasTensor:
    """Convolutions and pooling: (b, h, w, c) -> (b, h / 2, w / 2, filters), table 1."""
    return chain(x, block_layers(filters=filters, convolutions=convolutions, name=name))


def chain(x: KerasTensor, stack: list[keras.Layer]) -> KerasTensor:
    """Apply layers one after the other."""
    for layer in stack:
        x = layer(x)
    return x


def features(x: KerasTensor, *, width: float, prefix: str) -> KerasTensor:
    """The five blocks: (b, h, w, c) -> (b, h / 32, w / 32, 512 width)."""
    for i, (filters, convolutions) in enumerate(BLOCKS, start=1):
        x = vgg_block(
            x,
            filters=scaled(filters, width),
            convolutions=convolutions,
            name=f"{prefix}block{i}",
        )
    return x


def top_layers(
    *, width: float, prefix: str, classes: int, activation: Activation, dropout: float = 0.0
) -> list[keras.Layer]:
    """The classifier: flatten, two hidden dense layers (section 3.1: dropout 0.5), predictions."""
    stack: list[keras.Layer] = [layers.Flatten(name=f"{prefix}flatten")]
    for hidden in ("fc1", "fc2"):
        stack.append(layers.Dense(scaled(HIDDEN, width), activation="relu", name=prefix + hidden))
        if dropout:
            stack.append(layers.Dropout(dropout, name=f"{prefix}{hidden}_dropout"))
    return [*stack, layers.Dense(classes, activation=activation, name=f"{prefix}predictions")]


def top(
    x: KerasTensor,
    *,
    width: float,
    prefix: str,
    classes: int,
    activation: Activation,
    dropout: float = 0.0,
) -> KerasTensor:
    """The classifier as a function: (b, h, w, c) -> (b, classes)."""
    stack = top_layers(
        width=width, prefix=prefix, classes=classes, activation=activation, dropout=dropout
    )
    return chain(x, stack)


VGG16 = Architecture(
    name="vgg16",
    title="VGG16",
    paper="https://arxiv.org/abs/1409.1556",
    year=2014,
    default_size=224,
    least_size=32,
    features=features,
    top=top,
    top_layers=("fc1", "fc2", "predictions"),
    top_fixes_size=True,
    kinds=(BlockKind("vgg_block", parts=("conv1", "pool"), source="table 1"),),
)


def with_dropout(rate: float) -> Architecture:
    """VGG16 whose hidden dense layers are followed by dropout of this rate, as the paper has it."""
    if not 0.0 <= rate < 1.0:
        raise ClassicsError(f"dropout={rate!r}: a rate from 0 up to, not including, 1 is needed.")
    return VGG16.replace(top=partial(top, dropout=rate))


def vgg16_sequential(
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int = 1000,
    classifier_activation: Activation = "softmax",
    name: str = "vgg16",
    width: float = 1.0,
    prefix: str = "",
    dropout: float = 0.0,
) -> keras.Sequential:
    """VGG16 through the Sequential API, from the same layers as the Functional one.

    A network without a branch needs no graph: a list of layers says it all. Same names, same order
    and same weights as `VGG16(weights=None)`, so that weights go from either to the other.

    Args:
        input_shape: Height, width and channels (channels first if Keras is so configured);
            default 224 x 224 x 3, at least 32 x 32.
        classes: Number of classes.
        classifier_activation: Of the last layer; None gives logits.
        name: The model's.
        width: Multiplies the number of filters and hidden units.
        prefix: Put before the name of every layer.
        dropout: Rate after fc1 and fc2.

    Raises:
        ClassicsError: If an argument is out of its range.
    """
    with_dropout(dropout)
    shape = input_shape_for(VGG16, input_shape, include_top=True)
    stack = [keras.Input(shape, name=f"{prefix or 'vgg16_'}input_layer")]
    for i, (filters, convolutions) in enumerate(BLOCKS, start=1):
        stack += block_layers(
            filters=scaled(filters, width), convolutions=convolutions, name=f"{prefix}block{i}"
        )
    stack += top_layers(
        width=width,
        prefix=prefix,
        classes=classes,
        activation=classifier_activation,
        dropout=dropout,
    )
    return keras.Sequential(stack, name=name)
