"""The artefact of a run: a folder that says itself what it is and what it needs.

`model.keras` opens with plain Keras, without this package; `artefact.json` holds all that is needed
to use it on a picture: class names, preprocessing, recipe, fingerprint of the data, figures,
versions. No pickle, no code.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures.precision import numbers
from keras_classics.classifier.card import CARD, MANIFEST, MODEL, Card, check_artefact
from keras_classics.classifier.prediction import (
    Images,
    Options,
    Predictions,
    Probabilities,
    gathered,
    predicted,
)
from keras_classics.data.arrays import as_pictures
from keras_classics.data.folder import scan
from keras_classics.data.image_list import ImageList
from keras_classics.data.listing import Item, Listing, fingerprint
from keras_classics.data.manifest import read_manifest, write_manifest
from keras_classics.data.pixels import decode_all
from keras_classics.data.sources import Paths, each_image
from keras_classics.errors import ArtefactError, DataError, ImageError, OutputError
from keras_classics.evaluation.metrics import Judgement, judge
from keras_classics.evaluation.temperature import Calibration
from keras_classics.forward import filled, forward_of, size_for
from keras_classics.weights.preprocess import preprocess

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """The judgement on a folder, and what was and was not part of it."""

    judgement: Judgement
    part: str  # which images of the folder, in words
    skipped: tuple[ImageError, ...]


class Classifier:
    """A trained network with all that is needed to use it on pictures.

    Several threads may use one at a time.
    """

    def __init__(
        self,
        model: keras.Model,
        card: Card,
        *,
        splits: Mapping[str, str] | None = None,
        folders: Sequence[str] | None = None,
    ) -> None:
        """A classifier from its parts; `load` makes one from an artefact.

        Args:
            model: From preprocessed images to probabilities.
            card: What belongs to it.
            splits: Which image of the run's folder was in which part, by its path there.
            folders: What the folders of the classes are called, where not as the classes.
        """
        self.model = model
        self.card = card
        self.splits = splits or {}
        self.folders = tuple(folders or card.class_names)
        self._forward = forward_of(model)

    @property
    def calibration(self) -> Calibration | None:
        """What is done to the network's probabilities; None where none was fitted."""
        return self.card.fitted

    def probabilities(
        self,
        images: npt.ArrayLike,
        indices: npt.NDArray[np.integer[Any]] | None = None,
        *,
        batch_size: int = 32,
    ) -> Probabilities:
        """Class probabilities of decoded images, calibrated where the card holds a calibration.

        Args:
            images: (n, h, w, 3) uint8, red, green and blue, of the size in the card; or what else
                `data.arrays.as_pictures` takes.
            indices: Of those that are wanted, without a copy of them all; default: all.
            batch_size: Images that go through the network at a time.

        Returns:
            (n, classes) float32, in the order of the card's class names.

        Raises:
            ClassicsError: If the images have another size, type or range.
        """
        pictures = as_pictures(images, self.card.preprocessing.size)
        chosen = np.arange(len(pictures)) if indices is None else indices
        size = size_for(len(chosen), batch_size)
        batches = [
            self._on_batch(pictures[chosen[start : start + size]], size)
            for start in range(0, len(chosen), size)
        ]
        empty = np.empty((0, len(self.card.class_names)), np.float32)
        return np.concatenate([empty, *batches])

    def inputs(self, images: Images) -> npt.NDArray[np.float32]:
        """Images (n, h, w, 3) as the network itself takes them."""
        inputs = preprocess(images, self.card.preprocessing.mode)
        channels_first = self.model.input_shape[1] == 3 != self.model.input_shape[3]
        return np.moveaxis(inputs, -1, 1) if channels_first else inputs

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What the network itself makes of its inputs (n, ...): (n, classes), not calibrated."""
        return self._forward(inputs)

    def predict(
        self,
        paths: Paths,
        *,
        top_k: int = 5,
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> Predictions:
        """Classify image files.

        Args:
            paths: Files, folders and zip archives (all images inside, at any depth), and patterns.
            top_k: How many classes to give for each image.
            batch_size: Images that go through the network at a time.
            progress: Called with the number of images done and their total.

        Returns:
            One prediction an image that can be read, in order, and the errors of the others.

        Raises:
            DataError: If a path does not exist, or no image can be read.
            ValueError: If top_k or batch_size is less than 1.
        """
        options = Options(top_k, batch_size)
        with closing(ImageList()) as images:
            images.add(each_image(paths))
            size = size_for(len(images), batch_size)
            ask = partial(self._on_batch, size=size)
            return gathered(predicted(images, self.card, ask, options, progress=progress))

    def evaluate(
        self,
        folder: str | os.PathLike[str],
        *,
        split: str | None = None,
        root: str | os.PathLike[str] | None = None,
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Judge the classifier on a folder whose sub-folders are classes, or an archive or table.

        Args:
            folder: Sub-folders named as the classes, within `train`, `val`, `test` or not; or what
                else `scan` takes.
            split: "train", "val", "test" or "all". By default the test part, where the folder is
                the one that the classifier was trained on or has such parts itself, else all.
            root: What the paths of a table are relative to, if not the folder that it lies in.
            batch_size: Images that go through the network at a time.
            progress: Called with the number of images read and their total.

        Raises:
            DataError: If the folder is not one of images, holds classes that the classifier does
                not know, or the part asked for is empty.
        """
        where = None if root is None else Path(root)
        listing = scan(Path(folder), classes=self.folders, root=where)
        chosen, part = self._part(listing, split)
        decoded = decode_all(
            listing.storage,
            chosen,
            self.card.preprocessing.size,
            self.card.preprocessing.fit,
            progress=progress,
        )
        labels = np.array([item.label for item in decoded.items])
        judgement = judge(
            self.probabilities(decoded.images, batch_size=batch_size),
            labels,
            self.card.class_names,
        )
        return Evaluation(judgement, part, decoded.skipped)

    def _part(self, listing: Listing, split: str | None) -> tuple[list[Item], str]:
        """The images to judge on, and in words which they are."""
        if split not in (None, "train", "val", "test", "all"):
            raise DataError(f"split={split!r}: one of train, val, test, all is needed.")
        if split == "all":
            return list(listing.items), "all images"
        if self.is_own(listing):
            # An image that is new since the run, or could not be read then, was not learnt from.
            part_of = {item.name: self.splits.get(item.name, "test") for item in listing.items}
            whose = "of the run's own split"
        else:
            part_of = {item.name: item.split for item in listing.items if item.split}
            whose = "of the folder's split"
        held_out = (part for part in ("test", "val") if part in part_of.values())
        wanted = split or next(held_out, None)
        if wanted is None:
            return list(listing.items), "all images"
        chosen = [item for item in listing.items if part_of.get(item.name) == wanted]
        if not chosen:
            raise DataError(
                f"{listing.source}: has no {wanted} part; leave out --split, or use all."
            )
        return chosen, f"the {wanted} part {whose}"

    def is_own(self, listing: Listing) -> bool:
        """Whether a folder is that of the run, moved or changed since, but not both."""
        data = self.card.data
        return bool(self.splits) and (
            data.get("folder") in {folder_id(listing.source), folder_id(listing.root)}
            or data.get("fingerprint") == fingerprint(listing)
        )

    def _on_batch(self, images: Images, size: int) -> Probabilities:
        """Of one batch, filled up to a size."""
        probabilities = self.outputs(self.inputs(filled(images, size)))[: len(images)]
        calibration = self.calibration
        return probabilities if calibration is None else calibration.apply(probabilities)


def write_artefact(folder: Path, model: keras.Model, card: Card, listing: Listing) -> None:
    """Write an artefact into a folder that exists; a torn one is left if it cannot be written.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        model.save(folder / MODEL)
        card.write(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write: {error.strerror or error}.") from error
    write_manifest(listing, folder / MANIFEST)


def splits_of(listing: Listing) -> dict[str, str]:
    """Which image is in which part, by its path."""
    return {item.name: str(item.split) for item in listing.items}


def folder_id(folder: str | os.PathLike[str]) -> str:
    """A folder's place on this machine, hashed: an artefact need not tell where it was made."""
    return hashlib.sha256(os.fsencode(Path(folder).resolve())).hexdigest()


def load(folder: str | os.PathLike[str]) -> Classifier:
    """Load the artefact of a run.

    Raises:
        ArtefactError: If the folder is not an artefact or corrupt.
    """
    folder = Path(folder)
    check_artefact(folder)
    card = Card.read(folder)
    splits = {}
    if os.path.lexists(folder / MANIFEST):  # a broken link is no artefact without one
        splits = {row["path"]: row["split"] for row in read_manifest(folder / MANIFEST)}
    try:
        # safe_mode refuses code in the file; compile=False, as nothing is trained.
        with numbers():
            model = keras.models.load_model(folder / MODEL, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the torn part of the file leads to
        raise ArtefactError(f"{folder / MODEL}: corrupt or not a Keras model.") from error
    if model.output_shape[-1] != len(card.class_names):
        raise ArtefactError(
            f"{folder}: the model has {model.output_shape[-1]} outputs, but {CARD} names "
            f"{len(card.class_names)} classes."
        )
    height, width = card.preprocessing.size
    fits = [(height, width, 3), (3, height, width), (None, None, 3), (3, None, None)]
    if tuple(model.input_shape[1:]) not in fits:
        raise ArtefactError(
            f"{folder}: the model takes {model.input_shape[1:]}, but {CARD} says "
            f"{height} x {width} pixels."
        )
    return Classifier(model, card, splits=splits)
