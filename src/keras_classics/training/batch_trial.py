"""The process in which batch sizes are tried: one that runs out of memory takes nothing with it.

    python -m keras_classics.training.batch_trial < SPEC

writes a line of JSON for each size, until memory or time are at an end.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import psutil

from keras_classics.architectures import catalog
from keras_classics.data.batches import Batches
from keras_classics.training import recipes, speed
from keras_classics.training.config import TrainConfig
from keras_classics.training.fitting import compile_for
from keras_classics.training.optimizer import optimizer_for
from keras_classics.training.phases import plan
from keras_classics.training.recipe import Recipe
from keras_classics.training.start import Shape, start_network
from keras_classics.training.task import computing
from keras_classics.weights.preprocess import Mode

WARM_UP = 2  # steps that are not timed: they trace and compile
STEPS = 9
LONG_ENOUGH = 2.0  # seconds, after which no more steps of a size are timed
FEWEST_STEPS = 3
SAMPLE = 0.01  # seconds between two looks at the memory


@dataclass(frozen=True)
class Spec:
    """What is tried."""

    network: str
    shape: Shape
    recipe: Recipe
    mode: Mode
    policy: str  # of numbers
    deterministic: bool
    seed: int
    data_format: str
    sizes: tuple[int, ...]  # of the batches, rising
    memory: int  # bytes that the process may hold
    seconds: float  # after which no larger size is tried

    def to_json(self) -> str:
        """As `from_json` takes it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """What `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["shape"] = Shape(**values["shape"])
        values["recipe"] = recipes.from_dict(values["recipe"])
        values["sizes"] = tuple(values["sizes"])
        return cls(**values)


@dataclass(frozen=True)
class Trial:
    """What the steps of a batch size took."""

    size: int
    images_per_second: float
    peak_bytes: int  # the most that the process held, with its libraries


def trials(spec: Spec) -> Iterator[Trial]:
    """Take a few steps of the run with each size, until memory or time are at an end."""
    keras.config.set_image_data_format(spec.data_format)
    config = TrainConfig(seed=spec.seed, deterministic=spec.deterministic)
    with computing(spec.policy, config):
        network = start_network(
            catalog.find(spec.network), spec.shape, spec.recipe, seed=spec.seed, mode=spec.mode
        )
        model = network.model
        phase = plan(model, spec.recipe)[-1]  # in which the most is trained
        with phase.trainable(model), speed.fast_training(model):
            optimizer = optimizer_for(
                spec.recipe.optimizer, spec.recipe.optimizer.learning_rate, phase.rates
            )
            compile_for(model, spec.recipe, optimizer, _batches(spec, 1, len(model.outputs)))
            peaks: list[int] = []
            began = time.monotonic()
            for size in spec.sizes:
                if time.monotonic() - began > spec.seconds or _too_much(peaks, spec.memory):
                    return
                batch = _batches(spec, size, len(model.outputs))[0]
                with _highest_memory() as peak:
                    seconds = _step_seconds(model, batch)
                peaks.append(max([*peaks, *peak]))
                yield Trial(size, size / seconds, peaks[-1])


def _too_much(peaks: Sequence[int], memory: int) -> bool:
    """Whether twice the size would not fit, as the memory grows with it.

    Filling the memory to the brim slows everything on the machine down, and Linux may end other
    processes in the place of this one.
    """
    if len(peaks) < 2:
        return False
    return peaks[-1] + 2 * (peaks[-1] - peaks[-2]) > memory


def _batches(spec: Spec, size: int, outputs: int) -> Batches:
    side = spec.shape.size
    rng = np.random.default_rng(spec.seed)
    return Batches(
        rng.integers(0, 256, (size, side, side, 3)).astype(np.uint8),
        rng.integers(0, spec.shape.classes, size),
        classes=spec.shape.classes,
        batch_size=size,
        mode=spec.mode,
        outputs=outputs,
        class_weights=np.ones(spec.shape.classes) if spec.recipe.balance == "weights" else None,
    )


def _step_seconds(model: keras.Model, batch: Any) -> float:
    """Seconds of the middle one of some steps."""
    for _ in range(WARM_UP):
        model.train_on_batch(*batch)
    times: list[float] = []
    while len(times) < FEWEST_STEPS or (len(times) < STEPS and sum(times) < LONG_ENOUGH):
        began = time.perf_counter()
        model.train_on_batch(*batch)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


@contextmanager
def _highest_memory() -> Iterator[list[int]]:
    """The most memory that this process holds meanwhile, as the only entry.

    The system's own figure begins with that of the process which started this one.
    """
    process, over, highest = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while True:
            highest[0] = max(highest[0], process.memory_info().rss)
            if over.wait(SAMPLE):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield highest
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Try what standard input says, and write each trial when it is over."""
    for trial in trials(Spec.from_json(sys.stdin.read())):
        sys.stdout.write(json.dumps(dataclasses.asdict(trial)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
