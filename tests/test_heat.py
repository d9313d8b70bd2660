from __future__ import annotations

import json

import numpy as np

from keras_classics.heat import decoded, encoded, enlarged, overlay


def test_enlarged_keeps_the_corners():
    small = np.array([[[0.0, 1.0], [2.0, 3.0]], [[5.0, 5.0], [5.0, 5.0]]], np.float32)
    large = enlarged(small, (4, 6))
    assert large.shape == (2, 4, 6)
    assert large[0].min() == 0
    assert large[0].max() == 3
    np.testing.assert_array_equal(large[1], 5)


def test_where_a_map_is_silent_the_picture_is_grey():
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    shown = overlay(picture, heat, signed=False)
    assert shown.shape == (8, 8, 3)
    assert np.ptp(shown[4:, 4:], axis=-1).max() < 1e-6
    assert np.ptp(shown[0, 0]) > 0.3


def test_as_json_and_back():
    heat = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    values = json.loads(json.dumps(encoded(heat)))
    assert values["shape"] == [3, 5]
    assert values["low"] == heat.min()
    np.testing.assert_array_equal(decoded(values), heat)
