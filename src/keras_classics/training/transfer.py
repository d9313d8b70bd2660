"""A run from trained weights: a new head on features computed once, then fine-tuning.

The head is judged and written before fine-tuning begins, so that whatever comes then, it is there.
The fine-tuned network takes its place only if it is better on the validation part.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.classifier.artefact import Classifier
from keras_classics.errors import ClassicsError, DivergedError, NothingLearntError
from keras_classics.evaluation.metrics import LEAST, judge
from keras_classics.training.begun import Begun, Parts, Predict, Run
from keras_classics.training.events import Estimated, Features, HeadFitted
from keras_classics.training.fitted_head import fit_head_of, standing
from keras_classics.training.fitting import Fitting, TimeIsUpError
from keras_classics.training.recipe import Monitor

# What a step of fine-tuning takes, in passes of the folded network over the same images, and what
# an image of the validation part does: docs/speed.md.
STEP, PASS = 4.0, 1.3
SHARES = (1.0, 0.75, 0.5, 0.25)  # of fine-tuning in the weights that are tried
AVERAGED_BY = 1000  # validation images, at most
BUILDING = 12.0  # seconds until the first step of fine-tuning is done
ENDING = 5.0  # seconds to judge and to write, before it is known better


@dataclass(frozen=True)
class Contender:
    """The head, or the fine-tuned network."""

    classifier: Classifier
    parts: Parts
    seconds: float
    epochs: int = 0
    share: float = 0.0  # of fine-tuning in the weights

    @property
    def validation(self) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.integer[Any]]]:
        """Probabilities and labels of the validation part."""
        val = self.parts["val"]
        if val.probabilities is None:
            raise ValueError("the validation part was not predicted.")
        return val.probabilities, val.labels

    def rank(self, monitor: Monitor) -> tuple[float, float]:
        """On the validation part: the higher, the better; the loss decides between equals."""
        return standing(*self.validation, self.classifier.card.class_names, monitor)

    def is_better_than(self, other: Contender, monitor: Monitor) -> bool:
        """Whether it is better on the validation part by more than one standard error.

        One picture of forty is no reason to prefer what took minutes and may have gone too far.
        """
        gain = self._scores(monitor) - other._scores(monitor)
        convincing = gain.sum() > 0 and gain.sum() ** 2 > np.square(gain).sum()
        return bool(convincing) and self.rank(monitor) > other.rank(monitor)

    def cannot_be_beaten(self, monitor: Monitor) -> bool:
        """Whether no network is better than this one by more than one standard error.

        One image that it misclassifies is none to prefer another by.
        """
        return monitor != "val_loss" and bool((1 - self._scores(monitor)).sum() < 2)

    def _scores(self, monitor: Monitor) -> npt.NDArray[np.float64]:
        """Of each validation image: whether it is right, or its log-likelihood."""
        probabilities, labels = self.validation
        if monitor == "val_loss":
            given = probabilities[np.arange(len(labels)), labels]
            return np.asarray(np.log(np.maximum(given.astype(np.float64), LEAST)))
        return np.asarray(probabilities.argmax(axis=1) == labels, np.float64)

    def figures(self) -> dict[str, Any]:
        """Accuracies with intervals, as plain values."""
        return {
            **{name: self._accuracy(name) for name in ("val", "test")},
            "seconds": self.seconds,
            "epochs": self.epochs,
            "share": self.share,
        }

    def _accuracy(self, name: str) -> dict[str, Any] | None:
        part = self.parts.get(name)
        if part is None or part.probabilities is None:
            return None
        found = judge(part.probabilities, part.labels, self.classifier.card.class_names)
        return {
            "images": found.images,
            "right": found.right,
            "accuracy": found.accuracy,
            "accuracy_interval": found.accuracy_interval,
        }


@dataclass
class _Clock:
    """The time that a run may take, and what its work is estimated to take of it."""

    begun: Begun
    rate: float = 0.0  # images a second of the folded network; 0: not known
    ending: float = ENDING

    @property
    def deadline(self) -> float:
        """Of `time.monotonic`, for all but the end of the run."""
        minutes = self.begun.task.config.minutes
        if minutes is None:
            return math.inf
        return self.begun.task.began + 60 * minutes - self.ending

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.deadline - time.monotonic()

    def epoch(self) -> float:
        """Seconds that an epoch of fine-tuning takes; 0: not known."""
        counts = self.begun.data.counts
        return epoch_seconds(counts["train"], counts["val"], self.rate) if self.rate else 0.0

    def fine_tuning(self, epochs: int) -> float:
        """Seconds that so many epochs take."""
        return BUILDING + epochs * self.epoch() if epochs else 0.0

    def fitting(self, epochs: int) -> int:
        """How many of so many epochs fit."""
        if self.deadline == math.inf or not self.rate:
            return epochs
        return min(epochs, max(0, int((self.left - BUILDING) / self.epoch())))


def epoch_seconds(train: int, val: int, rate: float) -> float:
    """Seconds that an epoch of fine-tuning takes.

    Args:
        train: Images of the training part.
        val: Images of the validation part.
        rate: Images a second of the folded network.
    """
    return (STEP * train + PASS * val) / rate


def from_trained_weights(begun: Begun) -> Run:
    """Fit a head, fine-tune from it, keep what is better."""
    clock = _Clock(begun)
    wanted, why = _wanted(begun)
    try:
        head, regularisation = _head(begun, clock, wanted)
        if wanted and head.cannot_be_beaten(begun.task.recipe.selection.monitor):
            wanted, why = 0, "no network can be clearly better on the validation images"
        epochs = clock.fitting(wanted) if begun.record.planned is None else begun.record.planned
        begun.task.tell(_head_fitted(head, regularisation, clock, epochs=epochs, wanted=wanted))
        if wanted and not epochs:
            why = f"fine-tuning does not fit into --minutes {begun.task.config.minutes:g}"
        told = _Told(begun, head, regularisation)
        began = time.monotonic()
        run = told.ended(head, Fitting([], 0), why=why, over=not epochs)
        clock.ending = time.monotonic() - began
    except KeyboardInterrupt:
        raise begun.nothing("interrupted before the head was fitted") from None
    if not epochs:
        return run
    begun.plan(epochs)
    return _fine_tuned(begun, told, clock)


def _wanted(begun: Begun) -> tuple[int, str]:
    """The epochs of fine-tuning, and why there are none."""
    if not begun.task.fine_tunes:
        return 0, "fine-tuning was switched off"
    if not len(begun.data.part("val")):
        return 0, "there are too few images for a validation part, which fine-tuning needs"
    return begun.task.recipe.epochs, "fine-tuning has not ended"


def _head(begun: Begun, clock: _Clock, wanted: int) -> tuple[Contender, float]:
    """The network with a head that is fitted to the features, and C."""
    began = time.monotonic()
    task, data, network = begun.task, begun.data, begun.network
    estimated = False

    def told(done: int, total: int, rate: float) -> None:
        nonlocal estimated
        clock.rate = rate or clock.rate
        if not estimated and (rate or done == total):
            estimated = True
            features = (total - done) / rate if rate else 0.0
            _check_time(clock, features)
            begun.stage.kept = True  # from here on there is something to go on with
            seconds = clock.fine_tuning(wanted) if rate else 0.0
            task.tell(Estimated(features, seconds, wanted, task.config.minutes))
        task.tell(Features(done, total, rate))

    fitted = fit_head_of(task, network, data, begun.stage.folder, told=told)
    parts = begun.judged(fitted.probabilities)
    seconds = time.monotonic() - began
    contender = Contender(begun.classifier(fitted.network), parts, seconds)
    return contender, fitted.head.chosen.regularisation


def _check_time(clock: _Clock, features: float) -> None:
    """Refuse a run whose head alone would take longer than it may.

    Raises:
        ClassicsError: With the time that is needed.
    """
    if features <= clock.left:
        return
    minutes = clock.begun.task.config.minutes
    needed = time.monotonic() - clock.begun.task.began + features + clock.ending
    raise ClassicsError(
        f"minutes={minutes:g}: the head alone takes about {needed:.0f} s here; give at least "
        f"--minutes {math.ceil(needed / 6) / 10:g}."
    )


def _head_fitted(
    head: Contender, regularisation: float, clock: _Clock, *, epochs: int, wanted: int
) -> HeadFitted:
    val = head.figures()["val"]
    return HeadFitted(
        accuracy=val["accuracy"] if val else None,
        images=val["images"] if val else 0,
        regularisation=regularisation,
        seconds=head.seconds,
        epochs=epochs,
        wanted=wanted,
        fine_tuning=clock.fine_tuning(epochs) if clock.rate else 0.0,
    )


@dataclass(frozen=True)
class _Told:
    """What a run tells of its two networks."""

    begun: Begun
    head: Contender
    regularisation: float

    def ended(
        self,
        kept: Contender,
        fitting: Fitting,
        *,
        why: str,
        tuned: Contender | None = None,
        over: bool = True,
    ) -> Run:
        """End the run, or what is done of it, with one of the two."""
        if kept is self.head:
            fitting = dataclasses.replace(fitting, best_epoch=0)
        transfer: Mapping[str, Any] = {
            "began_with": self.begun.network.began_with,
            "kept": "head" if kept is self.head else "fine-tuned",
            "why": why,
            "head": self.head.figures(),
            "fine_tuned": tuned.figures() if tuned else None,
            "regularisation": self.regularisation,
            "features": self.begun.network.head.input.shape[-1],
        }
        return self.begun.end(kept.classifier, fitting, kept.parts, transfer=transfer, over=over)


def _fine_tuned(begun: Begun, told: _Told, clock: _Clock) -> Run:
    """Fine-tune, and end the run with the better of the two networks."""
    began = time.monotonic()
    interrupts, head, epochs = begun.interrupts, told.head, begun.task.recipe.epochs
    fitting, kept, tuned = Fitting([], 0), None, None
    try:
        interrupts.at_once = True
        fitting, kept = begun.fitted(deadline=clock.deadline)
    except TimeIsUpError:
        fitting.late = True
    except NothingLearntError:
        fitting.interrupted = True
    except DivergedError:
        fitting.diverged = True
    finally:
        interrupts.at_once = False
    if kept is not None:
        tuned = _contender(begun, head, kept, began, len(fitting.history))
    better = tuned is not None and tuned.is_better_than(head, begun.task.recipe.selection.monitor)
    return told.ended(
        tuned if tuned and better else head,
        fitting,
        why=_why(fitting, epochs, better=better),
        tuned=tuned,
        over=not fitting.interrupted,
    )


def _contender(
    begun: Begun, head: Contender, kept: keras.Model, began: float, epochs: int
) -> Contender | None:
    """The fine-tuned network; None if Ctrl-C is pressed (again) while it is judged."""
    classifier = begun.classifier(kept)
    predict = begun.predictions(classifier)
    try:
        with begun.interrupts.allowed(again=True):
            share = _averaged(begun, head.classifier.model, kept, predict)
            parts = begun.judged(predict)
    except KeyboardInterrupt:
        return None
    return Contender(classifier, parts, time.monotonic() - began, epochs, share)


def _averaged(begun: Begun, head: keras.Model, kept: keras.Model, predict: Predict) -> float:
    """Take the fine-tuned network back towards the head, as far as is best on the validation part.

    The mean of the weights before and after fine-tuning is often better than either: Wortsman et
    al. 2022, https://arxiv.org/abs/2109.01903.

    Returns:
        The share of the weights after it.
    """
    transfer = begun.task.recipe.transfer
    if transfer is None or transfer.batch_norm == "train":
        return 1.0  # statistics of batch norm have no such mean
    val = begun.data.part("val")
    chosen = np.random.default_rng(begun.task.config.seed).permutation(val)[:AVERAGED_BY]
    labels, names = begun.data.labels[chosen], begun.card.class_names
    before, after = head.get_weights(), kept.get_weights()

    def put(share: float) -> None:
        kept.set_weights([share * b + (1 - share) * a for a, b in zip(before, after, strict=True)])

    def rank(share: float) -> tuple[float, float]:
        put(share)
        return standing(predict(chosen), labels, names, begun.task.recipe.selection.monitor)

    best = max(SHARES, key=rank)
    put(best)
    return best


def _why(fitting: Fitting, epochs: int, *, better: bool) -> str:
    """Why the one network is kept and not the other."""
    done = len(fitting.history)
    ended = ""
    if fitting.diverged:
        ended = "the loss of fine-tuning became not a number"
    elif fitting.interrupted or fitting.late:
        what = "was interrupted" if fitting.interrupted else "ran out of time"
        where = f"after epoch {done} of {epochs}" if done else "before its first epoch was over"
        ended = f"fine-tuning {what} {where}"
    if better:
        found = "the fine-tuned network is clearly better on the validation images"
    elif done:
        found = "the fine-tuned network is not clearly better on the validation images"
    else:
        found = ""
    return "; ".join(part for part in (ended, found) if part)
