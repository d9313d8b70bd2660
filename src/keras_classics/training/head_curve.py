"""Would more data help the head? Fitted anew to kept features, which takes seconds.

It needs neither network nor backend, so neither is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.class_weight import compute_class_weight

from keras_classics.classifier.card import FEATURES, MANIFEST, Card
from keras_classics.data.manifest import read_manifest
from keras_classics.data.splits import limited
from keras_classics.evaluation import report, saved
from keras_classics.evaluation.learning_curve import FRACTIONS, LearningCurve, Point, measure
from keras_classics.training.head import fit_head
from keras_classics.training.thumbnails import at_hand

MOST_DRAWS = 5  # of a fraction, each with a seed of its own
DRAWN = 20_000  # images in all draws of a fraction: many of them vary little from draw to draw

Features = npt.NDArray[np.float32]


def kept_features(folder: Path, images: int) -> Features | None:
    """The features that a run keeps; None where they are missing or not those of its images.

    Args:
        folder: Of the run.
        images: Of the run, all parts together.
    """
    try:
        found: Features = np.load(folder / FEATURES, mmap_mode="r")
    except (OSError, ValueError):  # none, or not whole
        return None
    return found if found.ndim == 2 and len(found) == images else None


def head_curve(
    folder: Path,
    *,
    fractions: Sequence[float] = FRACTIONS,
    began: Callable[[float], None] | None = None,
    features: Features | None = None,
) -> LearningCurve | None:
    """Fit the head of a run to fractions of its images; metrics and report tell the outcome.

    Args:
        folder: Of a run that began with trained weights.
        fractions: Of its training images, between 0 and 1.
        began: Called with each fraction before it is learnt from.
        features: (images, d), in the order of the run's manifest; None for those that it keeps.

    Returns:
        The curve; None where the run has no head, or keeps no features.

    Raises:
        ArtefactError: If the folder is not that of a run.
        ClassicsError: If a fraction is not between 0 and 1.
    """
    card, content = Card.read(folder), saved.read_metrics(folder)
    if not content.get("transfer"):
        return None
    rows = read_manifest(folder / MANIFEST)
    if features is None:
        features = kept_features(folder, len(rows))
    if features is None:
        return None
    heads = _Heads(card, content, rows, features)

    def fit_to(fraction: float) -> Point:
        if began:
            began(fraction)
        return heads.point(fraction)

    curve = measure(fit_to, whole=heads.whole(), fractions=fractions, of="head")
    content = {**content, "learning_curve": curve.to_dict()}
    saved.write_metrics(folder, content)
    about, pictures = dataclasses.asdict(card), at_hand(content, card)
    report.write_report(folder, content, about, thumbnails=pictures)
    return curve


class _Heads:
    """Heads on fractions of the images that a run learnt from."""

    def __init__(
        self,
        card: Card,
        content: Mapping[str, Any],
        rows: Sequence[Mapping[str, str]],
        features: Features,
    ) -> None:
        self.card, self.features = card, features
        self.judged = content["transfer"]["head"]["test"]
        label_of = {name: label for label, name in enumerate(card.class_names)}
        self.labels = np.array([label_of[row["label"]] for row in rows], dtype=np.int64)
        parts = np.array([row["split"] for row in rows], dtype="<U5")
        self.seed = int(card.recipe.get("seed") or 0)
        config = (content.get("run") or {}).get("config") or {}
        self.parts = limited(parts, self.labels, float(config.get("limit", 1.0)), seed=self.seed)

    def whole(self) -> Point:
        """The run's own head, on all training images."""
        wrong = self.judged["images"] - self.judged["right"]
        return Point(int(np.sum(self.parts == "train")), wrong, self.judged["images"])

    def point(self, fraction: float) -> Point:
        """The mean of some heads, each on a fraction drawn anew."""
        seeds = iter(range(self.seed, self.seed + MOST_DRAWS))
        wrong, train = [], 0
        for seed in seeds:
            parts = limited(self.parts, self.labels, fraction, seed=seed)
            train = int(np.sum(parts == "train"))
            wrong.append(self._wrong(parts))
            if train * (len(wrong) + 1) > DRAWN:
                break
        return Point(train, float(np.mean(wrong)), self.judged["images"], draws=len(wrong))

    def _wrong(self, parts: npt.NDArray[np.str_]) -> int:
        """Held-out images that a head on the training images calls wrongly."""
        train, val, test = (np.flatnonzero(parts == name) for name in ("train", "val", "test"))
        recipe, classes = self.card.recipe, len(self.card.class_names)
        weights = None
        if recipe["balance"] != "none":
            labels = self.labels[train]
            weights = compute_class_weight("balanced", classes=np.arange(classes), y=labels)
        head = fit_head(
            self.features,
            self.labels,
            train=train,
            val=val,
            classes=classes,
            class_weights=weights,
            monitor=recipe["selection"]["monitor"],
        )
        called = head.probabilities(self.features[test]).argmax(axis=1)
        return int(np.sum(called != self.labels[test]))
