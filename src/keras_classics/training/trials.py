"""The trials of a tuning: Optuna's study on the disk, and what came of each trial in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keras_classics import extras
from keras_classics.errors import ClassicsError
from keras_classics.training.recipe import Monitor
from keras_classics.training.search_space import Settings, Space

if TYPE_CHECKING:
    import optuna

STUDY = "study.db"  # in the folder of a tuning; SQLite, which a killed process does not corrupt
FOUND, AGAIN = "found", "again"  # attributes of Optuna's trials
STARTUP = 5  # trials drawn at random before the sampler learns from them; Optuna's 10 are hours
LEAST_FOR_PRUNING = 3  # complete trials, before one is compared with them
LEAST_FOR_IMPORTANCES = 8  # complete trials; of fewer the figures are noise

Status = Literal[
    "complete",
    "pruned",  # worse than the median of the others at the same epoch
    "out of time",  # stopped at the end of the budget
    "diverged",  # the loss became NaN
    "no memory",
    "interrupted",  # by Ctrl-C; tried again when the tuning is resumed
    "killed",  # with its process; tried once more, as it may have been the reason
]


@dataclass(frozen=True)
class Trial:
    """What came of one point of the space."""

    number: int  # from 0
    settings: Settings
    status: Status
    value: float | None = None  # the monitor's best, on the validation part
    loss: float | None = None  # validation loss of that epoch
    best_epoch: int | None = None
    epochs: int = 0  # that were completed
    seconds: float = 0.0
    full: float | None = None  # seconds of all epochs, by those that were completed

    @property
    def judged(self) -> bool:
        """Whether its value counts."""
        return self.value is not None and self.status in {"complete", "pruned", "out of time"}


def trials_of(study: optuna.Study, space: Space) -> tuple[Trial, ...]:
    """All trials that were begun, in their order."""
    return tuple(
        Trial(trial.number, space.settings(trial.params), **trial.user_attrs[FOUND])
        for trial in study.trials
        if FOUND in trial.user_attrs
    )


def rank(trial: Trial, monitor: Monitor) -> tuple[float, float]:
    """The higher, the better; the loss decides between equal figures, as it does among epochs."""
    value, loss = trial.value or 0.0, -(trial.loss or 0.0)
    return (loss, loss) if monitor == "val_loss" else (value, loss)


def best_of(trials: Sequence[Trial], monitor: Monitor) -> Trial | None:
    """The best one; of equals the first."""
    judged = [trial for trial in trials if trial.judged]
    return max(judged, key=lambda trial: rank(trial, monitor), default=None)


@contextmanager
def open_study(
    folder: Path, space: Space, *, monitor: Monitor, epochs: int
) -> Iterator[optuna.Study]:
    """The study in a folder, created where there is none; a trial that was running is queued again.

    The pruner compares with the median of the complete trials at the same epoch, from a third of
    the epochs on. Hyperband needs more trials than a budget of minutes holds, and models each of
    its brackets apart; the Wilcoxon pruner compares the parts of a mean, which epochs are not.

    Raises:
        ClassicsError: If Optuna is not installed, or its file is corrupt.
    """
    optuna = check_optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / STUDY).resolve()}")
        except Exception as error:  # what it raises, depends on what the file holds
            raise ClassicsError(f"{folder / STUDY}: not an Optuna study, or corrupt.") from error
        try:
            study = optuna.create_study(
                storage=storage,
                study_name="tune",
                load_if_exists=True,
                direction="minimize" if monitor == "val_loss" else "maximize",
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=LEAST_FOR_PRUNING, n_warmup_steps=max(1, epochs // 3)
                ),
            )
            if not study.trials:
                study.enqueue_trial({name: getattr(space.default, name) for name in space.varied})
            for left in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
                study.tell(left.number, state=optuna.trial.TrialState.FAIL)
                if AGAIN not in left.user_attrs:
                    study.enqueue_trial(left.params, user_attrs={AGAIN: left.number})
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()
    finally:
        optuna.logging.set_verbosity(verbosity)


def sampler(study: optuna.Study, space: Space, seed: int) -> Any:
    """The sampler of the next trial: TPE, or each point once where there are finitely many.

    It is seeded by the run's seed and the trials that count, so that a tuning that was interrupted
    draws what it would have drawn.
    """
    import optuna

    done = sum(trial.state.name in {"COMPLETE", "PRUNED"} for trial in study.trials)
    seed = (seed * 1_000_003 + done) % 2**32
    if "learning_rate" in space.varied:
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.BruteForceSampler(seed=seed)


def importances(study: optuna.Study) -> dict[str, float]:
    """How much of what the trials differ by each setting explains; empty where too few tell.

    By fANOVA, which explains the variance. Optuna's default, PED-ANOVA, tells what the best trials
    have in common, and with ten trials names settings that change nothing.
    """
    import optuna

    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < LEAST_FOR_IMPORTANCES or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}


def check_optuna() -> Any:
    """Optuna's module.

    Raises:
        ClassicsError: If it is not installed.
    """
    return extras.load("tune", "optuna")
