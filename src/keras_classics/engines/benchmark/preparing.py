"""What is made before anything is measured: an artefact, and its exports in int8."""

from __future__ import annotations

import difflib
import time
from pathlib import Path
from typing import cast

import numpy as np

from keras_classics.architectures import catalog, frame
from keras_classics.architectures.analysis import analyse
from keras_classics.classifier.artefact import load
from keras_classics.classifier.card import MODEL, Card, Preprocessing
from keras_classics.engines.benchmark.contenders import Task
from keras_classics.engines.deployment import TARGET_OF
from keras_classics.engines.engine import EngineName
from keras_classics.exporting import runtimes
from keras_classics.exporting.exported import Agreement, Export, bare, hashes
from keras_classics.exporting.portable import portable
from keras_classics.exporting.quantise import Calibration
from keras_classics.exporting.samples import fitted, photographs
from keras_classics.exporting.targets import TARGETS, writer

CALIBRATED_BY = 8  # images


def write_random(
    folder: Path, network: str, *, size: int | None, width: float, classes: int
) -> None:
    """Write the artefact of a network of the catalog with random weights."""
    architecture = catalog.find(network)
    side = size or architecture.default_size
    model = frame.build(
        architecture,
        input_shape=frame.with_channels((side, side), 3),
        width=width,
        classes=classes,
    )
    folder.mkdir()
    model.save(folder / MODEL)
    Card(
        network=network,
        width=width,
        class_names=tuple(f"class {i}" for i in range(classes)),
        preprocessing=Preprocessing((side, side), "crop", architecture.mode or "tf"),
    ).write(folder)


def task_of(artefact: Path, exports: Path, *, batch: int, threads: int | None) -> Task:
    """What an artefact gives to run, and how long an image takes."""
    classifier = load(artefact)
    card = classifier.card
    size = card.preprocessing.size
    image = np.zeros((1, *size, 3), np.uint8)
    classifier.probabilities(image)  # which compiles it
    began = time.perf_counter()
    classifier.probabilities(image)
    image_s = time.perf_counter() - began
    peer = nearest_peer(card.network)
    return Task(
        artefact=str(artefact),
        exports=str(exports),
        network=card.network,
        size=size[0],
        width=card.width,
        classes=len(card.class_names),
        macs=analyse(classifier.model, size=size[0]).model.macs,
        image_s=image_s,
        peer=peer.peer("keras") if peer else None,
        peer_width=card.width if peer and ("alpha", "width") in peer.renamed else 1.0,
        batch=batch,
        threads=threads,
    )


def nearest_peer(network: str) -> frame.Architecture | None:
    """The network, or that with the most similar name, as far as keras.applications has it."""
    known = {each.name: each for each in catalog.CATALOG.values() if each.peer("keras")}
    return next((known[name] for name in difflib.get_close_matches(network, known, 1)), None)


def quantise(task: Task, library: str, folder: Path) -> None:
    """Write an export in int8 that is for speed alone.

    It is calibrated by photographs, whatever the network has learnt, and compared with nothing, so
    that no layer is put back in f32. `classics export` makes those that are to be used.

    Raises:
        ClassicsError: If a package is missing.
    """
    name = TARGET_OF[cast(EngineName, library)]
    target = TARGETS[name]
    runtimes.check_installed(*target.packages, *target.quantiser)
    classifier = load(task.artefact)
    ((crops, _),) = photographs().drawn(CALIBRATED_BY).batches()
    images = [image[None] for image in fitted(classifier, crops)]
    folder.mkdir()
    quantisation = writer(name).write(
        portable(classifier, input="fitted"),
        folder,
        "int8",
        "{}",
        Calibration(images, images[:1], [0], most_lost=1.0, seed=0),
    )
    Export(
        card=bare(classifier.card),
        target=name,
        precision="int8",
        input="fitted",
        source={"artefact": task.artefact},
        agreement=Agreement(0, "no pictures", 0.0, 0.0, None, 0.0, accepted=True),
        files=hashes(folder),
        versions=runtimes.versions(*target.packages),
        quantisation=quantisation,
    ).write(folder)
