"""Recipes: how to train, as data."""

from __future__ import annotations

from dataclasses import dataclass

from keras_classics.data.augment import Augmentation


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

# Without batch norm a network needs smaller steps; with trained weights, any does.
GENTLE = 0.25
FINE_TUNING = 0.1
