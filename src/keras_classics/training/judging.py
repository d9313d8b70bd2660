"""The end of a run: its judgement, the files that hold it, and the report."""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.classifier.artefact import Classifier
from keras_classics.classifier.card import MANIFEST, Card
from keras_classics.data.folder import scan
from keras_classics.data.manifest import read_manifest
from keras_classics.data.pixels import decode_all, processors
from keras_classics.errors import ArtefactError, ClassicsError, DataError
from keras_classics.evaluation import report, saved
from keras_classics.evaluation.assessment import Assessment, Judged, assess
from keras_classics.evaluation.baselines import Pictures
from keras_classics.evaluation.examples import find_examples
from keras_classics.evaluation.metrics import Judgement
from keras_classics.explanation.methods import METHODS, attribute, default_layer
from keras_classics.explanation.probe import Probe
from keras_classics.heat import encoded
from keras_classics.training.config import TrainConfig
from keras_classics.weights.preprocess import preprocess

Progress = Callable[[int, int], None]

# What the command line calls a field of the config, where it is not called the same.
OPTIONS = {"changes": "set"}
NO_OPTIONS = {"folder", "out", "checkpoint_every"}  # an argument, and what changes no result
# Of the content, what is known of the run alone and not of its answers.
OF_THE_RUN = ("run", "transfer", "learning_curve")
METHOD = METHODS["grad-cam"]  # of the heat maps in the report: one backward pass, any network

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conclusion:
    """What a run is found to be."""

    card: Card  # with figures, calibration and history
    assessment: Assessment | None  # None where nothing was judged
    parts: Mapping[str, Judged]
    content: dict[str, Any]  # of `metrics.json`

    @property
    def judgement(self) -> Judgement | None:
        """On the held-out images, with calibrated probabilities."""
        return self.assessment.judgement if self.assessment else None

    def write(self, folder: Path) -> None:
        """Write the figures and the report beside the artefact.

        Raises:
            OutputError: If something cannot be written.
        """
        saved.write_history(folder, self.card.history)
        if self.assessment:
            saved.write_assessment(folder, self.assessment, self.parts)
        saved.write_metrics(folder, self.content)
        report.write_report(
            folder, self.content, dataclasses.asdict(self.card), thumbnails=self._thumbnail
        )

    def _thumbnail(self, path: str) -> npt.NDArray[np.uint8] | None:
        for split in ("test", "val"):
            part = self.parts.get(split)
            if part is not None and path in part.paths:
                return _picture(part, list(part.paths).index(path))
        return None


def conclude(
    card: Card,
    parts: Mapping[str, Judged] | None,
    *,
    config: TrainConfig | None = None,
    seconds: float | None = None,
    best_epoch: int | None = None,
    diverged: bool = False,
    target: float | None = None,
    transfer: Mapping[str, Any] | None = None,
    model: keras.Model | None = None,
) -> Conclusion:
    """Judge a run, calibrate it, and say all that its report says.

    Args:
        card: With the history, as far as it came.
        parts: "train" with labels, "val" and "test" with the network's own probabilities, before
            any calibration; None where the run was interrupted.
        config: What the run was asked for.
        seconds: That it took.
        best_epoch: Whose weights were kept, from 1.
        diverged: Whether the loss was no number any more.
        target: Accuracy wanted of what is answered; by default half of the errors go.
        transfer: Of a run that began with trained weights, what its head and its fine-tuned network
            are worth, and which of them was kept.
        model: The network that was judged, for heat maps of a few held-out images.

    Raises:
        DataError: If the held-out part is empty.
    """
    assessment = looked_at = None
    if parts is not None:
        seed = int(card.recipe.get("seed") or 0)
        assessment = assess(parts, card.class_names, target=target, seed=seed)
        card = dataclasses.replace(
            card,
            figures=assessment.judgement.to_dict(),
            calibration=assessment.calibration.to_dict() if assessment.calibration else None,
            completed=True,
        )
        if model is not None:
            looked_at = _looked_at(model, card, assessment, parts["test"])
    content: dict[str, Any] = {
        "class_names": list(card.class_names),
        "fingerprint": card.data.get("fingerprint"),
        "run": {
            "command": command(config) if config else None,
            "config": _plain(config) if config else None,
            "seconds": seconds,
            "hardware": hardware() if config else None,
            "best_epoch": best_epoch,
            "diverged": diverged,
        },
        **({"transfer": dict(transfer)} if transfer else {}),
        **(assessment.content if assessment else {}),
        **({"looked_at": looked_at} if looked_at else {}),
    }
    return Conclusion(card, assessment, parts or {}, content)


def judge_again(
    folder: Path,
    classifier: Classifier,
    data: Path,
    *,
    root: Path | None = None,
    batch_size: int = 32,
    target: float | None = None,
    progress: Progress | None = None,
) -> Conclusion:
    """Judge an artefact anew on the images of its run, such as one that an older version wrote.

    Args:
        folder: Of the artefact; what is known of the run is kept.
        classifier: From it.
        data: The images that it was trained on, wherever they are now.
        root: What the paths of a table are relative to.
        batch_size: Images that go through the network at a time.
        target: As in `conclude`.
        progress: Called with the number of images read and their total.

    Raises:
        ArtefactError: If the artefact does not say which image was in which part.
        DataError: If there are no images of its held-out part.
    """
    manifest = folder / MANIFEST
    if not os.path.lexists(manifest):
        raise ArtefactError(f"{folder}: has no {MANIFEST}, so what was held out is not known.")
    split_of = {row["path"]: row["split"] for row in read_manifest(manifest)}
    card = classifier.card
    listing = scan(data, classes=classifier.folders, root=root)
    known = [item for item in listing.items if item.name in split_of]
    if not any(split_of[item.name] == "test" for item in known):
        raise DataError(f"{data}: holds none of the images that {folder} held out.")
    shape = card.preprocessing
    decoded = decode_all(listing.storage, known, shape.size, shape.fit, progress=progress)
    labels = np.array([item.label for item in decoded.items], dtype=np.int64)
    names = np.array([split_of[item.name] for item in decoded.items])
    uncalibrated = Classifier(classifier.model, dataclasses.replace(card, calibration=None))
    parts = {}
    for part in ("train", "val", "test"):
        places = np.flatnonzero(names == part)
        parts[part] = Judged(
            paths=[decoded.items[i].name for i in places],
            labels=labels[places],
            probabilities=(
                None
                if part == "train"
                else uncalibrated.probabilities(decoded.images, places, batch_size=batch_size)
            ),
            pictures=_taken(decoded.images, places),
        )
    again = conclude(card, parts, target=target, model=classifier.model)
    before = saved.read_metrics(folder) if (folder / saved.METRICS).is_file() else {}
    kept = {key: before[key] for key in OF_THE_RUN if before.get(key)}
    return dataclasses.replace(again, content={**again.content, **kept})


def _looked_at(
    model: keras.Model, card: Card, assessment: Assessment, test: Judged
) -> dict[str, Any] | None:
    """Where the surest right and wrong pictures of the held-out part speak for the predicted class.

    None where that cannot be told: no picture is at hand, or the network has no feature maps.
    """
    probabilities = assessment.calibrated(test)
    chosen = [i for part in find_examples(probabilities, test.labels) for i in part]
    pictures = {i: picture for i in chosen if (picture := _picture(test, i)) is not None}
    if not pictures:
        return None
    predicted = probabilities.argmax(axis=1)
    images = preprocess(np.stack([*pictures.values()]), card.preprocessing.mode)
    try:
        probe = Probe(model)
        layer = default_layer(probe)
        classes = predicted[[*pictures]]
        maps = attribute(probe, images, METHOD.name, layers=[layer], classes=classes).maps[layer]
    except ClassicsError as error:
        _LOG.info("The report has no heat maps: %s", error)
        return None
    return {
        "method": METHOD.title,
        "layer": layer,
        "images": [
            {
                "path": str(test.paths[i]),
                "label": card.class_names[test.labels[i]],
                "predicted": card.class_names[predicted[i]],
                "confidence": float(probabilities[i].max()),
                "right": bool(predicted[i] == test.labels[i]),
                "map": encoded(heat),
            }
            for i, heat in zip(pictures, maps, strict=True)
        ],
    }


def _picture(part: Judged, place: int) -> npt.NDArray[np.uint8] | None:
    """A picture of a part, as the network sees it; None where it is not at hand any more."""
    with suppress(DataError):
        if part.pictures is not None:
            one: npt.NDArray[np.uint8] = part.pictures([place])[0]
            return one
    return None


def _taken(images: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> Pictures:
    """The images of a part, by their place in it."""
    return lambda chosen: np.asarray(images[places[np.asarray(chosen)]])


def command(config: TrainConfig) -> str:
    """The command that repeats a run, for a shell."""
    words = ["classics", "train", *([str(config.folder)] if config.folder is not None else [])]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        asked = value != field.default or field.name in {"network", "seed"}
        if field.name in NO_OPTIONS or value is None or not asked:
            continue
        option = f"--{OPTIONS.get(field.name, field.name).replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option)
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [option, f"{one:g}" if isinstance(one, float) else str(one)]
    return shlex.join(words)


def hardware() -> str:
    """The processor, and the accelerators that the backend sees."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    others = [device for device in _devices() if not device.startswith("cpu")]
    beside = f", {len(others)} × {others[0].partition(':')[0].upper()}" if others else ""
    return f"{name}, {processors()} of {os.cpu_count()} processors{beside}"


def _devices() -> list[str]:
    try:
        return [str(device) for device in keras.distribution.list_devices()]
    except Exception:  # a backend without such a list
        return []


def _plain(config: TrainConfig) -> dict[str, Any]:
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in dataclasses.asdict(config).items()
    }
