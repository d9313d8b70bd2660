"""What a network's steps take, measured here and now on random images."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_classics.architectures.frame import with_channels
from keras_classics.architectures.precision import numbers
from keras_classics.networks import build

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable

    from keras_classics.architectures.frame import Architecture

_STEPS = 20
_LONG_ENOUGH = 3.0  # seconds, after which no more steps are timed


@dataclass(frozen=True)
class Steps:
    """What the steps of a run take; an estimate from a few of them.

    Attributes:
        learning: seconds for an image in training.
        judging: seconds for an image in evaluation.
        peak_bytes: the most memory that this process has held; None where the system does not tell.
    """

    learning: float
    judging: float
    peak_bytes: int | None

    def seconds(self, *, learn: int, choose: int, epochs: int) -> float:
        """What the epochs of a run take together, without its start and its end.

        Args:
            learn: images of the training part.
            choose: images of the validation part.
            epochs: number of passes over both.
        """
        return epochs * (learn * self.learning + choose * self.judging)


@numbers()
def measure_steps(
    architecture: Architecture, *, size: int, width: float, classes: int, batch_size: int
) -> Steps:
    """Build a network as a run does, and time a few of its steps.

    Args:
        architecture: of the catalog.
        size: height and width of the input, in pixels.
        width: multiplies the number of filters.
        classes: number of classes.
        batch_size: images in a step.
    """
    model = build(
        architecture,
        input_shape=with_channels((size, size), 3),
        classes=classes,
        classifier_activation=None,
        width=width,
    )
    model.compile(
        keras.optimizers.AdamW(global_clipnorm=1.0),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",
    )
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch_size, *model.input_shape[1:])).astype(np.float32)
    labels = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, batch_size)]
    model.optimizer.build(model.trainable_variables)
    model.test_on_batch(images, labels)
    model.train_on_batch(images, labels)
    return Steps(
        learning=typical(lambda: model.train_on_batch(images, labels)) / batch_size,
        judging=typical(lambda: model.test_on_batch(images, labels)) / batch_size,
        peak_bytes=peak_bytes(),
    )


def peak_bytes() -> int | None:
    """The most memory that this process has held; None where the system does not tell."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, Linux in kilobytes.
    return peak if sys.platform == "darwin" else 1024 * peak


def typical(step: Callable[[], object]) -> float:
    """Seconds of the middle one of some repetitions."""
    times: list[float] = []
    while not times or (len(times) < _STEPS and sum(times) < _LONG_ENOUGH):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
