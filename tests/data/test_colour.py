from __future__ import annotations

import numpy as np
import pytest

from keras_classics.data import colour
from keras_classics.data.colour import distort, shift_along_components

NOISE = np.random.default_rng(0).integers(0, 256, (16, 18, 3), np.uint8)
INNER = np.random.default_rng(1).uniform(0.1, 0.9, (16, 18, 3)).astype(np.float32)


def test_shifts_lie_along_the_components_with_their_variances():
    grey = np.full((1, 1, 3), 128, np.uint8)
    shifts = np.array(
        [
            shift_along_components(grey, np.random.default_rng(i), std=0.5)[0, 0].astype(float)
            - 128
            for i in range(3000)
        ]
    )
    values, axes = np.linalg.eigh(np.cov(shifts.T))
    # fb.resnet.torch: the largest component of 0.2175, nearly grey; deviations are std * variance.
    np.testing.assert_allclose(np.sqrt(values[2]), 0.5 * 0.2175 * 255, rtol=0.05)
    np.testing.assert_allclose(np.sqrt(values[1]), 0.5 * 0.0188 * 255, rtol=0.08)
    np.testing.assert_allclose(np.abs(axes[:, 2]), [0.5675, 0.5808, 0.5836], atol=0.01)
    np.testing.assert_allclose(np.abs(axes[:, 1]), [0.7192, 0.0045, 0.6948], atol=0.03)


def test_a_shift_is_the_same_for_all_pixels_and_clipped():
    rng = np.random.default_rng(3)
    normals = np.random.default_rng(3).normal(0, 0.8, 3)
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140],
                        [-0.5836, -0.6948, 0.4203]])  # fmt: skip
    shift = 255 * (vectors * normals * [0.2175, 0.0188, 0.0045]).sum(axis=1)
    result = shift_along_components(NOISE, rng, std=0.8)
    np.testing.assert_array_equal(result, np.clip(np.rint(NOISE + shift), 0, 255))
    assert np.abs(shift).max() > 5


@pytest.mark.parametrize("amount", [-0.2, -0.03, 0.11, 0.2])
def test_hue_as_tensorflow(amount):
    import tensorflow as tf

    ours = colour._turned(INNER, np.float32(amount))
    np.testing.assert_allclose(ours, tf.image.adjust_hue(INNER, amount), atol=1 / 255)


@pytest.mark.parametrize("amount", [0.5, 0.9, 1.5])
def test_saturation_and_contrast_as_tensorflow(amount):
    import tensorflow as tf

    ours = colour._saturated(INNER, np.float32(amount))
    np.testing.assert_allclose(ours, tf.image.adjust_saturation(INNER, amount), atol=1e-5)
    ours = colour._contrasted(INNER, np.float32(amount))
    np.testing.assert_allclose(ours, tf.image.adjust_contrast(INNER, amount), atol=1e-5)


def test_grey_has_no_saturation():
    grey = np.full((2, 2, 3), 0.4, np.float32)
    np.testing.assert_allclose(colour._saturated(grey, np.float32(1.5)), grey, atol=1e-7)
    np.testing.assert_allclose(colour._turned(grey, np.float32(0.2)), grey, atol=1e-6)


def test_distortion_is_the_four_changes_in_one_of_four_orders(monkeypatch):
    done = []
    steps = {
        name: lambda pixels, amount, name=name: (done.append((name, float(amount))), pixels)[1]
        for name in colour._STEPS
    }
    monkeypatch.setattr(colour, "_STEPS", steps)
    orders, amounts = set(), {name: [] for name in steps}
    for seed in range(600):
        done.clear()
        np.testing.assert_array_equal(distort(NOISE, np.random.default_rng(seed)), NOISE)
        orders.add(tuple(name for name, _ in done))
        for name, amount in done:
            amounts[name].append(amount)
    assert orders == set(colour._ORDERS)
    limits = {"brightness": (-0.1255, 0.1255), "saturation": (0.5, 1.5), "hue": (-0.2, 0.2),
              "contrast": (0.5, 1.5)}  # fmt: skip
    for name, (low, high) in limits.items():
        quantiles = np.quantile(amounts[name], [0, 0.5, 1])
        np.testing.assert_allclose(
            quantiles, [low, (low + high) / 2, high], atol=0.06 * (high - low)
        )


def test_distortion_as_tensorflow():
    import tensorflow as tf

    inside = np.uint8(96) + NOISE // 4
    agree = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        order = colour._ORDERS[rng.integers(4)]
        amounts = {
            "brightness": rng.uniform(-32 / 255, 32 / 255),
            "saturation": rng.uniform(0.5, 1.5),
            "hue": rng.uniform(-0.2, 0.2),
            "contrast": rng.uniform(0.5, 1.5),
        }
        pixels = tf.image.convert_image_dtype(inside, tf.float32)
        for name in order:
            pixels = getattr(tf.image, f"adjust_{name}")(pixels, amounts[name])
        theirs = np.rint(np.clip(pixels, 0, 1) * 255)
        ours = distort(inside, np.random.default_rng(seed))
        agree.append((np.abs(ours - theirs) <= 1).mean())
    assert min(agree) == 1.0
