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

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from keras import KerasTensor, layers

from keras_classics.architectures.frame import Activation, Architecture, SideHead
from keras_classics.architectures.layers import CONV_BN, Kernel, channel_axis, conv_bn, scaled
from keras_classics.architectures.tree import BlockKind

Unit = tuple[int, Kernel]  # filters, kernel (height, width)
Branches = tuple[tuple[str, tuple[Unit, ...]], ...]

DEPTHS = (3, 4, 2)  # modules A, B and C; the two grid size reductions stand between them
POOLS = (32, 64, 64)  # projections of the pooling in modules A
INNER = (128, 160, 160, 192)  # filters inside modules B
# The two grid size reductions: convolution branches; the last unit of each has stride 2.
REDUCTION_35_TO_17: Branches = (
    ("3x3", ((384, 3),)),
    ("3x3dbl", ((64, 1), (96, 3), (96, 3))),
)
REDUCTION_17_TO_8: Branches = (
    ("3x3", ((192, 1), (320, 3))),
    ("7x7x3", ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3))),
)


@dataclass(frozen=True)
class Variant:
    """Where the implementations of this network differ."""

    conv: Callable[..., KerasTensor]  # convolution, batch norm, ReLU
    count_padding: bool  # whether average pooling divides by 9 at the border, too

    def unit(
        self, x: KerasTensor, filters: int, kernel: Kernel = 1, *, width: float, name: str,
        strides: int = 1, padding: str = "same",
    ) -> KerasTensor:  # fmt: skip
        """One convolution: (b, h, w, c) -> (b, h / strides, w / strides, filters width)."""
        filters = scaled(filters, width)
        return self.conv(
            x, filters=filters, kernel=kernel, strides=strides, padding=padding, name=name
        )


KERAS = Variant(partial(conv_bn, scale=False), count_padding=False)
TORCH = Variant(partial(conv_bn, momentum=0.9), count_padding=True)


def branch(
    x: KerasTensor, *units: Unit, width: float, name: str, variant: Variant, reduce: bool = False
) -> KerasTensor:
    """Convolutions in a row; the last one has stride 2 if the branch reduces the grid."""
    for i, unit in enumerate(units, start=1):
        strides, padding = (2, "valid") if reduce and i == len(units) else (1, "same")
        x = variant.unit(
            x, *unit, width=width, strides=strides, padding=padding, name=f"{name}_{i}"
        )
    return x


def pool_branch(
    x: KerasTensor, filters: int, *, width: float, name: str, variant: Variant
) -> KerasTensor:
    """3x3 average pooling and a 1x1 projection."""
    padding = "same"
    if variant.count_padding:
        x, padding = layers.ZeroPadding2D(1, name=f"{name}_pad")(x), "valid"
    x = layers.AveragePooling2D(3, strides=1, padding=padding, name=f"{name}_avg")(x)
    return variant.unit(x, filters, width=width, name=name)


def concatenate(branches: list[KerasTensor], *, name: str) -> KerasTensor:
    """Stack the channels of the branches, in the order that the weight files demand."""
    return layers.Concatenate(axis=channel_axis(), name=name)(branches)


def module_a(
    x: KerasTensor, *, pool: int, name: str, width: float = 1.0, variant: Variant = KERAS
) -> KerasTensor:
    """5x5 as two 3x3: (b, h, w, c) -> (b, h, w, (224 + pool) width), figure 5."""
    b = partial(branch, x, width=width, variant=variant)
    paths = [
        variant.unit(x, 64, width=width, name=f"{name}_1x1"),
        b((48, 1), (64, 5), name=f"{name}_5x5"),
        b((64, 1), (96, 3), (96, 3), name=f"{name}_3x3dbl"),
        pool_branch(x, pool, width=width, name=f"{name}_pool", variant=variant),
    ]
    return concatenate(paths, name=name)


def module_b(
    x: KerasTensor, *, inner: int, name: str, width: float = 1.0, variant: Variant = KERAS
) -> KerasTensor:
    """7x7 as 1x7 and 7x1: (b, h, w, c) -> (b, h, w, 768 width), figure 6 with n = 7."""
    b, i, row, column = partial(branch, x, width=width, variant=variant), inner, (1, 7), (7, 1)
    paths = [
        variant.unit(x, 192, width=width, name=f"{name}_1x1"),
        b((i, 1), (i, row), (192, column), name=f"{name}_7x7"),
        b((i, 1), (i, column), (i, row), (i, column), (192, row), name=f"{name}_7x7dbl"),
        pool_branch(x, 192, width=width, name=f"{name}_pool", variant=variant),
    ]
    return concatenate(paths, name=name)


def module_c(
    x: KerasTensor, *, name: str, width: float = 1.0, split_name: str | None = None,
    variant: Variant = KERAS,
) -> KerasTensor:  # fmt: skip
    """Expanded filter bank, 1x3 beside 3x1: (b, h, w, c) -> (b, h, w, 2048 width), figure 7.

    `split_name` is the name of the first of the two inner concatenations, `{name}_3x3` by default.
    """
    unit, b = partial(variant.unit, width=width), partial(branch, width=width, variant=variant)

    def split(x: KerasTensor, bank: str, concatenation: str) -> KerasTensor:
        row = unit(x, 384, (1, 3), name=f"{bank}_1x3")
        return concatenate([row, unit(x, 384, (3, 1), name=f"{bank}_3x1")], name=concatenation)

    first, second = f"{name}_3x3", f"{name}_3x3dbl"
    paths = [
        unit(x, 320, name=f"{name}_1x1"),
        split(b(x, (384, 1), name=first), first, split_name or first),
        split(b(x, (448, 1), (384, 3), name=second), second, second),
        pool_branch(x, 192, width=width, name=f"{name}_pool", variant=variant),
    ]
    return concatenate(paths, name=name)


def grid_size_reduction(
    x: KerasTensor, *, branches: Branches, name: str, width: float = 1.0, variant: Variant = KERAS
) -> KerasTensor:
    """Strided convolutions beside pooling: (b, h, w, c) -> (b, h / 2, w / 2, ...), figure 10."""
    b = partial(branch, x, width=width, variant=variant, reduce=True)
    paths = [b(*units, name=f"{name}_{path}") for path, units in branches]
    paths.append(layers.MaxPooling2D(3, strides=2, name=f"{name}_pool")(x))
    return concatenate(paths, name=name)


def stem(x: KerasTensor, *, width: float, prefix: str, variant: Variant) -> KerasTensor:
    """Table 1, rows 1-7: (b, 299, 299, 3) -> (b, 35, 35, 192 width)."""
    name, unit = f"{prefix}stem", partial(variant.unit, width=width)
    x = unit(x, 32, 3, strides=2, padding="valid", name=f"{name}_1")
    x = unit(x, 32, 3, padding="valid", name=f"{name}_2")
    x = unit(x, 64, 3, name=f"{name}_3")
    x = layers.MaxPooling2D(3, strides=2, name=f"{name}_pool1")(x)
    x = unit(x, 80, padding="valid", name=f"{name}_4")
    x = unit(x, 192, 3, padding="valid", name=f"{name}_5")
    return layers.MaxPooling2D(3, strides=2, name=f"{name}_pool2")(x)


def features(
    x: KerasTensor, *, width: float, depths: tuple[int, ...], prefix: str, variant: Variant
) -> dict[str, KerasTensor]:
    """Stem and eleven modules: (b, 299, 299, 3) -> (b, 8, 8, 2048 width)."""
    a, b, c, reduction = (
        partial(block, width=width, variant=variant)
        for block in (module_a, module_b, module_c, grid_size_reduction)
    )
    mixed = (f"{prefix}mixed{i}" for i in count())
    ends = {"stem": (x := stem(x, width=width, prefix=prefix, variant=variant))}
    for i in range(depths[0]):  # 35 x 35; beyond the paper's depth the last numbers are repeated
        x = a(x, pool=POOLS[min(i, 2)], name=next(mixed))
    ends["35x35"] = x
    x = reduction(x, branches=REDUCTION_35_TO_17, name=next(mixed))
    for i in range(depths[1]):  # 17 x 17
        x = b(x, inner=INNER[min(i, 3)], name=next(mixed))
    ends["17x17"] = x
    x = reduction(x, branches=REDUCTION_17_TO_8, name=next(mixed))
    for i in range(depths[2]):  # 8 x 8; Keras publishes two concatenations as mixed9_0 and mixed9_1
        x = c(x, name=next(mixed), split_name=f"{prefix}mixed9_{i}" if depths == DEPTHS else None)
    ends["8x8"] = x
    return ends


def auxiliary_head(
    x: KerasTensor, *, width: float, prefix: str, classes: int, activation: Activation,
    variant: Variant = KERAS,
) -> KerasTensor:  # fmt: skip
    """Side classifier on the last 17 x 17 grid, section 4: (b, 17, 17, 768) -> (b, classes).

    On a grid of less than 17 x 17 the two windows of 5 x 5 shrink to what is there, as in TF-slim.
    """

    def window(x: KerasTensor) -> tuple[int, int]:
        sides = [n for axis, n in enumerate(x.shape) if axis not in (0, channel_axis())]
        return min(sides[0] or 5, 5), min(sides[1] or 5, 5)

    name, unit = f"{prefix}auxiliary", partial(variant.unit, width=width)
    x = layers.AveragePooling2D(window(x), strides=3, name=f"{name}_avg")(x)
    x = unit(x, 128, name=f"{name}_1")
    x = unit(x, 768, window(x), padding="valid", name=f"{name}_2")
    x = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
    return layers.Dense(classes, activation=activation, name=f"{name}_predictions")(x)


SIDE_LAYERS = ("1_conv", "1_bn", "2_conv", "2_bn", "predictions")
SIDE = SideHead(auxiliary_head, "17x17", tuple(f"auxiliary_{layer}" for layer in SIDE_LAYERS))
# Layers of a module: those of its paths, and the concatenation that bears the module's own name.
PATH = r"(?:1x1|3x3|3x3dbl|5x5|7x7|7x7dbl|7x7x3|pool)"
module = partial(BlockKind, pattern=rf"(.+?)(?:_{PATH}(?:_.+)?)?", family="module")
ends = ("", "_1x1_conv", "_pool_conv")  # of the modules without a stride
KINDS = (
    CONV_BN,
    replace(CONV_BN, pattern=r"(.+_pool)_(?:pad|avg|conv|bn|relu)", needs=("_avg", "_conv", "_bn")),
    BlockKind("stem", r"(stem)_(?:\d_.+|pool\d)", "table 1", "conv", "name", stem, ("_pool1",)),
    BlockKind(
        "branch", rf"(.+_{PATH})(?:_(?:\d|1x3|3x1)_.+)?", "figures 5-7, 10", frame="none",
        made_by=branch, needs=("_1_conv",),
        also=(("mixed9_0", "mixed9_3x3"), ("mixed9_1", "mixed10_3x3")),
    ),
    module("module_a", source="figure 5", made_by=module_a, needs=(*ends, "_5x5_2_conv")),
    module("module_b", source="figure 6", made_by=module_b, needs=(*ends, "_7x7_3_conv")),
    module(
        "module_c", source="figure 7", made_by=module_c, needs=(*ends, "_3x3_1x3_conv"),
        also=(("mixed9_0", "mixed9"), ("mixed9_1", "mixed10")),
    ),
    module(
        "grid_size_reduction", source="figure 10", made_by=grid_size_reduction,
        needs=("", "_pool", "_3x3_1_conv"), family="pool",
    ),
    BlockKind("auxiliary_head", r"(auxiliary)_.+", "section 4", "dense", made_by=auxiliary_head),
)  # fmt: skip
INCEPTION_V3 = Architecture(
    name="inception_v3",
    title="InceptionV3",
    paper="https://arxiv.org/abs/1512.00567",
    year=2015,
    default_size=299,
    least_size=75,
    depths=DEPTHS,
    features=partial(features, variant=KERAS),
    side=SIDE,
    peers=(("keras", "InceptionV3"), ("torchvision", "inception_v3"), ("timm", "inception_v3")),
    sibling="inception_v3_torch",
    kinds=KINDS,
)
INCEPTION_V3_TORCH = INCEPTION_V3.replace(
    name="inception_v3_torch",
    title="InceptionV3Torch",
    features=partial(features, variant=TORCH),
    side=replace(SIDE, top=partial(auxiliary_head, variant=TORCH)),
    peers=(("torchvision", "inception_v3"), ("timm", "inception_v3")),
    sibling=None,
)
NETWORKS = (INCEPTION_V3, INCEPTION_V3_TORCH)
