"""What images were called, whatever the network ran on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_classics.card import Card
from keras_classics.errors import ImageError


@dataclass(frozen=True)
class Prediction:
    """What one image was called."""

    path: Path
    top: tuple[tuple[str, float], ...]  # class names and probabilities, the most probable first
    accepted: bool | None = None  # sure enough to be answered; None where there is no threshold

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return self.top[0][0]

    @property
    def confidence(self) -> float:
        """Its probability, from 0 to 1."""
        return self.top[0][1]


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """Predictions in the order of the images, and the images that could not be read."""

    items: tuple[Prediction, ...]
    skipped: tuple[ImageError, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


def answer(path: Path, row: npt.NDArray[np.float32], card: Card, top_k: int) -> Prediction:
    """What an image is called.

    Args:
        path: Of the image.
        row: Calibrated probabilities (classes,).
        card: Of the network that gave them.
        top_k: How many classes to name, at least 1.
    """
    best = np.argsort(-row, kind="stable")[:top_k]
    top = tuple((card.class_names[i], float(row[i])) for i in best)
    calibration = card.fitted
    accepted = None if calibration is None else bool(row.max() >= calibration.threshold)
    return Prediction(path, top, accepted)
