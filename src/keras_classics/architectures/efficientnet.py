"""EfficientNet: Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1 and equation 3.

A small network found by search, B0, scaled up in width, depth and resolution together: B1 to B7.
Its block is MobileNetV2's inverted residual with squeeze-and-excite in the wide middle.

Deviations from the paper: the factors of B1 to B7 are those of the authors' code, which the paper
does not give. The pixels are normalised inside the graph, as in Keras; images of other than three
channels by the average of the three colours.

EfficientNet-Lite, a variant of the authors' without a paper (tensorflow/tpu,
models/official/efficientnet/lite): ReLU6 for swish, no squeeze-and-excite, stem and head of one
size, first and last stage of one depth; pixels are normalised outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from keras import KerasTensor, layers

from keras_classics.architectures.frame import DROP_PATH, DROPOUT, Architecture, pooled_top
from keras_classics.architectures.layers import (
    CONV_BN,
    SQUEEZE_EXCITE,
    Names,
    channels_of,
    conv_bn,
    drop_rates,
    drop_residual,
    normalise,
    scaled,
    squeeze_excite,
)
from keras_classics.architectures.tree import BlockKind

# Table 1, stages 2 to 8: kernel, channels, stride and expansion of each, and how many blocks.
STAGES = (
    (3, 16, 1, 1), (3, 24, 2, 6), (5, 40, 2, 6), (3, 80, 2, 6), (5, 112, 1, 6), (5, 192, 2, 6),
    (3, 320, 1, 6),
)  # fmt: skip
DEPTHS = (1, 2, 2, 3, 3, 4, 1)
# Equation 3, from the authors' code: width, depth, resolution in pixels, dropout.
SCALES = {
    "b0": (1.0, 1.0, 224, 0.2), "b1": (1.0, 1.1, 240, 0.2), "b2": (1.1, 1.2, 260, 0.3),
    "b3": (1.2, 1.4, 300, 0.3), "b4": (1.4, 1.8, 380, 0.4), "b5": (1.6, 2.2, 456, 0.4),
    "b6": (1.8, 2.6, 528, 0.5), "b7": (2.0, 3.1, 600, 0.5),
}  # fmt: skip
LITE_SCALES = {
    "lite0": (1.0, 1.0, 224, 0.2), "lite1": (1.0, 1.1, 240, 0.2), "lite2": (1.1, 1.2, 260, 0.3),
    "lite3": (1.2, 1.4, 280, 0.3), "lite4": (1.4, 1.8, 300, 0.3),
}  # fmt: skip
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, red, green, blue
ACTIVATION = "{}_activation"
DEPTHWISE = Names("{}_dwconv", "{}_bn", ACTIVATION)


@dataclass(frozen=True)
class Variant:
    """Where the networks differ, beside their depths."""

    unit: Callable[..., KerasTensor]  # convolution, batch norm, activation
    squeeze: bool  # squeeze-and-excite in every block, and the pixels' arithmetic in the graph
    factor: float = 1.0  # of the width; that of Lite's stem and head is always 1


SWISH = Variant(partial(conv_bn, activation="swish", names=Names(activation=ACTIVATION)), True)
LITE = Variant(partial(conv_bn, activation="relu6", names=Names(activation=ACTIVATION)), False)


def mbconv(
    x: KerasTensor, *, kernel: int, filters: int, strides: int, expansion: int, name: str,
    variant: Variant = SWISH, drop: float = 0.0,
) -> KerasTensor:  # fmt: skip
    """Expand, filter, weigh the channels, project: (b, h, w, c) -> (b, h / s, w / s, filters)."""
    shortcut, channels, unit = x, channels_of(x), variant.unit
    if expansion > 1:
        x = unit(x, filters=expansion * channels, kernel=1, name=f"{name}_expand")
    x = unit(x, filters=None, kernel=kernel, strides=strides, name=name, names=DEPTHWISE)
    if variant.squeeze:
        x = squeeze_excite(x, reduced=max(1, channels // 4), activation="swish", name=name)
    x = unit(x, filters=filters, kernel=1, activation=None, name=f"{name}_project")
    if strides > 1 or channels != filters:
        return x
    x = drop_residual(x, rate=drop, name=f"{name}_drop")
    return layers.Add(name=f"{name}_add")([x, shortcut])


def features(
    x: KerasTensor, *, width: float, depths: tuple[int, ...], prefix: str, variant: Variant,
    drop_path: float,
) -> dict[str, KerasTensor]:  # fmt: skip
    """Table 1, stages 1 to 9: (b, h, w, c) -> (b, h / 32, w / 32, 1280 width)."""
    ends_width = variant.factor * width if variant.squeeze else width
    if variant.squeeze:
        x = normalise(x, mean=MEAN, deviation=DEVIATION, prefix=prefix)
    filters = scaled(32, ends_width, divisor=8)
    x = variant.unit(x, filters=filters, kernel=3, strides=2, name=f"{prefix}stem")
    ends, drops = {"stem": x}, drop_rates(drop_path, sum(depths), last=False)
    for stage, (row, depth) in enumerate(zip(STAGES, depths, strict=True), start=1):
        kernel, channels, stride, expansion = row
        for block in range(depth):
            x = mbconv(
                x, kernel=kernel, filters=scaled(channels, variant.factor * width, divisor=8),
                strides=1 if block else stride, expansion=expansion, variant=variant,
                drop=next(drops), name=f"{prefix}block{stage}{letters(block)}",
            )  # fmt: skip
        ends[f"block{stage}"] = x
    filters = scaled(1280, ends_width, divisor=8)
    ends["top"] = variant.unit(x, filters=filters, kernel=1, name=f"{prefix}top")
    return ends


def letters(block: int) -> str:
    """The block's place in its stage as Keras names it: a to z, then za and so on."""
    return "z" * (block // 26) + chr(ord("a") + block % 26)


BLOCK = r"(.+?)_(?:(?:expand|project)_.+|dwconv|bn|activation|se_.+|drop|add)"
NEEDS = ("_dwconv", "_project_conv", "_project_bn")
inverted = partial(BlockKind, "mbconv", BLOCK, "table 1", made_by=mbconv)
KINDS = (
    CONV_BN,
    SQUEEZE_EXCITE,
    BlockKind("stage", r"(block\d+)[a-z]+_.+", "table 1", frame="stage"),
    BlockKind(
        "conv_bn", r"(.+)_(?:dwconv|bn|activation)", "1801.04381, table 1", "conv", "unit",
        conv_bn, needs=("_dwconv", "_bn"), named="{}_depthwise",
    ),
    inverted(family="projection", needs=NEEDS),
    inverted(family="residual", needs=(*NEEDS, "_add"), closing_norm="_project_bn"),
)  # fmt: skip


def network(name: str, scale: tuple[float, float, int, float]) -> Architecture:
    """The record of B0 to B7 and of Lite 0 to 4, scaled by equation 3."""
    factor, deeper, size, dropout = scale
    lite = name.startswith("lite")
    variant = replace(LITE if lite else SWISH, factor=factor)
    depths = tuple(math.ceil(deeper * depth) for depth in DEPTHS)
    title = name.capitalize()
    keras = () if lite else (("keras", f"EfficientNet{title}"),)
    torch = () if lite else (("torchvision", f"efficientnet_{name}"),)
    return Architecture(
        name=f"efficientnet_{name}",
        title=f"EfficientNet{title}",
        paper="https://arxiv.org/abs/1905.11946",
        year=2019,
        default_size=size,
        least_size=32,
        depths=(1, *depths[1:-1], 1) if lite else depths,
        features=partial(features, variant=variant),
        top=partial(pooled_top, dropout_name="top_dropout"),
        kinds=KINDS,
        options=(replace(DROPOUT, default=dropout), replace(DROP_PATH, default=0.2)),
        traits=frozenset({"batch_norm", "residuals"}),
        input_scaling="outside" if lite else "inside",
        # torchvision pads all sides; with its weights, another network.
        peers=(*keras, *torch, ("timm", f"tf_efficientnet_{name}")),
        unneeded=() if lite else ("normalization",),
        names_pooling=True,
        default_name=f"efficientnet{name}",
    )


NETWORKS = tuple(network(*scale) for scale in {**SCALES, **LITE_SCALES}.items())
