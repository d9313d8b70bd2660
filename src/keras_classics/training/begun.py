"""A run whose folder is in its place: what it has in hand, how it is fitted, how it ends."""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.classifier.artefact import Classifier, splits_of, write_artefact
from keras_classics.classifier.card import CARD, RECORD, Card
from keras_classics.errors import NothingLearntError, OutputError
from keras_classics.evaluation.assessment import Judged
from keras_classics.evaluation.metrics import Judgement
from keras_classics.host.interrupts import Interrupts
from keras_classics.host.staging import Staging
from keras_classics.training.checkpoint import Checkpoints, Progress
from keras_classics.training.fitting import Fitting, feed, fit, settle
from keras_classics.training.images import Images
from keras_classics.training.judging import Conclusion, conclude
from keras_classics.training.record import Record
from keras_classics.training.start import StartingNetwork
from keras_classics.training.task import Task

CHECKPOINTS = "checkpoints"  # in the folder of a run until it is finished

Parts = dict[str, Judged]
Predict = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""From indices of images to probabilities (n, classes)."""


@dataclass(frozen=True)
class Run:
    """What came of a run."""

    artefact: Path
    classifier: Classifier
    judgement: Judgement | None  # on the held-out images; None if the run was interrupted
    epochs: int  # that were completed
    best_epoch: int  # 0: the head's, as fine-tuning was not better
    seconds: float  # of this process
    interrupted: bool  # by Ctrl-C; it can be gone on with
    diverged: bool  # stopped, because the loss was no number any more
    stopped: str  # why early; empty if it did not
    moved: str | None  # why the artefact is not where it was asked for; None if it is
    # With trained weights: the head's figures beside those of the fine-tuned network.
    transfer: Mapping[str, Any] | None = None


@dataclass
class Begun:
    """A run that is going on in this process."""

    task: Task
    stage: Staging
    interrupts: Interrupts
    record: Record
    network: StartingNetwork
    data: Images
    card: Card
    progress: Progress | None  # of the process that was interrupted or killed

    def fitted(self, *, deadline: float = math.inf) -> tuple[Fitting, keras.Model]:
        """Train, and the network of the best epoch as it is kept.

        Args:
            deadline: As in `fit`.

        Raises:
            NothingLearntError, DivergedError: As in `fit`.
        """
        task, recipe, interrupts = self.task, self.task.recipe, self.interrupts
        batches = feed(self.network, recipe, self.data, seed=task.config.seed)
        fitting = fit(
            self.network,
            recipe,
            batches,
            tell=task.tell,
            interrupts=interrupts,
            checkpoints=Checkpoints(
                self.stage.folder / CHECKPOINTS, every=task.config.checkpoint_every
            ),
            begin=self.progress,
            deadline=deadline,
        )
        interrupts.at_once = False
        kept = self.network.finished()
        settle(kept, recipe, batches, fitting, interrupts)
        return fitting, kept

    def plan(self, epochs: int) -> None:
        """Fine-tune for so many epochs, also in a process that goes on with the run."""
        self.task = dataclasses.replace(
            self.task, recipe=dataclasses.replace(self.task.recipe, epochs=epochs)
        )
        self.card = dataclasses.replace(self.card, recipe={**self.card.recipe, "epochs": epochs})
        if self.record.planned is None:
            self.record = dataclasses.replace(self.record, recipe=self.task.recipe, planned=epochs)
            self.record.write(self.stage.folder)

    def classifier(self, network: keras.Model) -> Classifier:
        """What is kept of the run, not judged yet."""
        return Classifier(network, self.card, splits=splits_of(self.data.listing))

    def judged(self, predict: Predict) -> Parts:
        """The images of each part, and what a network says of those it was not trained on."""
        return {
            name: self._judged(name, predict)
            for name in ("train", "val", "test")
            if len(self.data.part(name))
        }

    def _judged(self, name: str, predict: Predict) -> Judged:
        data = self.data
        indices = data.part(name)

        def pictures(chosen: Sequence[int]) -> npt.NDArray[np.uint8]:
            return np.concatenate(list(data.chunks(indices[np.asarray(chosen)], 256)))

        return Judged(
            paths=[data.listing.items[i].name for i in indices],
            labels=data.labels[indices],
            probabilities=None if name == "train" else predict(indices),
            pictures=pictures,
        )

    def predictions(self, classifier: Classifier) -> Predict:
        """Those of a network."""
        size = self.task.recipe.batch_size

        def predict(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            chunks = self.data.chunks(indices, size)
            return np.concatenate(
                [classifier.probabilities(chunk, batch_size=size) for chunk in chunks]
            )

        return predict

    def end(
        self,
        classifier: Classifier,
        fitting: Fitting,
        parts: Parts | None,
        *,
        transfer: Mapping[str, Any] | None = None,
        over: bool = True,
    ) -> Run:
        """Judge once on the held-out images, and write the artefact with its report.

        Args:
            classifier: Not judged yet.
            fitting: What came of training.
            parts: From `judged`; None where the run was interrupted.
            transfer: The head's figures and those of fine-tuning.
            over: Whether nothing is left to go on with.
        """
        task, stage = self.task, self.stage
        conclusion = conclude(
            dataclasses.replace(classifier.card, history=fitting.history, recipe=self.card.recipe),
            parts,
            config=task.asked,
            seconds=time.monotonic() - task.began,
            best_epoch=fitting.best_epoch,
            diverged=fitting.diverged,
            transfer=transfer,
            model=classifier.model,
        )
        classifier.card = conclusion.card
        moved = self._write_somewhere(classifier, conclusion)
        if over and conclusion.card.completed:
            shutil.rmtree(stage.folder / CHECKPOINTS, ignore_errors=True)
            (stage.folder / RECORD).unlink(missing_ok=True)
        return Run(
            artefact=stage.out,
            classifier=classifier,
            judgement=conclusion.judgement,
            epochs=len(fitting.history),
            best_epoch=fitting.best_epoch,
            seconds=time.monotonic() - task.began,
            interrupted=fitting.interrupted or conclusion.judgement is None,
            diverged=fitting.diverged,
            stopped=fitting.stopped,
            moved=moved,
            transfer=transfer,
        )

    def nothing(self, error: NothingLearntError | str) -> NothingLearntError:
        """What is told of a run that has nothing to keep, and whether it can be gone on with."""
        after = (
            f"resume with `classics train --resume {self.stage.out}`."
            if self.stage.kept
            else "nothing was saved."
        )
        return NothingLearntError(f"{str(error).rstrip('.')}: {after}")

    def _write_somewhere(self, classifier: Classifier, conclusion: Conclusion) -> str | None:
        """Write the artefact, in the system's temporary folder if need be; why there, if there."""
        moved = None
        try:
            self._write(classifier, conclusion)
        except OutputError as error:  # the disk is full, but hours of training are in memory
            moved = str(error)
            self.stage.move_to_safety()
            self._write(classifier, conclusion)
        self.stage.kept = True
        return moved

    def _write(self, classifier: Classifier, conclusion: Conclusion) -> None:
        with self.stage.whole(last=CARD) as folder:
            write_artefact(folder, classifier.model, classifier.card, self.data.listing)
            conclusion.write(folder)
