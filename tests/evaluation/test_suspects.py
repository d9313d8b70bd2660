from __future__ import annotations

import numpy as np
import pytest

from keras_classics.evaluation.suspects import find_suspects, losses, mislabelled
from simulated import answers


def test_losses():
    p = np.array([[0.5, 0.5], [1.0, 0.0]])
    np.testing.assert_allclose(losses(p, np.array([0, 0])), [np.log(2), 0])
    assert losses(p, np.array([0, 1]))[1] == pytest.approx(-np.log(1e-12))


def test_wrong_labels_are_found():
    p, labels = answers(2000, classes=4, spread=10.0)
    given = labels.copy()
    wrong = np.random.default_rng(0).choice(2000, 100, replace=False)
    given[wrong] = (given[wrong] + 1) % 4
    doubted = mislabelled(p, given)
    assert doubted[wrong].mean() > 0.7
    assert doubted[wrong].sum() / doubted.sum() > 0.5
    # By far more than among all images.
    assert doubted[wrong].mean() > 20 * np.delete(doubted, wrong).mean()


def test_by_hand():
    """Class means of self-confidence: 0.6 and 0.7; the third image counts for b and is not b."""
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7], [0.35, 0.65], [0.25, 0.75]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert mislabelled(p, labels).tolist() == [False, False, True, False, False, False]
    assert not mislabelled(p[:2], labels[:2]).any()  # b has no images of its own


def test_the_worst_first_and_only_what_was_called_otherwise():
    p = np.array([[0.9, 0.1], [0.05, 0.95], [0.4, 0.6], [0.55, 0.45]])
    found = find_suspects(
        ("w", "x", "y", "z"), "test", p, np.array([0, 0, 0, 0]), ("a", "b"), most=5
    )
    assert [suspect.path for suspect in found] == ["x", "y"]
    assert found[0].label == "a"
    assert found[0].called == "b"
    assert (found[0].confidence, found[0].given) == (0.95, 0.05)
    assert found[0].to_dict()["loss"] == pytest.approx(-np.log(0.05))
    assert len(find_suspects(("w",) * 4, "test", p, np.zeros(4, int), ("a", "b"), most=1)) == 1
