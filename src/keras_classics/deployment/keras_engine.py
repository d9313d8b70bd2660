"""Keras itself as an engine."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from keras_classics.artefact import Classifier
from keras_classics.deployment.engine import Engine

BATCH = 32  # images at a time, a power of two


class KerasEngine(Engine):
    """A classifier as it was trained, in float32."""

    name = "keras"
    precision = "f32"

    def __init__(self, classifier: Classifier) -> None:
        """An engine of a classifier that is loaded."""
        self.card = classifier.card
        self._classifier = classifier
        self._one_at_a_time = threading.Lock()

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `Engine` says."""
        with self._one_at_a_time:
            rows = [
                self._batch(images[start : start + BATCH]) for start in range(0, len(images), BATCH)
            ]
        return np.concatenate([np.empty((0, len(self.card.class_names)), np.float32), *rows])

    def _batch(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """One batch, filled up to a power of two: a backend compiles anew for every size."""
        n = len(images)
        filled = 1 << (n - 1).bit_length()
        if n < filled:
            images = np.concatenate([images, np.zeros((filled - n, *images.shape[1:]), np.uint8)])
        return self._classifier.probabilities(images, batch_size=filled)[:n]
