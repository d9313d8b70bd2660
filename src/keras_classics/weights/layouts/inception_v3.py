"""Inception V3 in torchvision and timm, which name it alike."""

from __future__ import annotations

from keras_classics.weights.layouts import Layout, Rules

_STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
_MIXED = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_BRANCHES = {  # where the name of a module's branch is not ours
    "pool": "branch_pool",
    "3x3_1x3": "branch3x3_2a",
    "3x3_3x1": "branch3x3_2b",
    "3x3dbl_1x3": "branch3x3dbl_3a",
    "3x3dbl_3x1": "branch3x3dbl_3b",
}
_RULES: Rules = (
    ("predictions", "fc"),
    ("auxiliary_predictions", "AuxLogits.fc"),
    ("auxiliary_([12])_(conv|bn)", "AuxLogits.conv{1-1}.{2}"),
    *((f"stem_{n}_(conv|bn)", f"Conv2d_{name}.{{1}}") for n, name in enumerate(_STEM, 1)),
    # The only branch of one convolution that has a number here.
    ("mixed3_3x3_1_(conv|bn)", "Mixed_6a.branch3x3.{1}"),
    *(
        (f"mixed{n}_{branch}_(conv|bn)", f"Mixed_{name}.{module}.{{1}}")
        for n, name in enumerate(_MIXED)
        for branch, module in _BRANCHES.items()
    ),
    *(
        (f"mixed{n}_(.+)_(conv|bn)", f"Mixed_{name}.branch{{1}}.{{2}}")
        for n, name in enumerate(_MIXED)
    ),
)

LAYOUTS = (
    Layout("torchvision", "inception_v3_torch", _RULES),
    Layout("timm", "inception_v3_torch", _RULES),
)
