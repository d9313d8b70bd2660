"""The learning-rate range test: train a few steps while the rate rises, and see where it helps.

Smith 2017, https://arxiv.org/abs/1506.01186, section 3.3. It ends as fastai's `lr_find` does, by an
exponential mean of the loss. That mean lags behind, by half a power of ten here, which is why a
tenth of the rate with the lowest loss is often advised. A mean of the steps on both sides does not
lag, and its lowest place was near the best rate of whole runs: docs/training.md.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_classics.data.batches import Batches
from keras_classics.errors import ClassicsError
from keras_classics.training import speed
from keras_classics.training.batch_size import with_batch_size
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Features, Listener, Step
from keras_classics.training.fitted_head import fit_head_of
from keras_classics.training.fitting import Feed, compile_for, feed
from keras_classics.training.images import decode_images
from keras_classics.training.loss import figures
from keras_classics.training.optimizer import optimizer_for
from keras_classics.training.phases import plan
from keras_classics.training.recipe import Recipe
from keras_classics.training.start import StartingNetwork
from keras_classics.training.task import computing, task_of

STEPS = 120
FEWEST_STEPS = 20
LOWEST, HIGHEST = 1e-5, 10.0
KEEP = 0.9  # of the mean loss from step to step, by which the test ends
TOO_MUCH = 4.0  # times the best such mean, at which it does
BREADTH = 0.2  # powers of ten: the deviation of the mean of both sides
FALL = 0.01  # of the loss at the beginning: less is no fall


@dataclass(frozen=True)
class RateTest:
    """What the range test measured."""

    network: str
    data: str
    recipe: str
    optimizer: str
    batch_size: int
    own_rate: float  # that of the recipe, or the one asked for
    rates: tuple[float, ...]
    losses: tuple[float, ...]  # one a step
    smoothed: tuple[float, ...]  # by the steps on both sides
    ended: bool  # the loss grew beyond all bounds, before the highest rate
    suggestion: float | None  # where the smoothed loss is lowest; None where it never fell
    steepest: float | None  # where it falls most

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)


def find_rate(
    config: TrainConfig,
    *,
    steps: int = STEPS,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    listener: Listener | None = None,
) -> RateTest:
    """Train a run's network for some steps while the rate rises from the lowest to the highest.

    Network, batches, augmentation, loss, optimiser and precision are those of the run; with trained
    weights, the head is fitted first, and as much of the network is trained as at the end of the
    run. Nothing is kept.

    Args:
        config: Of the run.
        steps: Optimiser steps over the whole range.
        lowest: The first rate.
        highest: The last one.
        listener: Told of images that are read, of features, and of steps.

    Raises:
        ClassicsError: If the data, the arguments or the weights cannot be used, or the loss is no
            number from the beginning.
    """
    if steps < FEWEST_STEPS:
        raise ClassicsError(f"steps={steps}: at least {FEWEST_STEPS} are needed.")
    if not 0 < lowest < highest < math.inf:
        raise ClassicsError(
            f"lowest={lowest:g}, highest={highest:g}: two rates above 0 are needed, the lowest "
            "below the highest."
        )
    task = task_of(config, listener)
    if not task.fine_tunes:
        raise ClassicsError(
            "unfreeze='none': only a head is fitted, which needs no learning rate; leave "
            "--unfreeze out."
        )
    task = with_batch_size(task)
    config = task.config
    recipe = task.recipe
    with (
        tempfile.TemporaryDirectory() as scratch,
        computing(task.policy(), config),
    ):
        network = task.network()
        data = decode_images(
            task.listing, task.sizes, recipe, config, scratch=Path(scratch), tell=task.tell
        )
        if task.origin is not None:
            fit_head_of(
                task, network, data, Path(scratch), told=lambda *at: task.tell(Features(*at))
            )
        batches = feed(network, recipe, data, seed=config.seed)
        rates, losses = _measure(
            network, recipe, batches, steps=steps, ends=(lowest, highest), tell=task.tell
        )
    if not losses:
        raise ClassicsError(
            f"the loss is NaN at the lowest rate, {lowest:g}; lower --lowest, or compute in "
            "--precision float32."
        )
    smoothed = smooth(rates, losses)
    suggestion, steepest = suggest(rates, smoothed)
    return RateTest(
        network=task.architecture.title,
        data=data.source,
        recipe=recipe.name,
        optimizer=recipe.optimizer.name,
        batch_size=batches.batch_size,
        own_rate=recipe.optimizer.learning_rate,
        rates=tuple(rates),
        losses=tuple(losses),
        smoothed=tuple(smoothed),
        ended=len(rates) < steps,
        suggestion=suggestion,
        steepest=steepest,
    )


def _measure(
    network: StartingNetwork,
    recipe: Recipe,
    batches: Feed,
    *,
    steps: int,
    ends: tuple[float, float],
    tell: Listener,
) -> tuple[list[float], list[float]]:
    """Rates and losses, step by step, until the loss is too high."""
    model, phase = network.model, plan(network.model, recipe)[-1]
    together = recipe.optimizer.accumulate  # batches to a step
    lowest, highest = ends
    growth = highest / lowest
    # Keras counts the batches, whether they are accumulated or not.
    rising = keras.optimizers.schedules.ExponentialDecay(lowest, steps * together - 1, growth)
    rates: list[float] = []
    losses: list[float] = []
    mean, best = 0.0, math.inf
    with phase.trainable(model), speed.fast_training(model):
        optimizer = optimizer_for(recipe.optimizer, rising, phase.rates)
        compile_for(model, recipe, optimizer, batches.val)
        source = _endless(batches)
        for step in range(steps):
            seen = [_loss(model, next(source)) for _ in range(together)]
            loss = sum(seen) / together
            if not math.isfinite(loss):
                break
            # Of the middle of the batches, which differ little.
            at = (step * together + (together - 1) / 2) / (steps * together - 1)
            rates.append(lowest * growth**at)
            losses.append(loss)
            tell(Step(1, step + 1, steps, 0.0))
            mean = KEEP * mean + (1 - KEEP) * loss
            now = mean / (1 - KEEP ** (step + 1))  # without a bias towards its beginning at 0
            best = min(best, now)
            if now > TOO_MUCH * best:
                break
    return rates, losses


def _endless(batches: Feed) -> Iterator[Any]:
    """Epoch after epoch."""
    source: Batches
    with closing(batches.make()) as source:
        while True:
            yield from (source[i] for i in range(len(source)))
            source.epoch += 1


def _loss(model: keras.Model, batch: Any) -> float:
    """Take a step; the loss before it."""
    return figures(model.train_on_batch(*batch, return_dict=True), model)["loss"]


def smooth(rates: Sequence[float], losses: Sequence[float]) -> list[float]:
    """Means of the losses, weighted by how near on the logarithmic axis they are."""
    at = np.log10(rates)
    weights = np.exp(-0.5 * ((at[:, None] - at) / BREADTH) ** 2)
    means: list[float] = (weights @ np.asarray(losses) / weights.sum(axis=1)).tolist()
    return means


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> tuple[float | None, float | None]:
    """The rate with the lowest smoothed loss, and that of the steepest descent on the way to it.

    None where the loss never falls.
    """
    lowest = int(np.argmin(smoothed))
    if smoothed[lowest] > (1 - FALL) * smoothed[0]:
        return None, None
    steepest = int(np.argmin(np.diff(smoothed[: lowest + 1])))
    return float(f"{rates[lowest]:.2g}"), float(f"{rates[steepest]:.2g}")
