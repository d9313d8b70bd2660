"""Fitting: phases until the last epoch or Ctrl-C, the best epoch, its batch-norm statistics."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy.typing as npt

from keras_classics.data.batches import Batches, FollowEpochs
from keras_classics.errors import ClassicsError, NothingLearntError
from keras_classics.training import batch_norm
from keras_classics.training.events import EpochEnd, Listener, PhaseBegin, Step
from keras_classics.training.images import Images
from keras_classics.training.interrupts import Interrupts
from keras_classics.training.optimizer import LayerwiseAdamW
from keras_classics.training.phases import Phase, phase_at, plan
from keras_classics.training.recipe import Recipe
from keras_classics.training.start import StartingNetwork

STATISTICS_BATCHES = 200  # as many as settle the estimates; more would only take time


@dataclass
class Fitting:
    """What fitting left: the history, and the best weights."""

    history: list[dict[str, float]]
    best_epoch: int
    weights: list[npt.NDArray[Any]]
    interrupted: bool = False
    diverged: bool = False  # the loss was no number any more


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Tells what goes on and keeps the best weights."""

    def __init__(
        self, *, steps: int, epochs: int, batch_size: int, tell: Listener, interrupts: Interrupts
    ) -> None:
        super().__init__()
        self.steps, self.total, self.batch_size = steps, steps * epochs, batch_size
        self.tell, self.interrupts = tell, interrupts
        self.fitting = Fitting(history=[], best_epoch=0, weights=[])
        self._best = (-1.0, 0.0)  # validation accuracy, then the lower loss
        self._began = self._spent = 0.0
        self._seen = 0
        self._built = False

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        self._built = False  # the first step of a phase is built before it is taken

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._began, self._spent, self._seen = time.monotonic(), 0.0, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if self._built:
            self._seen += self.batch_size
            self._spent = time.monotonic() - self._began
        else:
            self._built, self._began = True, time.monotonic()
        epoch = len(self.fitting.history)
        done = epoch * self.steps + batch + 1
        self.tell(Step(epoch + 1, done, self.total, self._rate()))
        self.interrupts.check()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.interrupts.check()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = {key: float(value) for key, value in logs.items()}
        if not _finite(values):
            self.fitting.diverged = self.model.stop_training = True
            return
        self.interrupts.at_once = False  # from here on there is something to lose
        rank = (values["val_accuracy"], -values["val_loss"])
        best = rank > self._best
        if best:
            self._best = rank
            self.fitting.weights = self.model.get_weights()
            self.fitting.best_epoch = epoch + 1
        self.fitting.history.append(values)
        self.tell(
            EpochEnd(
                epoch=epoch + 1,
                loss=values["loss"],
                accuracy=values["accuracy"],
                val_loss=values["val_loss"],
                val_accuracy=values["val_accuracy"],
                images_per_second=self._rate(),
                best=best,
            )
        )

    def _rate(self) -> float:
        return self._seen / self._spent if self._spent else 0.0


def fit(
    network: StartingNetwork,
    recipe: Recipe,
    data: Images,
    *,
    seed: int,
    tell: Listener,
    interrupts: Interrupts,
) -> Fitting:
    """Train, until the last epoch, Ctrl-C, or a loss that is no number any more.

    Raises:
        NothingLearntError: On Ctrl-C before the first epoch is over.
        ClassicsError: If the loss is no number after the first epoch.
    """
    model, classes = network.model, len(data.listing.classes)
    batches = partial(
        Batches,
        data.images,
        data.labels,
        classes=classes,
        batch_size=recipe.batch_size,
        mode=network.mode,
        seed=seed,
    )
    learn, choose = data.part("train"), data.part("val")
    train = batches(
        indices=learn, augmentation=recipe.augmentation, shuffle=True, drop_remainder=True
    )
    # Where no class has enough images for a validation part, the training images stand in, as there
    # is nothing else to choose the epoch by.
    val = batches(indices=choose if len(choose) else learn)
    watch = _Watch(
        steps=len(train),
        epochs=recipe.epochs,
        batch_size=min(recipe.batch_size, len(learn)),
        tell=tell,
        interrupts=interrupts,
    )
    phases = plan(model, recipe)
    try:
        for phase in phases:
            with (
                _retracing_expected(),
                phase.trainable(model),
                batch_norm.momentum(model, lambda own: batch_norm.fitted_momentum(len(train), own)),
            ):
                if recipe.transfer is not None:
                    tell(_phase_begin(phase, model, epoch=len(watch.fitting.history) + 1))
                _fit_phase(model, phase, recipe, train=train, val=val, watch=watch)
            if watch.fitting.diverged:
                break
    except KeyboardInterrupt:
        watch.fitting.interrupted = True
    fitting = watch.fitting
    if not fitting.history and fitting.interrupted:
        raise NothingLearntError(
            "interrupted before the first epoch was over: nothing was learnt, nothing saved."
        )
    if not fitting.history:
        raise ClassicsError(
            f"the loss is no number after the first epoch: the learning rate of "
            f"{recipe.learning_rate:g} is too high; lower --learning-rate."
        )
    model.set_weights(fitting.weights)
    if not fitting.interrupted:
        clean = batches(indices=learn, shuffle=True, drop_remainder=True)
        sample = range(min(len(clean), STATISTICS_BATCHES))
        try:
            # Those of trained batch norm alone: what was frozen when the best epoch ended stays so.
            with phase_at(phases, fitting.best_epoch).trainable(model), interrupts.allowed():
                batch_norm.reestimate(model, (clean[i][0] for i in sample))
        except KeyboardInterrupt:  # the fitted momentum's statistics are good, too
            fitting.interrupted = True
            model.set_weights(fitting.weights)
    return fitting


def _fit_phase(
    model: keras.Model, phase: Phase, recipe: Recipe, *, train: Batches, val: Batches, watch: _Watch
) -> None:
    """Fit the layers that are trainable now; the others cost no gradient."""
    model.compile(
        _optimizer(recipe, phase, steps=len(train) * phase.epochs),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # XLA takes minutes to compile these networks for a CPU, and runs them no faster.
        jit_compile=keras.backend.backend() == "jax",
    )
    # With the variables of optimiser and metrics there beforehand, TensorFlow traces the
    # step once, not twice: the time to the first step is halved.
    model.optimizer.build(model.trainable_variables)
    model.test_on_batch(*val[0])
    done = len(watch.fitting.history)
    model.fit(
        train,
        initial_epoch=done,
        epochs=done + phase.epochs,
        validation_data=val,
        shuffle=False,
        verbose=0,
        callbacks=[FollowEpochs(train), watch],
    )


@contextmanager
def _retracing_expected() -> Iterator[None]:
    """Keep TensorFlow's warning about much tracing off the terminal: every phase is traced anew."""

    def wanted(record: logging.LogRecord) -> bool:
        return "retracing" not in str(record.msg)

    logger = logging.getLogger("tensorflow")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


def _phase_begin(phase: Phase, model: keras.Model, *, epoch: int) -> PhaseBegin:
    return PhaseBegin(
        stages=phase.begins,
        epoch=epoch,
        trained=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        parameters=model.count_params(),
    )


def _finite(values: dict[str, float]) -> bool:
    return all(math.isfinite(value) for value in values.values())


def _optimizer(recipe: Recipe, phase: Phase, steps: int) -> keras.Optimizer:
    warm_up = round(recipe.warm_up * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 20,
        decay_steps=max(1, steps - warm_up),
        warmup_target=recipe.learning_rate,
        warmup_steps=warm_up,
    )
    if recipe.transfer is not None:
        return LayerwiseAdamW(
            schedule,
            rates=phase.rates,
            decay=recipe.weight_decay,
            global_clipnorm=recipe.clip_norm,
        )
    return keras.optimizers.AdamW(
        schedule, weight_decay=recipe.weight_decay, global_clipnorm=recipe.clip_norm
    )
