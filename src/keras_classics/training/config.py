"""What a run is asked for, and what it makes of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from keras_classics.architectures.frame import Architecture
from keras_classics.artefact import Card
from keras_classics.data.fit import Fit
from keras_classics.data.preprocess import Mode
from keras_classics.errors import ClassicsError
from keras_classics.training.recipe import FINE_TUNING, GENTLE, QUICK, Recipe

LARGEST = 4096  # pixels; beyond it a single image no longer fits through a network on most machines
DIGITS_SIZE = 32
FOLDER_SIZE = 64
DEFAULT_WIDTH = 0.25


@dataclass(frozen=True)
class TrainConfig:
    """What to train on what; None lets the run choose."""

    folder: Path | None = None  # None: the digits that come with scikit-learn
    network: str = "resnet50"
    width: float | None = None  # 0.25; 1.0 with ImageNet weights
    # Pixels: those of the weights, 32 for digits, else 64, or the least that the network takes.
    size: int | None = None
    epochs: int | None = None  # the recipe's
    batch_size: int | None = None  # the recipe's
    learning_rate: float | None = None  # the recipe's
    weights: str | None = None  # "imagenet", a file of weights or an artefact; None: random
    preprocessing: Mode | None = None  # that of the weights; "tf" for random ones
    fit: Fit = "crop"
    seed: int = 0
    out: Path | None = None  # runs/<data>-<network>, numbered


def input_size(config: TrainConfig, architecture: Architecture) -> int:
    """The side of the square input in pixels.

    Raises:
        ClassicsError: If the network cannot take the size asked for.
    """
    default = DIGITS_SIZE if config.folder is None else FOLDER_SIZE
    if config.weights == "imagenet":
        default = architecture.default_size
    elif config.weights and Path(config.weights).is_dir():
        default = Card.read(Path(config.weights)).preprocessing.size[0]
    size = max(default, architecture.least_size) if config.size is None else config.size
    if not architecture.least_size <= size <= LARGEST:
        raise ClassicsError(
            f"size={size}: {architecture.title} takes {architecture.least_size} to {LARGEST} "
            "pixels."
        )
    return size


def recipe_for(config: TrainConfig, architecture: Architecture) -> Recipe:
    """The quick recipe with the lines that the user, the network or trained weights change.

    Raises:
        ClassicsError: If a line is out of its range.
    """
    for argument in ("epochs", "batch_size"):
        value = getattr(config, argument)
        if value is not None and value < 1:
            raise ClassicsError(f"{argument}={value}: at least 1 is needed.")
    if config.learning_rate is not None and not 0 < config.learning_rate < 10:
        raise ClassicsError(
            f"learning_rate={config.learning_rate}: above 0 and below 10 is needed."
        )
    rate = QUICK.learning_rate
    if architecture.name.startswith("vgg"):
        rate *= GENTLE
    if config.weights is not None:
        rate *= FINE_TUNING
    return dataclasses.replace(
        QUICK,
        epochs=config.epochs or QUICK.epochs,
        batch_size=config.batch_size or QUICK.batch_size,
        learning_rate=config.learning_rate or rate,
    )
