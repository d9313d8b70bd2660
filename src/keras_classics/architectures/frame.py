"""The frame: what all networks have in common stands here, once.

`Architecture` is the record of a network, `build` makes a flat Functional model of it. Weights are
no business of this layer: see `keras_classics.networks` for the constructors that load them.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import keras
from keras import KerasTensor, layers

from keras_classics.architectures.layers import channel_axis
from keras_classics.architectures.tree import BlockKind
from keras_classics.errors import ClassicsError

Activation = str | Callable[[KerasTensor], KerasTensor] | None  # as in keras.layers.Dense
Pooling = Literal["avg", "max"] | None
Shape = tuple[int | None, int | None, int | None]


class Features(Protocol):
    """From images to the last feature maps: (b, h, w, c) -> (b, h', w', c')."""

    def __call__(self, x: KerasTensor, *, width: float, prefix: str) -> KerasTensor: ...  # noqa: D102


class Top(Protocol):
    """From the last feature maps to the classes: (b, h, w, c) -> (b, classes)."""

    def __call__(  # noqa: D102
        self, x: KerasTensor, *, width: float, prefix: str, classes: int, activation: Activation
    ) -> KerasTensor: ...


def pooled_top(
    x: KerasTensor,
    *,
    width: float,  # noqa: ARG001  the classes are not scaled
    prefix: str,
    classes: int,
    activation: Activation,
    dropout: float = 0.0,
) -> KerasTensor:
    """Global average pooling and one dense layer: (b, h, w, c) -> (b, classes), any h and w."""
    x = layers.GlobalAveragePooling2D(name=f"{prefix}avg_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"{prefix}avg_pool_dropout")(x)
    return layers.Dense(classes, activation=activation, name=f"{prefix}predictions")(x)


@dataclass(frozen=True)
class SideHead:
    """A side classifier, which helps to train what lies below it."""

    top: Top
    after: str  # the layer whose feature maps it reads
    layers: tuple[str, ...]  # those of its layers that have weights


@dataclass(frozen=True)
class Architecture:
    """The record of a network."""

    name: str  # in the catalog and as the model's default name
    title: str  # of the constructor
    paper: str  # address
    year: int
    default_size: int  # of the square input in pixels
    least_size: int  # below it, a feature map would vanish
    features: Features
    kinds: tuple[BlockKind, ...]  # the blocks that the architecture declares
    top: Top = pooled_top
    top_layers: tuple[str, ...] = ("predictions",)  # those of the top that have weights
    top_fixes_size: bool = False  # the top flattens, so that its weights fit one input size only
    side: SideHead | None = None
    aliases: tuple[tuple[str, str], ...] = ()  # published layer name -> name that tells its block

    def replace(self, **changes: Any) -> Architecture:
        """A variant: this record with other values in some fields."""
        return dataclasses.replace(self, **changes)


def build(
    architecture: Architecture,
    *,
    include_top: bool = True,
    input_tensor: KerasTensor | None = None,
    input_shape: Shape | None = None,
    pooling: Pooling = None,
    classes: int = 1000,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    width: float = 1.0,
    prefix: str = "",
    auxiliary: bool = False,
) -> keras.Model:
    """Build a network with random weights as a flat Functional model.

    Args:
        architecture: The record of the network.
        include_top: Whether the classifier is part of the model.
        input_tensor: Where the network begins, in the place of a new input.
        input_shape: Height, width, channels (channels first if Keras is so configured); None for
            any height or width, where the top allows it. Default: the paper's size with the top,
            any size without, 3 channels.
        pooling: Without the top, global pooling of the last feature maps: "avg", "max" or None.
        classes: Number of classes of the top.
        classifier_activation: Of the top; None gives logits.
        name: The model's; default: the architecture's.
        width: Multiplies the number of filters of every layer; 1.0 is the paper.
        prefix: Put before the name of every layer, so that two networks fit into one model.
        auxiliary: Whether the side classifier, where the network has one, is a second output.

    Returns:
        A model from (b, h, w, c) to (b, classes), or to (b, h', w', c') or (b, c') without the top.

    Raises:
        ClassicsError: If an argument is out of its range.
    """
    classes, width = _check(
        architecture, classes, width, pooling, prefix, include_top=include_top, auxiliary=auxiliary
    )
    if input_tensor is None:
        shape = input_shape_for(architecture, input_shape, include_top=include_top)
        # Keras would count inputs without a name, and no two files would have the same bytes.
        x = keras.Input(shape, name=f"{prefix}input_layer")
    elif keras.utils.is_keras_tensor(input_tensor):
        if input_shape is not None and input_tensor.shape[1:] != _three(input_shape):
            raise ClassicsError(
                f"input_shape={input_shape} is not the shape of input_tensor, "
                f"{tuple(input_tensor.shape[1:])}; give one of the two."
            )
        input_shape_for(architecture, tuple(input_tensor.shape[1:]), include_top=include_top)
        x = input_tensor
    else:
        raise ClassicsError(
            f"input_tensor of type {type(input_tensor).__name__}: a Keras tensor is needed, "
            "such as keras.Input(...) or the output of a layer."
        )
    sources = [x] if input_tensor is None else keras.utils.get_source_inputs(input_tensor)

    x = architecture.features(x, width=width, prefix=prefix)
    if include_top:
        x = architecture.top(
            x, width=width, prefix=prefix, classes=classes, activation=classifier_activation
        )
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D(name=f"{prefix}avg_pool")(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(name=f"{prefix}max_pool")(x)
    inputs = sources[0] if len(sources) == 1 else sources
    model = keras.Model(inputs, x, name=name or architecture.name)
    if auxiliary and architecture.side:
        side = architecture.side.top(
            model.get_layer(prefix + architecture.side.after).output,
            width=width, prefix=prefix, classes=classes, activation=classifier_activation,
        )  # fmt: skip
        model = keras.Model(inputs, [x, side], name=model.name)
    return model


def _check(
    architecture: Architecture,
    classes: int,
    width: float,
    pooling: Pooling,
    prefix: str,
    *,
    include_top: bool,
    auxiliary: bool,
) -> tuple[int, float]:
    """Classes and width as Python's own numbers: numpy's do not go into a saved model."""
    number = whole(classes)
    if number is None or number < 1:
        raise ClassicsError(f"classes={classes!r}: a whole number of at least 1 is needed.")
    if (
        isinstance(width, bool)
        or not isinstance(width, numbers.Real)
        or not math.isfinite(width)
        or width <= 0
    ):
        raise ClassicsError(f"width={width!r}: a positive number is needed; 1.0 is the paper's.")
    if pooling not in (None, "avg", "max"):
        raise ClassicsError(f'pooling={pooling!r}: None, "avg" or "max" is needed.')
    if not isinstance(prefix, str):
        raise ClassicsError(f'prefix={prefix!r}: a string is needed; "" puts nothing before.')
    if "/" in prefix:
        raise ClassicsError(f'prefix={prefix!r}: layer names cannot contain "/".')

    if auxiliary and architecture.side is None:
        raise ClassicsError(f"auxiliary=True: {architecture.title} has no side classifier.")
    if auxiliary and not include_top:
        raise ClassicsError(
            "auxiliary=True with include_top=False: the side classifier needs classes; "
            "use include_top=True."
        )
    return number, float(width)


def input_shape_for(
    architecture: Architecture, input_shape: Shape | None, *, include_top: bool
) -> Shape:
    """Check the shape of the input, or give the default one.

    Raises:
        ClassicsError: If the shape is not one of three whole numbers, or smaller than the
            architecture's least size, or unknown where the top needs a fixed size.
    """
    if input_shape is None:
        side = architecture.default_size if include_top else None
        return with_channels((side, side), 3)
    title, least = architecture.title, architecture.least_size
    input_shape = _three(input_shape)
    channels = input_shape[channel_axis() - 1]
    sides = [n for axis, n in enumerate(input_shape, start=1) if axis != channel_axis()]
    if channels is None or channels < 1:
        raise ClassicsError(f"input_shape={input_shape}: the number of channels must be known.")
    if any(side is not None and side < least for side in sides):
        raise ClassicsError(
            f"input_shape={input_shape}: {title} needs at least {least} x {least} pixels."
        )
    if include_top and architecture.top_fixes_size and None in sides:
        raise ClassicsError(
            f"input_shape={input_shape}: the dense top of {title} needs a known height and width; "
            "give them, or build with include_top=False."
        )
    return input_shape


def _three(input_shape: Any) -> Shape:
    """The shape in Python's own numbers, whether a tuple or a list, of numpy's or not."""
    sides = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    if len(sides) != 3 or any(n is not None and whole(n) is None for n in sides):
        raise ClassicsError(
            f"input_shape={input_shape!r}: three whole numbers (or None) are needed."
        )
    return (whole(sides[0]), whole(sides[1]), whole(sides[2]))


def whole(value: Any) -> int | None:
    """A whole number, numpy's included, as an int; None for anything else and for a bool."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return None
    return int(value)


def with_channels(sides: tuple[int | None, int | None], channels: int) -> Shape:
    """Height and width joined with the channels in the order that Keras is configured for."""
    return (channels, *sides) if channel_axis() == 1 else (*sides, channels)
