"""What a run is asked for, and what it makes of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from keras_classics.architectures.frame import Architecture
from keras_classics.data.check.run import FOLDER_SIZE
from keras_classics.data.fit import Fit
from keras_classics.data.preprocess import Mode
from keras_classics.errors import ClassicsError
from keras_classics.training.origin import Origin
from keras_classics.training.recipe import (
    FINE_TUNING,
    GENTLE,
    QUICK,
    TRANSFER,
    BatchNorm,
    Recipe,
    Unfreeze,
)

LARGEST = 4096  # pixels; beyond it a single image no longer fits through a network on most machines
DIGITS_SIZE = 32
DEFAULT_WIDTH = 0.25


@dataclass(frozen=True)
class TrainConfig:
    """What to train on what; None lets the run choose."""

    folder: Path | None = None  # None: the digits that come with scikit-learn
    network: str = "resnet50"
    width: float | None = None  # that of the weights; 0.25 for random ones
    # Pixels: those of the weights, 32 for digits, else 64, or the least that the network takes.
    size: int | None = None
    epochs: int | None = None  # the recipe's
    batch_size: int | None = None  # the recipe's
    learning_rate: float | None = None  # the recipe's
    # A name of published weights, a file of weights or an artefact; None: random.
    weights: str | None = None
    unfreeze: Unfreeze | None = None  # what is trained after the top; only with weights
    batch_norm: BatchNorm | None = None  # of what is unfrozen; only with weights
    preprocessing: Mode | None = None  # that of the weights; "tf" for random ones
    fit: Fit = "crop"
    seed: int = 0
    out: Path | None = None  # runs/<data>-<network>, numbered


def input_size(
    config: TrainConfig, architecture: Architecture, origin: Origin | None = None
) -> int:
    """The side of the square input in pixels.

    Raises:
        ClassicsError: If the network cannot take the size asked for.
    """
    default = DIGITS_SIZE if config.folder is None else FOLDER_SIZE
    if origin and origin.size:
        default = origin.size
    size = max(default, architecture.least_size) if config.size is None else config.size
    if not architecture.least_size <= size <= LARGEST:
        raise ClassicsError(
            f"size={size}: {architecture.title} takes {architecture.least_size} to {LARGEST} "
            "pixels."
        )
    return size


def check_arguments(config: TrainConfig) -> None:
    """Refuse what cannot be, before anything is looked for or read.

    Raises:
        ClassicsError: With the argument, the value and what is possible.
    """
    if not 0 <= config.seed < 2**32:
        raise ClassicsError(f"seed={config.seed}: a whole number from 0 to 2**32 - 1 is needed.")
    for argument in ("epochs", "batch_size"):
        value = getattr(config, argument)
        if value is not None and value < 1:
            raise ClassicsError(f"{argument}={value}: at least 1 is needed.")
    if config.learning_rate is not None and not 0 < config.learning_rate < 10:
        raise ClassicsError(
            f"learning_rate={config.learning_rate}: above 0 and below 10 is needed."
        )
    for argument, allowed in (
        ("unfreeze", get_args(Unfreeze)),
        ("batch_norm", get_args(BatchNorm)),
    ):
        value = getattr(config, argument)
        if value is not None and config.weights is None:
            raise ClassicsError(
                f"{argument}={value!r}: says how trained weights are put to use; give weights, "
                "too, or leave it out."
            )
        if value not in (None, *allowed):
            raise ClassicsError(f"{argument}={value!r}: one of {', '.join(allowed)} is needed.")


def recipe_for(
    config: TrainConfig, architecture: Architecture, origin: Origin | None = None
) -> Recipe:
    """The quick recipe with the lines that the user, the network or trained weights change."""
    rate, transfer = QUICK.learning_rate, None
    if architecture.name.startswith("vgg"):
        rate *= GENTLE
    if origin:
        # Adam's rate falls with the width, https://arxiv.org/abs/2203.03466; FINE_TUNING was
        # measured at the default width.
        rate *= FINE_TUNING * min(1.0, DEFAULT_WIDTH / origin.width)
        transfer = dataclasses.replace(
            TRANSFER,
            unfreeze=config.unfreeze or TRANSFER.unfreeze,
            batch_norm=config.batch_norm or TRANSFER.batch_norm,
        )
    return dataclasses.replace(
        QUICK,
        epochs=config.epochs or QUICK.epochs,
        batch_size=config.batch_size or QUICK.batch_size,
        learning_rate=config.learning_rate or rate,
        transfer=transfer,
    )
