"""Images that show what a network does well and where it fails: the surest right and wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SHOWN = 3  # of each


def find_examples(
    probabilities: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    *,
    most: int = SHOWN,
) -> tuple[list[int], list[int]]:
    """The images that were predicted right, and wrong, with the highest confidence.

    The right ones are of different classes as far as possible; the wrong ones are the worst that
    there are, whatever their class.

    Args:
        probabilities: (n, classes).
        labels: (n,).
        most: Of each.

    Returns:
        The places of the right and of the wrong ones, the surest first.
    """
    predicted = probabilities.argmax(axis=1)
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")
    is_right = (predicted == labels)[surest]
    right, wrong = surest[is_right], surest[~is_right]
    _, first = np.unique(labels[right], return_index=True)  # the surest of each class
    order = np.concatenate([np.sort(first), np.setdiff1d(np.arange(len(right)), first)])
    return right[np.sort(order[:most])].tolist(), wrong[:most].tolist()
