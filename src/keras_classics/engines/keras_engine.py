"""Keras itself as an engine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from keras_classics.classifier.artefact import Classifier
from keras_classics.engines.engine import Engine


class KerasEngine(Engine):
    """A classifier as it was trained, in float32."""

    name = "keras"
    precision = "f32"

    def __init__(self, classifier: Classifier) -> None:
        """An engine of a classifier that is loaded."""
        self.card = classifier.card
        self._classifier = classifier

    def _answers(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `Engine` says."""
        return self._classifier.probabilities(images)
