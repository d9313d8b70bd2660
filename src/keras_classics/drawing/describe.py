"""What a layer is, in the words of the papers: "3×3 conv, 64, /2"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_classics.architectures.tree import BlockKind

_CONVOLUTIONS = {
    layers.Conv1D: "conv",
    layers.Conv2D: "conv",
    layers.Conv3D: "conv",
    layers.DepthwiseConv1D: "depthwise conv",
    layers.DepthwiseConv2D: "depthwise conv",
    layers.SeparableConv1D: "separable conv",
    layers.SeparableConv2D: "separable conv",
    layers.Conv1DTranspose: "transposed conv",
    layers.Conv2DTranspose: "transposed conv",
    layers.Conv3DTranspose: "transposed conv",
}
_POOLINGS = {
    layers.MaxPooling1D: "max pool",
    layers.MaxPooling2D: "max pool",
    layers.MaxPooling3D: "max pool",
    layers.AveragePooling1D: "avg pool",
    layers.AveragePooling2D: "avg pool",
    layers.AveragePooling3D: "avg pool",
}
_PLAIN = {
    layers.InputLayer: "input",
    layers.BatchNormalization: "batch norm",
    layers.LayerNormalization: "layer norm",
    layers.GroupNormalization: "group norm",
    layers.GlobalAveragePooling2D: "global avg pool",
    layers.GlobalMaxPooling2D: "global max pool",
    layers.Concatenate: "concat",
    layers.Add: "+",
    layers.Multiply: "×",
    layers.ZeroPadding2D: "zero pad",
    layers.ReLU: "ReLU",
    layers.LeakyReLU: "leaky ReLU",
    layers.Softmax: "softmax",
}
_ACTIVATIONS = {"relu": "ReLU", "relu6": "ReLU6", "gelu": "GELU", "silu": "SiLU", "elu": "ELU"}
# What a unit does besides its convolution or pooling stands in its second line.
_BESIDE = (layers.BatchNormalization, layers.Activation, layers.ReLU, layers.ZeroPadding2D)


def describe(stack: Sequence[Any], *, kind: BlockKind | None = None) -> tuple[str, ...]:
    """Lines that say what a layer, or a block of layers, is; the first one is its title.

    Args:
        stack: The layers.
        kind: Of the block, if it is one.
    """
    if kind and kind.frame != "unit":
        return (kind.name.replace("_", " "),)
    if len(stack) == 1:
        return (_layer(stack[0]),)
    main = [_layer(layer) for layer in stack if not isinstance(layer, _BESIDE)]
    beside = [
        _layer(layer)
        for layer in stack
        if isinstance(layer, _BESIDE) and not isinstance(layer, layers.ZeroPadding2D)
    ]
    return (
        *(main or [kind.name.replace("_", " ")] if kind else main),
        *([" + ".join(beside)] if beside else []),
    )


def _layer(layer: Any) -> str:
    """One layer; a class that is not in the tables above, one's own too, by its name."""
    kind = type(layer)
    if kind in _CONVOLUTIONS:
        return _convolution(layer)
    if kind in _POOLINGS:
        return f"{_times(layer.pool_size)} {_POOLINGS[kind]}{_stride(layer.strides)}"
    if isinstance(layer, layers.Dense):
        return f"dense, {layer.units}{_then(layer.activation)}"
    if isinstance(layer, layers.Activation):
        return _activation(layer.activation)
    if isinstance(layer, layers.Dropout):
        # One draw for a whole image is stochastic depth, of a residual.
        whole = layer.noise_shape is not None and set(layer.noise_shape[1:]) == {1}
        return f"{'drop path' if whole else 'dropout'} {layer.rate:g}"
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", kind.__name__).lower()
    return _PLAIN.get(kind, words)


def _convolution(layer: Any) -> str:
    filters, groups = getattr(layer, "filters", None), getattr(layer, "groups", 1)
    parts = (
        f"{_times(layer.kernel_size)} {_CONVOLUTIONS[type(layer)]}",
        f", {filters}" if filters else "",
        _stride(layer.strides),
        _dilation(layer.dilation_rate),
        f", {groups} groups" if groups > 1 else "",
        _then(layer.activation),
    )
    return "".join(parts)


def kernel_of(layer: Any) -> str:
    """Kernel and filters of a convolution: "3×3, 64"; nothing for another layer."""
    if type(layer) not in _CONVOLUTIONS:
        return ""
    filters = getattr(layer, "filters", None)
    return _times(layer.kernel_size) + (f", {filters}" if filters else " depthwise")


def _then(activation: Any) -> str:
    """What follows a convolution or dense layer, where something does."""
    linear = activation is None or activation is keras.activations.linear
    return "" if linear else f" + {_activation(activation)}"


def _activation(function: Any) -> str:
    name = getattr(function, "__name__", None) or type(function).__name__
    return _ACTIVATIONS.get(name, name.replace("_", " "))


def _times(sides: Sequence[int]) -> str:
    return "×".join(map(str, sides))


def _stride(strides: Sequence[int]) -> str:
    if set(strides) == {1}:
        return ""
    return f", /{strides[0]}" if len(set(strides)) == 1 else f", /{_times(strides)}"


def _dilation(rates: Sequence[int]) -> str:
    return "" if set(rates) == {1} else f", dilation {_times(rates)}"


# Settings of a layer that are no part of what it computes, once it is trained and shapes are known.
_OF_NO_MATTER = {
    "name", "trainable", "dtype", "kernel_initializer", "depthwise_initializer",
    "bias_initializer", "seed", "rate",
}  # fmt: skip
_WIDTHS = {"filters", "units", "depth_multiplier"}


def settings(layer: Any, *, widths: bool) -> tuple[Any, ...]:
    """The class and the settings of a layer, to tell whether two compute the same.

    Args:
        layer: Of a model.
        widths: Whether the numbers of filters and units count.
    """
    leave_out = _OF_NO_MATTER if widths else _OF_NO_MATTER | _WIDTHS
    config = {key: value for key, value in layer.get_config().items() if key not in leave_out}
    return type(layer), repr(sorted(config.items(), key=lambda item: item[0]))
