"""What is to be trained on what, settled before anything is computed."""

from __future__ import annotations

import logging
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
from keras_classics.data.preprocess import Mode
from keras_classics.errors import ClassicsError
from keras_classics.networks import build
from keras_classics.training import speed
from keras_classics.training.config import (
    Sizes,
    TrainConfig,
    check_arguments,
    input_sizes,
    recipe_for,
)
from keras_classics.training.determinism import deterministic
from keras_classics.training.events import Listener
from keras_classics.training.images import list_images
from keras_classics.training.origin import Origin, find_origin
from keras_classics.training.recipe import Recipe
from keras_classics.training.start import Shape, StartingNetwork, start_network


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
    check_arguments(config)
    architecture = catalog.find(config.network)
    if architecture.mode not in (None, config.preprocessing or architecture.mode):
        raise ClassicsError(
            f"preprocessing={config.preprocessing}: {architecture.title} scales its input inside "
            f"the graph; leave the option out, or use {architecture.mode}."
        )
    origin = find_origin(config.weights, architecture, config.width) if config.weights else None
    if recipe is None:
        recipe = recipe_for(config, architecture, origin)
    sizes = input_sizes(config, recipe, architecture, origin)
    listing = list_images(config)
    tell: Listener = listener or (lambda _: None)
    return Task(config, asked or config, architecture, origin, recipe, sizes, listing, tell, began)


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
