"""Inception V3: Szegedy et al., 2015, https://arxiv.org/abs/1512.00567, table 1, figures 5-7, 10.

Large convolutions are factorised into small and asymmetric ones, side by side in modules.

Deviations from the paper, those of the published weights: module A keeps one 5x5 convolution beside
the two 3x3 that replace another; module B's second 7x7 is factorised as well; the stem's pooling
precedes a 1x1 with 80 filters; batch norm has no gamma. The numbers of filters inside the modules,
which the paper does not give, are those of the weight files.
"""

from __future__ import annotations

import keras
from keras import KerasTensor, layers

from keras_classics.architectures.frame import Activation, Architecture
from keras_classics.architectures.layers import channel_axis, conv_bn, scaled
from keras_classics.architectures.tree import CONV_BN, BlockKind
from keras_classics.errors import ClassicsError

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


def unit(
    x: KerasTensor, filters: int, kernel: Kernel, *, width: float, name: str, strides: int = 1,
    padding: str = "same",
) -> KerasTensor:  # fmt: skip
    """Convolution and batch norm without gamma, as all convolutions of this network."""
    return conv_bn(
        x, filters=scaled(filters, width), kernel=kernel, strides=strides, padding=padding,
        scale=False, name=name,
    )  # fmt: skip


def branch(
    x: KerasTensor, *units: Unit, width: float, name: str, reduce: bool = False
) -> KerasTensor:
    """Convolutions in a row; the last one has stride 2 if the branch reduces the grid."""
    for i, (filters, kernel) in enumerate(units, start=1):
        strides, padding = (2, "valid") if reduce and i == len(units) else (1, "same")
        x = unit(
            x, filters, kernel, width=width, strides=strides, padding=padding, name=f"{name}_{i}"
        )
    return x


def pool_branch(x: KerasTensor, filters: int, *, width: float, name: str) -> KerasTensor:
    """3x3 average pooling, which does not count the padding, and a 1x1 projection."""
    x = layers.AveragePooling2D(3, strides=1, padding="same", name=f"{name}_avg")(x)
    return unit(x, filters, 1, width=width, name=name)


def concatenate(branches: list[KerasTensor], *, name: str) -> KerasTensor:
    """Stack the channels of the branches, in the order that the weight files demand."""
    return layers.Concatenate(axis=channel_axis(), name=name)(branches)


def module_a(x: KerasTensor, *, pool: int, name: str, width: float = 1.0) -> KerasTensor:
    """5x5 as two 3x3: (b, h, w, c) -> (b, h, w, (224 + pool) width), figure 5."""
    return concatenate(
        [
            unit(x, 64, 1, width=width, name=f"{name}_1x1"),
            branch(x, (48, 1), (64, 5), width=width, name=f"{name}_5x5"),
            branch(x, (64, 1), (96, 3), (96, 3), width=width, name=f"{name}_3x3dbl"),
            pool_branch(x, pool, width=width, name=f"{name}_pool"),
        ],
        name=name,
    )


def module_b(x: KerasTensor, *, inner: int, name: str, width: float = 1.0) -> KerasTensor:
    """7x7 as 1x7 and 7x1: (b, h, w, c) -> (b, h, w, 768 width), figure 6 with n = 7."""
    row, column = (1, 7), (7, 1)
    return concatenate(
        [
            unit(x, 192, 1, width=width, name=f"{name}_1x1"),
            branch(x, (inner, 1), (inner, row), (192, column), width=width, name=f"{name}_7x7"),
            branch(
                x, (inner, 1), (inner, column), (inner, row), (inner, column), (192, row),
                width=width, name=f"{name}_7x7dbl",
            ),
            pool_branch(x, 192, width=width, name=f"{name}_pool"),
        ],
        name=name,
    )  # fmt: skip


def module_c(
    x: KerasTensor, *, name: str, width: float = 1.0, split_name: str | None = None
) -> KerasTensor:
    """Expanded filter bank, 1x3 beside 3x1: (b, h, w, c) -> (b, h, w, 2048 width), figure 7.

    `split_name` is the name of the first of the two inner concatenations, `{name}_3x3` by default.
    """

    def split(x: KerasTensor, bank: str, concatenation: str) -> KerasTensor:
        row = unit(x, 384, (1, 3), width=width, name=f"{bank}_1x3")
        column = unit(x, 384, (3, 1), width=width, name=f"{bank}_3x1")
        return concatenate([row, column], name=concatenation)

    single, double = f"{name}_3x3", f"{name}_3x3dbl"
    return concatenate(
        [
            unit(x, 320, 1, width=width, name=f"{name}_1x1"),
            split(branch(x, (384, 1), width=width, name=single), single, split_name or single),
            split(branch(x, (448, 1), (384, 3), width=width, name=double), double, double),
            pool_branch(x, 192, width=width, name=f"{name}_pool"),
        ],
        name=name,
    )


def grid_size_reduction(
    x: KerasTensor, *, branches: tuple[tuple[str, tuple[Unit, ...]], ...], name: str,
    width: float = 1.0,
) -> KerasTensor:  # fmt: skip
    """Strided convolutions beside pooling: (b, h, w, c) -> (b, h / 2, w / 2, ...), figure 10."""
    return concatenate(
        [
            *(branch(x, *units, width=width, name=f"{name}_{path}", reduce=True)
              for path, units in branches),
            layers.MaxPooling2D(3, strides=2, name=f"{name}_pool")(x),
        ],
        name=name,
    )  # fmt: skip


def stem(x: KerasTensor, *, width: float, prefix: str) -> KerasTensor:
    """Table 1, rows 1-7: (b, 299, 299, 3) -> (b, 35, 35, 192 width)."""
    name = f"{prefix}stem"
    x = unit(x, 32, 3, width=width, strides=2, padding="valid", name=f"{name}_1")
    x = unit(x, 32, 3, width=width, padding="valid", name=f"{name}_2")
    x = unit(x, 64, 3, width=width, name=f"{name}_3")
    x = layers.MaxPooling2D(3, strides=2, name=f"{name}_pool1")(x)
    x = unit(x, 80, 1, width=width, padding="valid", name=f"{name}_4")
    x = unit(x, 192, 3, width=width, padding="valid", name=f"{name}_5")
    return layers.MaxPooling2D(3, strides=2, name=f"{name}_pool2")(x)


def features(x: KerasTensor, *, width: float, prefix: str) -> KerasTensor:
    """Stem and eleven modules: (b, 299, 299, 3) -> (b, 8, 8, 2048 width)."""
    mixed = f"{prefix}mixed"
    x = stem(x, width=width, prefix=prefix)
    for i, pool in enumerate((32, 64, 64)):  # 35 x 35
        x = module_a(x, pool=pool, width=width, name=f"{mixed}{i}")
    x = grid_size_reduction(x, branches=REDUCTION_35_TO_17, width=width, name=f"{mixed}3")
    for i, inner in enumerate((128, 160, 160, 192), start=4):  # 17 x 17
        x = module_b(x, inner=inner, width=width, name=f"{mixed}{i}")
    x = grid_size_reduction(x, branches=REDUCTION_17_TO_8, width=width, name=f"{mixed}8")
    for i in (9, 10):  # 8 x 8; Keras publishes the inner concatenations as mixed9_0 and mixed9_1
        x = module_c(x, width=width, name=f"{mixed}{i}", split_name=f"{mixed}9_{i - 9}")
    return x


def auxiliary_head(
    x: KerasTensor, *, classes: int, activation: Activation, name: str, width: float = 1.0
) -> KerasTensor:
    """Side classifier on the last 17 x 17 grid, section 4: (b, 17, 17, 768) -> (b, classes).

    On a grid of less than 17 x 17 the two windows of 5 x 5 shrink to what is there, as in TF-slim.
    """

    def window(x: KerasTensor) -> tuple[int, int]:
        rows, columns = (
            side for axis, side in enumerate(x.shape) if axis not in (0, channel_axis())
        )
        return min(rows or 5, 5), min(columns or 5, 5)

    x = layers.AveragePooling2D(window(x), strides=3, name=f"{name}_avg")(x)
    x = unit(x, 128, 1, width=width, name=f"{name}_1")
    x = unit(x, 768, window(x), width=width, padding="valid", name=f"{name}_2")
    x = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
    return layers.Dense(classes, activation=activation, name=f"{name}_predictions")(x)


def with_auxiliary(
    model: keras.Model, *, classes: int, activation: Activation, width: float, prefix: str
) -> keras.Model:
    """The model with the side classifier as its plain second output."""
    side = auxiliary_head(
        model.get_layer(f"{prefix}mixed7").output,
        classes=classes,
        activation=activation,
        width=width,
        name=f"{prefix}auxiliary",
    )
    return keras.Model(model.input, [*model.outputs, side], name=model.name)


def without_auxiliary(model: keras.Model) -> keras.Model:
    """The model without its side classifier: same layers, same weights, the first output alone.

    Raises:
        ClassicsError: If the model has one output only.
    """
    if len(model.outputs) != 2:
        raise ClassicsError(
            f"model {model.name!r} has {len(model.outputs)} output(s); only one built with "
            "auxiliary=True has a second one to detach."
        )
    return keras.Model(model.input, model.outputs[0], name=model.name)


INCEPTION_V3 = Architecture(
    name="inception_v3",
    title="InceptionV3",
    paper="https://arxiv.org/abs/1512.00567",
    year=2015,
    default_size=299,
    least_size=75,
    features=features,
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
