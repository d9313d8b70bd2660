"""What the architectures share: the unit of convolution and batch norm, and the width."""

from __future__ import annotations

import keras
from keras import KerasTensor, layers


def channel_axis() -> int:
    """The axis of the channels in a batch of images: 1 for channels_first, else 3."""
    return 1 if keras.config.image_data_format() == "channels_first" else 3


def scaled(filters: int, width: float) -> int:
    """The paper's number of filters times the width, at least one."""
    return max(1, round(filters * width))


def conv_bn(
    x: KerasTensor,
    *,
    filters: int,
    kernel: int | tuple[int, int],
    name: str,
    strides: int = 1,
    padding: str = "same",
    pad: int = 0,
    bias: bool = False,
    scale: bool = True,
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    relu: bool = True,
) -> KerasTensor:
    """Convolution, batch norm, ReLU: (b, h, w, c) -> (b, h / strides, w / strides, filters).

    Args:
        x: The images or feature maps.
        filters: Output channels.
        kernel: Height and width of the kernel.
        name: The unit; its layers are `{name}_pad`, `_conv`, `_bn`, `_relu`.
        strides: Of the convolution, in both directions.
        padding: `"same"` or `"valid"`; explicit padding makes it valid.
        pad: Zeros on each of the four sides. With stride 2, "same" pads the bottom and the right
            alone, while Caffe and torch pad all sides: weights of theirs need explicit padding.
        bias: Whether the convolution has a bias, which batch norm makes superfluous.
        scale: Whether batch norm has a gamma.
        epsilon: Added to batch norm's variance.
        momentum: Of batch norm's moving statistics, in Keras' sense.
        relu: Whether a ReLU follows.
    """
    if pad:
        x = layers.ZeroPadding2D(pad, name=f"{name}_pad")(x)
        padding = "valid"
    x = layers.Conv2D(
        filters, kernel, strides=strides, padding=padding, use_bias=bias, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(
        axis=channel_axis(), scale=scale, epsilon=epsilon, momentum=momentum, name=f"{name}_bn"
    )(x)
    return layers.Activation("relu", name=f"{name}_relu")(x) if relu else x
