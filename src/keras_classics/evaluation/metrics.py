"""Accuracy, the figures of each class, and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from keras_classics.errors import DataError

LEAST = 1e-12  # probability in a loss: one certain mistake does not make it infinite


Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassFigures:
    """How well one class is told from the others; None where no image could tell."""

    name: str
    support: int  # images of this class
    called: int  # images that were called so, rightly or not
    right: int  # images of this class that were called so

    @property
    def precision(self) -> float | None:
        """Of the images that were called so, the fraction that are."""
        return self.right / self.called if self.called else None

    @property
    def recall(self) -> float | None:
        """Of the images that are so, the fraction that were called so."""
        return self.right / self.support if self.support else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of the two; 0 for a class whose images were all called otherwise."""
        return 2 * self.right / (self.support + self.called) if self.support else None

    @property
    def precision_interval(self) -> Interval | None:
        """95 % confidence interval of the precision."""
        return interval_of(self.right, self.called) if self.called else None

    @property
    def recall_interval(self) -> Interval | None:
        """95 % confidence interval of the recall."""
        return interval_of(self.right, self.support) if self.support else None

    @property
    def f1_interval(self) -> Interval | None:
        """95 % confidence interval of F1, which rises with r of n: right of is or was called so.

        Wilson's for r of n, mapped onto F1 (Lam et al. 2023, https://arxiv.org/abs/2309.14621).
        """
        if not self.support:
            return None
        low, high = interval_of(self.right, self.support + self.called - self.right)
        return 2 * low / (1 + low), 2 * high / (1 + high)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON, with the intervals."""
        return {
            "name": self.name,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "support": self.support,
            "called": self.called,
            "right": self.right,
            "precision_interval": self.precision_interval,
            "recall_interval": self.recall_interval,
            "f1_interval": self.f1_interval,
        }


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

    @property
    def right(self) -> int:
        """The number of images that were called what they are."""
        return sum(figures.right for figures in self.classes)

    @property
    def accuracy_interval(self) -> Interval:
        """95 % confidence interval of the accuracy."""
        return interval_of(self.right, self.images)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "images": self.images,
            "accuracy": self.accuracy,
            "accuracy_interval": self.accuracy_interval,
            "top5_accuracy": self.top5_accuracy,
            "log_loss": self.log_loss,
            "classes": [figures.to_dict() for figures in self.classes],
            "confusion": self.confusion,
        }


def interval(fraction: float, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a fraction of some images, by Wilson's formula."""
    return interval_of(round(fraction * images), images)


def interval_of(count: int, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a count of some images, by Wilson's formula.

    Of no images nothing is known: 0 to 1.
    """
    if not images:
        return 0.0, 1.0
    low, high = binomtest(count, images).proportion_ci(confidence_level=0.95, method="wilson")
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
        raise DataError("no images to evaluate: the held-out part is empty.")
    every = np.arange(len(class_names))
    called = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, called, labels=every)
    top5 = np.argsort(probabilities, axis=1)[:, -5:]
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Judgement(
        classes=tuple(
            ClassFigures(
                name=name,
                support=int(confusion[i].sum()),
                called=int(confusion[:, i].sum()),
                right=int(confusion[i, i]),
            )
            for i, name in enumerate(class_names)
        ),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        accuracy=float((called == labels).mean()),
        top5_accuracy=(
            float((top5 == labels[:, None]).any(axis=1).mean()) if len(class_names) > 5 else None
        ),
        # The same whatever the order of the images.
        log_loss=-math.fsum(np.log(np.maximum(given, LEAST))) / len(labels),
    )
