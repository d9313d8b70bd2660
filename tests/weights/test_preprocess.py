from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from keras_classics.weights.preprocess import Mode, as_scaling, preprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("dimensions", [3, 4])
def test_equals_keras_applications(mode, dtype, dimensions):
    from keras.applications.imagenet_utils import preprocess_input

    images = PIXELS.astype(dtype)[0 if dimensions == 3 else slice(None)]
    expected = preprocess_input(images.astype(np.float32), data_format="channels_last", mode=mode)
    ours = preprocess(images, mode)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


def test_known_values():
    pixel = np.array([[[0, 127.5, 255]]])
    assert preprocess(pixel, "tf").ravel().tolist() == [-1, 0, 1]
    assert preprocess(pixel, "lite").ravel().tolist() == [-127 / 128, 0.5 / 128, 1]
    assert preprocess(pixel, "raw").ravel().tolist() == [0, 127.5, 255]
    np.testing.assert_allclose(
        preprocess(pixel, "caffe").ravel(), [255 - 103.939, 127.5 - 116.779, -123.68], rtol=1e-5
    )
    np.testing.assert_allclose(
        preprocess(pixel, "torch").ravel(),
        [-0.485 / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225],
        rtol=1e-5,
    )


@pytest.mark.parametrize("mode", get_args(Mode))
def test_as_a_scaling(mode):
    scaling = as_scaling(mode)
    images = PIXELS[..., ::-1] if scaling.reverse else PIXELS
    scaled = (images - np.array(scaling.mean)) / np.array(scaling.deviation)
    np.testing.assert_allclose(scaled, preprocess(PIXELS, mode), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("mode", get_args(Mode))
def test_never_changes_its_argument(mode):
    images = PIXELS.astype(np.float32)
    result = preprocess(images, mode)
    np.testing.assert_array_equal(images, PIXELS)
    assert not np.shares_memory(result, images)
    assert result.flags.c_contiguous


@pytest.mark.parametrize("shape", [(3,), (2, 2, 1), (1, 3, 4, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(\.\.\., width, 3\), got"):
        preprocess(np.zeros(shape, np.uint8), "tf")


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="tf, torch, caffe, lite, raw; got 'imagenet'"):
        preprocess(PIXELS, "imagenet")
