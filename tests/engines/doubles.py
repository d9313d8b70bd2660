"""An engine that needs no network: it answers by the colour of a picture."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.engines.deployment import Deployment
from keras_classics.engines.engine import Engine

CLASSES = ("red", "green", "blue")


def card(size=(8, 8), classes=CLASSES):
    return Card(
        network="none",
        width=1.0,
        class_names=classes,
        preprocessing=Preprocessing(size=size, fit="stretch", mode="tf"),
    )


class Colours(Engine):
    """The share of each colour in a picture."""

    name = "keras"
    precision = "f32"
    requests = 2

    def __init__(self, seconds=0.0):
        self.card = card()
        self.seconds = seconds  # a batch
        self.asked = []

    def _answers(self, images):
        time.sleep(self.seconds)
        self.asked.append(len(images))
        sums = images.astype(np.float64).sum(axis=(1, 2)) + 1
        return (sums / sums.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Double(Deployment):
    """A model whose engine is `Colours`."""

    path: str = "double"
    seconds: float = 0.0

    def fingerprint(self):
        return f"of {self.path}"

    def open(self, **_):
        return Colours(self.seconds)
