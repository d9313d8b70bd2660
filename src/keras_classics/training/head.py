"""A linear head on features: multinomial logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from keras_classics.training.recipe import Monitor

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Head:
    """A fitted head."""

    kernel: Array  # (d, classes)
    bias: Array  # (classes,)
    regularisation: float  # C

    def probabilities(self, features: Array) -> npt.NDArray[np.float32]:
        """Of features (n, d): (n, classes)."""
        logits = np.asarray(features) @ self.kernel + self.bias
        return np.asarray(softmax(logits, axis=1), np.float32)


def fit_head(
    features: Array,
    labels: Array,
    *,
    train: Array,
    val: Array,
    classes: int,
    sample_weights: Array | None = None,
    monitor: Monitor = "val_accuracy",  # noqa: ARG001
) -> Head:
    """Fit one."""
    found: list[tuple[float, Head]] = []
    weights = None if sample_weights is None else sample_weights[labels[train]]
    for c in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
        model = LogisticRegression(C=c, max_iter=1000).fit(features[train], labels[train], weights)
        kernel, bias = model.coef_.T, model.intercept_
        if classes == 2:
            kernel, bias = np.c_[-kernel / 2, kernel / 2], np.r_[-bias / 2, bias / 2]
        head = Head(kernel.astype(np.float32), bias.astype(np.float32), c)
        score = -abs(np.log(c / 0.1))
        if len(val):
            given = head.probabilities(features[val])[np.arange(len(val)), labels[val]]
            score = float(np.log(np.maximum(given, 1e-12)).mean())
        found.append((score, head))
    return max(found, key=lambda each: each[0])[1]
