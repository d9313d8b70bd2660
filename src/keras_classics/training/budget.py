"""The time that a tuning has: what is left of it, and what a trial will take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from keras_classics.training.search_space import Settings
from keras_classics.training.trials import Trial

Clock = Callable[[], float]

MARGIN = 1.15  # a run takes longer than the trial did: checkpoints, statistics, other work
FINISH = 10.0  # seconds of a run for judging, baselines and report


class Budget:
    """Seconds, of which those that an earlier process spent are gone.

    Args:
        seconds: In all.
        spent: By earlier processes.
        clock: Seconds since some moment.
    """

    def __init__(self, seconds: float, *, spent: float, clock: Clock) -> None:
        self.seconds, self._spent, self.clock = seconds, spent, clock
        self._began = clock()

    @property
    def spent(self) -> float:
        """By all processes."""
        return self._spent + self.clock() - self._began

    @property
    def left(self) -> float:
        """Below 0 when it is over."""
        return self.seconds - self.spent


def expected(settings: Settings, known: Sequence[Trial], epochs: int) -> float | None:
    """Seconds that all epochs will take with these settings; None where nothing is known.

    The trial with the most similar size and width is the measure. Time grows with the square of
    both; where it shrinks, less gain is counted on, as what does not depend on them stays.
    """
    measured = [trial for trial in known if trial.epochs]
    if not measured:
        return None

    def distance(trial: Trial) -> float:
        size, width = _ratios(settings, trial.settings)
        return abs(math.log(size)) + abs(math.log(width))

    nearest = min(map(distance, measured))
    setup = min(trial.setup for trial in measured)  # the first one in a process takes far longer
    return setup + statistics.median(
        _scaled(settings, trial, epochs)
        for trial in measured
        if math.isclose(distance(trial), nearest, abs_tol=1e-9)
    )


def reserve(seconds: float | None) -> float:
    """What must be left for the final run, from what a trial with its settings takes."""
    return 0.0 if seconds is None else MARGIN * seconds + FINISH


def _scaled(settings: Settings, trial: Trial, epochs: int) -> float:
    size, width = _ratios(settings, trial.settings)
    factor = (size**2 if size > 1 else size) * (width**2 if width > 1 else math.sqrt(width))
    return factor * epochs * (trial.seconds - trial.setup) / trial.epochs


def _ratios(one: Settings, other: Settings) -> tuple[float, float]:
    return one.size / other.size, one.width / other.width
