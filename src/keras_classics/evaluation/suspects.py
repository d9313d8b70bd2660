"""Images whose label may be wrong: those on which a good network is most surprised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_classics.evaluation.metrics import LEAST


@dataclass(frozen=True)
class Suspect:
    """An image with a high loss."""

    path: str
    part: str
    label: str
    called: str
    confidence: float  # in what it was called
    given: float  # the probability of its label
    loss: float
    mislabelled: bool  # another class is as probable as it is on that class' own images

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


def losses(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.float64]:
    """The negative logarithm of the probability of each image's label."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.maximum(given, LEAST)))


def mislabelled(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.bool_]:
    """Which labels confident learning doubts (Northcutt et al. 2021, https://arxiv.org/abs/1911.00068).

    An image counts for a class where its probability is at least the mean that the class' own
    images have; where it counts for another than its label, and more than for any other, the label
    is in doubt. The probabilities must be those of images that were not learnt from.
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=own, minlength=classes)
    # A class without images vouches for nothing.
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    counting = np.where(probabilities >= usual, probabilities, -1.0)
    best = counting.argmax(axis=1)
    doubted = (counting.max(axis=1) >= 0) & (best != labels)
    return np.asarray(doubted & (probabilities.argmax(axis=1) != labels))


def find_suspects(
    paths: Sequence[str],
    part: str,
    probabilities: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    class_names: tuple[str, ...],
    *,
    most: int,
) -> tuple[Suspect, ...]:
    """The images with the highest losses among those that were called something else."""
    loss = losses(probabilities, labels)
    called = probabilities.argmax(axis=1)
    doubted = mislabelled(probabilities, labels)
    order = np.argsort(-loss, kind="stable")
    worst = order[(called != labels)[order]][:most]
    return tuple(
        Suspect(
            path=str(paths[i]),
            part=part,
            label=class_names[labels[i]],
            called=class_names[called[i]],
            confidence=float(probabilities[i].max()),
            given=float(probabilities[i, labels[i]]),
            loss=float(loss[i]),
            mislabelled=bool(doubted[i]),
        )
        for i in worst
    )
