"""The linear head on features that a frozen network gives: multinomial logistic regression.

The problem is convex, so it is solved, not trained: L-BFGS on the exact objective until it
converges, with the penalty chosen on the validation part. The objective is that of scikit-learn's
`LogisticRegression`. Here it is summed chunk by chunk, so that memory does not grow with the number
of images, and the features are scaled in the kernel, so that nothing is put in front of the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from keras_classics.training.recipe import Monitor

# Inverse of the penalty, scikit-learn's C, from the strongest penalty on: each fit begins where
# the one before ended.
STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(-6, 5))
ENOUGH = 2  # in a row that are worse than the best one
# Where there is no validation part; within a point of the best on every set of docs/transfer.md.
UNCHOSEN = 0.1

TOLERANCE = 1e-4  # largest entry of the gradient of the mean loss; scikit-learn's
FLAT = 1e-7  # relative fall of the loss in a step: about what float32 can tell
ITERATIONS = 1000

AT_A_TIME = 512  # images; their features stay in the cache from one product to the next
MANY = 256  # classes, from which on the products are worth a second thread
LOGITS = 2**23  # at a time: 32 MiB of them
COPIED = 512 * 1024**2  # bytes of features up to which those learnt from are put side by side

Array = npt.NDArray[np.floating[Any]]
Double = npt.NDArray[np.float64]
Places = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Tried:
    """A penalty, and what its fit is worth on the validation part."""

    regularisation: float  # C
    iterations: int
    converged: bool
    val_loss: float  # nan without a validation part, as the accuracy
    val_accuracy: float


@dataclass(frozen=True)
class Head:
    """A linear classifier of features."""

    kernel: npt.NDArray[np.float32]  # (d, classes)
    bias: npt.NDArray[np.float32]  # (classes,)
    chosen: Tried
    tried: tuple[Tried, ...]

    def probabilities(self, features: Array) -> npt.NDArray[np.float32]:
        """Those of all classes: (m, d) -> (m, classes), in chunks."""
        rows = _Rows(features, np.arange(len(features)), len(self.bias))
        result = np.empty((len(features), len(self.bias)), np.float32)
        for places, x in rows:
            result[places] = np.exp(log_softmax(x @ self.kernel + self.bias, axis=1))
        return result


def fit_head(
    features: Array,
    labels: Places,
    *,
    train: Places,
    val: Places,
    classes: int,
    class_weights: Array | None = None,
    monitor: Monitor = "val_accuracy",
    tell: Callable[[Tried], None] | None = None,
) -> Head:
    """Fit a linear classifier on the training part; the validation part chooses the penalty.

    It chooses by the log-loss even where accuracy is what counts: accuracy on few images is too
    coarse to choose by, see docs/transfer.md. With "val_f1" all classes count alike in that loss.

    Args:
        features: (n, d), in memory or mapped from a file.
        labels: (n,) from 0 to `classes` - 1.
        train: Indices of the images to learn from, at least one.
        val: Indices of the images to choose by; with none of them, the penalty is a fixed one.
        classes: Their number; there may be some without images.
        class_weights: (classes,) how much an image of each class counts; None for 1.
        monitor: What is to be best on the validation part.
        tell: Told of each penalty that was tried.

    Returns:
        The head; the same for the same arguments, on the same machine.
    """
    objective = _Objective(features, labels, train, classes, class_weights)
    point, tried = objective.begin(), list[Tried]()
    best, kept = 0, objective.weights(point)
    for strength in STRENGTHS if len(val) else (UNCHOSEN,):
        # Threads that wait for one another at each small product take ten times as long.
        with threadpool_limits(1 if classes < MANY else None):
            result = minimize(
                objective,
                point,
                args=(strength,),
                jac=True,
                method="L-BFGS-B",
                options={"gtol": TOLERANCE, "ftol": FLAT, "maxiter": ITERATIONS, "maxfun": 10**9},
            )
        point = result.x
        kernel, bias = objective.weights(point)
        loss, accuracy = _judge(kernel, bias, features, labels, val, macro=monitor == "val_f1")
        # A line search that float32 leaves no better point has converged, too.
        tried.append(Tried(strength, result.nit, result.nit < ITERATIONS, loss, accuracy))
        if tell is not None:
            tell(tried[-1])
        if len(tried) == 1 or loss < tried[best].val_loss:
            best, kept = len(tried) - 1, (kernel, bias)
        elif len(tried) - 1 - best == ENOUGH:
            break
    return Head(*kept, tried[best], tuple(tried))


class _Rows:
    """Some rows of an array, chunk by chunk: where they are, and themselves as float32."""

    def __init__(self, features: Array, places: Places, classes: int) -> None:
        self.features, self.places = features, places
        self.step = max(1, min(AT_A_TIME, LOGITS // classes))

    def __iter__(self) -> Iterator[tuple[Places, npt.NDArray[np.float32]]]:
        for start in range(0, len(self.places), self.step):
            places = self.places[start : start + self.step]
            yield places, np.asarray(self.features[places], np.float32)


class _Objective:
    """Mean log-loss of the training part and penalty, and their gradient.

    The kernel is that of features less their means, each divided by its deviation plus the root of
    the mean variance. That is between scaling all of them alike, which leaves the small ones no
    say, and each to a deviation of one, which gives noise as much say as signal.
    """

    def __init__(
        self,
        features: Array,
        labels: Places,
        train: Places,
        classes: int,
        class_weights: Array | None,
    ) -> None:
        width = features.shape[1]
        if 4 * len(train) * width <= COPIED:
            features, labels = np.asarray(features[train], np.float32), labels[train]
            train = np.arange(len(train))
        self.rows, self.labels = _Rows(features, train, classes), labels
        self.shape = width + 1, classes  # the bias in the last row
        self.class_weights = np.ones(classes) if class_weights is None else class_weights
        # (classes,) the weight of the images of each
        self.mass = np.bincount(labels[train], minlength=classes) * self.class_weights
        total, squares = np.zeros(width), np.zeros(width)
        for _, x in self.rows:
            total += x.sum(axis=0, dtype=np.float64)
            squares += np.square(x).sum(axis=0, dtype=np.float64)
        self.mean = total / len(train)
        variance = np.maximum(squares / len(train) - self.mean**2, 0)
        scale = np.sqrt(variance) + np.sqrt(variance.mean())
        self.scale = np.where(scale > 0, scale, 1)[:, None]

    def begin(self) -> Double:
        """A kernel of zeros, and the classes' frequencies."""
        point = np.zeros(self.shape)
        point[-1] = np.log((self.mass + 0.5) / (self.mass + 0.5).sum())
        return point.ravel()

    def weights(self, point: Double) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Kernel (d, classes) and bias (classes,) for features as they are."""
        scaled, bias = np.split(point.reshape(self.shape), [-1])
        kernel = scaled / self.scale
        return kernel.astype(np.float32), (bias[0] - self.mean @ kernel).astype(np.float32)

    def __call__(self, point: Double, strength: float) -> tuple[float, Double]:
        """The objective, and its gradient."""
        kernel, bias = self.weights(point)
        loss, slope, sums = 0.0, np.zeros(kernel.shape), np.zeros(len(bias))
        for places, x in self.rows:
            labels, each = self.labels[places], np.arange(len(places))
            weights = self.class_weights[labels]
            logs = log_softmax(x @ kernel + bias, axis=1)
            loss -= float(weights @ logs[each, labels].astype(np.float64))
            errors = np.exp(logs, out=logs)
            errors[each, labels] -= 1
            errors *= weights.astype(np.float32)[:, None]
            slope += x.T @ errors
            sums += errors.sum(axis=0, dtype=np.float64)
        gradient = np.vstack([(slope - np.outer(self.mean, sums)) / self.scale, sums])
        penalised = point.reshape(self.shape).copy()
        penalised[-1] = 0  # the bias is free
        loss += float(np.square(penalised).sum()) / (2 * strength)
        gradient += penalised / strength
        mass = self.mass.sum()
        return loss / mass, gradient.ravel() / mass


def _judge(
    kernel: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    features: Array,
    labels: Places,
    val: Places,
    *,
    macro: bool,
) -> tuple[float, float]:
    """Log-loss, of the mean class if `macro`, and accuracy; nan without images."""
    if not len(val):
        return np.nan, np.nan
    losses, right = [], 0
    for places, x in _Rows(features, val, len(bias)):
        logs = log_softmax(x @ kernel + bias, axis=1)
        losses.append(-logs[np.arange(len(places)), labels[places]])
        right += int((logs.argmax(axis=1) == labels[places]).sum())
    each = np.concatenate(losses, dtype=np.float64)
    counts = np.bincount(labels[val], minlength=len(bias))
    of_classes = np.bincount(labels[val], each, len(bias)) / np.maximum(counts, 1)
    loss = of_classes[counts > 0].mean() if macro else each.mean()
    return float(loss), right / len(val)
