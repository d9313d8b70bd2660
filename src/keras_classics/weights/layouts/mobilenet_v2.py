"""MobileNetV2 in timm, as `mobilenetv2_100` made with `pad_type="same"` and `bn_eps=1e-3`."""

from __future__ import annotations

from keras_classics.weights.layouts import Layout, Rules

# Keras counts the blocks through, timm by stages; block 0 is `expanded_conv` and does not expand.
_STAGES = ((0,), (1, 2), (3, 4, 5), (6, 7, 8, 9), (10, 11, 12), (13, 14, 15), (16,))

_RULES: Rules = (
    ("Conv1", "conv_stem"),
    ("bn_Conv1", "bn1"),
    ("Conv_1", "conv_head"),
    ("Conv_1_bn", "bn2"),
    ("predictions", "classifier"),
    ("expanded_conv_depthwise", "blocks.0.0.conv_dw"),
    ("expanded_conv_depthwise_BN", "blocks.0.0.bn1"),
    ("expanded_conv_project", "blocks.0.0.conv_pw"),
    ("expanded_conv_project_BN", "blocks.0.0.bn2"),
    *(
        (f"block_{block}_{ours}", f"blocks.{stage}.{place}.{theirs}")
        for stage, blocks in enumerate(_STAGES)
        for place, block in enumerate(blocks)
        for ours, theirs in (
            ("expand", "conv_pw"),
            ("expand_BN", "bn1"),
            ("depthwise", "conv_dw"),
            ("depthwise_BN", "bn2"),
            ("project", "conv_pwl"),
            ("project_BN", "bn3"),
        )
    ),
)

# timm's own mobilenetv2_100 pads on all sides, with an epsilon of 1e-5.
LAYOUTS = (Layout("timm", "mobilenet_v2", _RULES, strangers=frozenset({"b33bc2c4"})),)
