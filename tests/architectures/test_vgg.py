from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_classics import VGG16, vgg16_sequential, vgg_block

ARGUMENTS = {"width": 1 / 16, "classes": 5, "input_shape": (64, 45, 3)}


@pytest.mark.parametrize("extra", [{}, {"dropout": 0.5, "prefix": "a_", "name": "mine"}])
def test_sequential_and_functional_agree(extra, randomise, images, run):
    functional = VGG16(weights=None, **ARGUMENTS, **extra)
    sequential = vgg16_sequential(**ARGUMENTS, **extra)
    assert isinstance(sequential, keras.Sequential)
    assert not isinstance(functional, keras.Sequential)
    assert sequential.name == functional.name
    described = [(layer.name, layer.get_config()) for layer in functional.layers[1:]]
    assert [(layer.name, layer.get_config()) for layer in sequential.layers] == described
    randomise(functional)
    sequential.set_weights(functional.get_weights())
    x = images(2, 64, 45, 3)
    expected = run(functional, x)
    assert expected.std() > 1e-3
    np.testing.assert_array_equal(run(sequential, x), expected)


def test_sequential_at_full_width_has_the_published_parameters():
    model = vgg16_sequential(input_shape=(32, 32, 3))
    assert model.count_params() == VGG16(weights=None, input_shape=(32, 32, 3)).count_params()
    assert model.layers[-1].activation is keras.activations.softmax
    assert vgg16_sequential(width=1 / 16).input_shape == (None, 224, 224, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (31, 32, 3)}, "at least 32 x 32"),
        ({"input_shape": (None, 32, 3)}, "known height and width"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_sequential_checks_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        vgg16_sequential(width=1 / 16, **arguments)


def test_sequential_in_channels_first(data_format, images, run):
    data_format("channels_first")
    model = vgg16_sequential(**{**ARGUMENTS, "input_shape": (3, 64, 45)})
    assert model.get_layer("block5_pool").output.shape == (None, 32, 2, 1)
    assert run(model, images(1, 3, 64, 45)).shape == (1, 5)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (9, 14), (None, None)])
def test_block(height, width):
    inputs = keras.Input((height, width, 3))
    x = vgg_block(inputs, filters=6, convolutions=3, name="mine")
    halves = tuple(side and side // 2 for side in (height, width))
    assert x.shape == (None, *halves, 6)
    assert [layer.name for layer in keras.Model(inputs, x).layers][1:] == [
        "mine_conv1", "mine_conv2", "mine_conv3", "mine_pool",
    ]  # fmt: skip


@pytest.mark.backends
def test_own_network_from_blocks_learns_one_step(images):
    inputs = x = keras.Input((16, 16, 3))
    for i in (1, 2):
        x = vgg_block(x, filters=4 * i, convolutions=i, name=f"mine{i}")
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [4, 8, 8]
    before = [layer.get_weights()[0] for layer in convolutions]
    model.compile("adam", "mse", jit_compile=False)
    assert np.isfinite(model.train_on_batch(images(8, 16, 16, 3), images(8, 2)))
    for kernel, layer in zip(before, convolutions, strict=True):
        assert np.abs(layer.get_weights()[0] - kernel).max() > 0
