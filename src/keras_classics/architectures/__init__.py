"""The networks: one file a paper, one frame that builds them all, and what a built graph tells."""

from __future__ import annotations

# Of training and what goes with it, where none is named: from random weights, from trained ones.
DEFAULT = "resnet50"
TRAINED = "efficientnet_lite0"
