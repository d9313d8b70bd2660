"""The units that the architectures share: tensor to tensor, `x` first, the rest by keyword.

A network binds what its variant never changes (padding, epsilon, momentum, activation, names of the
layers) once, with `functools.partial`; what is left to say is what the paper's table says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import keras
from keras import KerasTensor, layers

from keras_classics.architectures.tree import BlockKind

Kernel = int | tuple[int, int]


def channel_axis() -> int:
    """The axis of the channels in a batch of images: 1 for channels_first, else 3."""
    return 1 if keras.config.image_data_format() == "channels_first" else 3


def channels_of(x: KerasTensor) -> int:
    """The number of channels of feature maps."""
    return int(x.shape[channel_axis()])


def scaled(filters: float, width: float, *, divisor: int = 1) -> int:
    """The paper's number of filters times the width: the nearest multiple of the divisor.

    With a divisor of 8, as MobileNetV2 and EfficientNet round: at least one multiple, and never
    below 90 % of what was asked for.
    """
    wanted = filters * width
    if divisor == 1:
        return max(1, round(wanted))
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * wanted else rounded


class Names(NamedTuple):
    """What the layers of a unit are called; `{}` stands for the unit's name."""

    conv: str = "{}_conv"
    norm: str = "{}_bn"
    activation: str = "{}_relu"
    pad: str = "{}_pad"


NAMES = Names()


def convolution(
    x: KerasTensor,
    *,
    filters: int | None,
    kernel: Kernel,
    name: str,
    pad_name: str = "{}_pad",
    strides: int = 1,
    padding: str = "same",
    pad: int = 0,
    groups: int = 1,
    bias: bool = False,
) -> KerasTensor:
    """Convolution: (b, h, w, c) -> (b, h / strides, w / strides, filters).

    Args:
        x: The images or feature maps.
        filters: Output channels; None for a depthwise convolution, a filter for each channel.
        kernel: Height and width of the kernel.
        name: Of the layer.
        pad_name: Of the layer that pads; `{}` stands for the name.
        strides: In both directions.
        padding: `"same"` or `"valid"`; explicit padding makes it valid.
        pad: Zeros on each of the four sides. With stride 2, "same" pads the bottom and the right
            alone, while Caffe and torch pad all sides: weights of theirs need explicit padding.
        groups: Into which the channels are split.
        bias: Whether there is one, which batch norm makes superfluous.
    """
    if pad:
        x = layers.ZeroPadding2D(pad, name=pad_name.format(name))(x)
        padding = "valid"
    if filters is None:
        layer = layers.DepthwiseConv2D(
            kernel, strides=strides, padding=padding, use_bias=bias, name=name
        )
    else:
        layer = layers.Conv2D(
            filters, kernel, strides=strides, padding=padding, groups=groups, use_bias=bias,
            name=name,
        )  # fmt: skip
    return layer(x)


def conv_bn(
    x: KerasTensor,
    *,
    filters: int | None,
    kernel: Kernel,
    name: str,
    strides: int = 1,
    padding: str = "same",
    pad: int = 0,
    groups: int = 1,
    bias: bool = False,
    scale: bool = True,
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    activation: str | None = "relu",
    order: Literal["conv norm act", "norm act conv"] = "conv norm act",
    names: Names = NAMES,
) -> KerasTensor:
    """Convolution, batch norm, activation: (b, h, w, c) -> (b, h / strides, w / strides, filters).

    The layers are `{name}_pad`, `_conv`, `_bn`, `_relu`, unless a network's published `names` are
    others. Filters to bias are those of `convolution`; `scale` says whether batch norm has a gamma,
    `epsilon` is added to its variance, `momentum` is meant in Keras' sense. A unit without an
    activation ends linearly. The order "norm act conv" is pre-activation, 1603.05027.
    """

    def convolve(x: KerasTensor) -> KerasTensor:
        return convolution(
            x, filters=filters, kernel=kernel, strides=strides, padding=padding, pad=pad,
            groups=groups, bias=bias, name=names.conv.format(name), pad_name=names.pad.format(name),
        )  # fmt: skip

    def normalise_and_activate(x: KerasTensor) -> KerasTensor:
        norm = layers.BatchNormalization(
            axis=channel_axis(), scale=scale, epsilon=epsilon, momentum=momentum,
            name=names.norm.format(name),
        )  # fmt: skip
        x = norm(x)
        if activation:
            x = layers.Activation(activation, name=names.activation.format(name))(x)
        return x

    if order == "norm act conv":
        return convolve(normalise_and_activate(x))
    return normalise_and_activate(convolve(x))


def squeeze_excite(
    x: KerasTensor,
    *,
    reduced: int,
    name: str,
    activation: str = "relu",
    gate: str = "sigmoid",
) -> KerasTensor:
    """Weighs the channels by what all positions say, 1709.01507, figure 3: shape unchanged.

    Args:
        x: The feature maps.
        reduced: Channels between the two 1x1 convolutions.
        name: The block's; the layers are `{name}_se_squeeze`, `_se_reduce`, `_se_expand` and
            `_se_excite`.
        activation: Behind the first of them.
        gate: Behind the second.
    """
    channels = channels_of(x)
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_squeeze")(x)
    weights = layers.Conv2D(reduced, 1, activation=activation, name=f"{name}_se_reduce")(weights)
    weights = layers.Conv2D(channels, 1, activation=gate, name=f"{name}_se_expand")(weights)
    return layers.Multiply(name=f"{name}_se_excite")([x, weights])


def drop_rates(limit: float, blocks: int, *, last: bool = True) -> Iterator[float]:
    """The rate of each residual in turn, rising linearly from none to the limit.

    Args:
        limit: Of the last one, or of the one that would follow it.
        blocks: How many there are.
        last: Whether the last one reaches the limit.
    """
    steps = max(1, blocks - last)
    return (limit * block / steps for block in range(blocks))


def drop_residual(x: KerasTensor, *, rate: float, name: str) -> KerasTensor:
    """Stochastic depth, https://arxiv.org/abs/1603.09382: shape unchanged.

    While training, the residual is left out for a share `rate` of the images.
    """
    return layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(x) if rate else x


def layer_scale(x: KerasTensor, *, initial: float, name: str) -> KerasTensor:
    """A trained factor for each channel, https://arxiv.org/abs/2103.17239: shape unchanged.

    A depthwise 1x1 convolution, so that plain Keras opens the model.
    """
    scale = keras.initializers.Constant(initial)
    return layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer=scale, name=name)(x)


def normalise(
    x: KerasTensor, *, mean: Sequence[float], deviation: Sequence[float], prefix: str = ""
) -> KerasTensor:
    """Pixels from 0 to 255 to `(x / 255 - mean) / deviation` inside the graph: shape unchanged.

    Args:
        x: The images, (b, h, w, c).
        mean: Of red, green and blue, from 0 to 1; images of other than 3 channels get the average.
        deviation: The same.
        prefix: Before the layers' names, `rescaling` and `normalization`.
    """
    variance = [each**2 for each in deviation]
    if (channels := channels_of(x)) != len(mean):
        mean = [sum(mean) / len(mean)] * channels
        variance = [sum(variance) / len(variance)] * channels
    x = layers.Rescaling(1 / 255, name=f"{prefix}rescaling")(x)
    norm = layers.Normalization(
        axis=channel_axis(), mean=list(mean), variance=variance, name=f"{prefix}normalization"
    )
    return norm(x)


# Convolution and batch norm, whatever lies around them; told by what it does.
CONV_BN = BlockKind(
    "conv_bn",
    r"(.+)_(?:pad|conv|bn|relu|activation)",
    needs=("_conv", "_bn"),
    source="1502.03167",
    family="conv",
    frame="unit",
    made_by=conv_bn,
)
SQUEEZE_EXCITE = BlockKind(
    "squeeze_excite",
    r"(.+)_se_(?:squeeze|reduce|expand|excite)",
    needs=("_se_squeeze", "_se_excite"),
    named="{}_se",
    source="1709.01507, figure 3",
    family="merge",
    made_by=squeeze_excite,
)
