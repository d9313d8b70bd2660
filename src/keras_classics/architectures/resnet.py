"""ResNet50: He, Zhang, Ren and Sun, 2015, https://arxiv.org/abs/1512.03385, table 1, figure 5.

A stage begins with a convolutional block, whose shortcut has a convolution because the shape
changes, and goes on with identity blocks, whose shortcut is the input itself.

Variants, each a record of its own; their weights must never be mixed up:

- `resnet50`, the paper's and Keras': the stride stands on the first 1x1 convolution.
- `resnet50_v1_5`, torchvision's: the stride stands on the 3x3 convolution, which sees more.
- `resnet50_d`, He T. et al. 2018, https://arxiv.org/abs/1812.01187, figure 2: v1.5 with a stem of
  three 3x3 convolutions (C) and average pooling before the shortcut's convolution (D).

Deviations from the paper in `resnet50`, those of the published Keras weights: convolutions have a
bias, and batch norm's epsilon is 1.001e-5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
from keras import KerasTensor, layers

from keras_classics.architectures.frame import Architecture
from keras_classics.architectures.layers import conv_bn, scaled
from keras_classics.architectures.tree import CONV_BN, BlockKind

# Table 1, column "50-layer": filters of the bottleneck and number of blocks, conv2 to conv5.
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
EXPANSION = 4  # a block's output has 4 times the filters of its bottleneck


@dataclass(frozen=True)
class Variant:
    """Where the ResNets of this depth differ."""

    stride_on_3x3: bool  # else on the first 1x1
    bias: bool
    epsilon: float
    momentum: float
    deep_stem: bool = False  # three 3x3 convolutions for the one of 7x7
    pooled_shortcut: bool = False  # average pooling, then an unstrided convolution

    def unit(
        self, x: KerasTensor, *, filters: int, kernel: int, name: str, strides: int = 1,
        pad: int = 0, relu: bool = True,
    ) -> KerasTensor:  # fmt: skip
        """Convolution and batch norm in this variant's manner."""
        return conv_bn(
            x, filters=filters, kernel=kernel, strides=strides, pad=pad, relu=relu, name=name,
            bias=self.bias, epsilon=self.epsilon, momentum=self.momentum,
        )  # fmt: skip


V1 = Variant(stride_on_3x3=False, bias=True, epsilon=1.001e-5, momentum=0.99)
V1_5 = Variant(stride_on_3x3=True, bias=False, epsilon=1e-5, momentum=0.9)
D = Variant(
    stride_on_3x3=True, bias=False, epsilon=1e-5, momentum=0.9, deep_stem=True, pooled_shortcut=True
)


def bottleneck(
    x: KerasTensor,
    shortcut: KerasTensor,
    *,
    filters: int,
    strides: int,
    name: str,
    variant: Variant,
    drop: float = 0.0,
) -> KerasTensor:
    """1x1, 3x3, 1x1, added to the shortcut: (b, h, w, c) -> (b, h / s, w / s, 4 filters).

    While training, the residual is left out for a `drop` of the images: stochastic depth,
    https://arxiv.org/abs/1603.09382.
    """
    first, second = (1, strides) if variant.stride_on_3x3 else (strides, 1)
    # Strided 3x3: symmetric zeros, as in torch; "same" would shift the grid by half a stride.
    pad = 1 if second > 1 else 0
    x = variant.unit(x, filters=filters, kernel=1, strides=first, name=f"{name}_1")
    x = variant.unit(x, filters=filters, kernel=3, strides=second, pad=pad, name=f"{name}_2")
    x = variant.unit(x, filters=EXPANSION * filters, kernel=1, relu=False, name=f"{name}_3")
    if drop:
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])  # this order is the weight files' order
    return layers.Activation("relu", name=f"{name}_out")(x)


def identity_block(
    x: KerasTensor, *, filters: int, name: str, variant: Variant = V1, drop: float = 0.0
) -> KerasTensor:
    """The shortcut is the input: (b, h, w, 4 filters) -> the same shape, figure 5 right."""
    return bottleneck(x, x, filters=filters, strides=1, name=name, variant=variant, drop=drop)


def convolutional_block(
    x: KerasTensor, *, filters: int, name: str, strides: int = 2, variant: Variant = V1,
    drop: float = 0.0,
) -> KerasTensor:  # fmt: skip
    """The shortcut is a convolution: (b, h, w, c) -> (b, h / s, w / s, 4 filters), section 3.3."""
    shortcut, shortcut_strides = x, strides
    if variant.pooled_shortcut and strides > 1:
        shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_0_pool")(shortcut)
        shortcut_strides = 1
    shortcut = variant.unit(
        shortcut, filters=EXPANSION * filters, kernel=1, strides=shortcut_strides, relu=False,
        name=f"{name}_0",
    )  # fmt: skip
    return bottleneck(
        x, shortcut, filters=filters, strides=strides, name=name, variant=variant, drop=drop
    )


def stem(x: KerasTensor, *, filters: int, prefix: str, variant: Variant) -> KerasTensor:
    """From the image to conv2: (b, h, w, c) -> (b, h / 4, w / 4, filters)."""
    if variant.deep_stem:
        half = max(1, filters // 2)
        x = variant.unit(x, filters=half, kernel=3, strides=2, pad=1, name=f"{prefix}conv1_a")
        x = variant.unit(x, filters=half, kernel=3, name=f"{prefix}conv1_b")
        x = variant.unit(x, filters=filters, kernel=3, name=f"{prefix}conv1_c")
    else:
        x = variant.unit(x, filters=filters, kernel=7, strides=2, pad=3, name=f"{prefix}conv1")
    x = layers.ZeroPadding2D(1, name=f"{prefix}pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name=f"{prefix}pool1_pool")(x)


def features(
    x: KerasTensor, *, width: float, prefix: str, variant: Variant, drop_path: float = 0.0
) -> KerasTensor:
    """Stem and four stages: (b, h, w, c) -> (b, h / 32, w / 32, 2048 width).

    Residuals are dropped the more often the later they are: never the first, the last at a rate of
    `drop_path`.
    """
    drops = iter(np.linspace(0.0, drop_path, sum(blocks for _, blocks in STAGES)).tolist())
    x = stem(x, filters=scaled(64, width), prefix=prefix, variant=variant)
    for stage, (filters, blocks) in enumerate(STAGES, start=2):
        name = f"{prefix}conv{stage}_block"
        bottleneck_filters = scaled(filters, width)
        x = convolutional_block(
            x, filters=bottleneck_filters, strides=1 if stage == 2 else 2, name=f"{name}1",
            variant=variant, drop=next(drops),
        )  # fmt: skip
        for block in range(2, blocks + 1):
            x = identity_block(
                x, filters=bottleneck_filters, name=f"{name}{block}", variant=variant,
                drop=next(drops),
            )  # fmt: skip
    return x


def with_drop_path(architecture: Architecture, rate: float) -> Architecture:
    """A ResNet whose residuals are dropped while it is trained, the last at this rate."""
    ours = cast("Callable[..., KerasTensor]", architecture.features)  # takes what others do not
    return architecture.replace(features=partial(ours, drop_path=rate))


RESNET50 = Architecture(
    name="resnet50",
    title="ResNet50",
    paper="https://arxiv.org/abs/1512.03385",
    year=2015,
    default_size=224,
    least_size=32,
    features=partial(features, variant=V1),
    names_pooling=True,
    kinds=(
        CONV_BN,
        BlockKind("max_pooling", parts=("pad", "pool"), source="table 1"),
        BlockKind("deep_stem", parts=("a_conv", "b_conv", "c_conv"), source="1812.01187, figure 2"),
        BlockKind("stage", parts=("block1_out",), source="table 1"),
        BlockKind(
            "identity_block", parts=("1_conv", "2_conv", "3_conv", "add", "out"), source="figure 5"
        ),
        BlockKind(
            "convolutional_block",
            parts=("0_conv", "1_conv", "2_conv", "3_conv", "add", "out"),
            source="section 3.3, option B",
        ),
    ),
)
RESNET50_V1_5 = RESNET50.replace(
    name="resnet50_v1_5", title="ResNet50V1_5", features=partial(features, variant=V1_5)
)
RESNET50_D = RESNET50.replace(
    name="resnet50_d",
    title="ResNet50D",
    paper="https://arxiv.org/abs/1812.01187",
    year=2018,
    features=partial(features, variant=D),
)
