"""Would more data help? A run's configuration, trained on parts of its training images."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_classics.card import Card
from keras_classics.errors import ArtefactError, ClassicsError, NothingLearntError
from keras_classics.evaluation import report, saved
from keras_classics.evaluation.learning_curve import FRACTIONS, LearningCurve, Point, measure
from keras_classics.training.begun import Run
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Listener
from keras_classics.training.judging import at_hand
from keras_classics.training.run import train

LEAST_IMAGES = 2  # of the training part, in a fraction of it

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
    for fraction in fractions:
        if not 0 < fraction < 1:
            raise ClassicsError(f"fraction={fraction}: above 0 and below 1 is needed.")
    card, content = Card.read(folder), saved.read_metrics(folder)
    config = config_of(folder, content)
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
                raise ClassicsError(
                    f"{config.folder}: the images are not those of the run any more; train anew."
                )
            return _point(run.classifier.card)

    curve = measure(train_on, whole=whole, fractions=fractions)
    content = {**content, "learning_curve": curve.to_dict()}
    saved.write_metrics(folder, content)
    pictures = at_hand(content, card)
    report.write_report(folder, content, dataclasses.asdict(card), thumbnails=pictures)
    return curve


def config_of(folder: Path, content: dict[str, Any]) -> TrainConfig:
    """What a run was asked for, from its `metrics.json`.

    Raises:
        ArtefactError: If that is not known.
    """
    values = (content.get("run") or {}).get("config")
    if not values:
        raise ArtefactError(f"{folder}: does not say how it was made; train it anew.")
    try:
        return TrainConfig.from_dict(values)
    except ValueError as error:
        raise ArtefactError(f"{folder}: was made by another version; train it anew.") from error


def _point(card: Card) -> Point:
    if card.figures is None:
        raise ArtefactError("the run was not judged; let it finish first.")
    images = int(card.figures["images"])
    wrong = images - round(card.figures["accuracy"] * images)
    return Point(train=int(card.data["images"]["train"]), wrong=wrong, images=images)
