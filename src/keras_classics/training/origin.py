"""Where a run with trained weights begins: the file, and what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_classics.architectures.frame import Architecture
from keras_classics.card import MODEL, Card
from keras_classics.data.preprocess import Mode
from keras_classics.errors import ClassicsError, WeightsError
from keras_classics.weights import records
from keras_classics.weights.download import fetch
from keras_classics.weights.records import PublishedWeights
from keras_classics.weights.requests import record_of


@dataclass(frozen=True)
class Origin:
    """Trained weights to begin with."""

    name: str  # as it is told to the user
    place: Path | PublishedWeights  # a file, or what is fetched when it is needed
    width: float
    mode: Mode  # the preprocessing that they were trained with
    size: int | None  # pixels of the images that they were trained on; None: not known

    def file(self) -> Path:
        """The file, downloaded if need be.

        Raises:
            WeightsError: If it is not to be had.
        """
        if isinstance(self.place, PublishedWeights):
            return fetch(self.place.file_for(include_top=False))
        return self.place


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
        return Origin(weights, path / MODEL, card.width, shape.mode, shape.size[0])
    record = record_of(weights, architecture)
    # A published file under any name brings its own preprocessing.
    known = record or records.recognise(path)
    if known is None:
        return Origin(weights, path, 1.0 if width is None else width, "tf", None)
    if width not in (None, 1.0):
        raise ClassicsError(f"width={width}: the weights of {weights} fit width 1.0 only.")
    return Origin(weights, record or path, 1.0, known.preprocessing, architecture.default_size)
