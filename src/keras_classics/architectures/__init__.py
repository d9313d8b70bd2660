"""The networks: one file a paper, one frame that builds them all, and what a built graph tells."""

from __future__ import annotations

# Of training and of what goes with it, where no network is named: from random weights, from trained.
DEFAULT = "resnet50"
TRAINED = "efficientnet_lite0"
