"""Would more data help? A run's configuration, trained on parts of its training images.

Where it began with trained weights, the curve is that of its head: `head_curve`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_classics.classifier.card import MANIFEST, Card
from keras_classics.data.manifest import read_manifest
from keras_classics.errors import ArtefactError, ClassicsError, NothingLearntError
from keras_classics.evaluation import report, saved
from keras_classics.evaluation.learning_curve import FRACTIONS, LearningCurve, Point, measure
from keras_classics.training.begun import Run
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Features as FeaturesComputed
from keras_classics.training.events import Listener
from keras_classics.training.features import compute_features
from keras_classics.training.head_curve import Features, head_curve
from keras_classics.training.images import decode_images
from keras_classics.training.run import train
from keras_classics.training.task import computing, task_of
from keras_classics.training.thumbnails import at_hand

Train = Callable[[TrainConfig, Listener | None], Run]


def learning_curve(
    folder: Path,
    *,
    fractions: Sequence[float] = FRACTIONS,
    listener: Listener | None = None,
    began: Callable[[float], None] | None = None,
    trained: Train = train,
) -> LearningCurve:
    """Train a run's configuration on fractions of its images; metrics and report tell the outcome.

    Of a run that began with trained weights, heads are fitted to its features, which are computed
    anew where the run does not keep them any more.

    Every network is judged on the held-out images of the run. Their artefacts are not kept.

    Args:
        folder: Of the run's artefact.
        fractions: Of its training images, between 0 and 1.
        listener: Told what goes on in each training.
        began: Called with each fraction before it is trained on.
        trained: Trains.

    Raises:
        ArtefactError: If the folder is not that of a finished run that says how it was made.
        ClassicsError: If a fraction is not between 0 and 1, or the images are not those of the run.
        NothingLearntError: On Ctrl-C; the run's files stay as they were.
    """
    if found := head_curve(folder, fractions=fractions, began=began):
        return found
    card, content = Card.read(folder), saved.read_metrics(folder)
    config = config_of(folder, content)
    if content.get("transfer"):
        features = _features(folder, card, config, listener)
        found = head_curve(folder, fractions=fractions, began=began, features=features)
        if found:
            return found
    whole = _point(card)

    def train_on(fraction: float) -> Point:
        if began:
            began(fraction)
        with tempfile.TemporaryDirectory() as place:
            part = dataclasses.replace(
                config, limit=config.limit * fraction, out=Path(place) / "run"
            )
            run = trained(part, listener)
            if run.judgement is None:
                raise NothingLearntError("interrupted: the learning curve was not finished.")
            if run.classifier.card.data["fingerprint"] != card.data.get("fingerprint"):
                raise _changed(config)
            return _point(run.classifier.card)

    curve = measure(train_on, whole=whole, fractions=fractions)
    content = {**content, "learning_curve": curve.to_dict()}
    saved.write_metrics(folder, content)
    pictures = at_hand(content, card)
    report.write_report(folder, content, dataclasses.asdict(card), thumbnails=pictures)
    return curve


def _features(folder: Path, card: Card, config: TrainConfig, listener: Listener | None) -> Features:
    """The features of a run's images, computed anew.

    Raises:
        ClassicsError: If the images are not those of the run.
    """
    task = task_of(config, listener)
    if task.fingerprint != card.data.get("fingerprint"):
        raise _changed(config)
    with tempfile.TemporaryDirectory() as place, computing(task.policy(), task.config):
        data = decode_images(
            task.listing,
            task.sizes,
            task.recipe,
            task.config,
            scratch=Path(place),
            tell=task.tell,
        )
        names = [row["path"] for row in read_manifest(folder / MANIFEST)]
        same = names == [item.name for item in data.listing.items]
        if not same or data.contents != card.data.get("contents"):
            raise _changed(config)
        network = task.network()
        return np.array(
            compute_features(
                network.finished(),
                data,
                Path(place),
                mode=network.mode,
                told=lambda *at: task.tell(FeaturesComputed(*at)),
            )
        )


def _changed(config: TrainConfig) -> ClassicsError:
    return ClassicsError(
        f"{config.folder}: the images are not those of the run any more; train again."
    )


def config_of(folder: Path, content: dict[str, Any]) -> TrainConfig:
    """What a run was asked for, from its `metrics.json`.

    Raises:
        ArtefactError: If that is not known.
    """
    values = (content.get("run") or {}).get("config")
    if not values:
        raise ArtefactError(f"{folder}: does not say how it was trained; train it again.")
    try:
        return TrainConfig.from_dict(values)
    except ValueError as error:
        raise ArtefactError(f"{folder}: was trained by another version; train it again.") from error


def _point(card: Card) -> Point:
    if card.figures is None:
        raise ArtefactError("the run was not evaluated; let it finish first.")
    images = int(card.figures["images"])
    wrong = images - round(card.figures["accuracy"] * images)
    return Point(train=int(card.data["images"]["train"]), wrong=wrong, images=images)
