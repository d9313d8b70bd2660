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

from keras import KerasTensor, layers

from keras_classics.architectures.frame import DROP_PATH, DROPOUT, Architecture
from keras_classics.architectures.layers import CONV_BN, conv_bn, drop_rates, drop_residual, scaled
from keras_classics.architectures.tree import BlockKind

# Table 1, column "50-layer": filters of the bottleneck and number of blocks, conv2 to conv5.
FILTERS = (64, 128, 256, 512)
DEPTHS = (3, 4, 6, 3)
EXPANSION = 4  # a block's output has 4 times the filters of its bottleneck


@dataclass(frozen=True)
class Variant:
    """Where the ResNets of this depth differ."""

    unit: Callable[..., KerasTensor]  # convolution, batch norm, ReLU
    stride_on_3x3: bool = True  # else on the first 1x1
    deep_stem: bool = False  # three 3x3 convolutions for the one of 7x7
    pooled_shortcut: bool = False  # average pooling, then an unstrided convolution


TORCH = partial(conv_bn, epsilon=1e-5, momentum=0.9)
V1 = Variant(partial(conv_bn, bias=True, epsilon=1.001e-5), stride_on_3x3=False)
V1_5 = Variant(TORCH)
D = Variant(TORCH, deep_stem=True, pooled_shortcut=True)


def bottleneck(
    x: KerasTensor, shortcut: KerasTensor, *, filters: int, strides: int, name: str,
    variant: Variant, drop: float,
) -> KerasTensor:  # fmt: skip
    """1x1, 3x3, 1x1, added to the shortcut: (b, h, w, c) -> (b, h / s, w / s, 4 filters)."""
    first, second = (1, strides) if variant.stride_on_3x3 else (strides, 1)
    # Strided 3x3: symmetric zeros, as in torch; "same" would shift the grid by half a stride.
    pad = 1 if second > 1 else 0
    unit = variant.unit
    x = unit(x, filters=filters, kernel=1, strides=first, name=f"{name}_1")
    x = unit(x, filters=filters, kernel=3, strides=second, pad=pad, name=f"{name}_2")
    x = unit(x, filters=EXPANSION * filters, kernel=1, activation=None, name=f"{name}_3")
    x = drop_residual(x, rate=drop, name=f"{name}_drop")
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
    shortcut, left = x, strides
    if variant.pooled_shortcut and strides > 1:
        shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_0_pool")(shortcut)
        left = 1
    outputs = EXPANSION * filters
    shortcut = variant.unit(
        shortcut, filters=outputs, kernel=1, strides=left, activation=None, name=f"{name}_0"
    )
    return bottleneck(
        x, shortcut, filters=filters, strides=strides, name=name, variant=variant, drop=drop
    )


def stem(x: KerasTensor, *, filters: int, prefix: str, variant: Variant) -> KerasTensor:
    """From the image to conv2: (b, h, w, c) -> (b, h / 4, w / 4, filters)."""
    unit, name = variant.unit, f"{prefix}conv1"
    if variant.deep_stem:
        half = max(1, filters // 2)
        x = unit(x, filters=half, kernel=3, strides=2, pad=1, name=f"{name}_a")
        x = unit(x, filters=half, kernel=3, name=f"{name}_b")
        x = unit(x, filters=filters, kernel=3, name=f"{name}_c")
    else:
        x = unit(x, filters=filters, kernel=7, strides=2, pad=3, name=name)
    x = layers.ZeroPadding2D(1, name=f"{prefix}pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name=f"{prefix}pool1_pool")(x)


def features(
    x: KerasTensor, *, width: float, depths: tuple[int, ...], prefix: str, variant: Variant,
    drop_path: float,
) -> dict[str, KerasTensor]:  # fmt: skip
    """Stem and four stages: (b, h, w, c) -> (b, h / 32, w / 32, 2048 width).

    Residuals are dropped the more often the later they are: never the first.
    """
    drops = drop_rates(drop_path, sum(depths))
    x = stem(x, filters=scaled(64, width), prefix=prefix, variant=variant)
    ends = {"stem": x}
    for stage, (filters, depth) in enumerate(zip(FILTERS, depths, strict=True), start=2):
        for block in range(1, depth + 1):
            make = identity_block
            if block == 1:
                make = partial(convolutional_block, strides=1 if stage == 2 else 2)
            x = make(
                x, filters=scaled(filters, width), name=f"{prefix}conv{stage}_block{block}",
                variant=variant, drop=next(drops),
            )  # fmt: skip
        ends[f"conv{stage}"] = x
    return ends


# Layers of a block; the convolution of the shortcut tells one kind from the other.
BLOCK = r"(.+)_(?:[0-3]_(?:pad|conv|bn|relu|pool)|drop|add|out)"
NEEDS = ("_1_conv", "_2_conv", "_3_conv", "_add", "_out")
KINDS = (
    CONV_BN,
    BlockKind("max_pooling", r"(pool1)_(?:pad|pool)", "table 1", "pool", "unit", stem),
    BlockKind("deep_stem", r"(conv1)_[abc]_.+", "1812.01187, figure 2", "conv", made_by=stem),
    BlockKind("stage", r"(conv\d+)_block\d+_.+", "table 1", frame="stage"),
    BlockKind(
        "identity_block", BLOCK, "figure 5", "residual", made_by=identity_block, needs=NEEDS,
        closing_norm="_3_bn",
    ),
    BlockKind(
        "convolutional_block", BLOCK, "section 3.3, option B", "projection",
        made_by=convolutional_block, needs=("_0_conv", *NEEDS), closing_norm="_3_bn",
    ),
)  # fmt: skip
RESNET50 = Architecture(
    name="resnet50",
    title="ResNet50",
    paper="https://arxiv.org/abs/1512.03385",
    year=2015,
    default_size=224,
    least_size=32,
    depths=DEPTHS,
    features=partial(features, variant=V1),
    kinds=KINDS,
    options=(DROPOUT, DROP_PATH),
    traits=frozenset({"batch_norm", "residuals"}),
    # torchvision's and timm's have their strides on the 3x3 convolutions: 6 % more multiplications.
    peers=(("keras", "ResNet50"), ("torchvision", "resnet50"), ("timm", "resnet50")),
    sibling="resnet50_v1_5",
    names_pooling=True,
)
RESNET50_V1_5 = RESNET50.replace(
    name="resnet50_v1_5",
    title="ResNet50V1_5",
    features=partial(features, variant=V1_5),
    peers=(("torchvision", "resnet50"), ("timm", "resnet50")),
    sibling=None,
)
RESNET50_D = RESNET50.replace(
    name="resnet50_d",
    title="ResNet50D",
    paper="https://arxiv.org/abs/1812.01187",
    year=2018,
    features=partial(features, variant=D),
    peers=(("timm", "resnet50d"),),
    sibling=None,
)
NETWORKS = (RESNET50, RESNET50_V1_5, RESNET50_D)
