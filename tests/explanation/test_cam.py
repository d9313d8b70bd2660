from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_classics.errors import ClassicsError
from keras_classics.explanation.cam import (
    CAMS,
    cam,
    grad_cam_plus_plus,
    scaled,
    score_cam,
)
from keras_classics.explanation.probe import Probe


@pytest.fixture
def pooled(randomise):
    """Convolution, global pooling, dense: the network of which Grad-CAM's paper has a proof."""
    x = keras.Input((8, 6, 3))
    maps = layers.Conv2D(5, 3, activation="relu", padding="same", name="maps")(x)
    y = layers.GlobalAveragePooling2D()(maps)
    y = layers.Dense(4, activation="softmax", name="predictions")(y)
    return Probe(randomise(keras.Model(x, y)))


@pytest.mark.backends
def test_grad_cam_is_cam_where_the_paper_proves_it(pooled, images):
    """1610.02391, section 3.1: behind global pooling the weights are those of the dense layer."""
    x = images(2, 8, 6, 3)
    maps = pooled.run(x, ["maps"]).taps["maps"]
    kernel = keras.ops.convert_to_numpy(pooled.model.get_layer("predictions").kernel)
    for classes in (3, [0, 2]):
        found = cam(pooled, x, layers=["maps"], classes=classes)["maps"]
        weights = np.broadcast_to(kernel[:, classes].T, (2, 5)) / (8 * 6)
        expected = np.maximum((maps * weights[:, None, None]).sum(axis=-1), 0)
        assert found.shape == (2, 8, 6)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.backends
def test_layer_cam_weighs_each_position_by_its_own_gradient(pooled, images):
    x = images(1, 8, 6, 3)
    maps = pooled.run(x, ["maps"]).taps["maps"]
    kernel = keras.ops.convert_to_numpy(pooled.model.get_layer("predictions").kernel)
    expected = (maps * np.maximum(kernel[:, 1], 0)).sum(axis=-1) / (8 * 6)
    found = cam(pooled, x, method="layer-cam", layers=["maps"], classes=1)["maps"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.backends
def test_grad_cam_plus_plus_behind_global_pooling(pooled, images):
    """There a channel's gradient is the same everywhere, and equations 10 and 19 have a sum."""
    x = images(2, 8, 6, 3)
    maps = pooled.run(x, ["maps"]).taps["maps"].astype("float64")
    kernel = keras.ops.convert_to_numpy(pooled.model.get_layer("predictions").kernel)
    g = np.maximum(kernel[:, [3, 0]].T.astype("float64"), 0) / (8 * 6)
    weights = 8 * 6 * g / (2 + maps.sum(axis=(1, 2)) * g)
    expected = (maps * weights[:, None, None]).sum(axis=-1)
    found = cam(pooled, x, method="grad-cam++", layers=["maps"], classes=[3, 0])["maps"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_grad_cam_plus_plus_follows_its_equations():
    """Equations 10 and 19, written as loops."""
    rng = np.random.default_rng(0)
    maps = rng.uniform(0, 1, (1, 3, 4, 2)).astype("float32")
    g = rng.normal(0, 3, (1, 3, 4, 2)).astype("float32")
    weights = np.zeros(2)
    for k in range(2):
        total = maps[0, :, :, k].sum()
        for i in range(3):
            for j in range(4):
                d = float(g[0, i, j, k])
                weights[k] += d**2 / (2 * d**2 + total * d**3) * max(d, 0)
    expected = np.maximum((weights * maps).sum(axis=-1), 0)
    np.testing.assert_allclose(grad_cam_plus_plus(maps, g), expected, rtol=1e-4)


def test_grad_cam_plus_plus_of_no_gradient_is_nothing():
    nothing = np.zeros((1, 2, 2, 3), np.float32)
    np.testing.assert_array_equal(grad_cam_plus_plus(nothing + 1, nothing), np.zeros((1, 2, 2)))


def test_grad_cam_plus_plus_finds_each_of_several_objects_alike():
    """Section 3.1 of the paper: two objects, one large and one small, in two channels."""
    maps = np.zeros((1, 8, 8, 2), np.float32)
    maps[0, :4, :, 0] = 1  # 32 positions
    maps[0, 7, :2, 1] = 1  # 2 positions
    gradients = maps.copy()  # each channel speaks for the class where its object is
    plain = (gradients.mean(axis=(1, 2)) * maps).sum(axis=-1)[0]
    fair = grad_cam_plus_plus(maps, gradients)[0]
    assert plain[7, 0] / plain[0, 0] == pytest.approx(1 / 16)
    assert fair[7, 0] / fair[0, 0] > 0.4


@pytest.mark.backends
def test_score_cam_weighs_channels_by_what_they_let_through(pooled, images):
    x = images(1, 8, 6, 3)
    maps = pooled.run(x, ["maps"]).taps["maps"][0]
    scores = []
    for k in range(5):
        mask = maps[..., k] - maps[..., k].min()
        mask = mask / mask.max() if mask.max() else mask
        scores.append(pooled.run(x * mask[None, :, :, None]).scores[0, 2])
    weights = np.exp(scores - np.max(scores))
    expected = np.maximum((maps * (weights / weights.sum())).sum(axis=-1), 0)
    found = score_cam(pooled, x, layer="maps", classes=2, batch_size=2)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    same = cam(pooled, x, method="score-cam", layers=["maps"], classes=2)["maps"]
    np.testing.assert_allclose(same[0], found, rtol=1e-4, atol=1e-6)


def test_score_cam_of_the_channels_that_vary_most(pooled, images):
    x = images(1, 8, 6, 3)
    maps = pooled.run(x, ["maps"]).taps["maps"][0]
    best = maps.var(axis=(0, 1)).argmax()
    found = score_cam(pooled, x, layer="maps", classes=0, channels=1)[0]
    np.testing.assert_allclose(found, maps[..., best], rtol=1e-5)


def test_without_layers_the_ends_of_all_outer_blocks():
    from keras_classics import VGG16

    probe = Probe(VGG16(weights=None, width=0.0625, input_shape=(32, 32, 3), classes=3))
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    assert {name: maps.shape for name, maps in cam(probe, x).items()} == {
        f"block{i}": (1, 32 >> i, 32 >> i) for i in range(1, 6)
    }


@pytest.mark.parametrize("method", CAMS)
def test_each_class_has_its_own_map(pooled, images, method):
    x = np.repeat(images(1, 8, 6, 3), 2, axis=0)
    first, second = cam(pooled, x, method=method, layers=["maps"], classes=[0, 1])["maps"]
    assert not np.allclose(first, second)


def test_scaled():
    maps = np.array([[[0.0, 1.0], [2.0, 3.0]], [[5.0, 5.0], [5.0, 5.0]]], np.float32)
    np.testing.assert_array_equal(scaled(maps)[0], maps[0] / 3)
    np.testing.assert_array_equal(scaled(maps)[1], 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "gradcam"}, r"method='gradcam': one of .* did you mean 'grad-cam'\?"),
        ({"layers": ["mapps"]}, "did you mean 'maps'"),
        ({"layers": []}, "at least one layer"),
        ({"layers": ["predictions"]}, "no feature maps"),
        ({"layers": ["maps"], "classes": 4}, "class 4: .* has 4, from 0 to 3"),
    ],
)
def test_what_cannot_be_is_one_clear_line(pooled, images, arguments, message):
    with pytest.raises(ClassicsError, match=message):
        cam(pooled, images(1, 8, 6, 3), **arguments)


def test_score_cam_of_no_channels(pooled, images):
    with pytest.raises(ClassicsError, match="channels=0"):
        score_cam(pooled, images(1, 8, 6, 3), layer="maps", channels=0)
