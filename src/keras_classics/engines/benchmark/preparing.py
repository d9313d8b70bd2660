"""What our engines run: an artefact, and the exports of it that are made for the occasion.

    python -m keras_classics.engines.benchmark.preparing '{"network": ..., "folder": ...}'

They are for speed alone: int8 is quantised by photographs, and no layer is put back in f32 for the
sake of accuracy. `classics export` makes those that are to be used.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from keras_classics.architectures import catalog, frame
from keras_classics.architectures.analysis import analyse
from keras_classics.classifier.artefact import Classifier, load
from keras_classics.classifier.card import CARD, MODEL, Card, Preprocessing
from keras_classics.engines.benchmark.contenders import Contender
from keras_classics.errors import ClassicsError
from keras_classics.exporting import runtimes
from keras_classics.exporting.agreement import compare
from keras_classics.exporting.exported import Export, TargetName, bare, hashes, metadata, sha256
from keras_classics.exporting.portable import portable
from keras_classics.exporting.quantise import Calibration
from keras_classics.exporting.samples import fitted, photographs
from keras_classics.exporting.targets import TARGETS, writer

ARTEFACT = "artefact"  # of a network with random weights, in the folder
TARGET_OF: dict[str, TargetName] = {"openvino": "openvino", "onnxruntime": "onnx"}
_ANSWER = "prepared: "


@dataclass(frozen=True)
class Wanted:
    """What is to be made."""

    folder: str  # an empty one
    contenders: tuple[Contender, ...]  # whose exports are to be made
    artefact: str | None = None
    network: str = ""  # of the catalog, with random weights, where there is no artefact
    size: int | None = None
    width: float = 1.0
    classes: int = 1000


@dataclass(frozen=True)
class Prepared:
    """What was made."""

    network: str
    width: float
    size: int
    classes: int
    artefact: str
    exports: dict[str, str]  # name of a contender -> folder
    failed: dict[str, str]  # name of a contender -> why there is none
    macs: dict[str, int]  # multiply-adds for an image: of "ours", and of its "torch" relative


def prepare(wanted: Wanted) -> Prepared:
    """Make the artefact and the exports, each in a process of its own, as converters keep memory.

    Raises:
        ClassicsError: If there is no such network or artefact, or TensorFlow is not installed.
        MemoryError: If memory runs out.
    """
    runtimes.check_installed("tensorflow")  # which makes all exports
    prepared = _in_another_process(replace(wanted, contenders=()))
    for contender in wanted.contenders:
        one = replace(wanted, contenders=(contender,), artefact=prepared.artefact)
        try:
            made = _in_another_process(one)
        except MemoryError:
            prepared.failed[contender.name] = "not enough memory to convert it"
        else:
            prepared.exports.update(made.exports)
            prepared.failed.update(made.failed)
    return prepared


def _in_another_process(wanted: Wanted) -> Prepared:
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, json.dumps(asdict(wanted))],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith(_ANSWER):
            values = json.loads(line.removeprefix(_ANSWER))
            if "error" in values:
                raise ClassicsError(values["error"])
            return Prepared(**values)
    if done.returncode == -9:
        raise MemoryError
    raise RuntimeError(done.stderr[-2000:])


def _prepare(wanted: Wanted) -> Prepared:
    folder = Path(wanted.folder)
    if wanted.artefact is not None:
        artefact = Path(wanted.artefact)
        classifier = load(artefact)
    else:
        artefact = folder / ARTEFACT
        artefact.mkdir()
        classifier = _random(wanted)
        classifier.model.save(artefact / MODEL)
        classifier.card.write(artefact)
    exports, failed = {}, {}
    for contender in wanted.contenders:
        place = folder / contender.name.replace(" ", "-")
        try:
            place.mkdir()
            _export(classifier, artefact, contender, place)
            exports[contender.name] = str(place)
        except ClassicsError as error:
            failed[contender.name] = str(error).rstrip(".")
    card = classifier.card
    return Prepared(
        network=card.network,
        width=card.width,
        size=card.preprocessing.size[0],
        classes=len(card.class_names),
        artefact=str(artefact),
        exports=exports,
        failed=failed,
        macs={} if wanted.contenders else _macs(classifier),  # which the first process tells
    )


def _macs(classifier: Classifier) -> dict[str, int]:
    """As many as analysis counts; torch's relative of a network may be another one."""
    card = classifier.card
    size = card.preprocessing.size
    ours = analyse(classifier.model, size=size[0]).model.macs
    sibling = catalog.find(card.network).sibling
    if sibling is None:
        return {"ours": ours, "torch": ours}
    relative = frame.build(
        catalog.find(sibling),
        input_shape=frame.with_channels(size, 3),
        classes=len(card.class_names),
    )
    return {"ours": ours, "torch": analyse(relative).model.macs}


def _random(wanted: Wanted) -> Classifier:
    """A network of the catalog with random weights."""
    architecture = catalog.find(wanted.network)
    side = (wanted.size, wanted.size) if wanted.size else None
    model = frame.build(
        architecture,
        input_shape=frame.with_channels(side, 3) if side else None,
        width=wanted.width,
        classes=wanted.classes,
    )
    sides = tuple(side for side in model.input_shape[1:] if side != 3)
    card = Card(
        network=architecture.name,
        width=wanted.width,
        class_names=tuple(f"class {i}" for i in range(wanted.classes)),
        preprocessing=Preprocessing(
            cast(tuple[int, int], sides), "crop", architecture.mode or "tf"
        ),
    )
    return Classifier(model, card)


def _export(classifier: Classifier, artefact: Path, contender: Contender, place: Path) -> None:
    name = TARGET_OF[contender.library]
    target = TARGETS[name]
    runtimes.check_installed(*target.packages)
    about = {
        "target": name,
        "precision": contender.precision,
        "input": "fitted",
        "source": {file: sha256(artefact / file) for file in (MODEL, CARD)},
        "versions": runtimes.versions("keras-classics", *target.packages),
    }
    calibration = _calibration(classifier) if contender.precision == "int8" else None
    card = bare(classifier.card)
    how = writer(name).write(
        portable(classifier, input="fitted"),
        place,
        contender.precision,
        metadata(about, card),
        calibration,
    )
    options = target.options.get(contender.precision, {})
    agreement = compare(
        classifier,
        writer(name).run(place, options),
        [photographs()],
        kind="fitted",
        precision=contender.precision,
    )
    Export(
        card=card,
        agreement=replace(agreement, accepted=not agreement.within),
        files=hashes(place),
        options=options,
        quantisation=how,
        **about,  # type: ignore[arg-type]
    ).write(place)


def _calibration(classifier: Classifier) -> Calibration:
    """Crops of photographs; no agreement is asked for, so that no layer is put back."""
    images = np.concatenate(
        [fitted(classifier, pictures) for pictures, _ in photographs().batches()]
    )
    singles = [np.ascontiguousarray(images[i : i + 1]) for i in range(len(images))]
    return Calibration(singles, singles[:1], [0], most_lost=1.0, seed=0)


def _main(asked: Sequence[str]) -> None:
    values = json.loads(asked[0])
    contenders = tuple(Contender(**each) for each in values.pop("contenders"))
    with contextlib.redirect_stdout(sys.stderr):  # converters print
        try:
            answer = asdict(_prepare(Wanted(contenders=contenders, **values)))
        except ClassicsError as error:
            answer = {"error": str(error)}
    sys.stdout.write(f"\n{_ANSWER}{json.dumps(answer)}\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
