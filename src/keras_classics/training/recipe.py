"""Recipes: how to train, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keras_classics.data.augment import Augmentation

Unfreeze = Literal["none", "stage", "all"]
BatchNorm = Literal["frozen", "train"]


@dataclass(frozen=True)
class Transfer:
    """How a network with trained weights is trained: its new top first, alone."""

    unfreeze: Unfreeze  # what follows the top: nothing, a stage at a time, or all stages at once
    batch_norm: BatchNorm  # of the stages that are unfrozen; below them it is always frozen
    top_share: float  # of the epochs, for the top alone; all of them where nothing follows
    lower: float  # a stage's learning rate as a fraction of that of the stage above


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    AdamW under a cosine schedule that begins with a linear warm-up; gradients clipped by their
    global norm; weights before a ReLU drawn as in He et al. 2015, https://arxiv.org/abs/1502.01852.
    """

    name: str
    epochs: int
    batch_size: int
    learning_rate: float  # at the top of the schedule
    weight_decay: float
    warm_up: float  # fraction of all steps
    clip_norm: float
    augmentation: Augmentation
    transfer: Transfer | None = None  # None for random weights


# Made for small sets of images and a CPU. No mirroring: it would turn some classes into others
# (letters, digits, left and right).
QUICK = Recipe(
    name="quick",
    epochs=12,
    batch_size=32,
    learning_rate=2e-3,
    weight_decay=0.01,
    warm_up=0.1,
    clip_norm=1.0,
    augmentation=Augmentation(shift=0.1, zoom=0.1, rotate=10.0, brightness=0.1, contrast=0.2),
)

# Measured: docs/transfer.md. Rates that fall from stage to stage are those of ULMFiT,
# https://arxiv.org/abs/1801.06146, whose 2.6 was too steep here.
TRANSFER = Transfer(unfreeze="all", batch_norm="frozen", top_share=0.25, lower=1 / 1.3)

# Without batch norm a network needs smaller steps; rates that fall below can be higher on top.
GENTLE = 0.25
FINE_TUNING = 2.0
