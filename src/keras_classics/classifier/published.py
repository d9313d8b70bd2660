"""Weights by their names: as a file, and as a classifier with the publisher's preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_classics.architectures import catalog
from keras_classics.architectures.frame import Architecture, with_channels
from keras_classics.architectures.precision import numbers
from keras_classics.classifier.artefact import Classifier
from keras_classics.classifier.card import MODEL, Card, Preprocessing
from keras_classics.data.fit import CentralCrop
from keras_classics.errors import WeightsError
from keras_classics.networks import build
from keras_classics.weights import records
from keras_classics.weights.download import Progress, fetch
from keras_classics.weights.records import PublishedWeights


def published(weights: str | Path = records.DEFAULT) -> Classifier:
    """A network with published weights, with the preprocessing that belongs to them.

    Its `evaluate` takes a folder whose sub-folders are named by WordNet's synsets, as ImageNet's
    are (`n01440764`), and resizes and crops as the publisher did, so that the published accuracy
    can be measured again.

    Args:
        weights: A name that `classics weights` lists, such as "resnet50-keras", or one of these
            files under another name with the same ending; default: those that are installed with
            this package.

    Raises:
        WeightsError: If the name or file is none of these, or the weights cannot be had.
    """
    record = published_record(weights)
    side = record.protocol.crop
    shape = with_channels((side, side), 3)
    with numbers():
        model = build(record.network, weights=str(weights), input_shape=shape)
    card = Card(
        network=record.network,
        width=1.0,
        class_names=tuple(each.name for each in record.class_names),
        preprocessing=Preprocessing(
            size=(side, side),
            fit=CentralCrop(record.protocol.resize, record.protocol.interpolation),
            mode=record.preprocessing,
        ),
        recipe={"weights": record.name},
    )
    return Classifier(model, card, folders=[each.synset for each in record.class_names])


def published_record(weights: str | Path) -> PublishedWeights:
    """The record of a name, or of a published file.

    Raises:
        WeightsError: If it is neither.
    """
    if weights in records.RECORDS or not Path(weights).is_file():
        return records.find(str(weights))
    record = records.recognise(Path(weights))
    if record is None:
        raise WeightsError(
            f"{weights}: its hash is that of no published file, so neither its preprocessing nor "
            "its classes are known."
        )
    return record


@dataclass(frozen=True)
class Source:
    """A file of weights, and the network that they are for."""

    path: Path
    architecture: Architecture
    width: float


def locate(
    weights: str | Path,
    *,
    network: str | None = None,
    width: float | None = None,
    progress: Progress | None = None,
) -> Source:
    """The file that a published name, an artefact or a path stands for, and its network.

    Args:
        weights: A name that `classics weights` lists (fetched if need be), the folder of an
            artefact, or a file.
        network: Name in the catalog; needed for a file that is not a published one.
        width: Of the network; default: the artefact's, else 1.
        progress: Told how the download goes on.

    Raises:
        ClassicsError: If there is no such thing, or it is another network's.
    """
    own: str | None
    own_width = 1.0
    if weights in records.RECORDS:
        record = records.find(str(weights))
        path, own = fetch(record.file, progress=progress), record.network
    elif Path(weights).is_dir():
        card = Card.read(Path(weights))
        path, own, own_width = Path(weights) / MODEL, card.network, card.width
    else:
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(
                f"{weights}: no such file, artefact or published name (`classics weights`)."
            )
        known = records.recognise(path)
        own = known.network if known else network
        if own is None:
            raise WeightsError(f"{weights}: the weights of which network? Say --network.")
    architecture = catalog.find(own)
    if network is not None and catalog.find(network).name != architecture.name:
        raise WeightsError(f"{weights}: weights of {architecture.name}, not {network}.")
    return Source(path, architecture, own_width if width is None else width)
