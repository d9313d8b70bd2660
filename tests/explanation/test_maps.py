from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_classics import ResNet50
from keras_classics.errors import ClassicsError
from keras_classics.explanation.maps import (
    colours,
    feature_maps,
    filters,
    pictures_of_filters,
    pictures_of_maps,
    sheet,
)
from keras_classics.explanation.probe import Probe


@pytest.fixture(scope="module")
def resnet():
    return Probe(ResNet50(weights=None, width=0.125, input_shape=(32, 32, 3), classes=3))


@pytest.mark.backends
def test_feature_maps_are_what_a_model_of_that_layer_gives(branching, images):
    model = branching()
    x = images(2, 12, 10, 3)
    cut = keras.Model(model.input, model.get_layer("joined").output)
    found = feature_maps(Probe(model), x, "joined")
    np.testing.assert_allclose(found, cut.predict_on_batch(x), rtol=1e-4, atol=1e-6)


@pytest.mark.backends
def test_filters_of_the_first_convolution_and_of_any(resnet):
    first = filters(resnet)
    kernel = keras.ops.convert_to_numpy(resnet.model.get_layer("conv1_conv").kernel)
    assert first.shape == (8, 7, 7, 3)
    np.testing.assert_array_equal(first[5], kernel[..., 5])
    np.testing.assert_array_equal(filters(resnet, "conv1"), first)
    assert filters(resnet, "conv3_block1_2_conv").shape == (16, 3, 3, 16)


def test_filters_of_a_depthwise_convolution():
    """Each over one channel; the order of the colours behind a scaling of one's own."""
    inputs = x = keras.Input((8, 8, 3))
    norm = keras.layers.Normalization()
    norm.adapt(np.ones((1, 2, 2, 3)))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(norm(x))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    found, kernel = filters(Probe(model)), keras.ops.convert_to_numpy(model.get_layer("dw").kernel)
    assert found.shape == (6, 3, 3, 1)
    np.testing.assert_array_equal(found[3, ..., 0], kernel[..., 1, 1])
    assert colours(model.get_layer("dw"), lambda pixels: pixels[..., ::-1].astype(float)) == [
        2, 1, 0
    ]  # fmt: skip


def test_pictures_of_colour_filters_are_grey_where_weights_are_zero(resnet):
    kernels = filters(resnet).copy()
    kernels[0] = 0
    kernels[1, 0, 0] = [2, -2, 0]
    kernels[1, 1:] = 0
    kernels[1, 0, 1:] = 0
    pictures = pictures_of_filters(kernels)
    assert pictures.dtype == np.uint8
    assert np.all(pictures[0] == 128)
    assert pictures[1, 0, 0].tolist() == [255, 0, 128]
    assert np.all((pictures.reshape(8, -1).min(1) == 0) | (pictures.reshape(8, -1).max(1) >= 128))


def test_pictures_of_other_filters_show_the_strongest_channel():
    kernels = np.zeros((1, 2, 2, 5), np.float32)
    kernels[0, :, :, 3] = [[1, -1], [0, 0.5]]
    kernels[0, :, :, 1] = 0.1
    assert pictures_of_filters(kernels)[0, ..., 0].tolist() == [[255, 0], [128, 191]]


def test_pictures_of_maps_use_the_range_of_each():
    maps = np.stack([np.arange(4.0).reshape(2, 2), np.full((2, 2), 7.0)], axis=-1)
    assert pictures_of_maps(maps.astype("float32")).tolist() == [
        [[0, 85], [170, 255]],
        [[0, 0], [0, 0]],
    ]


def test_a_sheet_lays_pictures_in_rows():
    pictures = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 3), np.uint8)
    page = sheet(pictures)
    assert page.shape == (2 * 2 + 1, 3 * 3 + 2)
    assert page[0, [0, 4, 8]].tolist() == [0, 1, 2]
    assert page[3, [0, 4]].tolist() == [3, 4]
    assert np.all(page[2] == 255)
    assert np.all(page[3:, 8:] == 255)
    assert sheet(pictures, columns=5, gap=0).shape == (2, 15)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda p: feature_maps(p, np.zeros((1, 32, 32, 3)), "conv9"), "did you mean 'conv"),
        (lambda p: feature_maps(p, np.zeros((1, 32, 32, 3)), "avg_pool"), "no feature maps"),
        (lambda p: filters(p, "conv1_bn"), "'conv1_bn': no 2D convolution"),
        (lambda _: sheet(np.zeros((0, 2, 2), np.uint8)), "0 pictures"),
        (lambda _: sheet(np.zeros((1, 2, 2), np.uint8), columns=0), "columns=0"),
    ],
)
def test_what_cannot_be_is_one_clear_line(resnet, ask, message):
    with pytest.raises(ClassicsError, match=message):
        ask(resnet)
