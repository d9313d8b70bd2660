"""What is to be trained on what, settled before anything is computed."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import keras

from keras_classics.architectures import catalog
from keras_classics.architectures.frame import Architecture, with_channels
from keras_classics.architectures.precision import numbers
from keras_classics.data.listing import Listing, fingerprint
from keras_classics.data.splits import assign_splits
from keras_classics.errors import ClassicsError
from keras_classics.networks import build
from keras_classics.training import speed
from keras_classics.training.config import (
    RANDOM,
    Sizes,
    TrainConfig,
    check_arguments,
    input_sizes,
    length,
    recipe_for,
)
from keras_classics.training.determinism import deterministic
from keras_classics.training.events import Listener
from keras_classics.training.images import list_images
from keras_classics.training.origin import Origin, find_origin, settled
from keras_classics.training.recipe import Recipe
from keras_classics.training.start import Shape, StartingNetwork, start_network
from keras_classics.weights.preprocess import Mode


@dataclass(frozen=True)
class Task:
    """What a run is to do."""

    config: TrainConfig
    asked: TrainConfig  # as the user wrote it, which in a run that goes on has other paths
    architecture: Architecture
    origin: Origin | None
    recipe: Recipe
    sizes: Sizes
    listing: Listing  # with the images that cannot be read
    tell: Listener
    began: float
    why: str = ""  # it begins with trained weights, or with random ones

    @property
    def shape(self) -> Shape:
        """What the network is built for."""
        width = self.origin.width if self.origin else self.recipe.width
        if self.config.width is not None:
            width = self.config.width
        return Shape(width, self.sizes.train, self.sizes.test, len(self.listing.classes))

    @property
    def mode(self) -> Mode:
        """From pixels to inputs."""
        if self.origin:
            own = self.origin.mode
        else:
            own = self.architecture.mode or self.recipe.preprocessing
        return self.config.preprocessing or own

    @cached_property
    def fingerprint(self) -> str | None:
        """Of the images; None for the digits."""
        return fingerprint(self.listing) if self.config.folder else None

    @property
    def fine_tunes(self) -> bool:
        """Whether more than a head is trained."""
        return self.recipe.transfer is None or self.recipe.transfer.unfreeze != "none"

    @property
    def training_images(self) -> int:
        """How many there will be, if all can be read."""
        listing = assign_splits(self.listing, seed=self.config.seed)
        train = sum(item.split in (None, "train") for item in listing.items)
        return math.ceil(self.config.limit * train)

    def changed(self, config: TrainConfig) -> Task:
        """The same network and images with other settings."""
        recipe = recipe_for(config, self.architecture, self.origin)
        sizes = input_sizes(config, recipe, self.architecture, self.origin)
        changed = dataclasses.replace(self, config=config, asked=config, recipe=recipe, sizes=sizes)
        return changed.with_length()

    def with_length(self) -> Task:
        """With the epochs that the recipe has for so many images, unless a number was asked for."""
        asked = {change.partition("=")[0].strip() for change in self.config.changes}
        if self.config.epochs is not None or "epochs" in asked:
            return self
        epochs = length(self.recipe, self.training_images)
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, epochs=epochs))

    def policy(self) -> str:
        """The dtype policy that the network computes by.

        Raises:
            ClassicsError: If this machine cannot.
        """
        model = None
        if self.config.precision == "auto" and speed.hardware().bfloat16:
            side = self.sizes.train
            shape = with_channels((side, side), 3)
            classes, width = len(self.listing.classes), self.shape.width
            model = build(self.architecture, input_shape=shape, classes=classes, width=width)
        return speed.choose_precision(self.config.precision, model=model)

    def network(self) -> StartingNetwork:
        """The network as it begins.

        Raises:
            ClassicsError: As in `start_network`.
        """
        return start_network(
            self.architecture,
            self.shape,
            self.recipe,
            seed=self.config.seed,
            mode=self.mode,
            origin=self.origin,
        )


def task_of(
    config: TrainConfig,
    listener: Listener | None = None,
    *,
    asked: TrainConfig | None = None,
    recipe: Recipe | None = None,
) -> Task:
    """The task that a configuration describes.

    Args:
        config: What to train on what.
        listener: Told what goes on.
        asked: The configuration as the user wrote it, where it is another one.
        recipe: Of a run that goes on; None makes it from the configuration.

    Raises:
        ClassicsError: If the data, the arguments or the weights cannot be used.
    """
    began = time.monotonic()
    beginning = settled(config)
    config = beginning.config
    check_arguments(config)
    architecture = catalog.find(config.network or "")
    if architecture.mode not in (None, config.preprocessing or architecture.mode):
        raise ClassicsError(
            f"preprocessing={config.preprocessing}: {architecture.title} scales its input inside "
            f"the graph; leave the option out, or use {architecture.mode}."
        )
    origin = None
    if config.weights is not None and config.weights != RANDOM:
        origin = find_origin(config.weights, architecture, config.width)
    given = recipe
    recipe = given or recipe_for(config, architecture, origin)
    sizes = input_sizes(config, recipe, architecture, origin)
    listing = list_images(config)
    task = Task(
        config=config,
        asked=asked or config,
        architecture=architecture,
        origin=origin,
        recipe=recipe,
        sizes=sizes,
        listing=listing,
        tell=listener or (lambda _: None),
        began=began,
        why=beginning.why,
    )
    return task if given else task.with_length()


@contextmanager
def computing(policy: str, config: TrainConfig) -> Iterator[None]:
    """Numbers of the run's precision, random numbers of its seed."""
    keras.utils.set_random_seed(config.seed)
    with numbers(policy), deterministic(config.deterministic), _retracing_expected():
        yield


@contextmanager
def _retracing_expected() -> Iterator[None]:
    """Keep TensorFlow's warning about much tracing off the terminal: each phase is traced anew."""

    def wanted(record: logging.LogRecord) -> bool:
        return "retracing" not in str(record.msg)

    logger = logging.getLogger("tensorflow")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
