from __future__ import annotations

import functools
import inspect

import keras
import numpy as np
import pytest
from keras import applications

import keras_classics
from keras_classics import MobileNetV2, analyse, build
from keras_classics.architectures.mobilenet_v2 import inverted_residual
from zoo import slow

SHAPE = (97, 113, 3)  # odd down to the last maps


@pytest.fixture(scope="module")
def pair():
    """A network of keras.applications and ours, with logits."""

    @functools.cache
    def pair(alpha, shape=SHAPE):
        arguments = {
            "weights": None, "input_shape": shape, "alpha": alpha, "classifier_activation": None,
        }  # fmt: skip
        return applications.MobileNetV2(**arguments), MobileNetV2(**arguments)

    yield pair
    pair.cache_clear()


def described(model):
    """All layers but the input, with their weights."""
    return [
        (layer.name, type(layer).__name__, [weight.shape for weight in layer.weights])
        for layer in model.layers[1:]
        if layer.weights
    ]


# Where rounding to multiples of 8 decides: 0.35 keeps 90 %, 0.75 halves 24, 1.4 has a wider head.
@pytest.mark.backends
@pytest.mark.parametrize("alpha", [0.35, 0.75, slow(1.0), slow(1.4)])
def test_layers_and_outputs_are_those_of_keras_applications(alpha, pair, randomise, images, run):
    theirs, ours = pair(alpha)
    assert ours.name == theirs.name
    assert described(ours) == described(theirs)
    randomise(theirs)
    ours.set_weights(theirs.get_weights())
    x = images(2, *SHAPE)
    expected = run(theirs, x)
    assert np.abs(expected[0] - expected[1]).mean() > 0.001 * expected.std()
    assert np.abs(run(ours, x) - expected).max() / np.abs(expected).max() < 1e-5


def test_parameters_and_multiplications():
    cost = analyse(build("mobilenet_v2")).model
    assert cost.parameters == 3_538_984
    assert cost.macs / 1e9 == pytest.approx(0.301, rel=5e-3)


@pytest.mark.backends
def test_built_without_a_size_it_is_the_same_network(pair, randomise, images, run):
    """That of keras.applications is not: it pads odd maps as if they were even."""
    weights = randomise(pair(0.35)[1]).get_weights()[:-2]
    arguments = {"weights": None, "include_top": False, "alpha": 0.35}
    x = images(1, *SHAPE)
    sized = MobileNetV2(input_shape=SHAPE, **arguments)
    open_, open_there = (
        make(input_shape=(None, None, 3), **arguments)
        for make in (MobileNetV2, applications.MobileNetV2)
    )
    for model in (sized, open_, open_there):
        model.set_weights(weights)
    expected = run(sized, x)
    assert expected.shape == (1, 4, 4, 1280)
    np.testing.assert_allclose(run(open_, x), expected, rtol=1e-5, atol=1e-5)
    assert run(open_there, x).shape == (1, 3, 3, 1280)


def test_arguments_are_those_of_keras_applications():
    def arguments(function):
        return [
            (parameter.name, parameter.default)
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]

    assert arguments(MobileNetV2) == arguments(applications.MobileNetV2)
    model = MobileNetV2((64, 64, 3), 0.35, True, None, None, None, 7, None, "mine")
    assert (model.name, model.output_shape) == ("mine", (None, 7))
    assert model.layers[-1].activation is keras.activations.linear
    assert "what the other networks call `width`" in MobileNetV2.__doc__
    with pytest.raises(TypeError, match="two names of one argument: alpha"):
        MobileNetV2(width=0.5, alpha=0.5, weights=None)


@pytest.mark.parametrize("name", ["alpha", "width"])
def test_width_is_alpha(name):
    ours = build("mobilenet_v2", width=0.35, input_shape=(64, 64, 3))
    theirs = MobileNetV2(**{name: 0.35}, weights=None, input_shape=(64, 64, 3))
    assert described(ours) == described(theirs)


@pytest.mark.backends
def test_gradients_reach_every_weight(randomise, images, gradients):
    model = build(
        "mobilenet_v2", width=0.35, depths=(1, 2, 1, 1, 1, 1, 1), input_shape=(32, 45, 3),
        classes=5, classifier_activation=None,
    )  # fmt: skip
    randomise(model)
    of_weights, _ = gradients(
        model, images(2, 32, 45, 3), lambda y: keras.ops.sum(keras.ops.square(y))
    )
    for weight, gradient in zip(model.trainable_weights, of_weights, strict=True):
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path


@pytest.mark.parametrize(
    ("filters", "strides", "added"), [(8, 1, True), (8, 2, False), (6, 1, False)]
)
def test_the_shortcut_joins_ends_that_are_alike(filters, strides, added):
    x = keras.Input((9, 12, 8))
    y = inverted_residual(x, filters=filters, strides=strides, expansion=6, name="m", drop=0.1)
    names = [layer.name for layer in keras.Model(x, y).layers]
    assert ("m_add" in names, "m_drop" in names) == (added, added)
    assert y.shape == (None, -(-9 // strides), 12 // strides, filters)
    assert (names[-1] == "m_project_BN") == (not added)  # linear


def test_without_expansion_there_is_no_first_convolution():
    x = keras.Input((9, 12, 8))
    y = inverted_residual(x, filters=8, strides=1, expansion=1, name="m")
    assert "m_expand" not in [layer.name for layer in keras.Model(x, y).layers]


def test_numbers_go_on_over_the_rows():
    """With depths of one's own, too, as in Keras: `expanded_conv`, then block 1 and so on."""
    model = build("mobilenet_v2", depths=(1, 1, 2, 1, 1, 1, 1), width=0.35)
    names = [layer.name.removesuffix("_project") for layer in model.layers]
    assert [name for name in names if name.startswith("block_") and name[-1].isdigit()] == [
        f"block_{number}" for number in range(1, 8)
    ]
    assert keras_classics.CATALOG["mobilenet_v2"].bears("mobilenetv2_0.35_224")
