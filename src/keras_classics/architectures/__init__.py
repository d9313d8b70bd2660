"""The networks: one file a paper, one frame that builds them all, and what a built graph tells."""

from __future__ import annotations

DEFAULT = "resnet50"  # of training and of what goes with it, where no network is named
