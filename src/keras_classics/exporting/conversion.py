"""An export from first to last, in a process whose Keras runs on the backend that it needs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures.precision import numbers
from keras_classics.classifier.artefact import Classifier, load
from keras_classics.classifier.card import CARD, MODEL
from keras_classics.classifier.published import published
from keras_classics.data.fit import CentralCrop, Fit
from keras_classics.errors import ClassicsError
from keras_classics.exporting import runtimes
from keras_classics.exporting.agreement import LIMITS, compare, expected
from keras_classics.exporting.bfloat16 import in_bfloat16
from keras_classics.exporting.export import Request, Tell
from keras_classics.exporting.exported import (
    Agreement,
    Export,
    ExportError,
    bare,
    hashes,
    metadata,
    sha256,
)
from keras_classics.exporting.portable import portable
from keras_classics.exporting.quantise import Calibration
from keras_classics.exporting.samples import (
    Parts,
    Picture,
    Sample,
    fitted,
    parts_of,
    parts_of_others,
    photographs,
)
from keras_classics.exporting.targets import TARGETS, Run, Writer, writer

COMPARED = {"f32": 200, "bf16": 1000, "int8": 1000}  # pictures at most
VALIDATION_PICTURES = 300
SEED = 0


@numbers()
def convert(request: Request, folder: Path, tell: Tell) -> Export:
    """Convert, compare, and write all files of an export.

    Args:
        request: What is wanted; target and precision fit together.
        folder: An empty one.
        tell: Told what goes on.

    Raises:
        ClassicsError: If the source, the data or the result cannot be used; what the folder holds
            by then is worth nothing.
    """
    target = TARGETS[request.target]
    if keras.backend.backend() != target.backend:
        raise ExportError(
            f"{request.target} is written with Keras on {target.backend}, but here it runs on "
            f"{keras.backend.backend()}."
        )
    tell("loading", 0, 0)
    classifier, origin = _source(request)
    parts = _parts(request, classifier)
    samples = _compared(request, parts)
    calibration = _calibration(request, classifier, parts, tell)

    tell("converting" if calibration is None else "quantising", 0, 0)
    about: dict[str, Any] = {
        "target": request.target,
        "precision": request.precision,
        "input": request.input,
        "source": origin,
        "versions": runtimes.versions(
            "keras-classics", "keras", target.backend, *target.packages, *_quantisers(request)
        ),
    }
    card = bare(classifier.card)
    module = writer(request.target)
    model = portable(classifier, input=request.input)
    with _disk_asked(folder, model):
        how = module.write(
            in_bfloat16(model) if request.precision in target.converted else model,
            folder,
            request.precision,
            metadata(about, card),
            calibration,
        )
    options = target.options.get(request.precision, {})
    agreement = compare(
        classifier,
        module.run(folder, options),
        samples,
        kind=request.input,
        precision=request.precision,
        pixels=partial(_resize_alone, model, module, options) if request.input == "image" else None,
        progress=lambda done, total: tell("comparing with Keras", done, total),
    )
    export = Export(
        card=card,
        agreement=_judged(
            # A network of a thousand classes is unsure of many pictures.
            dataclasses.replace(agreement, by_accuracy=request.artefact is None),
            request,
            how,
        ),
        files=hashes(folder),
        options=options,
        quantisation=how,
        **about,
    )
    export.write(folder)
    return export


@contextmanager
def _disk_asked(folder: Path, model: keras.Model) -> Iterator[None]:
    """Writers that are no Python say of a full disk whatever they like, so it is asked itself.

    Raises:
        OSError: If something failed, and there is no room for a file as large as the weights.
    """
    try:
        yield
    except (ClassicsError, OSError):
        raise
    except Exception:
        with NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(max(1 << 20, 4 * model.count_params())))
            file.flush()
            os.fsync(file.fileno())
        raise


def _resize_alone(model: keras.Model, module: Writer, options: Mapping[str, str]) -> Run:
    """The resize rule of a model, exported and run as the whole is."""
    picture = keras.Input(batch_shape=model.input_shape, dtype=model.input.dtype)
    resize = keras.Model(picture, model.get_layer("resize")(picture))
    with TemporaryDirectory(ignore_cleanup_errors=True) as place:
        module.write(resize, Path(place), "f32", "{}", None)
        return module.run(Path(place), options)


def _parts(request: Request, classifier: Classifier) -> Parts | None:
    """The pictures to decide by and to compare on, where there are any."""
    data = Path(request.data) if request.data else None
    root = Path(request.root) if request.root else None
    if request.artefact is None and data is not None:
        return parts_of_others(classifier, data, root, seed=SEED)
    return parts_of(classifier, data, root)


def _source(request: Request) -> tuple[Classifier, dict[str, str]]:
    """What is exported, and what identifies it."""
    if request.artefact is None:
        return published(request.source), {"weights": request.source}
    folder = Path(request.artefact)
    return load(folder), {name: sha256(folder / name) for name in (MODEL, CARD)}


def _quantisers(request: Request) -> tuple[str, ...]:
    return TARGETS[request.target].quantiser if request.precision == "int8" else ()


def _compared(request: Request, parts: Parts | None) -> list[Sample]:
    """What the export is compared on."""
    if parts is not None and len(parts.test):
        held_out = parts.test.drawn(COMPARED[request.precision], SEED)
        # Pictures of one run may all be of one size, which shows little of a resize rule.
        shows_sizes = request.input == "image" and request.precision == "f32"
        return [held_out, photographs()] if shows_sizes else [held_out]
    if request.precision != "int8":
        return [photographs()]
    if parts is None:
        raise ExportError(
            "int8 needs pictures to quantise by and to compare on: give --data FOLDER"
            + (
                ", whose sub-folders are named by the synsets of ImageNet's classes."
                if request.artefact is None
                else ", the images that the run was trained on."
            )
        )
    raise ExportError(
        f"{request.data or request.source}: holds none of the pictures that the run held out, on "
        "which int8 must be compared."
    )


def _calibration(
    request: Request, classifier: Classifier, parts: Parts | None, tell: Tell
) -> Calibration | None:
    """The pictures that int8 is decided by; None for another precision."""
    if request.precision != "int8" or parts is None:
        return None
    train = parts.train.drawn(request.calibration_pictures, SEED)
    # A run whose validation part is gone has layers put back by what it learnt from.
    val = (parts.val if len(parts.val) else parts.train).drawn(VALIDATION_PICTURES, SEED + 1)
    if not len(train):
        raise ExportError(
            f"{request.data or request.source}: holds none of the run's training images, "
            "which int8 is calibrated on."
        )
    tell("reading pictures", 0, 0)
    batches = [
        batch
        for images in _read(classifier, train)
        for batch in _inputs(request, classifier, images)
    ]
    validation, called = [], []
    for images in _read(classifier, val):
        called += [int(i) for i in expected(classifier, images, request.input).argmax(axis=1)]
        validation += _inputs(request, classifier, images)
    if not batches or not validation:
        raise ExportError("none of the pictures that the run was trained on can be read.")
    lost = 1 - LIMITS["int8"][1]
    part = "data" if request.artefact is None else "train"
    return Calibration(batches, validation, called, most_lost=lost, seed=SEED, tell=tell, part=part)


def _read(classifier: Classifier, sample: Sample) -> Iterator[Picture]:
    """Pictures at the size of the network, as hundreds are held in memory: (n, h, w, 3) uint8."""
    for pictures, _ in sample.batches():
        yield fitted(classifier, pictures)


def _inputs(request: Request, classifier: Classifier, images: Picture) -> list[Any]:
    """Each picture, given at the size of the network, as the exported model takes it, alone."""
    batch: npt.NDArray[Any] = images
    if request.input == "raw":
        batch = classifier.inputs(images)
    elif request.input == "image":
        batch = _unfitted(images, classifier.card.preprocessing.fit)
    return [np.ascontiguousarray(batch[i : i + 1]) for i in range(len(batch))]


def _unfitted(images: Picture, fit: Fit | CentralCrop) -> Picture:
    """Pictures (n, h, w, 3) that a resize rule makes into these very pixels."""
    if not isinstance(fit, CentralCrop):  # the rules leave alone what has the size
        return images
    size = (images.shape[1], images.shape[2])
    corner = fit.corner((fit.resize, fit.resize), size)
    around = [(n, fit.resize - n - side) for n, side in zip(corner, size, strict=True)]
    return np.pad(images, ((0, 0), *around, (0, 0)), mode="edge")


def _judged(
    agreement: Agreement, request: Request, how: Mapping[str, Any] | None = None
) -> Agreement:
    """The agreement, if it is near enough or wanted all the same.

    Raises:
        ExportError: If it is neither.
    """
    if agreement.within:
        return agreement
    if request.accept and request.precision != "f32":
        return dataclasses.replace(agreement, accepted=True)
    raise ExportError(_complaint(agreement, request, how or {}))


def _complaint(agreement: Agreement, request: Request, how: Mapping[str, Any]) -> str:
    where = f"{request.target} in {request.precision}: on {agreement.pictures} pictures"
    said = f"top-1 agrees on {agreement.top1_agreement:.2%}, {agreement.least_top1:.0%} is needed"
    if agreement.tolerance is not None:
        said = (
            f"a probability differs by {agreement.largest_difference:.2g}, "
            f"{agreement.tolerance:.2g} is allowed, and {said}"
        )
    if request.precision == "f32":
        return f"{where} {said}; the export is not usable, please report it."
    drop = ""
    if agreement.accuracy is not None and agreement.keras_accuracy is not None:
        drop = f" (accuracy {agreement.keras_accuracy:.2%} to {agreement.accuracy:.2%})"
    if "layers" in how:
        drop += f", with {how['layers_in_int8']} of {how['layers']} layers in int8 by {how['by']}"
    return f"{where} {said}{drop}; --accept takes it as it is."
