"""Trained weights with a head that is fitted to their features: where fine-tuning begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.evaluation.metrics import judge
from keras_classics.training.features import Told, compute_features
from keras_classics.training.fitting import class_weights
from keras_classics.training.head import Head, fit_head
from keras_classics.training.images import Images
from keras_classics.training.recipe import Monitor
from keras_classics.training.start import StartingNetwork
from keras_classics.training.task import Task


@dataclass(frozen=True)
class FittedHead:
    """A head, the features that it was fitted to, and the network with it."""

    head: Head
    features: npt.NDArray[np.float32]  # (images, d)
    network: keras.Model  # as it is kept

    def probabilities(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Of some images: (n, classes)."""
        return self.head.probabilities(self.features[indices])


def fit_head_of(
    task: Task, network: StartingNetwork, data: Images, folder: Path, *, told: Told
) -> FittedHead:
    """Compute the features of all images, fit a head to them, and put it into the network.

    Args:
        task: Says what counts.
        network: With trained weights; it gets the head.
        data: The images.
        folder: For the features.
        told: As in `compute_features`.

    Raises:
        OutputError: As in `compute_features`.
    """
    kept = network.finished()
    features = compute_features(kept, data, folder, mode=network.mode, told=told)
    head = fit_head(
        features,
        data.labels,
        train=data.part("train"),
        val=data.part("val"),
        classes=network.shape.classes,
        class_weights=class_weights(data) if task.recipe.balance != "none" else None,
        monitor=task.recipe.selection.monitor,
    )
    for model in (network.model, kept):
        put_head(model, network, head)
    return FittedHead(head, features, kept)


def put_head(model: keras.Model, network: StartingNetwork, head: Head) -> None:
    """Make a head the last layer of a network."""
    model.get_layer(network.head.name).set_weights([head.kernel, head.bias])


def standing(
    probabilities: npt.NDArray[Any],
    labels: npt.NDArray[np.integer[Any]],
    class_names: Sequence[str],
    monitor: Monitor,
) -> tuple[float, float]:
    """What a network is ranked by, and the logarithm that decides between equals.

    Of both, the higher, the better.
    """
    found = judge(probabilities, labels, class_names)
    scores = [each.f1 for each in found.classes if each.f1 is not None]
    figure = {
        "val_accuracy": found.accuracy,
        "val_f1": float(np.mean(scores)),
        "val_loss": -found.log_loss,
    }[monitor]
    return figure, -found.log_loss
