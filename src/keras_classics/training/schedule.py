"""The learning rate from step to step and from epoch to epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_classics.training.recipe import Schedule


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # no types
    """A linear rise to the highest rate, then another schedule.

    Args:
        after: A number or a schedule, whose steps are counted from the end of the rise.
        highest: The rate at the end of the rise.
        steps: Of the rise.
        beginning: The rate at its first step.
    """

    def __init__(self, after: Any, *, highest: float, steps: int, beginning: float) -> None:
        super().__init__()
        self.after, self.highest, self.steps, self.beginning = after, highest, steps, beginning

    def __call__(self, step: Any) -> Any:
        """The rate of a step, which is counted from 0."""
        step = keras.ops.cast(step, "float32")
        part = step / max(1, self.steps)
        rising = self.beginning + (self.highest - self.beginning) * part
        later = self.after(step - self.steps) if callable(self.after) else self.after
        return keras.ops.where(step < self.steps, rising, later)

    def get_config(self) -> dict[str, Any]:
        """As Keras asks for; nothing is ever built from it."""
        return {"highest": self.highest, "steps": self.steps, "beginning": self.beginning}


def learning_rate(schedule: Schedule, highest: float, *, steps: int, epoch: int) -> Any:
    """The learning rate of a phase for a Keras optimiser: a schedule, or a number for "plateau".

    Args:
        schedule: Of the recipe.
        highest: The rate at its top.
        steps: Of the optimiser, in the whole phase.
        epoch: Steps in an epoch.
    """
    warm_up = round(schedule.warm_up * steps)
    beginning = schedule.warm_up_from * highest
    schedules = keras.optimizers.schedules
    if schedule.name == "cosine":
        return schedules.CosineDecay(
            initial_learning_rate=beginning if warm_up else highest,
            decay_steps=max(1, steps - warm_up),
            warmup_target=highest if warm_up else None,
            warmup_steps=warm_up,
        )
    after: Any = highest
    if schedule.name == "exponential":
        after = schedules.ExponentialDecay(
            highest, max(1, round(schedule.every * epoch)), schedule.rate, staircase=True
        )
    if warm_up:
        return WarmUp(after, highest=highest, steps=warm_up, beginning=beginning)
    return after


def plateau_factor(schedule: Schedule, history: Sequence[Mapping[str, float]]) -> float:
    """What is left of the highest rate after these epochs, where the schedule is "plateau".

    The rate falls whenever the validation accuracy has not risen for `patience` epochs. It follows
    from the history alone, so that a run that goes on after an interruption falls when it would
    have fallen.
    """
    best, since, falls = -1.0, 0, 0
    for epoch in history:
        if epoch["val_accuracy"] > best:
            best, since = epoch["val_accuracy"], 0
            continue
        since += 1
        if since >= schedule.patience and falls < schedule.falls:
            falls, since = falls + 1, 0
    return float(schedule.rate**falls)
