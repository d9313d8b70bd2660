"""Fitting: phases until the last epoch, Ctrl-C or patience; the best epoch; its statistics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.data.batches import Batches, FollowEpochs
from keras_classics.errors import DivergedError, NothingLearntError, OutputError
from keras_classics.host.interrupts import Interrupts
from keras_classics.training import batch_norm, speed
from keras_classics.training.checkpoint import Arrays, Checkpoints, Progress
from keras_classics.training.events import EpochEnd, Listener, NotSaved, PhaseBegin, Step
from keras_classics.training.images import Images
from keras_classics.training.loss import compile_arguments, figures
from keras_classics.training.optimizer import averaged, optimizer_for
from keras_classics.training.phases import Phase, phase_at, plan
from keras_classics.training.recipe import Monitor, Recipe
from keras_classics.training.schedule import learning_rate, plateau_factor
from keras_classics.training.start import StartingNetwork

STATISTICS_BATCHES = 200  # as many as settle the estimates; more would only take time


@dataclass
class Fitting:
    """What fitting left."""

    history: list[dict[str, float]]
    best_epoch: int
    interrupted: bool = False
    diverged: bool = False  # the loss was no number any more
    stopped: str = ""  # why before the last epoch of the recipe, as the recipe wants it
    late: bool = False  # the time that the run may take was over


@dataclass(frozen=True)
class Feed:
    """The batches of a run: those to learn from, those to choose the epoch by, and clean ones."""

    make: Callable[..., Batches]  # of the training part, as the recipe changes it
    val: Batches
    clean: Callable[[], Batches]  # of the training part, unchanged, in random order
    steps: int  # in an epoch
    batch_size: int


def feed(network: StartingNetwork, recipe: Recipe, data: Images, *, seed: int) -> Feed:
    """The batches of a run."""
    size, test_size = network.shape.size, network.shape.test_size
    learn, choose = data.part("train"), data.part("val")
    batches = partial(
        Batches,
        data.pictures,
        data.labels,
        classes=network.shape.classes,
        batch_size=recipe.batch_size,
        mode=network.mode,
        seed=seed,
    )
    outputs = len(network.model.outputs)
    make = partial(
        batches,
        indices=learn,
        size=(size, size),
        fit=data.train_fit,
        augmentation=recipe.augmentation,
        mixing=recipe.mixing,
        class_weights=class_weights(data) if recipe.balance == "weights" else None,
        sampling="balanced" if recipe.balance == "sampling" else "each",
        shuffle=True,
        drop_remainder=True,
        outputs=outputs,
    )
    whole = partial(batches, size=(test_size, test_size), fit=data.fit, outputs=outputs)
    return Feed(
        make=make,
        # Where no class has enough images for a validation part, the training images stand in, as
        # there is nothing else to choose the epoch by.
        val=whole(indices=choose if len(choose) else learn),
        clean=lambda: whole(indices=learn, shuffle=True, drop_remainder=True),
        steps=make().steps,
        batch_size=min(recipe.batch_size, len(learn)),
    )


def class_weights(data: Images) -> npt.NDArray[np.float64]:
    """Weights with which all classes count alike, and an image counts 1 on average."""
    counts = np.bincount(data.labels[data.part("train")], minlength=len(data.listing.classes))
    weights: npt.NDArray[np.float64] = counts.sum() / (
        np.count_nonzero(counts) * np.maximum(counts, 1)
    )
    return weights


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Tells what goes on, sets the rate, keeps the best weights, writes checkpoints."""

    def __init__(
        self,
        recipe: Recipe,
        feed: Feed,
        progress: Progress,
        *,
        checkpoints: Checkpoints | None,
        tell: Listener,
        interrupts: Interrupts,
        deadline: float,
    ) -> None:
        super().__init__()
        self.deadline = deadline
        self.recipe, self.feed = recipe, feed
        self.checkpoints, self.tell, self.interrupts = checkpoints, tell, interrupts
        self.fitting = Fitting([dict(epoch) for epoch in progress.history], progress.best_epoch)
        self.best = list(progress.best)
        self.first = progress.step  # of the epoch with which fitting begins
        self.metrics: list[npt.NDArray[Any]] = []  # up to there
        self.since = 0  # the epoch before which patience and plateaus do not count
        self.last_phase = True
        self._began = self._spent = self._epoch_began = 0.0
        self._seen = 0
        self._built = False
        self._averages = ExitStack()

    @property
    def epochs(self) -> int:
        """Epochs that are over."""
        return len(self.fitting.history)

    @property
    def enough(self) -> str:
        """Why the recipe wants no more epochs; empty where it does."""
        selection, history = self.recipe.selection, self.fitting.history
        if not self.last_phase or not history:
            return ""
        if history[-1]["loss"] < selection.least_loss:
            return f"training loss below {selection.least_loss:g}"
        waited = self.epochs - max(self.fitting.best_epoch, self.since)
        return f"no improvement for {waited} epochs" if 0 < selection.patience <= waited else ""

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        self._built = False  # the first step of a phase is built before it is taken

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._epoch_began = time.monotonic()
        self._began, self._spent, self._seen = self._epoch_began, 0.0, 0
        for variable, value in zip(self.model.metrics_variables, self.metrics, strict=False):
            variable.assign(value)
        self.metrics = []
        if self.recipe.schedule.name == "plateau":
            highest = self.recipe.optimizer.learning_rate
            left = plateau_factor(self.recipe.schedule, self.fitting.history[self.since :])
            self.model.optimizer.learning_rate = highest * left

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.interrupts.at_once = False  # from here on there is something to lose
        if self._built:
            self._seen += self.feed.batch_size
            self._spent = time.monotonic() - self._began
        else:
            self._built, self._began = True, time.monotonic()
        step = self.first + batch + 1
        steps = self.feed.steps
        try:
            total = steps * self.recipe.epochs
            self.tell(Step(self.epochs + 1, self.epochs * steps + step, total, self._rate()))
            self.interrupts.check()
            if time.monotonic() > self.deadline:
                raise TimeIsUpError
        except KeyboardInterrupt:
            self._checkpoint(step)
            raise
        if self.checkpoints and self.checkpoints.due():
            self._checkpoint(step)

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        self._averages.enter_context(averaged(self.model))

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.interrupts.check()

    def on_test_end(self, logs: Any = None) -> None:  # noqa: ARG002
        self._averages.close()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        values = figures(logs, self.model)
        if not _finite(values):
            self.fitting.diverged = self.model.stop_training = True
            return
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        values["learning_rate"] = float(rate)
        history, rank = self.fitting.history, partial(_rank, monitor=self.recipe.selection.monitor)
        best = not history or rank(values) > max(map(rank, history))
        history.append(values)
        if best:
            with averaged(self.model):
                self.best = self.model.get_weights()
            self.fitting.best_epoch = self.epochs
        self.first = 0
        self.tell(
            EpochEnd(
                epoch=self.epochs,
                loss=values["loss"],
                accuracy=values["accuracy"],
                val_loss=values["val_loss"],
                val_accuracy=values["val_accuracy"],
                images_per_second=self._rate(),
                best=best,
                val_f1=values.get("val_f1"),
            )
        )
        now = time.monotonic()
        self.fitting.late = (
            self.epochs < self.recipe.epochs and 2 * now - self._epoch_began > self.deadline
        )
        self.model.stop_training = bool(self.enough) or self.fitting.late
        if self.checkpoints and self.checkpoints.due():
            self._checkpoint(0)

    def _checkpoint(self, step: int) -> None:
        """Write where the run is; a disk that cannot take it does not end the run."""
        if self.checkpoints is None:
            return
        progress = Progress(
            epoch=self.epochs,
            step=step,
            history=tuple(self.fitting.history),
            best_epoch=self.fitting.best_epoch,
            best=tuple(self.best),
            arrays=_state(self.model),
        )
        try:
            self.checkpoints.write(progress)
        except (OSError, OutputError) as error:
            cause = error.__cause__ or error  # without the name, which is another each time
            self.tell(NotSaved(getattr(cause, "strerror", None) or str(cause)))

    def _rate(self) -> float:
        return self._seen / self._spent if self._spent else 0.0


class TimeIsUpError(NothingLearntError):
    """The deadline came before the first epoch was over."""


def fit(
    network: StartingNetwork,
    recipe: Recipe,
    batches: Feed,
    *,
    tell: Listener,
    interrupts: Interrupts,
    checkpoints: Checkpoints | None = None,
    begin: Progress | None = None,
    deadline: float = math.inf,
) -> Fitting:
    """Train, until the last epoch, Ctrl-C, a deadline, or a loss that is no number any more.

    The network has the weights of the best epoch afterwards.

    Args:
        network: With the weights to begin with.
        recipe: How to train.
        batches: What to train on.
        tell: Told what goes on.
        interrupts: How Ctrl-C is handled.
        checkpoints: Take where the run is, now and then; None for none.
        begin: Where to go on; None for the beginning.
        deadline: Of `time.monotonic`: no epoch is begun that would not be over by then.

    Raises:
        NothingLearntError: On Ctrl-C before the first epoch is over.
        TimeIsUpError: If the deadline comes before.
        DivergedError: If the loss is no number after the first epoch.
    """
    model = network.model
    progress = begin or Progress()
    watch = _Watch(
        recipe,
        batches,
        progress,
        checkpoints=checkpoints,
        tell=tell,
        interrupts=interrupts,
        deadline=deadline,
    )
    fitting, phases = watch.fitting, plan(model, recipe)
    if begin:
        _restore(model.variables, begin.arrays, "model")
    try:
        for phase in phases:
            ends = sum(each.epochs for each in phases[: phases.index(phase) + 1])
            if watch.epochs >= ends:  # before the checkpoint
                continue
            watch.since, watch.last_phase = ends - phase.epochs, phase is phases[-1]
            if watch.enough:  # as an earlier process found, whose last checkpoint this is
                break
            with (
                phase.trainable(model),
                batch_norm.momentum(model, partial(batch_norm.fitted_momentum, batches.steps)),
                speed.fast_training(model),
            ):
                if recipe.transfer is not None and watch.epochs == watch.since and not watch.first:
                    tell(_phase_begin(phase, model, epoch=watch.epochs + 1))
                _fit_phase(model, phase, recipe, batches, watch, ends=ends, arrays=progress.arrays)
            progress = Progress()
            if fitting.diverged or fitting.late or watch.enough:
                break
        fitting.stopped = watch.enough if watch.epochs < recipe.epochs else ""
    except KeyboardInterrupt:
        fitting.interrupted = True
    except TimeIsUpError:
        fitting.late = True
    finally:
        batches.val.close()
    if not fitting.history and fitting.late:
        raise TimeIsUpError("the time was over before the first epoch was.")
    if not fitting.history and fitting.interrupted:
        raise NothingLearntError("interrupted before the first epoch was over.")
    if not fitting.history:
        raise DivergedError(
            f"the loss became NaN in the first epoch: the learning rate of "
            f"{recipe.optimizer.learning_rate:g} is too high; lower --learning-rate."
        )
    model.set_weights(watch.best)
    return fitting


def settle(
    kept: keras.Model,
    recipe: Recipe,
    batches: Feed,
    fitting: Fitting,
    interrupts: Interrupts,
) -> None:
    """Re-estimate batch norm's statistics for the network that is kept.

    Ctrl-C leaves them as training left them, which is good, too.
    """
    if fitting.interrupted or not recipe.reestimate:
        return
    before = kept.get_weights()
    # Those of trained batch norm alone: what was frozen when the best epoch ended stays so.
    phase = phase_at(plan(kept, recipe), fitting.best_epoch)
    try:
        with closing(batches.clean()) as clean, phase.trainable(kept), interrupts.allowed():
            sample = range(min(len(clean), STATISTICS_BATCHES))
            batch_norm.reestimate(kept, (clean[i][0] for i in sample))
    except KeyboardInterrupt:
        fitting.interrupted = True
        kept.set_weights(before)


def compile_for(
    model: keras.Model, recipe: Recipe, optimizer: keras.Optimizer, val: Batches
) -> None:
    """Compile a network, and build what belongs to its training step.

    With the variables of optimiser and metrics there beforehand, TensorFlow traces the step once,
    not twice: the time to the first step is halved.
    """
    model.compile(
        optimizer,
        **compile_arguments(recipe.loss, model, recipe.selection.monitor),
        jit_compile=speed.jit_compile(),
    )
    model.optimizer.build(model.trainable_variables)
    model.test_on_batch(*val[0])


def _fit_phase(
    model: keras.Model,
    phase: Phase,
    recipe: Recipe,
    batches: Feed,
    watch: _Watch,
    *,
    ends: int,
    arrays: Arrays,
) -> None:
    """Fit the layers that are trainable now; the others cost no gradient.

    With arrays, from where these were written on; the first epoch may be a part of one.
    """
    highest = recipe.optimizer.learning_rate
    rate = learning_rate(
        recipe.schedule, highest, steps=batches.steps * phase.epochs, epoch=batches.steps
    )
    compile_for(model, recipe, optimizer_for(recipe.optimizer, rate, phase.rates), batches.val)
    if arrays and (watch.first or watch.epochs > watch.since):  # not of the phase before
        _restore(model.optimizer.variables, arrays, "optimizer")
    if watch.first:
        watch.metrics = _group(arrays, "metrics")
        if watch.first < batches.steps:
            _fit_epochs(model, batches, watch, until=watch.epochs + 1)
        else:
            _validate(model, batches, watch)
    if watch.epochs < ends and not model.stop_training:
        _fit_epochs(model, batches, watch, until=ends)


def _fit_epochs(model: keras.Model, batches: Feed, watch: _Watch, *, until: int) -> None:
    with closing(batches.make(epoch=watch.epochs, first=watch.first)) as train:
        model.fit(
            train,
            initial_epoch=watch.epochs,
            epochs=until,
            validation_data=batches.val,
            shuffle=False,
            verbose=0,
            callbacks=[FollowEpochs(train), watch],
        )


def _validate(model: keras.Model, batches: Feed, watch: _Watch) -> None:
    """End an epoch whose steps were all done before."""
    watch.set_model(model)
    watch.on_epoch_begin(watch.epochs)
    logs = dict(model.get_metrics_result())
    val = model.evaluate(batches.val, verbose=0, return_dict=True, callbacks=[watch])
    watch.on_epoch_end(watch.epochs, logs | {f"val_{name}": value for name, value in val.items()})


def _state(model: keras.Model) -> Arrays:
    """All that decides the next step."""
    groups = {
        "model": model.variables,  # the state of dropout's random numbers among them
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }
    return {
        f"{group}/{i:06d}": np.array(keras.ops.convert_to_numpy(variable))
        for group, variables in groups.items()
        for i, variable in enumerate(variables)
    }


def _restore(variables: list[Any], arrays: Arrays, group: str) -> None:
    for variable, value in zip(variables, _group(arrays, group), strict=True):
        variable.assign(value)


def _group(arrays: Arrays, group: str) -> list[npt.NDArray[Any]]:
    return [arrays[name] for name in sorted(arrays) if name.startswith(f"{group}/")]


def _phase_begin(phase: Phase, model: keras.Model, *, epoch: int) -> PhaseBegin:
    return PhaseBegin(
        stages=phase.begins,
        epoch=epoch,
        trained=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        parameters=model.count_params(),
    )


def _finite(values: dict[str, float]) -> bool:
    return all(math.isfinite(value) for value in values.values())


def _rank(values: dict[str, float], monitor: Monitor) -> tuple[float, float]:
    """The higher, the better; the loss decides between equal accuracies."""
    loss = -values["val_loss"]
    return (loss, loss) if monitor == "val_loss" else (values[monitor], loss)
