"""What a run is asked for, and what it makes of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from keras_classics.architectures.frame import Architecture
from keras_classics.data.fit import CentralCrop, Fit
from keras_classics.errors import ClassicsError
from keras_classics.training import recipes
from keras_classics.training.recipe import Balance, BatchNorm, Monitor, Recipe, Transfer, Unfreeze
from keras_classics.weights.preprocess import Mode

if TYPE_CHECKING:
    from keras_classics.training.origin import Origin

LARGEST = 4096  # pixels; beyond it a single image no longer fits through a network on most machines
DIGITS_SIZE, FOLDER_SIZE = 32, 64  # pixels, for networks that begin from random weights
RANDOM = "none"  # as `weights`: random ones

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class TrainConfig:
    """What to train on what; None lets the recipe, the weights or the run choose."""

    folder: Path | None = None  # None: the digits that come with scikit-learn
    # What network, recipe and weights leave open, `origin.settled` decides.
    network: str | None = None  # one for trained weights, another for random ones
    recipe: str | None = None  # a name, "paper", or a TOML file; transfer, or quick
    changes: tuple[str, ...] = ()  # lines of the recipe: "optimizer.learning_rate=1e-3"
    width: float | None = None  # that of the weights, else the recipe's
    # Pixels: the recipe's, else those of the weights; else 32 for digits and 64 for a folder, or
    # the least that the network takes.
    size: int | None = None
    epochs: int | None = None
    batch_size: int | Literal["auto"] | None = None  # "auto" tries some
    learning_rate: float | None = None
    # A name of published weights, a file of weights, an artefact, or "none": random. None: those of
    # ImageNet for a folder of images, unless a width or the recipe asks for random ones.
    weights: str | None = None
    unfreeze: Unfreeze | None = None  # what is trained beside the head; not with random weights
    batch_norm: BatchNorm | None = None  # of what is unfrozen; not with random weights
    preprocessing: Mode | None = None  # that of the weights, else the recipe's
    balance: Balance | None = None
    monitor: Monitor | None = None
    patience: int | None = None
    fit: Fit = "crop"
    group_by: str | None = None  # a column of the CSV, or a pattern of the paths
    root: Path | None = None  # what the paths of a CSV are relative to; its own folder
    limit: float = 1.0  # part of the training images of each class that is used
    precision: Precision = "auto"
    deterministic: bool = False
    seed: int = 0
    minutes: float | None = None  # that the run may take; not with random weights
    checkpoint_every: float = 60.0  # seconds
    out: Path | None = None  # runs/<data>-<network>, numbered

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From the plain values of a JSON file.

        Raises:
            ValueError: If they are not those of a configuration.
        """
        return TypeAdapter(cls).validate_json(json.dumps(values))

    @property
    def data_name(self) -> str:
        """What the images are called: the folder's name, or a file's without its ending."""
        if self.folder is None:
            return "digits"
        place = self.folder.resolve()
        return place.name if place.is_dir() else place.stem


@dataclass(frozen=True)
class Sizes:
    """The square inputs of a run."""

    train: int  # pixels
    test: int  # in validation and use
    fit: Fit | CentralCrop  # how pictures become square in validation and use


def input_sizes(
    config: TrainConfig, recipe: Recipe, architecture: Architecture, origin: Origin | None = None
) -> Sizes:
    """The sizes of the square inputs in pixels.

    Raises:
        ClassicsError: If the network cannot take the size asked for.
    """
    default = DIGITS_SIZE if config.folder is None else FOLDER_SIZE
    if origin and origin.size:
        default = origin.size
    wanted = config.size or recipe.size
    size = max(default, architecture.least_size) if wanted is None else wanted
    # Another size than the recipe's is taken in training and test, in the same proportion.
    test = round(size * recipe.test_size / (recipe.size or size)) if recipe.test_size else size
    for name, pixels in (("size", size), ("test_size", test)):
        if not architecture.least_size <= pixels <= LARGEST:
            raise ClassicsError(
                f"{name}={pixels}: {architecture.title} takes {architecture.least_size} to "
                f"{LARGEST} pixels."
            )
    fit: Fit | CentralCrop = config.fit
    if recipe.test_crop < 1 and config.folder is not None:
        if config.fit != "crop":
            raise ClassicsError(
                f"fit={config.fit!r}: the recipe cuts the middle out of pictures (test_crop="
                f"{recipe.test_crop:g}), which goes with crop only; or set test_crop=1."
            )
        fit = CentralCrop(round(test / recipe.test_crop), "bilinear")
    return Sizes(size, test, fit)


def batch_size_of(text: str | None) -> int | Literal["auto"] | None:
    """The batch size that a text says.

    Raises:
        ClassicsError: If it is neither a number nor "auto".
    """
    if text is None or text == "auto":
        return "auto" if text else None
    if not text.lstrip("-").isdecimal():
        raise ClassicsError(f"batch_size={text!r}: a whole number or auto is needed.")
    return int(text)


def check_arguments(config: TrainConfig) -> None:
    """Refuse what cannot be, before anything is looked for or read.

    Raises:
        ClassicsError: With the argument, the value and what is possible.
    """
    if not 0 <= config.seed < 2**32:
        raise ClassicsError(f"seed={config.seed}: a whole number from 0 to 2**32 - 1 is needed.")
    batch_size_of(str(config.batch_size or "auto"))
    for argument in ("epochs", "batch_size"):
        value = getattr(config, argument)
        if isinstance(value, int) and value < 1:
            raise ClassicsError(f"{argument}={value}: at least 1 is needed.")
    if config.size is not None and config.size < 1:
        raise ClassicsError(f"size={config.size}: at least 1 pixel is needed.")
    if config.learning_rate is not None and not 0 < config.learning_rate < 10:
        raise ClassicsError(
            f"learning_rate={config.learning_rate}: above 0 and below 10 is needed."
        )
    if config.patience is not None and config.patience < 0:
        raise ClassicsError(f"patience={config.patience}: at least 0 is needed.")
    if not 0 < config.limit <= 1:
        raise ClassicsError(f"limit={config.limit}: above 0 and at most 1 is needed.")
    if not 0 <= config.checkpoint_every < float("inf"):
        raise ClassicsError(f"checkpoint_every={config.checkpoint_every}: seconds are needed.")
    _check_transfer(config)
    for argument, kind in (
        ("unfreeze", Unfreeze),
        ("batch_norm", BatchNorm),
        ("balance", Balance),
        ("monitor", Monitor),
        ("precision", Precision),
        ("fit", Fit),
    ):
        value, allowed = getattr(config, argument), get_args(kind)
        if value not in (None, *allowed):
            raise ClassicsError(f"{argument}={value!r}: one of {', '.join(allowed)} is needed.")


def _check_transfer(config: TrainConfig) -> None:
    """Refuse what says how trained weights are put to use, where there are none."""
    if config.minutes is not None and not 0 < config.minutes < float("inf"):
        raise ClassicsError(f"minutes={config.minutes:g}: above 0 is needed.")
    for argument in ("unfreeze", "batch_norm", "minutes"):
        value = getattr(config, argument)
        if value is not None and config.weights == RANDOM:
            raise ClassicsError(
                f"{argument}={value!r}: needs trained weights, but this run starts from random "
                f"weights; leave out {argument}, or give trained --weights."
            )


def rate_for_width(recipe: Recipe, origin: Origin | None) -> float:
    """What a recipe's learning rate is multiplied by for the width of trained weights.

    Adam's best rate falls with the width, https://arxiv.org/abs/2203.03466.
    """
    return recipe.width / origin.width if origin else 1.0


def length(recipe: Recipe, images: int) -> int:
    """The epochs of a recipe for a number of training images, of its table where it has one."""
    table = recipe.transfer.lengths if recipe.transfer else ()
    if not table:
        return recipe.epochs
    known, epochs = np.log(np.array(table, dtype=np.float64)).T
    return max(1, round(float(np.exp(np.interp(np.log(max(images, 1)), known, epochs)))))


def recipe_for(
    config: TrainConfig, architecture: Architecture, origin: Origin | None = None
) -> Recipe:
    """The recipe with the lines that the user, the network or trained weights change.

    Raises:
        ClassicsError: If there is no such recipe, or a line cannot be.
    """
    recipe = recipes.find(config.recipe or recipes.SCRATCH, architecture.name, config.changes)
    optimizer, selection, transfer = recipe.optimizer, recipe.selection, None
    if origin:
        transfer = recipe.transfer or Transfer()
        transfer = dataclasses.replace(
            transfer,
            unfreeze=config.unfreeze or transfer.unfreeze,
            batch_norm=config.batch_norm or transfer.batch_norm,
        )
        optimizer = dataclasses.replace(
            optimizer, learning_rate=optimizer.learning_rate * rate_for_width(recipe, origin)
        )
    if config.learning_rate:
        optimizer = dataclasses.replace(optimizer, learning_rate=config.learning_rate)
    if config.monitor:
        selection = dataclasses.replace(selection, monitor=config.monitor)
    if config.patience is not None:
        selection = dataclasses.replace(selection, patience=config.patience)
    batch_size = None if config.batch_size == "auto" else config.batch_size
    return dataclasses.replace(
        recipe,
        epochs=config.epochs or recipe.epochs,
        batch_size=batch_size or recipe.batch_size,
        balance=config.balance or recipe.balance,
        optimizer=optimizer,
        selection=selection,
        transfer=transfer,
    )
