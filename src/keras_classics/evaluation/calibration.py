"""Confidences that mean what they say: temperature, reliability, and a threshold to reject by."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from keras_classics.evaluation.metrics import LEAST, interval_of
from keras_classics.evaluation.temperature import TINY, Calibration, Floats, with_temperature

Labels = npt.NDArray[np.integer[Any]]

HOTTEST = 20.0  # times; beyond it a network knows nothing
TRUSTED_IMAGES = 200  # of the validation part; with fewer a temperature is rough
TRUSTED_ERRORS = 10  # as the temperature is learnt from the errors above all
DELTA = 0.1  # probability with which a promised threshold may break its promise
MOST_VALUES = (
    20_000_000  # probabilities that a temperature is fitted to; more change no digit of it
)
BINS = 15  # as in Guo et al. 2017
PER_BIN = 30  # images; with fewer the accuracy of a bin says little


@dataclass(frozen=True)
class Bin:
    """Images of about the same confidence."""

    images: int
    confidence: float  # mean
    accuracy: float
    interval: tuple[float, float]  # of the accuracy, 95 %


@dataclass(frozen=True)
class Reliability:
    """How far confidences can be believed."""

    bins: tuple[Bin, ...]  # of about as many images each, the least confident first
    ece: float  # expected calibration error: bins of equal width, as it is usually published
    adaptive_ece: float  # the same over bins of as many images each, which is less erratic
    confidence: float  # mean
    log_loss: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


def calibrate(probabilities: Floats, labels: Labels, *, target: float | None = None) -> Calibration:
    """Fit temperature and threshold on a validation part, which was not learnt from.

    Args:
        probabilities: (n, classes), as the network gives them; at least one image.
        labels: (n,) true classes, from 0.
        target: Accuracy wanted of what is answered; by default half of the errors go.
    """
    images = len(labels)
    right = probabilities.argmax(axis=1) == labels
    errors = images - int(right.sum())
    temperature = fit_temperature(probabilities, labels)
    confidence = with_temperature(probabilities, temperature).max(axis=1)
    wanted = 1 - errors / images / 2 if target is None else target
    threshold, promised = fit_threshold(confidence, right, wanted)
    warning = None
    if images < TRUSTED_IMAGES:
        warning = f"fitted on {images:,} validation images: {TRUSTED_IMAGES} or more are reliable"
    elif errors < TRUSTED_ERRORS:
        warning = (
            f"fitted on {images:,} validation images with {errors} errors among them: "
            f"{TRUSTED_ERRORS} or more errors are reliable"
        )
    return Calibration(temperature, threshold, wanted, promised, images, warning)


def fit_temperature(probabilities: Floats, labels: Labels) -> float:
    """The temperature with the least log loss (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    A weak prior, normal in log T around T = 1, keeps a few images from going to extremes; among
    hundreds it is not seen. Where no image is wrong, nothing is known of the errors, and T is 1.
    """
    if not (probabilities.argmax(axis=1) != labels).any():
        return 1.0
    most = max(1, MOST_VALUES // probabilities.shape[1])
    if len(labels) > most:
        chosen = np.random.default_rng(0).choice(len(labels), most, replace=False)
        probabilities, labels = probabilities[chosen], labels[chosen]
    logs = np.log(np.maximum(probabilities.astype(np.float64), TINY))
    rows = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        scaled = logs / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        loss = np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]
        return float(loss.sum()) + log_temperature**2 / 2

    bound = math.log(HOTTEST)
    found = minimize_scalar(cost, bounds=(-bound, bound), method="bounded")
    return float(math.exp(found.x))


def fit_threshold(
    confidence: Floats, right: npt.NDArray[np.bool_], target: float
) -> tuple[float, bool]:
    """The confidence from which on answers are as accurate as wanted, and whether that is promised.

    The threshold answers as many images as it can, and is chosen so that new images like these
    keep to the target with a probability of 90 % (selection with guaranteed risk, Geifman and
    El-Yaniv 2017, https://arxiv.org/abs/1705.08500). Where there are too few images to promise
    that, these images keep to it, and new ones may not.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order].astype(np.float64)
    wrong = np.cumsum(~right[order])
    answered = np.arange(1, len(order) + 1)
    # Images of equal confidence are answered together or not at all.
    last = np.append(ordered[1:] < ordered[:-1], True)
    if wrong[-1] / answered[-1] <= 1 - target + 1e-12:
        return 0.0, _bound(int(wrong[-1]), len(order), DELTA) <= 1 - target
    ends = np.flatnonzero(last)
    steps = max(1, math.ceil(math.log2(len(ends))))
    low, high, promised = 0, len(ends) - 1, -1
    while low <= high:  # over the number answered, as the paper does
        middle = (low + high + 1) // 2
        end = ends[middle]
        if _bound(int(wrong[end]), int(answered[end]), DELTA / steps) <= 1 - target:
            promised, low = middle, middle + 1
        else:
            high = middle - 1
    if promised >= 0:
        return _between(ordered, int(ends[promised])), True
    kept = ends[wrong[ends] / answered[ends] <= 1 - target + 1e-12]
    return (_between(ordered, int(kept[-1])) if len(kept) else 1.0), False


def _bound(wrong: int, images: int, delta: float) -> float:
    """The error rate that is not exceeded with probability 1 - delta (Clopper and Pearson)."""
    return 1.0 if wrong == images else float(beta.ppf(1 - delta, wrong + 1, images - wrong))


def _between(ordered: npt.NDArray[np.float64], last: int) -> float:
    """A threshold below the last confidence that is answered and above the next."""
    if last + 1 == len(ordered):
        return 0.0
    middle = float(ordered[last] + ordered[last + 1]) / 2
    return middle if ordered[last + 1] < middle else float(ordered[last])


def reliability(probabilities: Floats, labels: Labels, *, bins: int = BINS) -> Reliability:
    """Compare confidence with accuracy.

    Args:
        probabilities: (n, classes); at least one image.
        labels: (n,) true classes, from 0.
        bins: Of the errors and the diagram; fewer where there are fewer than 30 images for each.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(labels) // PER_BIN)))
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    width = np.minimum((confidence * bins).astype(int), bins - 1)
    return Reliability(
        bins=tuple(
            Bin(
                images=len(part),
                confidence=float(confidence[part].mean()),
                accuracy=float(right[part].mean()),
                interval=interval_of(int(right[part].sum()), len(part)),
            )
            for part in parts
        ),
        ece=_gap(confidence, right, [np.flatnonzero(width == i) for i in range(bins)]),
        adaptive_ece=_gap(confidence, right, parts),
        confidence=float(confidence.mean()),
        log_loss=float(-np.log(np.maximum(given, LEAST)).mean()),
    )


def _gap(
    confidence: npt.NDArray[np.float64],
    right: npt.NDArray[np.bool_],
    parts: list[npt.NDArray[np.intp]],
) -> float:
    """The mean difference of confidence and accuracy, weighted by the images of each part."""
    gaps = (
        abs(float(confidence[part].mean()) - float(right[part].mean())) * len(part)
        for part in parts
        if len(part)
    )
    return sum(gaps) / len(right)


@dataclass(frozen=True)
class Selection:
    """What a threshold makes of a set of images."""

    threshold: float
    images: int
    answered: int
    right: int  # of those answered

    @property
    def coverage(self) -> float:
        """The fraction that is answered."""
        return self.answered / self.images

    @property
    def coverage_interval(self) -> tuple[float, float]:
        """Its 95 % confidence interval."""
        return interval_of(self.answered, self.images)

    @property
    def accuracy(self) -> float | None:
        """Of what is answered; None where nothing is."""
        return self.right / self.answered if self.answered else None

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """Its 95 % confidence interval."""
        return interval_of(self.right, self.answered) if self.answered else None

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            **asdict(self),
            "coverage": self.coverage,
            "coverage_interval": self.coverage_interval,
            "accuracy": self.accuracy,
            "accuracy_interval": self.accuracy_interval,
        }


def select(probabilities: Floats, labels: Labels, threshold: float) -> Selection:
    """How many images a threshold answers, and how many of these rightly."""
    answered = probabilities.max(axis=1) >= threshold
    right = (probabilities.argmax(axis=1) == labels) & answered
    return Selection(threshold, len(labels), int(answered.sum()), int(right.sum()))


def risk_coverage(
    probabilities: Floats, labels: Labels, *, points: int = 100
) -> tuple[tuple[float, float], ...]:
    """Coverage and error of what is answered, over all thresholds; at most so many points."""
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = np.cumsum((probabilities.argmax(axis=1) != labels)[order])
    chosen = np.unique(np.linspace(1, len(order), min(points, len(order))).round().astype(int))
    return tuple((float(n / len(order)), float(wrong[n - 1] / n)) for n in chosen)
