from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_score, recall_score

from keras_classics.errors import DataError
from keras_classics.evaluation.metrics import ClassFigures, interval_of, judge


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


def test_what_no_image_can_tell_is_undefined():
    labels, called = np.array([0, 0, 1, 1]), np.array([0, 3, 0, 0])
    judgement = judge(probabilities(called, 4), labels, tuple("abcd"))
    _, never_called, absent, wrongly_called = judgement.classes
    assert (never_called.precision, never_called.recall, never_called.f1) == (None, 0.0, 0.0)
    assert (absent.precision, absent.recall, absent.f1) == (None, None, None)
    assert (wrongly_called.precision, wrongly_called.recall, wrongly_called.f1) == (0.0, None, None)
    for figures in judgement.classes:
        plain = figures.to_dict()
        for key in ("precision", "recall", "f1"):
            assert (plain[f"{key}_interval"] is None) == (plain[key] is None)


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_scikit_learn_s(seed):
    rng = np.random.default_rng(seed)
    labels, called = rng.integers(0, 5, 12), rng.integers(0, 6, 12)
    found = judge(probabilities(called, 7), labels, tuple("abcdefg")).classes
    for key, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        values = score(labels, called, labels=range(7), average=None, zero_division=np.nan)
        for figures, value in zip(found, values, strict=True):
            ours = getattr(figures, key)
            if key == "f1" and not figures.support:
                assert ours is None  # scikit-learn gives 0 where such a class was called
            else:
                assert (ours is None) == np.isnan(value)
                assert ours is None or ours == pytest.approx(value)


def test_it_can_be_written_as_json():
    judgement = judge(probabilities(np.array([0, 1]), 2), np.array([0, 1]), ("a", "b"))
    assert json.loads(json.dumps(judgement.to_dict()))["confusion"] == [[1, 0], [0, 1]]


def test_nothing_to_judge():
    with pytest.raises(DataError, match="no images"):
        judge(np.empty((0, 2)), np.empty(0, int), ("a", "b"))


def test_intervals_of_a_class_are_wilson_s():
    labels = np.array([0] * 50 + [1] * 50)
    called = np.array([0] * 40 + [1] * 55 + [0] * 5)
    judgement = judge(probabilities(called, 2), labels, ("a", "b"))
    first = judgement.classes[0]
    assert (first.right, first.called, first.support) == (40, 45, 50)

    def wilson(k, n):
        found = binomtest(k, n).proportion_ci(method="wilson")
        return pytest.approx((found.low, found.high))

    assert first.recall_interval == wilson(40, 50)
    assert first.precision_interval == wilson(40, 45)
    assert judgement.accuracy_interval == wilson(85, 100)
    assert judgement.right == 85
    # F1 = 2 TP / (2 TP + FP + FN) rises with TP / (TP + FP + FN).
    low, high = first.f1_interval
    assert low < first.f1 < high
    assert (low / (2 - low), high / (2 - high)) == wilson(40, 55)
    assert judgement.to_dict()["classes"][0]["f1_interval"] == first.f1_interval


@pytest.mark.parametrize("images", [30, 200])
def test_the_interval_of_f1_covers_the_true_one(images):
    """Of simulated test sets, about 95 % have the true F1 within the interval."""
    cells = np.array([0.36, 0.04, 0.12, 0.48])  # right a, a called b, b called a, right b
    true = 2 * 0.36 / (2 * 0.36 + 0.04 + 0.12)
    rng = np.random.default_rng(0)
    inside = 0
    for right, missed, wrong, _ in rng.multinomial(images, cells, 1000):
        figures = ClassFigures("a", support=right + missed, called=right + wrong, right=right)
        low, high = figures.f1_interval
        inside += low <= true <= high
    assert 0.93 < inside / 1000 < 0.97


def test_of_no_images_nothing_is_known():
    assert interval_of(0, 0) == (0.0, 1.0)
