from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_classics.errors import ClassicsError
from keras_classics.explanation.attribution import (
    integrated_gradients,
    noisy,
    occlusion,
    smooth_grad,
)
from keras_classics.explanation.probe import Probe


@pytest.fixture
def probe(branching):
    return Probe(branching())


@pytest.fixture
def linear(randomise):
    """Scores that are a weighted sum of the pixels: of these every method's answer is known."""
    x = keras.Input((6, 8, 3))
    model = keras.Model(x, layers.Dense(2, name="scores")(layers.Flatten()(x)))
    probe = Probe(randomise(model))
    kernel = keras.ops.convert_to_numpy(model.get_layer("scores").kernel)
    return probe, kernel.reshape(6, 8, 3, 2)


@pytest.mark.backends
def test_integrated_gradients_of_a_weighted_sum(linear, images):
    probe, kernel = linear
    x = images(2, 6, 8, 3)
    found = integrated_gradients(probe, x, classes=[1, 0], baseline=0.5, steps=1)
    expected = (x - 0.5) * np.moveaxis(kernel[..., [1, 0]], -1, 0)
    np.testing.assert_allclose(found.attributions, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.backends
def test_integrated_gradients_add_up(probe, images):
    """1703.01365, proposition 1: to the score less that of the baseline, the better, the finer."""
    x = 2 * images(2, 12, 10, 3)
    baseline = np.full_like(x, -1)
    gaps = []
    for steps in (1, 4, 32):
        found = integrated_gradients(probe, x, classes=2, baseline=baseline, steps=steps)
        total = found.attributions.sum(axis=(1, 2, 3))
        np.testing.assert_allclose(found.gaps, total - found.differences, atol=1e-5)
        gaps.append(np.abs(found.gaps).max())
    scores = [probe.run(each).scores[:, 2] for each in (x, baseline)]
    np.testing.assert_allclose(found.differences, scores[0] - scores[1], rtol=1e-5)
    assert gaps[0] > 10 * gaps[2]
    assert gaps[2] < 1e-3 * np.abs(found.differences).max()


@pytest.mark.backends
def test_the_gradient_of_a_weighted_sum_is_its_weights(linear, images):
    probe, kernel = linear
    found = smooth_grad(probe, images(2, 6, 8, 3), classes=1, samples=3)
    expected = np.broadcast_to(kernel[..., 1], (2, 6, 8, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_smooth_grad_is_the_mean_over_noise_of_its_seed(probe, images):
    x = images(1, 12, 10, 3)
    found = smooth_grad(probe, x, classes=0, samples=4, noise=0.3, seed=5)
    noise = noisy(x[0], samples=4, noise=0.3, seed=5)
    alone = probe.gradients(x + noise, ["images"], 0).gradients["images"].mean(axis=0)
    np.testing.assert_allclose(found[0], alone, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(
        found, smooth_grad(probe, x, classes=0, samples=4, noise=0.3, seed=5)
    )
    assert np.any(found != smooth_grad(probe, x, classes=0, samples=4, noise=0.3, seed=6))


def test_the_noise_is_a_part_of_the_images_range(images):
    image = images(1, 40, 40, 3)[0]
    noise = noisy(image, samples=20, noise=0.2, seed=0)
    assert noise.std() == pytest.approx(0.2 * (image.max() - image.min()), rel=0.02)


@pytest.mark.backends
def test_occlusion_of_a_weighted_sum(linear, images):
    """Windows that do not overlap lose what they cover."""
    probe, kernel = linear
    x = images(1, 6, 8, 3)
    found = occlusion(probe, x, classes=0, window=2, stride=2, baseline=0.5, batch_size=5)
    lost = ((x[0] - 0.5) * kernel[..., 0]).sum(axis=-1)
    blocks = lost.reshape(3, 2, 4, 2).sum(axis=(1, 3))
    np.testing.assert_allclose(found[0], blocks.repeat(2, 0).repeat(2, 1), rtol=1e-3, atol=1e-4)


def test_windows_of_occlusion_reach_the_border_and_overlap(linear, images):
    probe, kernel = linear
    x = images(1, 6, 8, 3)
    found = occlusion(probe, x, classes=1, window=4, stride=3)[0]
    lost = (x[0] * kernel[..., 1]).sum(axis=-1)
    corner = lost[3:, 6:].sum()  # the last window is cut off on both sides
    assert found[5, 7] == pytest.approx(corner, abs=1e-4)
    overlap = np.mean([lost[:4, :4].sum(), lost[:4, 3:7].sum()])
    assert found[0, 3] == pytest.approx(overlap, abs=1e-4)


def test_by_default_the_window_is_a_quarter_of_the_image(linear, images):
    probe, _ = linear
    x = images(1, 6, 8, 3)
    np.testing.assert_array_equal(
        occlusion(probe, x, classes=0), occlusion(probe, x, classes=0, window=1, stride=1)
    )


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda p, x: integrated_gradients(p, x, steps=0), "steps=0: .* at least 1"),
        (lambda p, x: integrated_gradients(p, x, baseline=np.zeros(5)), r"baseline of shape \(5,"),
        (lambda p, x: integrated_gradients(p, x, classes=3), "class 3"),
        (lambda p, x: smooth_grad(p, x, samples=0), "samples=0"),
        (lambda p, x: smooth_grad(p, x, noise=-1), "noise=-1"),
        (lambda p, x: smooth_grad(p, x, noise=np.nan), "noise=nan"),
        (lambda p, x: occlusion(p, x, window=11), "window=11: .* from 1 to 10"),
        (lambda p, x: occlusion(p, x, window=4, stride=5), "stride=5: .* from 1 to 4"),
        (lambda p, x: occlusion(p, x, window=2.5), "window=2.5"),
        (lambda p, x: occlusion(p, x[..., 0]), "images of shape"),
    ],
)
def test_what_cannot_be_is_one_clear_line(probe, images, ask, message):
    with pytest.raises(ClassicsError, match=message):
        ask(probe, images(1, 12, 10, 3))
