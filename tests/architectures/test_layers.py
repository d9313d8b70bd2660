from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest

from keras_classics.architectures.layers import (
    Names,
    channel_axis,
    conv_bn,
    drop_rates,
    drop_residual,
    layer_scale,
    normalise,
    scaled,
    squeeze_excite,
)


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
    assert names(built(kernel=1, activation=None)) == ["u_conv", "u_bn"]
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


@pytest.mark.parametrize(
    ("filters", "width", "expected"),
    [
        (32, 1.0, 32),
        (32, 0.35, 16),  # 11.2: 8 would be less than 90 % of it
        (24, 0.75, 24),  # 18 likewise
        (24, 0.35, 8),  # 8.4
        (16, 1.1, 16),
        (320, 1.2, 384),
        (16, 1.4, 24),
        (16, 0.01, 8),  # at least one multiple
        (20, 1.0, 24),  # halves go up
    ],
)
def test_scaled_to_multiples(filters, width, expected):
    assert scaled(filters, width, divisor=8) == expected


@pytest.mark.parametrize("divisor", [4, 8, 16])
def test_scaled_never_loses_more_than_a_tenth(divisor):
    for filters in range(1, 400):
        found = scaled(filters, 0.73, divisor=divisor)
        assert found % divisor == 0
        assert 0.9 * 0.73 * filters <= found <= max(divisor, 0.73 * filters + divisor)


@pytest.mark.backends
def test_a_depthwise_unit_filters_each_channel_alone(randomise, images, run):
    model = randomise(built(filters=None, kernel=3, activation=None))
    assert model.get_layer("u_conv").get_weights()[0].shape == (3, 3, 3, 1)
    x = images(1, 9, 12, 3)
    other = x.copy()
    other[..., 1] += 1
    changed = np.abs(run(model, x) - run(model, other)).max((0, 1, 2)) > 1e-3
    assert changed.tolist() == [False, True, False]


def test_groups_see_their_own_channels(randomise, images, run):
    inputs = keras.Input((5, 5, 4))
    model = keras.Model(
        inputs, conv_bn(inputs, filters=6, kernel=3, groups=2, activation=None, name="u")
    )
    randomise(model)
    assert model.get_layer("u_conv").get_weights()[0].shape == (3, 3, 2, 6)
    x = images(1, 5, 5, 4)
    other = x.copy()
    other[..., 3] += 1
    changed = np.abs(run(model, x) - run(model, other)).max((0, 1, 2)) > 1e-3
    assert changed.tolist() == [False] * 3 + [True] * 3


def test_pre_activation(randomise, images, run):
    model = randomise(built(kernel=3, pad=1, order="norm act conv"))
    assert names(model) == ["u_bn", "u_relu", "u_pad", "u_conv"]
    assert model.get_layer("u_bn").get_weights()[0].shape == (3,)
    x = images(1, 9, 12, 3)
    assert (run(model, x) < 0).any()  # it ends with the convolution
    assert (run(keras.Model(model.inputs, model.get_layer("u_relu").output), x) >= 0).all()


def test_published_names():
    unit = partial(conv_bn, names=Names("{}Conv", "bn_{}", "{}_act", "{}_zeros"))
    inputs = keras.Input((9, 12, 3))
    model = keras.Model(inputs, unit(inputs, filters=4, kernel=3, pad=1, name="a"))
    assert names(model) == ["a_zeros", "aConv", "bn_a", "a_act"]


def of(function, shape, **arguments):
    inputs = keras.Input(shape)
    return keras.Model(inputs, function(inputs, **arguments))


@pytest.mark.backends
def test_squeeze_and_excite_weighs_channels(randomise, images, run):
    model = randomise(of(squeeze_excite, (None, None, 6), reduced=2, name="b"))
    assert names(model) == ["b_se_squeeze", "b_se_reduce", "b_se_expand", "b_se_excite"]
    x = images(2, 5, 7, 6)
    first, second = (model.get_layer(f"b_se_{name}").get_weights() for name in ("reduce", "expand"))
    hidden = np.maximum(x.mean((1, 2)) @ first[0][0, 0] + first[1], 0)
    gate = 1 / (1 + np.exp(-(hidden @ second[0][0, 0] + second[1])))
    np.testing.assert_allclose(run(model, x), x * gate[:, None, None], rtol=1e-4, atol=1e-6)


def test_rates_of_residuals_rise_to_the_limit():
    assert list(drop_rates(0.2, 5)) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert list(drop_rates(0.2, 4, last=False)) == pytest.approx([0, 0.05, 0.1, 0.15])
    assert list(drop_rates(0.2, 1)) == [0.0]
    assert list(drop_rates(0.2, 0)) == []


@pytest.mark.backends
def test_stochastic_depth_drops_whole_images():
    model = of(drop_residual, (4, 4, 3), rate=0.5, name="d")
    x = np.ones((64, 4, 4, 3), np.float32)
    y = keras.ops.convert_to_numpy(model(x, training=True)).reshape(64, -1)
    assert np.isin(y[:, 0], (0, 2)).all()
    assert 10 < (y[:, 0] == 0).sum() < 54
    assert (y == y[:, :1]).all()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x, training=False)), x)
    inputs = keras.Input((4, 4, 3))
    assert drop_residual(inputs, rate=0.0, name="d") is inputs


@pytest.mark.backends
def test_layer_scale(images, run):
    model = of(layer_scale, (4, 5, 3), initial=1e-6, name="s")
    (factors,) = model.get_weights()
    assert factors.shape == (1, 1, 3, 1)
    np.testing.assert_array_equal(factors, np.float32(1e-6))
    model.set_weights([np.array([1, 2, 3], np.float32).reshape(factors.shape)])
    x = images(2, 4, 5, 3)
    np.testing.assert_allclose(run(model, x), x * [1, 2, 3], rtol=1e-6)


@pytest.mark.backends
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_are_normalised_inside_the_graph(channels, run):
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    model = of(normalise, (4, 5, channels), mean=mean, deviation=deviation, prefix="a_")
    assert names(model) == ["a_rescaling", "a_normalization"]
    assert model.count_params() == 0
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 5, channels)).astype("float32")
    if channels != 3:
        mean, deviation = np.mean(mean), np.sqrt(np.mean(np.square(deviation)))
    expected = (x / 255 - np.float32(mean)) / np.float32(deviation)
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-4, atol=1e-5)


def test_pixels_are_normalised_with_the_channels_first(data_format):
    data_format("channels_first")
    arguments = {"mean": (0.1, 0.2, 0.3), "deviation": (1.0, 1.0, 1.0)}
    model = of(normalise, (3, 4, 5), **arguments)
    assert model.output_shape == (None, 3, 4, 5)
    assert model.get_layer("normalization").axis == (1,)
