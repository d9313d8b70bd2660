"""ResNets in torchvision and timm, which name them alike."""

from __future__ import annotations

from keras_classics.weights.layouts import Layout, Rules

_UNITS: Rules = (
    (r"conv([2-5])_block(\d+)_([1-3])_(conv|bn)", "layer{1-1}.{2-1}.{4}{3}"),
    ("predictions", "fc"),
)
_RESNET: Rules = (
    ("conv1_(conv|bn)", "{1}1"),
    (r"conv([2-5])_block(\d+)_0_conv", "layer{1-1}.{2-1}.downsample.0"),
    (r"conv([2-5])_block(\d+)_0_bn", "layer{1-1}.{2-1}.downsample.1"),
    *_UNITS,
)
_DEEP: Rules = (
    ("conv1_a_conv", "conv1.0"),
    ("conv1_a_bn", "conv1.1"),
    ("conv1_b_conv", "conv1.3"),
    ("conv1_b_bn", "conv1.4"),
    ("conv1_c_conv", "conv1.6"),
    ("conv1_c_bn", "bn1"),
    # The convolution of the shortcut stands behind a pooling.
    (r"conv([2-5])_block(\d+)_0_conv", "layer{1-1}.{2-1}.downsample.1"),
    (r"conv([2-5])_block(\d+)_0_bn", "layer{1-1}.{2-1}.downsample.2"),
    *_UNITS,
)

LAYOUTS = (
    Layout("torchvision", "resnet50_v1_5", _RESNET),
    Layout("timm", "resnet50_v1_5", _RESNET),
    Layout("timm", "resnet50_d", _DEEP),
)
