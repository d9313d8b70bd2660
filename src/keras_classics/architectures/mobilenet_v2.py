"""MobileNetV2: Sandler et al., 2018, https://arxiv.org/abs/1801.04381, tables 1 and 2, figure 4(d).

The residual block turned inside out: between two thin ends a wide middle, in which a depthwise
convolution looks at each channel alone; no activation where the channels are few, for it would lose
what they carry.

No deviation from the paper is known. Channels are rounded to multiples of 8, and a width below 1
leaves the last convolution at 1280, as section 6.1 has it.
"""

from __future__ import annotations

from functools import partial

from keras import KerasTensor, layers

from keras_classics.architectures.frame import DROP_PATH, DROPOUT, Architecture
from keras_classics.architectures.layers import (
    Names,
    channels_of,
    conv_bn,
    drop_rates,
    drop_residual,
    scaled,
)
from keras_classics.architectures.tree import BlockKind

# Table 2: expansion t, channels c and stride s of each row, and how often it is repeated.
ROWS = ((1, 16, 1), (6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 96, 1), (6, 160, 2), (6, 320, 1))
DEPTHS = (1, 2, 3, 4, 3, 3, 1)

unit = partial(conv_bn, momentum=0.999, activation="relu6", names=Names("{}", "{}_BN"))


def inverted_residual(
    x: KerasTensor, *, filters: int, strides: int, expansion: int, name: str, drop: float = 0.0
) -> KerasTensor:
    """Expand, filter each channel, project: (b, h, w, c) -> (b, h / s, w / s, filters), table 1.

    The shortcut joins the thin ends, where they are alike (figure 4(d)).
    """
    shortcut, channels = x, channels_of(x)
    if expansion > 1:
        x = unit(x, filters=expansion * channels, kernel=1, name=f"{name}_expand")
    x = unit(x, filters=None, kernel=3, strides=strides, name=f"{name}_depthwise")
    x = unit(x, filters=filters, kernel=1, activation=None, name=f"{name}_project")
    if strides > 1 or channels != filters:
        return x
    x = drop_residual(x, rate=drop, name=f"{name}_drop")
    return layers.Add(name=f"{name}_add")([shortcut, x])


def features(
    x: KerasTensor, *, width: float, depths: tuple[int, ...], prefix: str, drop_path: float
) -> dict[str, KerasTensor]:
    """Table 2 down to the last 1x1 convolution: (b, h, w, c) -> (b, h / 32, w / 32, 1280)."""
    names = Names("{}Conv1", "{}bn_Conv1", "{}Conv1_relu")
    filters = scaled(32, width, divisor=8)
    x = unit(x, filters=filters, kernel=3, strides=2, name=prefix, names=names)
    ends = {"stem": x}
    drops = drop_rates(drop_path, sum(depths))
    for row, ((expansion, channels, stride), depth) in enumerate(zip(ROWS, depths, strict=True), 1):
        for block in range(depth):
            number = sum(depths[: row - 1]) + block
            x = inverted_residual(
                x, filters=scaled(int(channels * width), 1.0, divisor=8),
                strides=1 if block else stride, expansion=expansion, drop=next(drops),
                name=prefix + (f"block_{number}" if number else "expanded_conv"),
            )  # fmt: skip
        ends[f"row{row}"] = x
    names = Names("{}Conv_1", "{}Conv_1_bn", "{}out_relu")
    filters = scaled(1280, max(1.0, width), divisor=8)
    ends["head"] = unit(x, filters=filters, kernel=1, name=prefix, names=names)
    return ends


BLOCK = r"(.+)_(?:(?:expand|depthwise|project)(?:_BN|_relu)?|drop|add)"
NEEDS = ("_depthwise", "_project", "_project_BN")
inverted = partial(BlockKind, "inverted_residual", BLOCK, "table 1", made_by=inverted_residual)
step = partial(BlockKind, "conv_bn", source="table 1", family="conv", frame="unit", made_by=conv_bn)
KINDS = (
    step(r"(?:bn_)?(Conv1)(?:_relu)?", needs=("", "_relu")),
    step(r"(Conv_1)(?:_bn)?", needs=("", "_bn"), also=(("out_relu", "Conv_1"),)),
    step(r"(.+_(?:expand|depthwise|project))(?:_BN|_relu)?", needs=("", "_BN")),
    inverted(family="projection", needs=NEEDS),
    inverted(family="residual", needs=(*NEEDS, "_add"), closing_norm="_project_BN"),
)
MOBILENET_V2 = Architecture(
    name="mobilenet_v2",
    title="MobileNetV2",
    paper="https://arxiv.org/abs/1801.04381",
    year=2018,
    default_size=224,
    least_size=32,
    depths=DEPTHS,
    features=features,
    kinds=KINDS,
    options=(DROPOUT, DROP_PATH),
    traits=frozenset({"batch_norm", "residuals"}),
    # torchvision pads all sides; timm does as this network if its model is so made.
    peers=(("keras", "MobileNetV2"), ("torchvision", "mobilenet_v2"), ("timm", "mobilenetv2_100")),
    default_name="mobilenetv2_{width:.2f}_{rows}",
    positional=(
        "input_shape", "alpha", "include_top", "weights", "input_tensor", "pooling", "classes",
        "classifier_activation", "name",
    ),
    renamed=(("alpha", "width"),),
)  # fmt: skip
NETWORKS = (MOBILENET_V2,)
