from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from keras_classics.evaluation.calibration import (
    calibrate,
    fit_temperature,
    fit_threshold,
    reliability,
    risk_coverage,
    select,
)
from keras_classics.evaluation.temperature import Calibration, with_temperature
from simulated import answers


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 2.0, 3.0])
def test_the_temperature_is_that_by_which_answers_were_sharpened(sharpened):
    p, labels = answers(5000, temperature=sharpened)
    assert fit_temperature(p, labels) == pytest.approx(sharpened, rel=0.06)


def test_no_other_temperature_has_a_lower_log_loss():
    p, labels = answers(800, temperature=2.0, seed=3)
    temperature = fit_temperature(p, labels)
    best = log_loss(labels, with_temperature(p, temperature))
    for other in np.geomspace(0.3, 6, 40):
        assert best <= log_loss(labels, with_temperature(p, other)) + 1e-4


def test_a_temperature_keeps_the_order_and_the_sum():
    p, _ = answers(50, temperature=3.0)
    hot = with_temperature(p, 2.0)
    np.testing.assert_allclose(hot.sum(axis=1), 1, rtol=1e-6)
    assert (hot.argsort(axis=1) == p.argsort(axis=1)).all()
    assert hot.max() < p.max()
    assert hot.dtype == p.dtype
    np.testing.assert_allclose(with_temperature(hot, 0.5), p, atol=1e-6)
    assert with_temperature(p, 1.0) is p
    certain = with_temperature(np.array([[1.0, 0.0]], np.float32), 5.0)
    assert np.isfinite(certain).all()


def test_few_images_do_not_lead_to_extremes():
    p = np.full((4, 3), 0.05, np.float32)
    p[:, 0] = 0.9
    assert fit_temperature(p, np.zeros(4, int)) == 1.0  # no error, nothing known
    assert 1 < fit_temperature(p, np.array([0, 0, 1, 2])) < 6
    assert 0.2 < fit_temperature(p, np.array([0, 0, 0, 1])) < 5


def test_a_small_validation_part_is_said():
    assert "50 validation images" in calibrate(*answers(50)).warning
    p, labels = answers(400, spread=8.0, seed=1)
    keep = np.flatnonzero(p.argmax(1) == labels)[:300]
    keep = np.append(keep, np.flatnonzero(p.argmax(1) != labels)[:3])
    assert "3 errors" in calibrate(p[keep], labels[keep]).warning
    assert calibrate(*answers(1000)).warning is None


def test_figures_agree_with_scikit_learn():
    p, labels = answers(3000, temperature=2.0)
    figures = reliability(p, labels, bins=10)
    right = p.argmax(1) == labels
    accuracy, confidence = calibration_curve(right, p.max(1), n_bins=10, strategy="quantile")
    found = np.array([[row.confidence, row.accuracy] for row in figures.bins])
    np.testing.assert_allclose(found, np.stack([confidence, accuracy], 1), atol=2e-3)
    assert figures.log_loss == pytest.approx(log_loss(labels, p))
    assert figures.adaptive_ece == pytest.approx(np.abs(accuracy - confidence).mean(), abs=2e-3)
    edges = np.clip((p.max(1).astype(float) * 10).astype(int), 0, 9)
    parts = [(right[edges == i], p.max(1)[edges == i]) for i in range(10) if (edges == i).any()]
    ece = sum(abs(r.mean() - float(c.mean())) * len(r) for r, c in parts) / 3000
    assert figures.ece == pytest.approx(ece, abs=1e-6)
    assert sum(row.images for row in figures.bins) == 3000
    for row in figures.bins:
        assert row.interval[0] <= row.accuracy <= row.interval[1]


def test_calibration_mends_the_error():
    val, test = answers(2000, temperature=3.0), answers(2000, temperature=3.0, seed=5)
    calibration = calibrate(*val)
    before, after = reliability(*test), reliability(calibration.apply(test[0]), test[1])
    assert after.ece < before.ece / 3
    assert after.log_loss < before.log_loss


def test_a_promised_threshold_keeps_its_promise():
    """On new images the target is missed by at most one of ten validation parts."""
    many, labels = answers(200_000, spread=4.0, seed=77)
    confidence, right = many.max(1), many.argmax(1) == labels
    missed = promised = 0
    for seed in range(100):
        p, y = answers(400, spread=4.0, seed=seed + 100)
        threshold, sure = fit_threshold(p.max(1), p.argmax(1) == y, 0.9)
        promised += sure
        missed += sure and right[confidence >= threshold].mean() < 0.9
    assert promised > 90
    assert missed <= 0.1 * promised


def test_the_bound_is_exact():
    """Of 40 answers one may be wrong where 10 % are promised with 90 %, not two."""
    right = np.ones(40, bool)
    right[:1] = False
    confidence = np.full(40, 0.9)
    assert binom.cdf(1, 40, 0.1) < 0.1 < binom.cdf(2, 40, 0.1)
    assert fit_threshold(confidence, right, 0.9) == (0.0, True)
    right[:2] = False
    assert fit_threshold(confidence, right, 0.9) == (0.0, False)


def test_without_a_promise_the_images_themselves_keep_to_the_target():
    confidence = np.array([0.9, 0.8, 0.7, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, True, False])
    threshold, promised = fit_threshold(confidence, right, 0.8)
    assert not promised
    assert 0.5 < threshold <= 0.6  # 4 of 5
    threshold, _ = fit_threshold(confidence, right, 0.9)
    assert 0.7 < threshold <= 0.8  # the two of 0.7 go together
    assert fit_threshold(confidence, ~right & (confidence > 1), 0.9) == (1.0, False)


def test_what_a_threshold_answers():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.45, 0.55]])
    found = select(p, np.array([0, 1, 1, 0]), 0.6)
    assert (found.images, found.answered, found.right) == (4, 3, 2)
    assert found.coverage == 0.75
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.accuracy_interval[0] < 2 / 3 < found.accuracy_interval[1]
    nothing = select(p, np.array([0, 1, 1, 0]), 0.99).to_dict()
    assert nothing["accuracy"] is nothing["accuracy_interval"] is None
    assert risk_coverage(p, np.array([0, 1, 1, 0])) == (
        (0.25, 0.0),
        (0.5, 0.0),
        (0.75, pytest.approx(1 / 3)),
        (1.0, 0.5),
    )
    assert len(risk_coverage(*answers(5000))) == 100


def test_there_and_back():
    calibration = calibrate(*answers(300))
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    for wrong in ({}, {**calibration.to_dict(), "temperature": 0}, {"temperature": "x"}):
        with pytest.raises(ValueError, match="not a calibration"):
            Calibration.from_dict(wrong)
