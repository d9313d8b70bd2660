from __future__ import annotations

import json

import numpy as np
import pytest

from keras_classics.errors import DataError
from keras_classics.evaluation.metrics import judge


def probabilities(called, classes):
    return np.eye(classes)[called] * 0.7 + 0.3 / classes


def test_figures_of_a_case_computed_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    called = np.array([0, 0, 1, 1, 2, 2])
    judgement = judge(probabilities(called, 3), labels, ("a", "b", "c"))
    assert judgement.accuracy == pytest.approx(4 / 6)
    assert judgement.confusion == ((2, 1, 0), (0, 1, 1), (0, 0, 1))
    a, b, c = judgement.classes
    assert (a.precision, a.recall, a.f1, a.support) == pytest.approx((1.0, 2 / 3, 0.8, 3))
    assert (b.precision, b.recall, b.f1, b.support) == pytest.approx((0.5, 0.5, 0.5, 2))
    assert (c.precision, c.recall, c.f1, c.support) == pytest.approx((0.5, 1.0, 2 / 3, 1))
    expected = -(4 * np.log(0.8) + 2 * np.log(0.1)) / 6
    assert judgement.log_loss == pytest.approx(expected)
    assert judgement.images == 6


def test_top5_only_where_it_means_something():
    labels = np.array([0, 1])
    assert judge(np.eye(5)[labels], labels, tuple("abcde")).top5_accuracy is None
    ranks = np.array([[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05], [0.3, 0.0, 0.2, 0.1, 0.1, 0.2, 0.1]])
    judgement = judge(ranks, labels, tuple("abcdefg"))
    assert judgement.top5_accuracy == 0.5
    assert judgement.accuracy == 0.5


def test_a_class_without_images_or_calls_counts_as_zero():
    judgement = judge(probabilities(np.array([0, 0]), 3), np.array([0, 1]), ("a", "b", "c"))
    assert judgement.classes[2].support == 0
    assert judgement.classes[2].f1 == 0.0
    assert judgement.classes[1].precision == 0.0


def test_it_can_be_written_as_json():
    judgement = judge(probabilities(np.array([0, 1]), 2), np.array([0, 1]), ("a", "b"))
    assert json.loads(json.dumps(judgement.to_dict()))["confusion"] == [[1, 0], [0, 1]]


def test_nothing_to_judge():
    with pytest.raises(DataError, match="no images"):
        judge(np.empty((0, 2)), np.empty(0, int), ("a", "b"))
