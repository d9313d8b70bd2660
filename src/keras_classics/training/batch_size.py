"""A batch size found by trying, and the learning rate that goes with it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import IO

import keras

from keras_classics.data.pixels import MEMORY_BUDGET
from keras_classics.errors import ClassicsError
from keras_classics.host.memory import free_memory
from keras_classics.training.batch_trial import Spec, Trial
from keras_classics.training.events import BatchSizeFound, BatchSizeTried
from keras_classics.training.recipe import Recipe
from keras_classics.training.task import Task

SMALLEST, LARGEST = 8, 1024
# A run learns in its steps: with fewer in an epoch, a larger batch costs more than it saves.
STEPS_AN_EPOCH = 20
# With fewer images, the statistics of batch norm are poor: Wu and He 2018,
# https://arxiv.org/abs/1803.08494, figure 1.
ENOUGH_FOR_STATISTICS = 16
NEARLY = 0.9  # of the highest speed is as good: the smaller batch makes more steps
MARGIN = 0.8  # of the free memory may be used
SECONDS = 120.0  # after which no larger size is tried
PATIENCE = 480.0  # seconds after which the process is ended


def with_batch_size(task: Task) -> Task:
    """The task with a number as its batch size; tried in another process, where it is "auto".

    The sizes that are tried double, from 8 until an epoch would have fewer than 20 steps. The one
    taken is the smallest that is nearly as fast as the fastest that fits into memory. Unless the
    user gave a learning rate, that of the recipe is scaled.

    Raises:
        ClassicsError: If no size can be tried.
    """
    if task.config.batch_size != "auto":
        return task
    free = free_memory() - _pictures(task)
    tried = _try(task, sizes(task.training_images), memory=int(MARGIN * free))
    size = choose(tried, memory=int(MARGIN * free))
    if size is None:
        raise ClassicsError(
            f"batches of {tried[0].size} images need {tried[0].peak_bytes / 1e6:,.0f} MB, and "
            f"{max(free, 0) / 1e6:,.0f} MB are free; take a smaller --size or --width."
        )
    rate = None if _rate_given(task) else scaled_rate(task.recipe, size)
    config = dataclasses.replace(
        task.config, batch_size=size, learning_rate=rate or task.config.learning_rate
    )
    found = task.changed(config)
    task.tell(
        BatchSizeFound(
            batch_size=size,
            learning_rate=found.recipe.optimizer.learning_rate,
            own_size=task.recipe.batch_size,
            own_rate=task.recipe.optimizer.learning_rate,
        )
    )
    return found


def sizes(images: int) -> tuple[int, ...]:
    """The batch sizes to try for so many images of the training part."""
    largest = min(LARGEST, max(SMALLEST, images // STEPS_AN_EPOCH))
    return tuple(SMALLEST * 2**i for i in range(int(math.log2(largest / SMALLEST)) + 1))


def choose(tried: Sequence[Trial], *, memory: int) -> int | None:
    """The smallest size that is nearly as fast as the fastest that fits; None if none does.

    Args:
        tried: What was measured.
        memory: Bytes that the process may hold.
    """
    fitting = [trial for trial in tried if trial.peak_bytes <= memory]
    fitting = [trial for trial in fitting if trial.size >= ENOUGH_FOR_STATISTICS] or fitting
    if not fitting:
        return None
    enough = NEARLY * max(trial.images_per_second for trial in fitting)
    return min(trial.size for trial in fitting if trial.images_per_second >= enough)


def scaled_rate(recipe: Recipe, batch_size: int) -> float:
    """The recipe's learning rate for another batch size.

    With SGD in proportion to it (Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.1);
    where steps are divided by the size of the gradients, to its square root (Malladi et al. 2022,
    https://arxiv.org/abs/2205.10287). Of three digits, so that it can be written in a command.
    """
    ratio = batch_size / recipe.batch_size
    factor = ratio if recipe.optimizer.name == "sgd" else math.sqrt(ratio)
    return float(f"{recipe.optimizer.learning_rate * factor:.3g}")


def _rate_given(task: Task) -> bool:
    lines = (change.partition("=")[0].strip() for change in task.config.changes)
    return task.config.learning_rate is not None or "optimizer.learning_rate" in lines


def _pictures(task: Task) -> int:
    """Bytes that the images of the run will take."""
    return min(MEMORY_BUDGET, 3 * task.sizes.test**2 * len(task.listing.items))


def _try(task: Task, wanted: tuple[int, ...], *, memory: int) -> list[Trial]:
    """What a process of its own measures until it is done, killed, or out of memory.

    Raises:
        ClassicsError: If it measures nothing.
    """
    spec = Spec(
        network=task.architecture.name,
        shape=task.shape,
        recipe=task.recipe,
        mode=task.mode,
        policy=task.policy(),
        deterministic=task.config.deterministic,
        seed=task.config.seed,
        data_format=keras.config.image_data_format(),
        sizes=wanted,
        memory=memory,
        seconds=SECONDS,
    )
    tried: list[Trial] = []
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as spoken:
        spoken.write(spec.to_json().encode())
        spoken.seek(0)
        with subprocess.Popen(
            _command(),
            stdin=spoken,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"KERAS_BACKEND": keras.backend.backend()},
        ) as process:
            patience = threading.Timer(PATIENCE, process.kill)
            patience.start()
            try:
                for line in process.stdout or ():
                    tried.append(Trial(**json.loads(line)))
                    task.tell(BatchSizeTried(tried[-1].size, tried[-1].images_per_second))
                process.wait()
            finally:
                patience.cancel()
                process.kill()  # on Ctrl-C it may not have heard of it
        if not tried:
            raise ClassicsError(
                f"no batch size could be tried ({_last_words(process, errors)}); take a smaller "
                "--size or --width, or give --batch-size a number."
            )
    return tried


def _command() -> list[str]:
    """The process; the current folder may hold files that are named as modules are."""
    return [sys.executable, "-P", "-m", "keras_classics.training.batch_trial"]


def _last_words(process: subprocess.Popen[bytes], errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    if process.returncode < 0 or not said:
        return f"the process ended with {process.returncode}"
    return said[-1][:200].rstrip(".")
