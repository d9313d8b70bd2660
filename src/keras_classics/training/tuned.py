"""What comes of a tuning, and what to make of its figures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_classics.evaluation.metrics import interval
from keras_classics.training.begun import Run
from keras_classics.training.config import TrainConfig
from keras_classics.training.head_search import HeadTrial, best_head
from keras_classics.training.judging import command
from keras_classics.training.recipe import Monitor
from keras_classics.training.search_space import Settings, Space
from keras_classics.training.trials import Trial, best_of, rank


@dataclass(frozen=True)
class Tuned:
    """What came of a tuning."""

    folder: Path
    space: Space
    trials: tuple[Trial, ...]
    monitor: Monitor
    val_images: int  # that the trials were compared on
    importances: dict[str, float]
    run: Run | None  # None if it was interrupted before
    interrupted: bool
    moved: int = 0  # images that the final run had in another part than the trials
    heads: tuple[HeadTrial, ...] = ()  # of trained weights, with which the tuning began

    @property
    def best(self) -> Trial | None:
        """None where no trial ended an epoch: the recipe's own settings then."""
        return best_of(self.trials, self.monitor)

    @property
    def head(self) -> HeadTrial | None:
        """The best of the heads, whose network and size the trials have."""
        return best_head(self.heads, self.monitor)

    @property
    def first(self) -> Trial | None:
        """The trial of the recipe's own settings, or of those nearest to them."""
        own = [trial for trial in self.trials if trial.settings == self.space.default]
        return next((trial for trial in own if trial.judged), None)

    @property
    def settings(self) -> Settings:
        """The best ones."""
        return self.best.settings if self.best else self.space.default

    @property
    def config(self) -> TrainConfig:
        """A run with them."""
        return self.space.config(self.settings)

    @property
    def ranked(self) -> list[Trial]:
        """The trials whose figures count, the best first."""
        judged = [trial for trial in self.trials if trial.judged]
        return sorted(judged, key=lambda trial: rank(trial, self.monitor), reverse=True)

    @property
    def command(self) -> str:
        """That repeats the final run."""
        return command(self.config)

    def remarks(self) -> list[str]:
        """What to make of the figures."""
        best, first, said = self.best, self.first, []
        compared, what = len(self.ranked), "trials"
        if best is None and self.heads:
            compared, what = sum(head.judged for head in self.heads), "heads"
        if best is None and self.trials:
            said.append("no trial completed an epoch: the final run has the recipe's own settings")
        elif best and best.settings == self.space.own:
            said.append("no settings were better than the recipe's own on the validation part")
        elif best and first and first.settings == self.space.own:
            said.append(
                f"validation: {self._figure(best)}; with the recipe's own settings: "
                f"{self._figure(first)}; {self.val_images:,} images"
            )
        if compared > 1:
            said.append(
                f"the best of {compared} {what} is partly luck: expect less on new images, and "
                "trust the held-out figures"
            )
        if self.moved:
            said.append(
                f"{self.moved} images were in another part in the final run than in the trials: "
                "which images are near copies depends on the input size"
            )
        return said

    def _figure(self, trial: Trial) -> str:
        value = trial.value or 0.0
        if self.monitor == "val_loss":
            return f"loss {value:.3f}"
        if self.monitor == "val_f1":
            return f"F1 {value:.1%}"
        low, high = interval(value, self.val_images)
        return f"{value:.1%} ({low:.1%} to {high:.1%})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        judgement = self.run.judgement if self.run else None
        return {
            "folder": str(self.folder),
            "monitor": self.monitor,
            "best": dataclasses.asdict(self.best) if self.best else None,
            "recipes_own": dataclasses.asdict(self.first) if self.first else None,
            "command": self.command,
            "heads": [dataclasses.asdict(head) for head in self.heads],
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
            "importances": self.importances,
            "validation_images": self.val_images,
            "moved_images": self.moved,
            "interrupted": self.interrupted,
            "artefact": str(self.run.artefact) if self.run else None,
            "held_out": judgement.to_dict() if judgement else None,
        }
