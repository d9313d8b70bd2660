"""EfficientNet and EfficientNet-Lite in timm, and Lite in the package efficientnet-lite-pytorch.

timm's `tf_efficientnet_*` compute the same; its `efficientnet_*` and torchvision's have their names
or tensors, but pad symmetrically.
"""

from __future__ import annotations

from itertools import accumulate

from keras_classics.weights.layouts import Layout, Rules

_TIMM: Rules = (
    ("stem_conv", "conv_stem"),
    ("stem_bn", "bn1"),
    ("top_conv", "conv_head"),
    ("top_bn", "bn2"),
    ("predictions", "classifier"),
    # The first stage does not expand.
    ("block1([a-z])_dwconv", "blocks.0.{1+0}.conv_dw"),
    ("block1([a-z])_bn", "blocks.0.{1+0}.bn1"),
    ("block1([a-z])_project_conv", "blocks.0.{1+0}.conv_pw"),
    ("block1([a-z])_project_bn", "blocks.0.{1+0}.bn2"),
    ("block([2-7])([a-z])_expand_conv", "blocks.{1-1}.{2+0}.conv_pw"),
    ("block([2-7])([a-z])_expand_bn", "blocks.{1-1}.{2+0}.bn1"),
    ("block([2-7])([a-z])_dwconv", "blocks.{1-1}.{2+0}.conv_dw"),
    ("block([2-7])([a-z])_bn", "blocks.{1-1}.{2+0}.bn2"),
    ("block([2-7])([a-z])_project_conv", "blocks.{1-1}.{2+0}.conv_pwl"),
    ("block([2-7])([a-z])_project_bn", "blocks.{1-1}.{2+0}.bn3"),
    ("block([1-7])([a-z])_se_(reduce|expand)", "blocks.{1-1}.{2+0}.se.conv_{3}"),
)


def _flat(*depths: int) -> Rules:
    """The rules of a network whose blocks are counted through, by the blocks of its stages."""
    first = accumulate(depths[:-1], initial=0)  # block of each stage
    return (
        ("stem_conv", "_conv_stem"),
        ("stem_bn", "_bn0"),
        ("top_conv", "_conv_head"),
        ("top_bn", "_bn1"),
        ("predictions", "_fc"),
        *(
            (f"block{stage}([a-z])_{ours}", f"_blocks.{{1+{place}}}.{theirs}")
            for stage, place in enumerate(first, 1)
            for ours, theirs in (
                ("expand_conv", "_expand_conv"),
                ("expand_bn", "_bn0"),
                ("dwconv", "_depthwise_conv"),
                ("bn", "_bn1"),
                ("project_conv", "_project_conv"),
                ("project_bn", "_bn2"),
            )
        ),
    )


_NAMES = (*(f"b{n}" for n in range(8)), *(f"lite{n}" for n in range(5)))

# timm's files without `tf_`, whose networks pad on all sides, and those trained with adversarial
# propagation, whose pixels were normalised otherwise than in the graph.
_STRANGERS = frozenset(
    [
        "3dd342df",
        "533bc792",
        "bcdf34b7",
        "cf984f9c",
        "7eb33cd5",
        "37913777",
        "f262efe1",
        "44ef0a3d",
        "2f8e7636",
        "aad25bdd",
        "dedb23e6",
        "9e82fae8",
        "4ffb161f",
        "ddb28fec",
    ]
)

LAYOUTS = (
    *(Layout("timm", f"efficientnet_{n}", _TIMM, strangers=_STRANGERS) for n in _NAMES),
    Layout("google", "efficientnet_lite0", _flat(1, 2, 2, 3, 3, 4, 1)),
    Layout("google", "efficientnet_lite1", _flat(1, 3, 3, 4, 4, 5, 1)),
    Layout("google", "efficientnet_lite2", _flat(1, 3, 3, 4, 4, 5, 1)),
)
