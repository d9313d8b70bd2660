from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom, fisher_exact

from keras_classics.errors import DataError
from keras_classics.evaluation.comparison import Answers, compare, holm, mcnemar, paired_interval


def run(name, right, *, prefix="", fingerprint="same", classes=("a", "b")):
    answers = {f"{prefix}{i}": ("a", "a" if ok else "b") for i, ok in enumerate(right)}
    return Answers(name, classes, fingerprint, answers)


def two(both, only_first, only_second, neither):
    first = [1] * both + [1] * only_first + [0] * only_second + [0] * neither
    second = [1] * both + [0] * only_first + [1] * only_second + [0] * neither
    return np.array(first, bool), np.array(second, bool)


@pytest.mark.parametrize(("b", "c"), [(5, 15), (0, 6), (3, 3), (40, 60), (1, 0)])
def test_mcnemar_s_exact_test(b, c):
    """Twice the tail of a fair coin, by the definition."""
    tail = binom.cdf(min(b, c), b + c, 0.5)
    assert mcnemar(b, c) == pytest.approx(min(1, 2 * tail))
    assert mcnemar(0, 0) == 1.0


def test_newcombe_s_example():
    """Table III of Newcombe 1998, method 10: 36, 12, 2 and 0 of 50 give 0.0569 to 0.3404."""
    second, first = two(36, 12, 2, 0)
    assert paired_interval(first, second) == pytest.approx((0.0569, 0.3404), abs=1e-4)


def test_the_interval_covers_the_true_difference():
    rng = np.random.default_rng(0)
    inside = 0
    for counts in rng.multinomial(200, [0.75, 0.06, 0.12, 0.07], 1000):
        low, high = paired_interval(*two(*counts))
        inside += low <= 0.06 <= high
    assert 0.93 < inside / 1000 < 0.98


def test_a_real_difference_and_none():
    found = compare([run("x", two(80, 2, 15, 3)[0]), run("y", two(80, 2, 15, 3)[1])])
    (difference,) = found.differences
    assert difference.verdict == "second"
    assert difference.difference == pytest.approx(0.13)
    assert difference.p_value == pytest.approx(mcnemar(2, 15))
    assert difference.text.startswith("y is better than x, by more than chance: +")
    turned = compare([run("y", two(80, 2, 15, 3)[1]), run("x", two(80, 2, 15, 3)[0])])
    assert turned.differences[0].verdict == "first"
    assert turned.differences[0].text == difference.text
    same = compare([run("x", two(80, 6, 7, 7)[0]), run("y", two(80, 6, 7, 7)[1])]).differences[0]
    assert same.verdict == "cannot tell"
    assert same.interval[0] < 0 < same.interval[1]
    assert same.remarks == ()
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.to_dict()["runs"][0]["accuracy"] == 0.82


def test_chance_is_taken_for_a_difference_rarely():
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        hard = rng.random(150)
        first, second = rng.random(150) > hard, rng.random(150) > hard
        wrong += (
            compare([run("x", first), run("y", second)]).differences[0].verdict != "cannot tell"
        )
    assert wrong / 400 <= 0.05


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    rng = np.random.default_rng(0)
    runs = [run(str(i), rng.random(100) < 0.8) for i in range(4)]
    differences = compare(runs).differences
    assert len(differences) == 6
    assert [d.adjusted for d in differences] == holm([d.p_value for d in differences])


def test_the_images_that_two_share():
    first, second = run("x", [1] * 50), run("y", [0] * 40)
    (difference,) = compare([first, second]).differences
    assert difference.images == (40, 40)
    assert "40 held-out images that they share, of 50 and 40" in difference.remarks[0]
    relabelled = Answers("z", ("a", "b"), "same", {**second.answers, "0": ("b", "b")})
    assert compare([first, relabelled]).differences[0].images == (39, 39)


def test_other_data_is_said():
    (difference,) = compare([run("x", [1] * 9), run("y", [1] * 9, fingerprint="other")]).differences
    assert "not the same" in difference.remarks[0]


def test_different_images_are_compared_by_their_accuracies():
    first, second = [1] * 150 + [0] * 50, [1] * 180 + [0] * 20
    (difference,) = compare([run("x", first), run("y", second, prefix="other")]).differences
    assert not difference.paired
    assert difference.only_first is None
    assert difference.verdict == "second"
    assert difference.p_value == pytest.approx(fisher_exact([[150, 50], [180, 20]]).pvalue, rel=0.6)
    assert difference.interval[0] < 0.15 < difference.interval[1]
    assert "share no held-out image" in difference.remarks[0]


def test_what_cannot_be_compared():
    with pytest.raises(DataError, match="two or more"):
        compare([run("x", [1])])
    with pytest.raises(DataError, match="x: was not evaluated"):
        compare([run("x", []), run("y", [1])])
    with pytest.raises(DataError, match="no class in common"):
        compare([run("x", [1]), run("y", [1], classes=("c", "d"))])
    remarks = compare([run("x", [1]), run("y", [1], classes=("a", "c"))]).differences[0].remarks
    assert "they know different classes" in remarks
