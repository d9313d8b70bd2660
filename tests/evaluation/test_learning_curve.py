from __future__ import annotations

import json

import numpy as np
import pytest

from keras_classics.errors import ClassicsError, DataError
from keras_classics.evaluation.learning_curve import Point, fit_curve, measure


def points(a, b, c, largest, images, rng=None):
    for part in (8, 4, 2, 1):
        n = largest // part
        error = a + b * n**-c
        yield Point(
            n, round(error * images) if rng is None else int(rng.binomial(images, error)), images
        )


def test_a_power_law_without_noise_is_found():
    curve = fit_curve(list(points(0.05, 2.0, 0.5, 2000, 1_000_000)))
    assert curve.exponent == pytest.approx(0.5, abs=0.03)
    assert curve.floor == pytest.approx(0.05, abs=0.01)
    for n, error, low, high in curve.band:
        assert error == pytest.approx(0.05 + 2 * n**-0.5, rel=0.02)
        assert low - 1e-9 <= error <= high + 1e-9
    true = 2 * (2000**-0.5 - 4000**-0.5)
    assert curve.twice[0] <= true <= curve.twice[1]
    assert curve.verdict.startswith(
        "Yes: twice as many images (4,000) would reduce the error by about 1."
    )


@pytest.mark.parametrize(("a", "b", "c"), [(0.05, 1.5, 0.4), (0.02, 3.0, 0.6), (0.0, 2.0, 0.35)])
def test_the_forecast_covers_the_truth(a, b, c):
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(20):
        low, high = fit_curve(list(points(a, b, c, 2000, 500, rng))).twice
        inside += low <= b * 2000**-c * (1 - 2**-c) <= high
    assert inside >= 17


def test_a_flat_curve_is_no_promise():
    curve = fit_curve([Point(n, 1000, 10_000) for n in (100, 200, 400, 800)])
    assert curve.verdict.startswith("More images of this kind would help little")


def test_few_held_out_images_cannot_tell():
    curve = fit_curve([Point(n, w, 20) for n, w in ((10, 8), (20, 6), (40, 6), (80, 5))])
    assert curve.verdict.startswith("Cannot tell")
    no_error = fit_curve([Point(n, 0, 20) for n in (10, 20, 40)])
    json.dumps(no_error.to_dict(), allow_nan=False)


def test_no_more_is_mended_than_is_wrong():
    """Errors that fall faster than any power law, to none."""
    points = [Point(n, w, 310) for n, w in ((180, 150), (360, 60), (721, 12), (1442, 0))]
    curve = fit_curve(points)
    assert curve.twice[0] == 0
    assert curve.twice[1] < 0.015
    assert not curve.verdict.startswith("Yes")


def test_it_trains_on_each_fraction_once():
    asked = []

    def train_on(fraction):
        asked.append(fraction)
        return Point(round(800 * fraction), round(300 * fraction**-0.3), 1000)

    curve = measure(train_on, whole=Point(800, 300, 1000), fractions=(0.5, 0.125, 0.25))
    assert asked == [0.125, 0.25, 0.5]
    assert [point.train for point in curve.points] == [100, 200, 400, 800]
    assert curve.to_dict()["points"][3]["error"] == 0.3


def test_two_points_are_too_few():
    with pytest.raises(DataError, match="2 sizes of the training part"):
        fit_curve([Point(10, 3, 9), Point(20, 3, 9), Point(20, 2, 9)])


def test_a_mean_of_draws_is_a_point_whose_interval_is_that_of_the_held_out_images():
    mean = Point(100, 30.4, 200, draws=5)
    assert mean.error == 0.152
    assert mean.interval == Point(100, 30, 200).interval
    curve = fit_curve([mean, Point(200, 20.6, 200, draws=5), Point(400, 12, 200)], of="head")
    assert json.loads(json.dumps(curve.to_dict()))["of"] == "head"


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_a_fraction_is_a_part(fraction):
    with pytest.raises(ClassicsError, match="above 0 and below 1 is needed"):
        measure(lambda _: Point(1, 1, 2), whole=Point(9, 1, 2), fractions=(0.5, fraction))
