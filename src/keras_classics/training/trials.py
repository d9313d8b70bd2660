"""The trials of a tuning: their outcomes, and the study that keeps them on the disk."""

from __future__ import annotations

import dataclasses
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

STUDY = "study.db"  # in the folder of a tuning; SQLite, which a killed process cannot tear
NAME = "tune"
STARTUP = 5  # trials drawn at random before the sampler learns from them; Optuna's 10 are hours
LEAST_FOR_PRUNING = 3  # complete trials, before one is compared with them
LEAST_FOR_IMPORTANCES = 8  # complete trials; of fewer the figures are noise

Status = Literal[
    "complete",
    "pruned",  # worse than the median of the others at the same epoch
    "out of time",  # stopped at the end of the budget
    "diverged",  # the loss was no number any more
    "no memory",
    "too long",  # not begun: would not have ended within the budget
    "repeat",  # not begun: the same settings have been tried
    "interrupted",  # by Ctrl-C; tried again when the tuning goes on
    "killed",  # with its process; tried again once, as it may have been the reason
]
NEVER_RUN = ("too long", "repeat")


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
    setup: float = 0.0  # seconds until the first step was done
    seconds: float = 0.0  # in all

    @property
    def judged(self) -> bool:
        """Whether its value counts."""
        return self.value is not None and self.status in {"complete", "pruned", "out of time"}


def rank(trial: Trial, monitor: Monitor) -> tuple[float, float]:
    """The higher, the better; the loss decides between equal figures, as it does among epochs."""
    value, loss = trial.value or 0.0, -(trial.loss or 0.0)
    return (loss, loss) if monitor == "val_loss" else (value, loss)


def best_of(trials: Sequence[Trial], monitor: Monitor) -> Trial | None:
    """The best one; of equals the first."""
    judged = [trial for trial in trials if trial.judged]
    return max(judged, key=lambda trial: rank(trial, monitor), default=None)


class Study:
    """Optuna's study, a trial at a time.

    Sampler: TPE, seeded anew for every trial by the run's seed and the trial's number, so that a
    tuning that was interrupted draws what it would have drawn. Pruner: the median of the complete
    trials at the same epoch, from a third of the epochs on. Hyperband needs more trials than a
    budget of minutes holds, and models each of its brackets apart; the Wilcoxon pruner compares the
    parts of a mean, which the epochs of a run are not.
    """

    def __init__(self, study: optuna.Study, space: Space, *, seed: int) -> None:
        self._study, self._space, self._seed = study, space, seed

    def trials(self) -> tuple[Trial, ...]:
        """All that were begun or drawn, in their order."""
        return tuple(
            _outcome(trial.user_attrs["outcome"])
            for trial in self._study.trials
            if "outcome" in trial.user_attrs
        )

    def begin(self) -> tuple[optuna.Trial, Settings]:
        """The next trial."""
        import optuna

        number = len(self._study.trials)
        self._study.sampler = optuna.samplers.TPESampler(
            seed=(self._seed * 1_000_003 + number) % 2**32, n_startup_trials=STARTUP
        )
        trial = self._study.ask()
        return trial, self._space.suggest(trial)

    def end(self, trial: optuna.Trial, outcome: Trial) -> None:
        """Write down what came of it."""
        from optuna.trial import TrialState

        trial.set_user_attr("outcome", dataclasses.asdict(outcome))
        if outcome.status == "complete":
            self._study.tell(trial, outcome.value)
        elif outcome.status in {"interrupted", "killed", *NEVER_RUN}:
            self._study.tell(trial, state=TrialState.FAIL)
        else:  # the sampler learns from these, too
            self._study.tell(trial, state=TrialState.PRUNED)

    def go_on(self) -> None:
        """After an interruption: what was running is over, and is tried again."""
        from optuna.trial import TrialState

        for left in self._study.trials:
            if left.state == TrialState.RUNNING:
                gone = Trial(left.number, self._space.settings(left.params), "killed")
                storage = self._study._storage
                storage.set_trial_user_attr(left._trial_id, "outcome", dataclasses.asdict(gone))
                self._study.tell(left.number, state=TrialState.FAIL)
        trials = self._study.trials
        again = {trial.user_attrs.get("again") for trial in trials}
        for trial in trials:
            status = trial.user_attrs.get("outcome", {}).get("status")
            twice = status == "killed" and "again" in trial.user_attrs
            wanted = status in {"interrupted", "killed"} and not twice
            if wanted and trial.number not in again:
                self._study.enqueue_trial(trial.params, user_attrs={"again": trial.number})

    @property
    def spent(self) -> float:
        """Seconds that this tuning took before, as far as they were written down."""
        return float(self._study.user_attrs.get("spent", 0.0))

    @spent.setter
    def spent(self, seconds: float) -> None:
        self._study.set_user_attr("spent", seconds)

    def importances(self) -> dict[str, float]:
        """How much of what the trials differ by each setting explains; empty where too few tell."""
        import optuna

        complete = [trial for trial in self.trials() if trial.status == "complete"]
        if len(complete) < LEAST_FOR_IMPORTANCES or len({t.value for t in complete}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the evaluator thinks of few trials
            found = optuna.importance.get_param_importances(self._study)
        return {name: float(value) for name, value in found.items()}


@contextmanager
def open_study(
    folder: Path, space: Space, *, monitor: Monitor, epochs: int, seed: int
) -> Iterator[Study]:
    """The study in a folder, which is made where there is none.

    Args:
        folder: Of the tuning.
        space: Of the study.
        monitor: What is made better.
        epochs: Of a complete trial.
        seed: Of the sampler.

    Raises:
        ClassicsError: If Optuna is not installed, or its file is torn.
    """
    optuna = check_optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / STUDY).resolve()}")
        except Exception as error:  # what it raises, depends on what the file holds
            raise ClassicsError(f"{folder / STUDY}: not a study or corrupt.") from error
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=NAME,
                load_if_exists=True,
                direction="minimize" if monitor == "val_loss" else "maximize",
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=LEAST_FOR_PRUNING, n_warmup_steps=max(1, epochs // 3)
                ),
            )
            if not study.trials:
                fixed = {name: getattr(space.default, name) for name in space.varied}
                study.enqueue_trial(fixed)
            yield Study(study, space, seed=seed)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    finally:
        optuna.logging.set_verbosity(verbosity)


def check_optuna() -> Any:
    """Optuna's module.

    Raises:
        ClassicsError: If it is not installed.
    """
    return extras.load("tune", "optuna")


def _outcome(values: dict[str, Any]) -> Trial:
    return Trial(**{**values, "settings": Settings(**values["settings"])})
