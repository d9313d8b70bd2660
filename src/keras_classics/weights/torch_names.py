"""How torchvision and timm name the layers of these networks.

Only networks that compute the same are paired: torch has no ResNet50 with the stride on the first
1x1 convolution, and no Inception V3 whose average pooling leaves out the padding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# The convolutions of torchvision's `features`, counted with the ReLUs and poolings between them.
_VGG16 = dict(
    zip(
        [f"block{b}_conv{c}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, n + 1)],
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        strict=True,
    )
)
_STEM = {
    "stem_1": "Conv2d_1a_3x3",
    "stem_2": "Conv2d_2a_3x3",
    "stem_3": "Conv2d_2b_3x3",
    "stem_4": "Conv2d_3b_1x1",
    "stem_5": "Conv2d_4a_3x3",
}
_MIXED = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_BRANCH = {  # where the name of a module's branch is not ours
    "pool": "branch_pool",
    "3x3_1x3": "branch3x3_2a",
    "3x3_3x1": "branch3x3_2b",
    "3x3dbl_1x3": "branch3x3dbl_3a",
    "3x3dbl_3x1": "branch3x3dbl_3b",
}
_DEEP_STEM = {"a_conv": 0, "a_bn": 1, "b_conv": 3, "b_bn": 4, "c_conv": 6}


def _vgg16(layer: str) -> str | None:
    if layer in _VGG16:
        return f"features.{_VGG16[layer]}"
    return {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}.get(layer)


def _vgg16_of_timm(layer: str) -> str | None:
    top = {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2", "predictions": "head.fc"}
    return top.get(layer) or _vgg16(layer)


def _resnet(layer: str, shortcut: int = 0) -> str | None:
    if layer in ("conv1_conv", "conv1_bn", "predictions"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}[layer]
    found = re.fullmatch(r"conv([2-5])_block(\d+)_([0-3])_(conv|bn)", layer)
    if not found:
        return None
    stage, block, unit, kind = found.groups()
    block = f"layer{int(stage) - 1}.{int(block) - 1}"
    if unit == "0":
        return f"{block}.downsample.{shortcut + (kind == 'bn')}"
    return f"{block}.{kind}{unit}"


def _resnet_d(layer: str) -> str | None:
    if layer == "conv1_c_bn":
        return "bn1"
    part = layer.removeprefix("conv1_")
    if part in _DEEP_STEM:
        return f"conv1.{_DEEP_STEM[part]}"
    return _resnet(layer, shortcut=1)  # behind the pooling


def _inception_v3(layer: str) -> str | None:
    if layer in ("predictions", "auxiliary_predictions"):
        return "fc" if layer == "predictions" else "AuxLogits.fc"
    unit, _, kind = layer.rpartition("_")
    if kind not in ("conv", "bn"):
        return None
    if unit in _STEM:
        return f"{_STEM[unit]}.{kind}"
    if unit in ("auxiliary_1", "auxiliary_2"):
        return f"AuxLogits.conv{int(unit[-1]) - 1}.{kind}"
    module, _, branch = unit.partition("_")
    number = module.removeprefix("mixed")
    if not number.isdigit() or int(number) >= len(_MIXED):
        return None
    if (number, branch) == ("3", "3x3_1"):  # the only branch of one convolution with a number here
        branch = "3x3"
    return f"Mixed_{_MIXED[int(number)]}.{_BRANCH.get(branch, f'branch{branch}')}.{kind}"


@dataclass(frozen=True)
class Layout:
    """How a library of torch names the layers of a network, and how it shapes its dense ones."""

    name: str  # torchvision, timm
    network: str
    module: Callable[[str], str | None]  # from the name of a layer to that of torch's module
    flattened: frozenset[str] = frozenset()  # dense layers that read flattened (c, h, w)
    convolved: frozenset[str] = frozenset()  # dense layers that are convolutions there


LAYOUTS = (
    Layout("torchvision", "vgg16", _vgg16, flattened=frozenset({"fc1"})),
    Layout(
        "timm",
        "vgg16",
        _vgg16_of_timm,
        flattened=frozenset({"fc1"}),
        convolved=frozenset({"fc1", "fc2"}),
    ),
    Layout("torchvision", "resnet50_v1_5", _resnet),
    Layout("timm", "resnet50_v1_5", _resnet),
    Layout("timm", "resnet50_d", _resnet_d),
    Layout("torchvision", "inception_v3_torch", _inception_v3),
    Layout("timm", "inception_v3_torch", _inception_v3),
)
# The networks that torch's weights are for, where a network has none there.
SIBLINGS = {"resnet50": "resnet50_v1_5", "inception_v3": "inception_v3_torch"}


def layouts_of(network: str) -> tuple[Layout, ...]:
    """All ways in which torch's libraries name a network's layers."""
    return tuple(layout for layout in LAYOUTS if layout.network == network)
