from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_classics.errors import ClassicsError
from keras_classics.explanation.probe import Probe
from keras_classics.explanation.visualisation import COLOURS, _variation_gradient, visualise


@pytest.fixture
def probe(branching):
    return Probe(branching())


@pytest.fixture
def colours():
    """A network whose channels are red with green, and what is brighter on the right."""
    x = keras.Input((16, 16, 3))
    maps = layers.Conv2D(2, 2, use_bias=False, name="maps")(x)
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(maps)))
    kernel = np.zeros((2, 2, 3, 2), np.float32)
    kernel[..., :2, 0] = 1
    kernel[:, 1, :, 1], kernel[:, 0, :, 1] = 1, -1
    model.get_layer("maps").set_weights([kernel])
    return Probe(model)


@pytest.mark.backends
def test_the_image_is_what_the_channel_looks_for(colours):
    found = visualise(colours, "maps", [0], steps=100, jitter=0, rate=0.2)
    red, green, _ = np.moveaxis(found.images[0], -1, 0)
    assert red.mean() > 0.8
    assert green.mean() > 0.8
    assert found.activations.shape == (1, 101)
    assert found.activations[0, -1] > 0.8 * (4 * 2)  # of the most that there can be


def test_activations_rise_and_the_last_are_those_of_the_images(probe):
    found = visualise(probe, "joined", [0, 7], steps=20, jitter=1)
    assert found.images.shape == (2, 12, 10, 3)
    assert np.all(found.activations[:, -1] > found.activations[:, 0])
    means, _ = probe.channel_gradients(found.images, "joined", [0, 7])
    np.testing.assert_allclose(found.activations[:, -1], means, rtol=1e-5)


def test_the_same_seed_gives_the_same_image(probe):
    first, again, other = (visualise(probe, "c", 1, steps=3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.images, again.images)
    assert np.any(first.images != other.images)


def test_the_image_stays_in_the_range_of_the_network(probe):
    low, high = np.array([-2.0, -1.0, 0.0]), np.array([2.0, 3.0, 0.5])
    images = visualise(probe, "c", 0, low=low, high=high, steps=30, rate=1.0).images
    assert np.all(images >= low - 1e-6)
    assert np.all(images <= high + 1e-6)


def test_total_variation_smooths(colours):
    rough, smooth = (
        visualise(colours, "maps", 1, steps=30, variation=weight, jitter=0).images
        for weight in (0.0, 1e3)
    )
    assert (
        np.square(np.diff(smooth, axis=2)).mean() < 0.5 * np.square(np.diff(rough, axis=2)).mean()
    )


def test_the_gradient_of_the_variation(images):
    x = images(1, 5, 6, 3).astype("float64")
    d = images(1, 5, 6, 3, seed=2).astype("float64")

    def variation(x):
        squares = sum(np.square(np.diff(x, axis=axis)).sum() for axis in (1, 2))
        return squares / 30

    measured = (variation(x + 1e-4 * d) - variation(x - 1e-4 * d)) / 2e-4
    assert (_variation_gradient(x) * d).sum() == pytest.approx(measured)


def test_a_network_that_reads_blue_first_is_shown_red_first(colours):
    """The channel looks for the first two: red and green, or in Caffe's order blue and green."""
    wanted = {None: (0, 1), (2, 1, 0): (2, 1)}
    for order, bright in wanted.items():
        found = visualise(colours, "maps", 0, steps=100, jitter=0, rate=0.2, order=order)
        means = found.pictures[0].mean(axis=(0, 1)) / 255
        assert all(means[colour] > 0.9 for colour in bright)
        pixels = found.pictures / 127.5 - 1
        read = pixels if order is None else pixels[..., list(order)]
        np.testing.assert_allclose(found.images, read, atol=1 / 127)


def test_where_the_network_leaves_the_size_open_it_is_given():
    x = keras.Input((None, None, 1))
    model = keras.Model(x, layers.Conv2D(2, 3, name="conv")(x))
    assert visualise(Probe(model), "conv", 0, size=9, steps=1).images.shape == (1, 9, 9, 1)
    with pytest.raises(ClassicsError, match="any height and width"):
        visualise(Probe(model), "conv", 0)


def test_colours_are_lucids():
    """Its constant, before it is scaled by the largest length of its rows."""
    assert COLOURS.shape == (3, 3)
    np.testing.assert_allclose(np.abs(COLOURS[:, 0]), 0.56, atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "zz"}, "no block or layer"),
        ({"layer": "predictions"}, "no feature maps"),
        ({"channels": 5}, "channel 5: 'c' has 5"),
        ({"channels": []}, "at least one"),
        ({"steps": 0}, "steps=0"),
        ({"jitter": -1}, "jitter=-1"),
        ({"order": (0, 1)}, r"order=\(0, 1\)"),
    ],
)
def test_what_cannot_be_is_one_clear_line(probe, arguments, message):
    with pytest.raises(ClassicsError, match=message):
        visualise(probe, **{"layer": "c", "channels": 0, "steps": 1, **arguments})
