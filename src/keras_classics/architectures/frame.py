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
    least_size: int  # of input_shape; below it, a feature map may vanish
    features: Features
    kinds: tuple[BlockKind, ...]  # the blocks that the architecture declares
    top: Top = pooled_top
    top_layers: tuple[str, ...] = ("predictions",)  # those of the top that have weights
    top_fixes_size: bool = False  # the top flattens, so that its weights fit one input size only
    side: SideHead | None = None
    names_pooling: bool = False  # the one without the top; keras.applications leaves some to Keras
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
    classes: int | None = 1000,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    width: float = 1.0,
    prefix: str = "",
    auxiliary: bool = False,
    input_name: str = "input_layer",
) -> keras.Model:
    """Build a network with random weights as a flat Functional model.

    Args:
        architecture: The record of the network.
        include_top: Whether the classifier is part of the model.
        input_tensor: Where the network begins, in the place of a new input.
        input_shape: Height, width, channels (channels first if Keras is so configured); None for
            any height or width, where the top allows it. Default: the paper's size with the top,
            any size without, 3 channels. With an input tensor it is checked, and changes nothing.
        pooling: Without the top, global pooling of the last feature maps: "avg", "max" or None.
        classes: Number of classes of the top; without it, anything.
        classifier_activation: Of the top; None gives logits.
        name: The model's; default: the architecture's.
        width: Multiplies the number of filters of every layer; 1.0 is the paper.
        prefix: Put before the name of every layer, so that two networks fit into one model.
        auxiliary: Whether the side classifier, where the network has one, is a second output.
        input_name: Of the new input, after the prefix.

    Returns:
        A model from (b, h, w, c) to (b, classes), or to (b, h', w', c') or (b, c') without the top.
        With an input tensor, it takes the list of what that is computed from.

    Raises:
        ClassicsError: If an argument is out of its range.
    """
    classes, width = _check(
        architecture, classes, width, pooling, prefix, include_top=include_top, auxiliary=auxiliary
    )
    shape = input_shape_for(architecture, input_shape, include_top=include_top)
    if input_tensor is None:
        # Keras would count inputs without a name, and no two files would have the same bytes.
        inputs = x = keras.Input(shape, name=f"{prefix}{input_name}")
    else:
        shape = _shape_of(input_tensor)
        _check_known(architecture, shape, "input_tensor of shape ", include_top=include_top)
        x, inputs = input_tensor, keras.utils.get_source_inputs(input_tensor)

    try:
        x = architecture.features(x, width=width, prefix=prefix)
    except ValueError as error:
        # As in keras.applications, an input tensor may be small while no feature map vanishes.
        _check_size(architecture, shape, "input_tensor of shape ", cause=error)
        raise
    if include_top:
        x = architecture.top(
            x, width=width, prefix=prefix, classes=classes, activation=classifier_activation
        )
    elif pooling:
        layer = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[pooling]
        own = "" if prefix or architecture.names_pooling else f"{architecture.name}_"
        x = layer(name=f"{prefix}{own}{pooling}_pool")(x)
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
    classes: int | None,
    width: float,
    pooling: Pooling,
    prefix: str,
    *,
    include_top: bool,
    auxiliary: bool,
) -> tuple[int, float]:
    """Classes and width as Python's own numbers: numpy's do not go into a saved model."""
    number = whole(classes) if include_top else 1
    if number is None or number < 1:
        raise ClassicsError(f"classes={classes!r}: a whole number of at least 1 is needed.")
    if (
        isinstance(width, bool)
        or not isinstance(width, numbers.Real)
        or not math.isfinite(width)
        or width <= 0
    ):
        raise ClassicsError(f"width={width!r}: a positive number is needed; 1.0 is the paper's.")
    if not include_top and pooling not in (None, "avg", "max"):
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
    """Check the shape of a new input, or give the default one.

    Raises:
        ClassicsError: If the shape is not one of three whole numbers, or smaller than the
            architecture's least size, or unknown where the top needs a fixed size.
    """
    if input_shape is None:
        side = architecture.default_size if include_top else None
        return with_channels((side, side), 3)
    input_shape = _three(input_shape)
    _check_size(architecture, input_shape, "input_shape=")
    _check_known(architecture, input_shape, "input_shape=", include_top=include_top)
    return input_shape


def _check_known(architecture: Architecture, shape: Shape, what: str, *, include_top: bool) -> None:
    """Refuse a shape that leaves open what a weight depends on."""
    channels = shape[channel_axis() - 1]
    if channels is None or channels < 1:
        raise ClassicsError(f"{what}{shape}: the number of channels must be known.")
    if include_top and architecture.top_fixes_size and None in _sides(shape):
        raise ClassicsError(
            f"{what}{shape}: the dense top of {architecture.title} needs a known height and width; "
            "give them, or build with include_top=False."
        )


def _check_size(
    architecture: Architecture, shape: Shape, what: str, cause: Exception | None = None
) -> None:
    """Refuse a shape that is smaller than the least size."""
    title, least = architecture.title, architecture.least_size
    if any(side is not None and side < least for side in _sides(shape)):
        raise ClassicsError(
            f"{what}{shape}: {title} needs at least {least} x {least} pixels."
        ) from cause


def _sides(shape: Shape) -> tuple[int | None, ...]:
    return tuple(n for axis, n in enumerate(shape, start=1) if axis != channel_axis())


def _shape_of(input_tensor: Any) -> Shape:
    """Height, width and channels of a tensor where a network can begin."""
    if not keras.utils.is_keras_tensor(input_tensor):
        raise ClassicsError(
            f"input_tensor of type {type(input_tensor).__name__}: a Keras tensor is needed, "
            "such as keras.Input(...) or the output of a layer."
        )
    return _three(input_tensor.shape[1:])


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
