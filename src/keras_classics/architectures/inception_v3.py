"""Inception V3: Szegedy et al., 2015, https://arxiv.org/abs/1512.00567, table 1, figures 5-7, 10.

Large convolutions are factorised into small and asymmetric ones, side by side in modules.

Deviations from the paper, those of the published weights: module A keeps one 5x5 convolution beside
the two 3x3 that replace another; module B's second 7x7 is factorised as well; the stem's pooling
precedes a 1x1 with 80 filters; batch norm has no gamma. The numbers of filters inside the modules,
which the paper does not give, are those of the weight files.

Variants, each a record of its own; their weights must never be mixed up:

- `inception_v3`, Keras': batch norm has no gamma, average pooling does not count the padding.
- `inception_v3_torch`, torchvision's and timm's: batch norm has one, average pooling counts the
  zeros of the padding.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

from keras import KerasTensor, layers

from keras_classics.architectures.frame import Activation, Architecture, SideHead
from keras_classics.architectures.layers import channel_axis, conv_bn, scaled
from keras_classics.architectures.tree import CONV_BN, BlockKind

Kernel = int | tuple[int, int]
Unit = tuple[int, Kernel]  # filters, kernel (height, width)

# The two grid size reductions: convolution branches; the last unit of each has stride 2.
REDUCTION_35_TO_17: tuple[tuple[str, tuple[Unit, ...]], ...] = (
    ("3x3", ((384, 3),)),
    ("3x3dbl", ((64, 1), (96, 3), (96, 3))),
)
REDUCTION_17_TO_8: tuple[tuple[str, tuple[Unit, ...]], ...] = (
    ("3x3", ((192, 1), (320, 3))),
    ("7x7x3", ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3))),
)


@dataclass(frozen=True)
class Variant:
    """Where the implementations of this network differ, and how its units are made."""

    gamma: bool  # of batch norm
    count_padding: bool  # whether average pooling divides by 9 at the border, too
    momentum: float  # of batch norm, in Keras' sense

    def unit(
        self, x: KerasTensor, filters: int, kernel: Kernel, *, width: float, name: str,
        strides: int = 1, padding: str = "same",
    ) -> KerasTensor:  # fmt: skip
        """Convolution and batch norm."""
        return conv_bn(
            x, filters=scaled(filters, width), kernel=kernel, strides=strides, padding=padding,
            scale=self.gamma, momentum=self.momentum, name=name,
        )  # fmt: skip

    def branch(
        self, x: KerasTensor, *units: Unit, width: float, name: str, reduce: bool = False
    ) -> KerasTensor:
        """Convolutions in a row; the last one has stride 2 if the branch reduces the grid."""
        for i, (filters, kernel) in enumerate(units, start=1):
            strides, padding = (2, "valid") if reduce and i == len(units) else (1, "same")
            x = self.unit(
                x, filters, kernel, width=width, strides=strides, padding=padding,
                name=f"{name}_{i}",
            )  # fmt: skip
        return x

    def pool_branch(self, x: KerasTensor, filters: int, *, width: float, name: str) -> KerasTensor:
        """3x3 average pooling and a 1x1 projection."""
        padding = "same"
        if self.count_padding:
            x, padding = layers.ZeroPadding2D(1, name=f"{name}_pad")(x), "valid"
        x = layers.AveragePooling2D(3, strides=1, padding=padding, name=f"{name}_avg")(x)
        return self.unit(x, filters, 1, width=width, name=name)


KERAS = Variant(gamma=False, count_padding=False, momentum=0.99)
TORCH = Variant(gamma=True, count_padding=True, momentum=0.9)


def concatenate(branches: list[KerasTensor], *, name: str) -> KerasTensor:
    """Stack the channels of the branches, in the order that the weight files demand."""
    return layers.Concatenate(axis=channel_axis(), name=name)(branches)


def module_a(
    x: KerasTensor, *, pool: int, name: str, width: float = 1.0, variant: Variant = KERAS
) -> KerasTensor:
    """5x5 as two 3x3: (b, h, w, c) -> (b, h, w, (224 + pool) width), figure 5."""
    return concatenate(
        [
            variant.unit(x, 64, 1, width=width, name=f"{name}_1x1"),
            variant.branch(x, (48, 1), (64, 5), width=width, name=f"{name}_5x5"),
            variant.branch(x, (64, 1), (96, 3), (96, 3), width=width, name=f"{name}_3x3dbl"),
            variant.pool_branch(x, pool, width=width, name=f"{name}_pool"),
        ],
        name=name,
    )


def module_b(
    x: KerasTensor, *, inner: int, name: str, width: float = 1.0, variant: Variant = KERAS
) -> KerasTensor:
    """7x7 as 1x7 and 7x1: (b, h, w, c) -> (b, h, w, 768 width), figure 6 with n = 7."""
    row, column = (1, 7), (7, 1)
    return concatenate(
        [
            variant.unit(x, 192, 1, width=width, name=f"{name}_1x1"),
            variant.branch(
                x, (inner, 1), (inner, row), (192, column), width=width, name=f"{name}_7x7"
            ),
            variant.branch(
                x, (inner, 1), (inner, column), (inner, row), (inner, column), (192, row),
                width=width, name=f"{name}_7x7dbl",
            ),
            variant.pool_branch(x, 192, width=width, name=f"{name}_pool"),
        ],
        name=name,
    )  # fmt: skip


def module_c(
    x: KerasTensor, *, name: str, width: float = 1.0, split_name: str | None = None,
    variant: Variant = KERAS,
) -> KerasTensor:  # fmt: skip
    """Expanded filter bank, 1x3 beside 3x1: (b, h, w, c) -> (b, h, w, 2048 width), figure 7.

    `split_name` is the name of the first of the two inner concatenations, `{name}_3x3` by default.
    """

    def split(x: KerasTensor, bank: str, concatenation: str) -> KerasTensor:
        row = variant.unit(x, 384, (1, 3), width=width, name=f"{bank}_1x3")
        column = variant.unit(x, 384, (3, 1), width=width, name=f"{bank}_3x1")
        return concatenate([row, column], name=concatenation)

    first, second = f"{name}_3x3", f"{name}_3x3dbl"
    return concatenate(
        [
            variant.unit(x, 320, 1, width=width, name=f"{name}_1x1"),
            split(variant.branch(x, (384, 1), width=width, name=first), first, split_name or first),
            split(variant.branch(x, (448, 1), (384, 3), width=width, name=second), second, second),
            variant.pool_branch(x, 192, width=width, name=f"{name}_pool"),
        ],
        name=name,
    )


def grid_size_reduction(
    x: KerasTensor, *, branches: tuple[tuple[str, tuple[Unit, ...]], ...], name: str,
    width: float = 1.0, variant: Variant = KERAS,
) -> KerasTensor:  # fmt: skip
    """Strided convolutions beside pooling: (b, h, w, c) -> (b, h / 2, w / 2, ...), figure 10."""
    return concatenate(
        [
            *(variant.branch(x, *units, width=width, name=f"{name}_{path}", reduce=True)
              for path, units in branches),
            layers.MaxPooling2D(3, strides=2, name=f"{name}_pool")(x),
        ],
        name=name,
    )  # fmt: skip


def stem(x: KerasTensor, *, width: float, prefix: str, variant: Variant) -> KerasTensor:
    """Table 1, rows 1-7: (b, 299, 299, 3) -> (b, 35, 35, 192 width)."""
    name = f"{prefix}stem"
    x = variant.unit(x, 32, 3, width=width, strides=2, padding="valid", name=f"{name}_1")
    x = variant.unit(x, 32, 3, width=width, padding="valid", name=f"{name}_2")
    x = variant.unit(x, 64, 3, width=width, name=f"{name}_3")
    x = layers.MaxPooling2D(3, strides=2, name=f"{name}_pool1")(x)
    x = variant.unit(x, 80, 1, width=width, padding="valid", name=f"{name}_4")
    x = variant.unit(x, 192, 3, width=width, padding="valid", name=f"{name}_5")
    return layers.MaxPooling2D(3, strides=2, name=f"{name}_pool2")(x)


def features(x: KerasTensor, *, width: float, prefix: str, variant: Variant) -> KerasTensor:
    """Stem and eleven modules: (b, 299, 299, 3) -> (b, 8, 8, 2048 width)."""
    mixed = f"{prefix}mixed"
    a, b, c, reduction = (
        partial(block, width=width, variant=variant)
        for block in (module_a, module_b, module_c, grid_size_reduction)
    )
    x = stem(x, width=width, prefix=prefix, variant=variant)
    for i, pool in enumerate((32, 64, 64)):  # 35 x 35
        x = a(x, pool=pool, name=f"{mixed}{i}")
    x = reduction(x, branches=REDUCTION_35_TO_17, name=f"{mixed}3")
    for i, inner in enumerate((128, 160, 160, 192), start=4):  # 17 x 17
        x = b(x, inner=inner, name=f"{mixed}{i}")
    x = reduction(x, branches=REDUCTION_17_TO_8, name=f"{mixed}8")
    for i in (9, 10):  # 8 x 8; Keras publishes the inner concatenations as mixed9_0 and mixed9_1
        x = c(x, name=f"{mixed}{i}", split_name=f"{mixed}9_{i - 9}")
    return x


def auxiliary_head(
    x: KerasTensor,
    *,
    width: float,
    prefix: str,
    classes: int,
    activation: Activation,
    variant: Variant = KERAS,
) -> KerasTensor:
    """Side classifier on the last 17 x 17 grid, section 4: (b, 17, 17, 768) -> (b, classes).

    On a grid of less than 17 x 17 the two windows of 5 x 5 shrink to what is there, as in TF-slim.
    """

    def window(x: KerasTensor) -> tuple[int, int]:
        rows, columns = (
            side for axis, side in enumerate(x.shape) if axis not in (0, channel_axis())
        )
        return min(rows or 5, 5), min(columns or 5, 5)

    name = f"{prefix}auxiliary"
    x = layers.AveragePooling2D(window(x), strides=3, name=f"{name}_avg")(x)
    x = variant.unit(x, 128, 1, width=width, name=f"{name}_1")
    x = variant.unit(x, 768, window(x), width=width, padding="valid", name=f"{name}_2")
    x = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
    return layers.Dense(classes, activation=activation, name=f"{name}_predictions")(x)


SIDE = SideHead(
    auxiliary_head,
    after="mixed7",
    layers=(
        "auxiliary_1_conv",
        "auxiliary_1_bn",
        "auxiliary_2_conv",
        "auxiliary_2_bn",
        "auxiliary_predictions",
    ),
)
INCEPTION_V3 = Architecture(
    name="inception_v3",
    title="InceptionV3",
    paper="https://arxiv.org/abs/1512.00567",
    year=2015,
    default_size=299,
    least_size=75,
    features=partial(features, variant=KERAS),
    side=SIDE,
    kinds=(
        CONV_BN,
        BlockKind("stem", parts=("1_conv", "2_conv", "3_conv", "pool1"), source="table 1"),
        BlockKind("branch", parts=("1_conv",), source="figures 5-7, 10"),
        BlockKind("module_a", parts=("", "1x1_conv", "5x5_2_conv", "pool_conv"), source="figure 5"),
        BlockKind("module_b", parts=("", "1x1_conv", "7x7_3_conv", "pool_conv"), source="figure 6"),
        BlockKind(
            "module_c", parts=("", "1x1_conv", "3x3_1x3_conv", "pool_conv"), source="figure 7"
        ),
        BlockKind("grid_size_reduction", parts=("", "pool", "3x3_1_conv"), source="figure 10"),
        BlockKind("auxiliary_head", parts=("1_conv", "2_conv", "predictions"), source="section 4"),
    ),
    aliases=(("mixed9_0", "mixed9_3x3"), ("mixed9_1", "mixed10_3x3")),
)
INCEPTION_V3_TORCH = INCEPTION_V3.replace(
    name="inception_v3_torch",
    title="InceptionV3Torch",
    features=partial(features, variant=TORCH),
    side=dataclasses.replace(SIDE, top=partial(auxiliary_head, variant=TORCH)),
)
