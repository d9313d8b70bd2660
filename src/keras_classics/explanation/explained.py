"""What an explanation is made of: maps, curves and control in one record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.explanation.faithfulness import Curve, Sanity, Similarity
from keras_classics.explanation.methods import Method, Settings
from keras_classics.explanation.probe import Array
from keras_classics.heat import encoded

FORMAT = 1  # of the JSON


@dataclass(frozen=True)
class Checks:
    """How far a map can be believed."""

    deletion: Curve  # of one image
    insertion: Curve
    sanity: Sanity


@dataclass(frozen=True)
class ClassExplanation:
    """Why a picture would be called a class."""

    index: int
    name: str
    probability: float  # from 0 to 1, calibrated where the classifier is
    score: float  # before the softmax
    heat: Array  # (h, w), in the layer's resolution; the larger, the more it speaks for the class
    figures: dict[str, float]  # what the method says of itself, such as the completeness gap
    checks: Checks | None


@dataclass(frozen=True)
class Explained:
    """An answer, and why, as values."""

    path: Path
    picture: npt.NDArray[np.uint8]  # (h, w, 3) as the network sees it, before preprocessing
    network: str
    method: Method
    settings: Settings
    block: str | None  # whose maps are explained, as it was asked for; None where pixels are
    layer: str | None  # that this means
    top: tuple[tuple[int, str, float], ...]  # index, name and probability, the most probable first
    classes: tuple[ClassExplanation, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON; maps are float32, little-endian, row by row."""
        settings = {name: getattr(self.settings, name) for name in self.method.reads}
        return {
            "format": FORMAT,
            "path": str(self.path),
            "network": self.network,
            "input_size": list(self.picture.shape[:2]),
            "method": {
                "name": self.method.name,
                "title": self.method.title,
                "source": self.method.source,
                "settings": settings,
            },
            "seed": self.settings.seed,
            "block": self.block,
            "layer": self.layer,
            "top": [
                {"index": index, "class": name, "probability": probability}
                for index, name, probability in self.top
            ],
            "classes": [_plain(each) for each in self.classes],
            "versions": versions(),
        }


def _plain(explained: ClassExplanation) -> dict[str, Any]:
    """What is known of one class as plain values."""
    checks = explained.checks
    return {
        "index": explained.index,
        "class": explained.name,
        "probability": explained.probability,
        "score": explained.score,
        **explained.figures,
        "map": encoded(explained.heat),
        "checks": None
        if checks is None
        else {
            "deletion": _curve(checks.deletion),
            "insertion": _curve(checks.insertion),
            "randomised": {
                "passed": checks.sanity.passed,
                **_likeness(checks.sanity.full),
                "map": encoded(checks.sanity.control),
                "cascade": [
                    {"from": name, **_likeness(each)} for name, each in checks.sanity.cascade
                ],
            },
        },
    }


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "area": float(curve.areas[0]),
        "fraction": [float(value) for value in curve.fractions],
        "probability": [float(value) for value in curve.probabilities[0]],
    }


def _likeness(similarity: Similarity) -> dict[str, float]:
    return dataclasses.asdict(similarity)


def versions() -> dict[str, str]:
    """Of all that decides the figures."""
    backend = keras.backend.backend()
    found = {"backend": backend}
    for package in ("keras-classics", "keras", backend, "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # such as tensorflow-cpu, under another name
            found[package] = "unknown"
    return found
