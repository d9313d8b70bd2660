"""The models on the server: from what a person names to all that an answer about it needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import keras

from keras_classics.architectures import catalog, frame
from keras_classics.architectures.analysis import Analysis, analyse
from keras_classics.architectures.frame import Architecture
from keras_classics.classifier.artefact import Classifier, load
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.classifier.published import published, published_record
from keras_classics.errors import ArtefactError, ClassicsError
from keras_classics.explanation.probe import Probe
from keras_classics.explorer import schema
from keras_classics.weights import records

MOST_MODELS = 4  # a VGG16 holds half a gigabyte, and as much again with its control
MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Held:
    """A model with what belongs to it."""

    id: str
    classifier: Classifier
    weights: str  # where they are from, in words
    trained: bool
    named: bool  # whether the classes have names
    artefact: Path | None = None

    @property
    def model(self) -> keras.Model:
        """The network itself."""
        return self.classifier.model

    @property
    def card(self) -> Card:
        """Preprocessing and class names."""
        return self.classifier.card

    @property
    def shape(self) -> Preprocessing:
        """From a picture to the input."""
        return self.card.preprocessing

    @cached_property
    def architecture(self) -> Architecture:
        """The record of the network."""
        return catalog.find(self.card.network)

    @cached_property
    def probe(self) -> Probe:
        """What runs it and looks into it."""
        return Probe(self.model)

    @cached_property
    def analysis(self) -> Analysis:
        """Shapes, costs and receptive fields."""
        return analyse(self.model, size=self.shape.size)

    @property
    def open_size(self) -> tuple[int, int] | None:
        """Height and width where the graph leaves them open; None where it fixes them."""
        return self.shape.size if None in self.model.input_shape[1:] else None

    @cached_property
    def channels_first(self) -> bool:
        """Whether the layers have the channels before height and width."""
        return any(
            getattr(layer, "data_format", "") == "channels_first" for layer in self.model.layers
        )

    def class_name(self, index: int) -> str:
        """What a class is called; its number where it has no name."""
        return self.card.class_names[index]

    def message(self) -> schema.Model:
        """The entry in the list of models."""
        height, width = self.shape.size
        probabilities = "softmax of the network"
        if self.classifier.calibration is not None:
            probabilities += ", without the calibration of the run"
        return schema.Model(
            id=self.id,
            title=self.architecture.title,
            network=self.card.network,
            input=(height, width, self.shape.channels),
            classes=len(self.card.class_names),
            class_names=list(self.card.class_names) if self.named else None,
            trained=self.trained,
            weights=self.weights,
            width=self.card.width,
            preprocessing=f"{_fit_in_words(self.shape)}, then {self.shape.mode!r}",
            probabilities=probabilities,
            paper=self.architecture.paper,
            year=self.architecture.year,
        )


def _fit_in_words(shape: Preprocessing) -> str:
    if isinstance(shape.fit, str):
        return shape.fit
    return f"shorter side to {shape.fit.resize}, central crop"


def open_model(
    name: str,
    *,
    width: float | None = None,
    size: int | None = None,
    classes: int | None = None,
) -> Held:
    """The model that a person names.

    Args:
        name: A network of the catalog, which gets random weights; a published set of weights; or
            the folder of an artefact.
        width: Of a network of the catalog: multiplies the number of filters.
        size: Of a network of the catalog: height and width of the input in pixels.
        classes: Of a network of the catalog: their number.

    Raises:
        ClassicsError: If there is no such thing, it is torn, or an option does not fit it.
    """
    path = Path(name)
    is_network = name.lower() in {
        known for each in catalog.CATALOG.values() for known in (each.name, each.title.lower())
    }
    if is_network or not (name in records.RECORDS or path.exists() or len(path.parts) > 1):
        return random_network(
            name, width=1.0 if width is None else width, size=size, classes=classes
        )
    given = {"width": width, "size": size, "classes": classes}
    for option, value in given.items():
        if value is not None:
            raise ClassicsError(f"{option}={value}: {name} is trained, so that its own is fixed.")
    if name in records.RECORDS:
        return published_network(name)
    classifier = load(path)
    if classifier.card.network not in catalog.CATALOG:
        raise ArtefactError(f"{path}: a network {classifier.card.network!r} is not in the catalog.")
    weights = f"trained: {path.resolve().name}"
    return Held(path.resolve().name, classifier, weights, trained=True, named=True, artefact=path)


def published_network(weights: str) -> Held:
    """A network with published weights, by their name or file.

    Raises:
        ClassicsError: If there are no such weights, or they cannot be had.
    """
    classifier = published(weights)
    name = str(classifier.card.recipe["weights"])
    return Held(name, classifier, f"published: {name}", trained=True, named=True)


def published_name(weights: str, network: str | None = None) -> str:
    """The weights that are meant, before they are fetched.

    Args:
        weights: A name that `classics weights` lists, "imagenet" for Keras' own, or one of these
            files.
        network: Which the weights must be of, if given.

    Raises:
        ClassicsError: If there are no such weights, or they are another network's.
    """
    wanted = None if network is None else catalog.find(network).name
    if weights == "imagenet":
        if wanted is None:
            raise ClassicsError("weights=imagenet: of which network? Name one of the catalog.")
        return records.imagenet(wanted).name
    own = published_record(weights).network
    if wanted not in (None, own):
        raise ClassicsError(f"weights={weights}: weights of {own}, not of {wanted}.")
    return weights


def random_network(
    name: str, *, width: float = 1.0, size: int | None = None, classes: int | None = None
) -> Held:
    """A network of the catalog with random weights, the same ones every time.

    Raises:
        ClassicsError: If there is none of the name, or an argument is out of its range.
    """
    architecture = catalog.find(name)
    count = 1000 if classes is None else classes
    if count > MOST_CLASSES:
        raise ClassicsError(f"classes={count}: at most {MOST_CLASSES} can be shown.")
    side = size or architecture.default_size
    # A view that is shared by its address must be the same view for others.
    keras.utils.set_random_seed(0)
    model = frame.build(
        architecture,
        input_shape=frame.with_channels((side, side), 3),
        width=width,
        classes=count,
    )
    card = Card(
        network=architecture.name,
        width=float(width),
        class_names=tuple(f"class {index}" for index in range(count)),
        preprocessing=Preprocessing((side, side), "crop", _mode(architecture)),
    )
    return Held(architecture.name, Classifier(model, card), "random", trained=False, named=False)


def _mode(architecture: Architecture) -> records.Preprocessing:
    """The arithmetic of a network's published weights, of which the first are the authors'."""
    own = records.names_for(architecture.name)
    return records.find(own[0]).preprocessing if own else architecture.mode or "tf"


class Models:
    """The models that the server holds, at most so many, by their names."""

    def __init__(self, held: list[Held]) -> None:
        """A shelf with its first models.

        Raises:
            ClassicsError: If these are none or too many.
        """
        if not 1 <= len(held) <= MOST_MODELS:
            raise ClassicsError(f"{len(held)} models: 1 to {MOST_MODELS} can be looked at.")
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        for one in held:
            self.add(one)

    def __iter__(self) -> Iterator[Held]:
        with self._lock:
            return iter(list(self._held.values()))

    def __getitem__(self, key: str) -> Held:
        """The model of a name.

        Raises:
            KeyError: If there is none.
        """
        with self._lock:
            return self._held[key]

    @property
    def full(self) -> bool:
        """Whether another one has no room."""
        with self._lock:
            return len(self._held) >= MOST_MODELS

    def add(self, held: Held) -> Held:
        """Take a model in, under a name of its own.

        Raises:
            ClassicsError: If there is no room.
        """
        with self._lock:
            if len(self._held) >= MOST_MODELS:
                raise ClassicsError(f"{MOST_MODELS} models are held, which is all that fit.")
            name = "".join(c if c.isalnum() or c in "-_." else "-" for c in held.id).strip(".-")
            name = name or "model"
            names = (name, *(f"{name}-{number}" for number in range(2, MOST_MODELS + 2)))
            own = replace(held, id=next(each for each in names if each not in self._held))
            self._held[own.id] = own
            return own
