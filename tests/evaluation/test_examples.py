from __future__ import annotations

import numpy as np
import pytest

from keras_classics.evaluation.examples import find_examples


def answers(*rows):
    """Probabilities (n, 4) and labels (n,) of rows of label, predicted class and confidence."""
    labels = np.array([row[0] for row in rows], int)
    p = np.full((len(rows), 4), 0.0)
    for i, (_, predicted, confidence) in enumerate(rows):
        p[i] = (1 - confidence) / 3
        p[i, predicted] = confidence
    return p, labels


def test_the_surest_right_ones_are_of_different_classes_and_the_wrong_ones_the_worst():
    p, labels = answers(
        (0, 0, 0.99), (0, 0, 0.98), (1, 1, 0.70), (2, 2, 0.60), (3, 3, 0.65),
        (0, 1, 0.90), (0, 1, 0.95), (2, 3, 0.50), (0, 1, 0.92),
    )  # fmt: skip
    assert find_examples(p, labels) == ([0, 2, 4], [6, 8, 5])


def test_of_too_few_classes_the_surest_make_up_the_number():
    p, labels = answers((0, 0, 0.9), (1, 1, 0.5), (0, 0, 0.8), (0, 0, 0.7))
    assert find_examples(p, labels) == ([0, 2, 1], [])
    assert find_examples(p, labels, most=2) == ([0, 1], [])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1, 1, 0.6)], ([0], [])),
        ([(1, 2, 0.6)], ([], [0])),
        ([(1, 2, 0.6), (1, 2, 0.7)], ([], [1, 0])),
    ],
)
def test_few_images(rows, expected):
    assert find_examples(*answers(*rows)) == expected


def test_equal_confidences_stay_in_order():
    p, labels = answers(*[(0, 0, 1.0)] * 5, *[(0, 1, 1.0)] * 5)
    assert find_examples(p, labels) == ([0, 1, 2], [5, 6, 7])
