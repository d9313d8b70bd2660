from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from importlib import resources

import keras
import numpy as np
import pytest
from keras import applications, layers

from keras_classics import CATALOG, build
from keras_classics.architectures import frame, inception_v3, resnet
from keras_classics.weights import golden
from keras_classics.weights.golden import (
    TOLERANCE,
    computed_outputs,
    golden_outputs,
    outputs_of,
    picture,
)
from zoo import VARIANTS


def difference(outputs, expected):
    return np.abs(outputs - expected).max() / np.abs(expected).max()


def drawn(model):
    """The model with the weights that are drawn the same everywhere."""
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(golden._drawn(layer, weight.name, tuple(weight.shape)))
    return model


@pytest.mark.parametrize(
    ("side", "sha256"),
    [
        (32, "070d6757888b6dbec435fb4b1b541cc93c648b5c456a19f7b4917ab4f6beeed2"),
        (128, "b6af749f2b996d30b9bb94d2a50151f8fe39d2f8f1b57a37299b4e65d259cf7e"),
        (299, "0f641b24c13809f67548a99cd3ca918312bd4ab59ec3b63eda6c16f8c541b03c"),
    ],
)
def test_the_picture_is_the_same_bytes(side, sha256):
    image = picture(side)
    assert (image.shape, image.dtype) == ((side, side, 3), np.uint8)
    assert hashlib.sha256(image.tobytes()).hexdigest() == sha256


def test_the_picture_has_something_for_every_filter_to_see():
    image = picture(128).astype(int)
    for channel in range(3):
        assert image[..., channel].std() > 50
        assert np.ptp(image[..., channel]) >= 170
    for flipped in (image[::-1], image[:, ::-1], image.transpose(1, 0, 2), image[..., ::-1]):
        assert np.abs(flipped - image).mean() > 10


def test_every_network_has_golden_outputs():
    content = json.loads(
        resources.files("keras_classics.weights").joinpath("golden.json").read_text()
    )
    assert content.keys() == CATALOG.keys()
    for outputs in content.values():
        assert len(outputs) == 10
        assert np.isfinite(outputs).all()
        assert np.std(outputs) > 0.15
    assert golden_outputs(CATALOG["vgg16"].replace(name="mine")) is None


@pytest.mark.every_backend
@pytest.mark.parametrize("network", VARIANTS)
def test_computed_on_each_backend(network):
    architecture = CATALOG[network]
    assert difference(computed_outputs(architecture), golden_outputs(architecture)) < TOLERANCE / 10


@pytest.mark.backends
@pytest.mark.parametrize("network", ["vgg16", "resnet50_d", "inception_v3_torch"])
def test_computed_with_the_channels_first(network, data_format):
    if keras.backend.backend() == "tensorflow":
        return  # cannot on a CPU
    data_format("channels_first")
    architecture = CATALOG[network]
    assert difference(computed_outputs(architecture), golden_outputs(architecture)) < TOLERANCE / 10


@pytest.mark.parametrize(
    ("kind", "shape", "read"),
    [
        (layers.Conv2D(1, 1), (3, 3, 50, 40), 450),
        (layers.Dense(1), (300, 200), 300),
        (layers.DepthwiseConv2D(3), (3, 3, 2000, 1), 9),
    ],
)
def test_kernels_are_drawn_so_that_activations_keep_their_size(kind, shape, read):
    kernel = golden._drawn(kind, "kernel", shape)
    assert kernel.dtype == np.float32
    assert kernel.std() == pytest.approx(np.sqrt(2 / read), rel=0.02)
    assert abs(kernel.mean()) < 0.01


def test_the_draw_is_pinned():
    """The golden outputs stand and fall with it."""

    def draw(name, weight):
        return golden._drawn(layers.Identity(name=name), weight, (3,))

    pinned = {
        ("conv1_conv", "bias"): [0.04572408, 0.09248626, -0.02301493],
        ("conv1_bn", "gamma"): [0.8955954, 0.8005763, 0.8221579],
    }
    for weight, values in pinned.items():
        np.testing.assert_allclose(draw(*weight), values, rtol=1e-6)
    assert not np.array_equal(draw("a", "bias"), draw("b", "bias"))
    assert not np.array_equal(draw("a", "beta"), draw("a", "bias"))


def test_a_batch_of_any_layout(data_format):
    """What goes in has the channels last, whatever Keras is configured for."""
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")
    model = keras.Sequential([keras.Input((4, 5, 3)), keras.layers.Flatten()])
    np.testing.assert_array_equal(outputs_of(model, x), x.reshape(2, -1))
    data_format("channels_first")
    inputs = keras.Input((3, 4, 5))
    model = keras.Model(inputs, [keras.layers.Identity()(inputs), inputs])
    np.testing.assert_array_equal(outputs_of(model, x), x.transpose(0, 3, 1, 2))


def changed(change, monkeypatch):
    """From here on, networks are built with other settings of some layers."""
    original = frame.build

    def build_changed(*args, **kwargs):
        config = original(*args, **kwargs).get_config()
        before = json.dumps(config)
        for layer in config["layers"]:
            change(layer["config"], layer["class_name"])
        assert json.dumps(config) != before
        return keras.Model.from_config(config)

    monkeypatch.setattr(frame, "build", build_changed)


def setting(names, **values):
    """A change of the layers of these names or classes."""

    def change(config, kind):
        if config["name"] in names or kind in names:
            config.update(values)

    return change


def same_padding(unit, layer):
    """A change: as many zeros as "same" lays around, where all sides should have the same."""

    def change(config, _):
        if config["name"] == f"{unit}_pad":
            config["padding"] = ((0, 0), (0, 0))
        if config["name"] == f"{unit}_{layer}":
            config["padding"] = "same"

    return change


slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("network", "change"),
    [
        ("vgg16", setting({"block5_conv3"}, activation="linear")),
        slow("vgg16", setting({"fc2"}, activation="linear")),
        slow("vgg16", setting({"block3_conv2"}, activation="elu")),
        ("resnet50", setting({"BatchNormalization"}, epsilon=1e-3)),
        slow("resnet50", setting({"conv5_block3_2_relu"}, activation="linear")),
        slow("resnet50", same_padding("conv1", "conv")),
        slow("resnet50", same_padding("pool1", "pool")),
        slow("resnet50_v1_5", same_padding("conv5_block1_2", "conv")),
        slow("inception_v3", setting({"BatchNormalization"}, epsilon=1.001e-5)),
        ("efficientnet_b0", setting({"block4a_se_reduce"}, activation="relu")),
        slow("efficientnet_b0", setting({"block6a_activation"}, activation="relu")),
        slow("efficientnet_lite0", setting({"block6a_activation"}, activation="relu")),
        slow("mobilenet_v2", setting({"BatchNormalization"}, epsilon=1e-5)),
    ],
)
def test_a_network_that_computes_something_else_is_told(network, change, monkeypatch):
    changed(change, monkeypatch)
    architecture = CATALOG[network]
    assert difference(computed_outputs(architecture), golden_outputs(architecture)) > 50 * TOLERANCE


@pytest.mark.parametrize(
    ("network", "features", "variant"),
    [
        ("resnet50", resnet.features, {"stride_on_3x3": True}),
        slow("resnet50_v1_5", resnet.features, {"stride_on_3x3": False}),
        slow("inception_v3", inception_v3.features, {"count_padding": True}),
        slow("inception_v3_torch", inception_v3.features, {"count_padding": False}),
    ],
)
def test_a_variant_that_no_shape_betrays_is_told(network, features, variant):
    architecture = CATALOG[network]
    own = architecture.features.keywords["variant"]
    other = architecture.replace(features=partial(features, variant=replace(own, **variant)))
    assert difference(computed_outputs(other), golden_outputs(architecture)) > 1000 * TOLERANCE


def test_swapped_weights_are_told(monkeypatch):
    draw = golden._drawn

    def swapped(layer, weight, shape):
        names = {"conv4_block2_1_bn": "conv4_block3_1_bn", "conv4_block3_1_bn": "conv4_block2_1_bn"}
        if layer.name in names:
            layer = layers.Identity(name=names[layer.name])
        return draw(layer, weight, shape)

    monkeypatch.setattr(golden, "_drawn", swapped)
    architecture = CATALOG["resnet50"]
    assert difference(computed_outputs(architecture), golden_outputs(architecture)) > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("network", "reference", "side"),
    [("resnet50", applications.ResNet50, 64), ("inception_v3", applications.InceptionV3, 75)],
)
def test_the_drawn_weights_give_what_keras_gives(network, reference, side, run):
    arguments = {"weights": None, "input_shape": (side, side, 3), "classifier_activation": None}
    ours = drawn(build(network, **arguments))
    theirs = reference(**arguments)
    sources = [layer for layer in ours.layers if layer.weights]
    targets = [layer for layer in theirs.layers if layer.weights]
    for source, target in zip(sources, targets, strict=True):
        assert [w.name for w in source.weights] == [w.name for w in target.weights]
        target.set_weights(source.get_weights())
    image = picture(side)[None] / np.float32(127.5) - np.float32(1)
    expected = run(theirs, image)
    assert 0.1 < np.abs(expected).max() < 1e4
    assert difference(run(ours, image), expected) < 1e-5
