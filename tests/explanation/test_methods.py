from __future__ import annotations

import keras
import numpy as np
import pytest

from graphs import RELU6, SWISH, inverted_residuals
from keras_classics import VGG16, build
from keras_classics.errors import ClassicsError
from keras_classics.explanation.attribution import integrated_gradients, occlusion, smooth_grad
from keras_classics.explanation.cam import CAMS, cam
from keras_classics.explanation.methods import (
    METHODS,
    Settings,
    attribute,
    default_layer,
    find_method,
)
from keras_classics.explanation.probe import Probe


@pytest.fixture
def probe(branching):
    return Probe(branching())


def test_every_cam_and_every_attribution_is_in_the_table():
    assert set(METHODS) == {*CAMS, "integrated-gradients", "smooth-grad", "occlusion"}
    assert [name for name, method in METHODS.items() if method.at_layers] == list(CAMS)
    settings = Settings.__dataclass_fields__
    assert all(name in settings for method in METHODS.values() for name in method.reads)


@pytest.mark.parametrize("method", CAMS)
def test_cams_through_the_table(probe, images, method):
    x = images(2, 12, 10, 3)
    found = attribute(probe, x, method, layers=["a", "c"], classes=[0, 2])
    expected = cam(probe, x, method=method, layers=["a", "c"], classes=[0, 2])
    assert list(found.maps) == ["a", "c"]
    for name, maps in expected.items():
        np.testing.assert_allclose(found.maps[name], maps, rtol=1e-5, atol=1e-7)


def test_attributions_through_the_table(probe, images):
    x = images(1, 12, 10, 3)
    settings = Settings(steps=3, samples=2, noise=0.1, window=4, stride=2, seed=9, cover=0.5)
    found = attribute(probe, x, "integrated-gradients", classes=1, settings=settings)
    whole = integrated_gradients(probe, x, classes=1, steps=3)
    np.testing.assert_array_equal(found.maps["images"], whole.attributions.sum(axis=-1))
    np.testing.assert_array_equal(found.figures["completeness_gap"], whole.gaps)
    found = attribute(probe, x, "smooth-grad", classes=1, settings=settings)
    slopes = smooth_grad(probe, x, classes=1, samples=2, noise=0.1, seed=9)
    np.testing.assert_array_equal(found.maps["images"], np.abs(slopes).sum(axis=-1))
    found = attribute(probe, x, "occlusion", classes=1, settings=settings)
    lost = occlusion(probe, x, classes=1, window=4, stride=2, baseline=0.5)
    np.testing.assert_array_equal(found.maps["images"], lost)


def test_only_signed_methods_give_negative_values(probe, images):
    x = images(2, 12, 10, 3)
    for name, method in METHODS.items():
        settings = Settings(steps=2, samples=2)
        lowest = min(m.min() for m in attribute(probe, x, name, settings=settings).maps.values())
        assert (lowest < 0) == method.signed


@pytest.mark.parametrize(("size", "block"), [(128, "block5"), (64, "block4"), (32, "block3")])
def test_by_default_the_last_block_with_maps_of_four_by_four(size, block):
    model = VGG16(weights=None, width=0.0625, input_shape=(size, size, 3), classes=3)
    assert default_layer(Probe(model)) == block


def test_by_default_the_last_maps_of_a_model_without_blocks(probe):
    assert default_layer(probe) == "joined"


def test_layers_behind_the_last_block_count_but_not_those_that_pad():
    model = VGG16(weights=None, width=0.0625, input_shape=(64, 64, 3), include_top=False)
    pad = keras.layers.ZeroPadding2D(3, name="padded")(model.output)
    behind = keras.layers.Conv2D(4, 1, name="behind")(pad)
    for end, expected in ((pad, "block4"), (behind, "behind")):
        scores = keras.layers.GlobalAveragePooling2D()(end)
        assert default_layer(Probe(keras.Model(model.input, scores))) == expected


def test_a_block_that_is_called_as_one_of_its_layers_means_its_end():
    """MobileNetV2's last convolution is linear; its activation is what Grad-CAM looks at."""
    model = build("mobilenet_v2", weights=None, width=0.25, input_shape=(128, 128, 3), classes=3)
    probe = Probe(model)
    assert default_layer(probe) == probe.layer(default_layer(probe)) == "out_relu"
    assert probe.ends[0] == "Conv1_relu"


@pytest.mark.backends
@pytest.mark.parametrize("kind", [SWISH, RELU6], ids=["swish", "relu6"])
def test_networks_of_inverted_residuals(kind, randomise, images):
    """Each method, through depthwise convolutions, gates and the scaling of the pixels."""
    model = randomise(inverted_residuals(**kind))
    probe = Probe(model)
    x = 255 * images(2, 32, 32, 3) if kind["inside"] else images(2, 32, 32, 3)
    at = probe.layer(default_layer(probe))
    assert at == "last_act"  # not the gate's maps of one pixel, nor the last linear block
    scores = probe.run(x).scores
    np.testing.assert_allclose(scores, model.predict_on_batch(x), rtol=1e-5)
    for name in METHODS:
        settings = Settings(steps=50, samples=2, channels=2, stride=8)
        found = attribute(probe, x, name, classes=1, settings=settings)
        (heat,) = found.maps.values()
        assert np.isfinite(heat).all(), name
        assert np.ptp(heat, axis=(1, 2)).min() > 0, name
        if "completeness_gap" in found.figures:
            gap, whole = found.figures["completeness_gap"], found.figures["score_difference"]
            assert np.abs(gap).max() < 0.05 * np.abs(whole).max()
    # Gradients, against what a small change of one position really does.
    maps = probe.gradients(x, [at], 1)
    rest = keras.Model(model.get_layer(at).output, model.output)
    step = np.zeros_like(maps.taps[at])
    step[:, 2, 3, 5] = 0.01
    up, down = (rest.predict_on_batch(maps.taps[at] + s)[:, 1] for s in (step, -step))
    np.testing.assert_allclose(maps.gradients[at][:, 2, 3, 5], (up - down) / 0.02, rtol=0.05)


def test_what_cannot_be_is_one_clear_line(probe, images):
    with pytest.raises(ClassicsError, match=r"method='occlude': one of .* mean 'occlusion'\?"):
        find_method("occlude")
    with pytest.raises(ClassicsError, match="Occlusion explains pixels; leave it out"):
        attribute(probe, images(1, 12, 10, 3), "occlusion", layers=["a"])
