from __future__ import annotations

import numpy as np
import pytest

from keras_classics.data.augment import Augmentation, augment, rng_for

NOISE = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
ALL = Augmentation(shift=0.1, zoom=0.2, rotate=20, flip=True, brightness=0.1, contrast=0.3)


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    channels = (rows * 200 / height, columns * 200 / width, (rows + columns) * 100 / height)
    return np.stack(channels, axis=-1).astype(np.uint8)


def test_no_change_asked_for_is_none():
    result = augment(NOISE, Augmentation(), rng_for(0, 0, 0))
    np.testing.assert_array_equal(result, NOISE)
    assert not np.shares_memory(result, NOISE)


def test_the_argument_is_not_changed():
    image = NOISE.copy()
    result = augment(image, ALL, rng_for(0, 0, 0))
    np.testing.assert_array_equal(image, NOISE)
    assert result.shape == NOISE.shape
    assert result.dtype == np.uint8
    assert (result != NOISE).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (32, 64, 3)])
def test_every_shape(shape):
    assert augment(np.full(shape, 7, np.uint8), ALL, rng_for(0, 0, 0)).shape == shape


def test_flip_is_exact_and_takes_half():
    flipped = 0
    for index in range(400):
        result = augment(NOISE, Augmentation(flip=True), rng_for(0, 0, index))
        mirrored = (result == NOISE[:, ::-1]).all()
        assert mirrored or (result == NOISE).all()
        flipped += mirrored
    assert 160 < flipped < 240


def centroid(image: np.ndarray) -> np.ndarray:
    weights = image[..., 0].astype(float)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(rows * weights).sum(), (columns * weights).sum()]) / weights.sum()


def dot(row: int, column: int) -> np.ndarray:
    image = np.zeros((41, 61, 3), np.uint8)
    image[row - 1 : row + 2, column - 1 : column + 2] = 255
    return image


def test_shift_is_a_fraction_of_each_side():
    moves = np.array(
        [
            centroid(augment(dot(20, 30), Augmentation(shift=0.2), rng_for(0, 0, index)))
            for index in range(300)
        ]
    ) - (20, 30)
    np.testing.assert_allclose(np.abs(moves).max(axis=0), (0.2 * 41, 0.2 * 61), rtol=0.05)
    np.testing.assert_allclose(moves.mean(axis=0), 0, atol=1.2)


def test_rotation_and_zoom_are_about_the_centre():
    for index in range(100):
        turned = augment(dot(20, 30), Augmentation(rotate=180, zoom=0.3), rng_for(0, 0, index))
        np.testing.assert_allclose(centroid(turned), (20, 30), atol=0.05)
    radii = [
        np.hypot(
            *(centroid(augment(dot(20, 40), Augmentation(zoom=0.3), rng_for(0, 0, i))) - (20, 30))
        )
        for i in range(300)
    ]
    assert 6.9 < min(radii) < 7.3
    assert 12.7 < max(radii) < 13.1
    offsets = [
        centroid(augment(dot(20, 40), Augmentation(rotate=30), rng_for(0, 0, i))) - (20, 30)
        for i in range(300)
    ]
    np.testing.assert_allclose([np.hypot(*offset) for offset in offsets], 10, atol=0.1)
    angles = [np.degrees(np.arctan2(*offset)) for offset in offsets]
    assert -30.5 < min(angles) < -28
    assert 28 < max(angles) < 30.5


def test_no_black_comes_in_from_outside():
    image = np.full((30, 30, 3), 180, np.uint8)
    spec = Augmentation(shift=0.5, zoom=0.5, rotate=90)
    for index in range(50):
        assert (augment(image, spec, rng_for(0, 0, index)) == 180).all()


def test_brightness_and_contrast():
    grey = np.full((2, 2, 3), 100, np.uint8)
    bright = [
        int(augment(grey, Augmentation(brightness=0.2), rng_for(0, 0, i))[0, 0, 0])
        for i in range(300)
    ]
    assert 49 <= min(bright) <= 52
    assert 148 <= max(bright) <= 151
    ends = np.array([[[27, 127, 227]]], np.uint8)
    contrast = np.array(
        [augment(ends, Augmentation(contrast=0.5), rng_for(0, 0, i))[0, 0] for i in range(300)]
    )
    assert contrast[:, 0].min() == 0
    assert 75 <= contrast[:, 0].max() <= 78
    assert set(contrast[:, 1]) <= {126, 127, 128}
    # Bright and dark ends move apart or together, never the same way.
    moved = (contrast.astype(int) - (27, 127, 227))[:, [0, 2]]
    assert (moved[:, 0] * moved[:, 1] <= 0).all()


def test_one_limit_leaves_the_other_draws_alone():
    image = smooth(40, 40)
    plain = augment(image, Augmentation(shift=0.2), rng_for(0, 0, 5)).astype(int)
    dark = augment(image, Augmentation(shift=0.2, brightness=0.1), rng_for(0, 0, 5)).astype(int)
    difference = np.unique((dark - plain)[(dark > 0) & (dark < 255)])
    assert len(difference) == 1


def test_random_numbers_follow_from_the_three_numbers():
    draws = {key: tuple(rng_for(*key).random(3)) for key in np.ndindex(4, 4, 4)}
    assert len(set(draws.values())) == 64
    assert tuple(rng_for(1, 2, 3).random(3)) == draws[1, 2, 3]
    with pytest.raises(ValueError, match="non-negative"):
        rng_for(-1, 0, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shift", 1.1),
        ("zoom", 1.0),
        ("rotate", 181),
        ("brightness", -0.1),
        ("contrast", float("nan")),
    ],
)
def test_limits_are_checked(name, value):
    with pytest.raises(ValueError, match=rf"(?m)^{name}\b"):
        Augmentation(**{name: value})
