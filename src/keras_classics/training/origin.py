"""Where a run with trained weights begins: the file, and what belongs to it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from keras_classics.architectures import DEFAULT, TRAINED
from keras_classics.architectures.frame import Architecture
from keras_classics.classifier.card import MODEL, Card
from keras_classics.errors import ClassicsError, WeightsError
from keras_classics.training import recipes
from keras_classics.training.config import RANDOM, TrainConfig
from keras_classics.weights import records
from keras_classics.weights.download import fetch
from keras_classics.weights.preprocess import Mode
from keras_classics.weights.records import PublishedWeights
from keras_classics.weights.requests import record_of

IMAGENET = "imagenet"
INSTEAD = f"Or start from random weights: --weights {RANDOM}."


@dataclass(frozen=True)
class Beginning:
    """A configuration that leaves neither network nor recipe nor weights open."""

    config: TrainConfig
    why: str  # it begins so, in words


def settled(config: TrainConfig) -> Beginning:
    """Decide what the user left open: trained weights wherever there are some for the task.

    Raises:
        ClassicsError: If a recipe or weights that were asked for are not known, or go with no
            others that were.
    """
    recipe, weights, network = config.recipe, config.weights, config.network
    for_trained = recipe is None or recipes.is_for_trained_weights(recipe, network or DEFAULT)
    why = "as requested"
    if weights is None:
        weights, why = RANDOM, ""
        if config.folder is None and (recipe is None or not for_trained):
            why = "the default for the digits"
        elif not for_trained:
            why = f"the recipe {recipe} trains from scratch"
        elif config.width is not None:
            why = "trained weights exist for width 1 only"
        else:
            weights, why = IMAGENET, f"--weights {RANDOM} starts from random weights"
    elif weights == RANDOM and recipe is not None and for_trained:
        raise ClassicsError(
            f"recipe={recipe!r}: fine-tunes trained weights; leave out --weights {RANDOM}, or take "
            f"--recipe {recipes.SCRATCH}."
        )
    if network is None:
        network = DEFAULT if weights == RANDOM else _network_of(weights)
    if recipe is None:
        recipe = recipes.SCRATCH if weights == RANDOM else recipes.TRANSFER
    config = dataclasses.replace(config, network=network, recipe=recipe, weights=weights)
    return Beginning(config, why)


def _network_of(weights: str) -> str:
    """The network that weights are for.

    Raises:
        ClassicsError: If they do not tell.
    """
    if weights == IMAGENET:
        return TRAINED
    if weights in records.RECORDS:
        return records.find(weights).network
    path = Path(weights)
    if path.is_dir():
        return Card.read(path).network
    known = records.recognise(path) if path.is_file() else None
    if known is None and path.is_file():
        raise WeightsError(f"{weights}: the weights of which network? Say --network.")
    return known.network if known else DEFAULT  # what does not exist is refused by `record_of`


@dataclass(frozen=True)
class Origin:
    """Trained weights to begin with."""

    name: str  # as it is told to the user
    place: Path | PublishedWeights  # a file, or what is fetched when it is needed
    width: float
    mode: Mode  # the preprocessing that they were trained with
    size: int | None  # pixels of the images that they were trained on; None: not known
    artefact: bool = False

    def file(self, *, include_top: bool = False) -> Path:
        """The file, downloaded if need be.

        Args:
            include_top: Whether layers of the top are needed.

        Raises:
            WeightsError: If it is not to be had.
        """
        if not isinstance(self.place, PublishedWeights):
            return self.place
        try:
            return fetch(self.place.file_for(include_top=include_top))
        except WeightsError as error:
            raise WeightsError(f"{error} {INSTEAD}") from error

    def has_top(self, size: int) -> bool:
        """Whether it holds the hidden layers of a top for inputs of this size, too."""
        return (self.artefact or isinstance(self.place, PublishedWeights)) and size == self.size


def find_origin(weights: str, architecture: Architecture, width: float | None) -> Origin:
    """What the `weights` of a run stand for.

    Args:
        weights: "imagenet" or another published name, a file of weights, or an artefact.
        architecture: The network to be trained.
        width: That was asked for; None for that of the weights, 1 where they do not tell.

    Raises:
        ClassicsError: If there are no such weights, or they are another network's or of another
            width.
    """
    path = Path(weights)
    if path.is_dir():
        card = Card.read(path)
        if card.network != architecture.name:
            raise WeightsError(f"{path}: holds {card.network}, not {architecture.name}.")
        if width not in (None, card.width):
            raise WeightsError(f"{path}: has width {card.width}, not {width}.")
        shape = card.preprocessing
        return Origin(weights, path / MODEL, card.width, shape.mode, shape.size[0], artefact=True)
    try:
        record = record_of(weights, architecture)
    except WeightsError as error:
        raise WeightsError(f"{error} {INSTEAD}" if weights == IMAGENET else str(error)) from error
    # A published file under any name brings its own preprocessing.
    known = record or records.recognise(path)
    if known is None:
        return Origin(weights, path, 1.0 if width is None else width, "tf", None)
    if width not in (None, 1.0):
        raise ClassicsError(f"width={width}: the weights of {weights} fit width 1.0 only.")
    return Origin(known.name, record or path, 1.0, known.preprocessing, architecture.default_size)
