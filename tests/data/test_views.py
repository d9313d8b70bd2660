from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from keras_classics.data.augment import Augmentation, rng_for
from keras_classics.data.fit import fit_image, resize
from keras_classics.data.views import Box, area_box, jitter_box, view

AREA = Augmentation(view="random_area")
JITTER = Augmentation(view="scale_jitter")


def places(height: int, width: int) -> np.ndarray:
    """A picture that tells by its colours which row and column a pixel was in."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def seen(image: np.ndarray) -> tuple[float, float]:
    """Rows and columns of the picture that an image shows, by the slope of its colours."""
    slopes = [
        np.polyfit(np.arange(n), image.astype(float).mean(axis)[:, k], 1)[0] * n
        for k, (axis, n) in enumerate([(1, image.shape[0]), (0, image.shape[1])])
    ]
    return slopes[0], slopes[1]


class Reader:
    """Gives a picture, scaled as a JPEG is, and notes what was asked for."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture
        self.asked: list[int | None] = []

    def __call__(self, at_least: int | None) -> np.ndarray:
        self.asked.append(at_least)
        half = [side // 2 for side in self.picture.shape[:2]]
        return (
            resize(self.picture, tuple(half))
            if at_least and min(half) >= at_least
            else (self.picture)
        )


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_whole_is_the_fitted_picture_and_draws_nothing(fit):
    picture = places(60, 90)
    rng = rng_for(0, 0, 0)
    result = view(lambda _: picture, (32, 32), fit, Augmentation(flip=True), rng)
    np.testing.assert_array_equal(result, fit_image(picture, (32, 32), fit))
    assert rng.random() == rng_for(0, 0, 0).random()


def test_whole_is_read_in_full():
    """So that training, where it sees pictures whole, sees what prediction will see."""
    for spec, rng in ((None, None), (Augmentation(flip=True), rng_for(0, 0, 0))):
        reader = Reader(places(200, 250))
        view(reader, (32, 32), "crop", spec, rng)
        assert reader.asked == [None]


def test_random_area_is_drawn_as_published():
    """Areas of 8 to 100 %, drawn evenly, aspects of 3/4 to 4/3, evenly in the logarithm."""
    draws = np.random.default_rng(0).random((4000, 2, 10))
    boxes = []
    for drawn in draws:
        areas = 0.08 + 0.92 * drawn[0]
        aspects = np.exp(math.log(3 / 4) + math.log(16 / 9) * drawn[1])
        place = np.random.default_rng(int(areas[0] * 1e9)).random(2)
        box, attempt = area_box((1000, 1000), areas, aspects, (3 / 4, 4 / 3), place)
        assert 0 <= box.top <= 1000 - box.height
        assert 0 <= box.left <= 1000 - box.width
        if box.height * box.width < 500_000:  # these fit at the first attempt, mostly
            boxes.append((*box, attempt))
    top, left, height, width, attempt = np.array(boxes).T
    assert (attempt == 0).mean() > 0.85
    areas = height * width / 1e6
    np.testing.assert_allclose(np.quantile(areas, [0, 0.5, 1]), [0.08, 0.29, 0.5], atol=0.01)
    logs = np.log(width / height)
    np.testing.assert_allclose(
        np.quantile(logs, [0, 0.25, 0.5, 0.75, 1]) / math.log(4 / 3),
        [-1, -0.5, 0, 0.5, 1],
        atol=0.05,
    )
    np.testing.assert_allclose((top / (1000 - height)).mean(), 0.5, atol=0.02)
    np.testing.assert_allclose((left / (1000 - width)).mean(), 0.5, atol=0.02)


def test_areas_of_the_whole_way_are_even():
    areas = []
    for index in range(300):
        image = view(lambda _: places(200, 200), (50, 50), "crop", AREA, rng_for(0, 0, index))
        rows, columns = seen(image)
        areas.append(rows * columns / 200**2)
    assert 0.07 < min(areas) < 0.1
    # Large areas seldom fit into a square at the first attempt, hence less than 0.54.
    assert 0.42 < np.mean(areas) < 0.52
    assert max(areas) > 0.93


def test_where_no_area_fits_the_middle_is_taken():
    areas, aspects = np.full(10, 1.0), np.full(10, 1.0)
    box, _ = area_box((10, 100), areas, aspects, (3 / 4, 4 / 3), np.array([0.0, 0.0]))
    assert box == Box(0, 43, 10, 13)
    box, _ = area_box((100, 12), areas, aspects, (3 / 4, 4 / 3), np.array([0.0, 0.0]))
    assert box == Box(42, 0, 16, 12)
    assert view(lambda _: places(1, 1), (8, 8), "crop", AREA, rng_for(0, 0, 0)).shape == (8, 8, 3)


@pytest.mark.parametrize("spec", [AREA, JITTER])
def test_a_view_is_the_part_of_the_picture_resized(spec):
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 4)
    image = view(lambda _: picture, (32, 32), "crop", spec, rng_for(0, 0, 3))
    best = min(
        np.abs(image - resize(picture[y : y + h, x : x + w], (32, 32)).astype(int)).max()
        for y, x, h, w in candidates(spec)
    )
    assert best == 0


def candidates(spec: Augmentation) -> list[Box]:
    """The box that the draws of the test above stand for."""
    if spec is JITTER:
        scale, *place = rng_for(0, 0, 3).random(3)
        return [jitter_box((90, 120), (32, 32), (256 + 256 * scale) * 32 / 224, place)]
    draws = rng_for(0, 0, 3).random((11, 2))
    areas, aspects = 0.08 + 0.92 * draws[1:, 0], (3 / 4) * (16 / 9) ** draws[1:, 1]
    return [area_box((90, 120), areas, aspects, (3 / 4, 4 / 3), draws[0])[0]]


def test_large_pictures_are_read_as_small_as_the_area_allows():
    picture = np.zeros((400, 400, 3), np.uint8)
    reader = Reader(picture)
    smaller = Augmentation(view="random_area", area=(0.99, 1.0), aspect=(1.0, 1.0))
    view(reader, (100, 100), "crop", smaller, rng_for(0, 0, 0))
    assert reader.asked[0] == 101
    # A part of a quarter needs twice the pixels in each direction.
    reader.asked.clear()
    quarter = Augmentation(view="random_area", area=(0.25, 0.25), aspect=(1.0, 1.0))
    view(reader, (100, 100), "crop", quarter, rng_for(0, 0, 0))
    assert reader.asked == [200]
    reader.asked.clear()
    view(reader, (224, 224), "crop", Augmentation(view="scale_jitter", shorter_side=(256.0, 256.0)),
         rng_for(0, 0, 0))  # fmt: skip
    assert reader.asked == [256]


def test_a_picture_that_was_read_too_small_is_read_again():
    asked = set()
    for index in range(200):
        reader = Reader(np.zeros((300, 900, 3), np.uint8))
        view(reader, (60, 60), "crop", AREA, rng_for(0, 0, index))
        asked.add(len(reader.asked))
        assert reader.asked == sorted(reader.asked)
    assert asked == {1, 2}


@pytest.mark.parametrize(("size", "side"), [((224, 224), 224), ((56, 56), 56)])
def test_scale_jitter_draws_the_shorter_side(size, side):
    """VGG: S evenly in [256, 512] for an input of 224; the crop shows 224/S of the shorter side."""
    shown, tops, shapes = [], [], set()
    for index in range(400):
        scale, *place = rng_for(0, 0, index).random(3)
        shorter = (256 + 256 * scale) * side / 224
        box = jitter_box((2000, 3000), size, shorter, place)
        shapes.add(box.height == box.width)
        shown.append(2000 / box.height * side * 224 / side)
        tops.append(box.top / (2000 - box.height))
        assert box.left + box.width <= 3000
    assert shapes == {True}
    np.testing.assert_allclose(np.quantile(shown, [0, 0.5, 1]), [256, 384, 512], rtol=0.03)
    np.testing.assert_allclose(np.mean(tops), 0.5, atol=0.05)


def test_a_fixed_scale_shows_always_as_much():
    fixed = Augmentation(view="scale_jitter", shorter_side=(256.0, 256.0))
    for index in range(20):
        image = view(lambda _: places(128, 250), (112, 112), "crop", fixed, rng_for(0, 0, index))
        np.testing.assert_allclose(seen(image), 112, atol=0.5)


def test_raising_a_limit_leaves_the_other_changes_alone():
    rngs = [rng_for(0, 0, 0) for _ in range(2)]
    for rng, area in zip(rngs, [(0.08, 1.0), (0.5, 0.6)], strict=True):
        spec = Augmentation(view="random_area", area=area)
        view(lambda _: places(99, 80), (20, 20), "crop", spec, rng)
    assert rngs[0].random() == rngs[1].random()
