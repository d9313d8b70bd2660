"""Accuracy, the figures of each class, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from keras_classics.errors import DataError


@dataclass(frozen=True)
class ClassFigures:
    """How well one class is told from the others."""

    name: str
    precision: float  # of the images that were called so, the fraction that are
    recall: float  # of the images that are so, the fraction that were called so
    f1: float  # harmonic mean of the two
    support: int  # images of this class


@dataclass(frozen=True)
class Judgement:
    """The figures of a classifier on a set of images."""

    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]  # rows: what it is; columns: what it was called
    accuracy: float
    top5_accuracy: float | None  # None where there are not more than 5 classes
    log_loss: float  # mean negative logarithm of the probability given to the true class

    @property
    def images(self) -> int:
        """The number of images judged."""
        return sum(figures.support for figures in self.classes)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "images": self.images,
            "accuracy": self.accuracy,
            "top5_accuracy": self.top5_accuracy,
            "log_loss": self.log_loss,
            "classes": [vars(figures) for figures in self.classes],
            "confusion": self.confusion,
        }


def interval(fraction: float, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a fraction of some images, by Wilson's formula."""
    test = binomtest(round(fraction * images), images)
    low, high = test.proportion_ci(confidence_level=0.95, method="wilson")
    return float(low), float(high)


def judge(
    probabilities: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    class_names: Sequence[str],
) -> Judgement:
    """Compare predictions with the truth.

    Args:
        probabilities: (n, classes), rows that sum to one.
        labels: (n,) true classes, from 0.
        class_names: One a column.

    Raises:
        DataError: If there is no image to judge.
    """
    if not len(labels):
        raise DataError("no images to judge: the held-out part is empty.")
    every = np.arange(len(class_names))
    called = probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, called, labels=every, zero_division=0.0
    )
    top5 = np.argsort(probabilities, axis=1)[:, -5:]
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Judgement(
        classes=tuple(
            ClassFigures(name, float(p), float(r), float(f), int(s))
            for name, p, r, f, s in zip(class_names, precision, recall, f1, support, strict=True)
        ),
        confusion=tuple(
            tuple(int(n) for n in row) for row in confusion_matrix(labels, called, labels=every)
        ),
        accuracy=float((called == labels).mean()),
        top5_accuracy=(
            float((top5 == labels[:, None]).any(axis=1).mean()) if len(class_names) > 5 else None
        ),
        log_loss=float(-np.log(np.maximum(given, 1e-12)).mean()),
    )
