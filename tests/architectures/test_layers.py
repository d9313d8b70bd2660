from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_classics.architectures.layers import channel_axis, conv_bn, scaled


def test_channel_axis(data_format):
    data_format("channels_last")
    assert channel_axis() == 3
    data_format("channels_first")
    assert channel_axis() == 1


@pytest.mark.parametrize(
    ("filters", "width", "expected"), [(64, 1.0, 64), (64, 0.3, 19), (3, 0.1, 1), (32, 2, 64)]
)
def test_scaled(filters, width, expected):
    assert scaled(filters, width) == expected


def built(**arguments):
    inputs = keras.Input((9, 12, 3))
    return keras.Model(inputs, conv_bn(inputs, **{"filters": 4, "name": "u", **arguments}))


def names(model):
    return [layer.name for layer in model.layers][1:]


def test_the_unit_is_convolution_batch_norm_relu(randomise, images, run):
    model = randomise(built(kernel=3, epsilon=0.5))
    assert names(model) == ["u_conv", "u_bn", "u_relu"]
    x = images(2, 9, 12, 3)
    convolved = run(keras.Model(model.inputs, model.get_layer("u_conv").output), x)
    gamma, beta, mean, variance = model.get_layer("u_bn").get_weights()
    expected = np.maximum((convolved - mean) / np.sqrt(variance + 0.5) * gamma + beta, 0)
    assert 0 < (expected > 0).mean() < 1
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-4, atol=1e-5)


def test_options_of_the_unit():
    assert [w.name for w in built(kernel=1).weights] == [
        "kernel", "gamma", "beta", "moving_mean", "moving_variance",
    ]  # fmt: skip
    assert [w.name for w in built(kernel=1, bias=True, scale=False).weights] == [
        "kernel", "bias", "beta", "moving_mean", "moving_variance",
    ]  # fmt: skip
    assert names(built(kernel=1, relu=False)) == ["u_conv", "u_bn"]
    norm = built(kernel=1, epsilon=1e-5, momentum=0.9).get_layer("u_bn")
    assert (norm.epsilon, norm.momentum) == (1e-5, 0.9)
    assert built(kernel=(1, 7)).weights[0].shape == (1, 7, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"strides": 2}, (None, 5, 6, 4)),
        ({"strides": 2, "padding": "valid"}, (None, 4, 5, 4)),
        ({"strides": 2, "pad": 1}, (None, 5, 6, 4)),
        ({"pad": 2}, (None, 11, 14, 4)),
    ],
)
def test_sizes_of_the_unit(arguments, shape):
    assert built(kernel=3, **arguments).output_shape == shape


def test_explicit_padding_is_on_all_four_sides(images, run):
    """With "same" and an even side, the first window would begin inside the image."""
    explicit, same = (built(kernel=3, strides=2, **a) for a in ({"pad": 1}, {"padding": "same"}))
    same.set_weights(explicit.get_weights())
    x = images(1, 9, 12, 3)
    assert explicit.output_shape == same.output_shape
    assert np.abs(run(explicit, x) - run(same, x)).max() > 1e-3
    assert names(explicit)[0] == "u_pad"


def test_batch_norm_follows_the_data_format(data_format):
    data_format("channels_first")
    inputs = keras.Input((3, 9, 12))
    model = keras.Model(inputs, conv_bn(inputs, filters=4, kernel=3, name="u"))
    assert model.output_shape == (None, 4, 9, 12)
    assert model.get_layer("u_bn").get_weights()[0].shape == (4,)
