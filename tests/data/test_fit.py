from __future__ import annotations

import itertools
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_classics.data.fit import CentralCrop, fit_image, load_image
from weights.references import torch_module

SIZES = [(1, 1), (7, 5), (64, 64), (224, 299)]


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows with the column, green with the row."""
    rows, columns = np.mgrid[:height, :width]
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = columns * 255 // max(1, width - 1)
    image[..., 1] = rows * 255 // max(1, height - 1)
    return image


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3), (50, 60), (64, 64)])
def test_every_shape_to_every_size(fit, size, shape):
    image = ramp(*shape)
    before = image.copy()
    fitted = fit_image(image, size, fit)
    assert fitted.shape == (*size, 3)
    assert fitted.dtype == np.uint8
    assert not np.shares_memory(fitted, image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_an_image_of_the_right_size_is_unchanged(fit):
    np.testing.assert_array_equal(fit_image(ramp(9, 8), (9, 8), fit), ramp(9, 8))


def test_crop_keeps_the_centre():
    image = ramp(20, 60)
    np.testing.assert_array_equal(fit_image(image, (20, 20), "crop"), image[:, 20:40])
    tall = image.transpose(1, 0, 2)
    np.testing.assert_array_equal(fit_image(tall, (20, 20), "crop"), tall[20:40])


def test_crop_equals_resizing_then_cutting():
    image = ramp(120, 300)
    resized = Image.fromarray(image).resize((100, 40), Image.Resampling.BOX)
    expected = np.asarray(resized)[:, 30:70].astype(int)
    assert np.abs(fit_image(image, (40, 40), "crop").astype(int) - expected).max() <= 2


def test_pad_shows_all_between_black_bars():
    image = np.full((10, 30, 3), 200, np.uint8)
    padded = fit_image(image, (30, 30), "pad")
    assert (padded[:10] == 0).all()
    assert (padded[10:20] == 200).all()
    assert (padded[20:] == 0).all()
    shrunk = fit_image(image, (15, 15), "pad")
    assert (shrunk[5:10] == 200).all()
    assert (shrunk[[4, 10]] == 0).all()


def test_stretch_shows_all_without_bars():
    stretched = fit_image(ramp(20, 60), (30, 30), "stretch").astype(int)
    assert stretched[0, 0, :2].max() < 12
    assert stretched[-1, -1, :2].min() > 243
    assert (np.diff(stretched[..., 0], axis=1) > 0).all()


@pytest.mark.parametrize("size", [(8, 8), (8, 128), (128, 8)])
def test_shrinking_is_smoothed_in_each_direction(size):
    # Stripes one pixel wide must become grey; picking single pixels would keep black and white.
    rows, columns = np.mgrid[:64, :64]
    both = np.repeat(((rows + columns) % 2 * 255)[..., None], 3, axis=2).astype(np.uint8)
    fitted = fit_image(both, size, "stretch").astype(int)
    assert np.abs(fitted - 127.5).max() < 2


def test_enlarging_invents_no_new_extremes():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = 100
    enlarged = fit_image(image, (40, 40), "stretch")
    assert enlarged.max() == 100
    assert len(np.unique(enlarged)) > 50


@pytest.mark.parametrize(
    ("image", "size", "fit", "match"),
    [
        (np.zeros((4, 4), np.uint8), (2, 2), "crop", "image must be"),
        (np.zeros((4, 4, 4), np.uint8), (2, 2), "crop", "image must be"),
        (np.zeros((4, 4, 3), np.float32), (2, 2), "crop", "image must be"),
        (np.zeros((0, 4, 3), np.uint8), (2, 2), "crop", "image must be"),
        (np.zeros((4, 4, 3), np.uint8), (0, 2), "crop", "size must be"),
        (np.zeros((4, 4, 3), np.uint8), (2, 2), "squash", "crop, pad, stretch; got 'squash'"),
    ],
)
def test_wrong_arguments_are_named(image, size, fit, match):
    with pytest.raises(ValueError, match=match):
        fit_image(image, size, fit)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_load_image_is_read_and_fit(tmp_path, fit):
    image = ramp(60, 90)
    Image.fromarray(image).save(tmp_path / "x.png")
    np.testing.assert_array_equal(
        load_image(tmp_path / "x.png", (32, 48), fit), fit_image(image, (32, 48), fit)
    )


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_the_scaled_decoding_of_a_large_jpeg_shows_the_same(tmp_path, fit):
    image = ramp(900, 1600)
    Image.fromarray(image).save(tmp_path / "x.jpg", quality=95)
    loaded = load_image(tmp_path / "x.jpg", (64, 64), fit).astype(int)
    inner = slice(14, 50) if fit == "pad" else slice(None)
    difference = np.abs(loaded - fit_image(image, (64, 64), fit))
    assert difference[inner].max() <= 8
    assert difference.mean() < 2


SHAPES = [(375, 500), (500, 375), (333, 501), (487, 333), (256, 256), (600, 231), (80, 103), (7, 5)]
PROTOCOLS = [(256, 224, "bilinear"), (232, 224, "bilinear"), (342, 299, "bilinear"),
             (341, 299, "bicubic"), (288, 288, "bicubic"), (235, 224, "bicubic")]  # fmt: skip


def noise(height, width, seed=0):
    """What no rounding error passes unseen, with large shapes and single pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 20 + 1, width // 20 + 1, 3)).astype(np.uint8)
    coarse = np.kron(coarse, np.ones((20, 20, 1), np.uint8))[:height, :width].astype(int)
    return np.clip(coarse + rng.integers(-40, 40, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("resize", "crop", "interpolation"), PROTOCOLS)
def test_central_crop_is_torchvision_s(resize, crop, interpolation):
    transforms = torch_module("torchvision.transforms")
    mode = transforms.InterpolationMode(interpolation)
    reference = transforms.Compose([transforms.Resize(resize, mode), transforms.CenterCrop(crop)])
    for shape in SHAPES:
        image = noise(*shape)
        expected = np.asarray(reference(Image.fromarray(image)))
        fitted = fit_image(image, (crop, crop), CentralCrop(resize, interpolation))
        np.testing.assert_array_equal(fitted, expected, err_msg=str(shape))


def test_central_crop_with_opencv_is_the_rule_of_keras_applications():
    for height, width in SHAPES:
        image = noise(height, width)
        shorter = min(height, width)
        target = (width * 256 // shorter, height * 256 // shorter)
        resized = cv2.resize(image, target, interpolation=cv2.INTER_CUBIC)
        top, left = (resized.shape[0] - 224) // 2, (resized.shape[1] - 224) // 2
        expected = resized[top : top + 224, left : left + 224]
        fitted = fit_image(image, (224, 224), CentralCrop(256, "opencv-cubic"))
        np.testing.assert_array_equal(fitted, expected)


def test_the_interpolations_of_a_central_crop_differ():
    """Else the records' figures could not tell them apart either."""
    kinds = ("bilinear", "bicubic", "opencv-cubic")
    image = noise(375, 500)
    fitted = [fit_image(image, (224, 224), CentralCrop(256, kind)).astype(int) for kind in kinds]
    for one, other in itertools.combinations(fitted, 2):
        assert np.abs(one - other).mean() > 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "opencv-cubic"])
def test_central_crop_returns_a_new_array(interpolation):
    image = noise(64, 64)
    before = image.copy()
    fitted = fit_image(image, (64, 48), CentralCrop(64, interpolation))
    assert (fitted.shape, fitted.dtype) == ((64, 48, 3), np.uint8)
    assert not np.shares_memory(fitted, image)
    np.testing.assert_array_equal(fitted, before[:, 8:56])
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("size", [(225, 10), (10, 225)])
def test_central_crop_larger_than_the_resized_image(size):
    with pytest.raises(ValueError, match=re.escape(f"size {size} does not fit into 224 pixels")):
        fit_image(noise(300, 400), size, CentralCrop(224, "bilinear"))


def test_central_crop_sees_the_whole_of_a_large_jpeg(tmp_path):
    """Not one that was decoded at a half or a quarter of its size."""
    Image.fromarray(noise(1200, 1600)).save(tmp_path / "x.jpg", quality=90)
    with Image.open(tmp_path / "x.jpg") as picture:
        whole = np.asarray(picture.convert("RGB"))
    for crop in (CentralCrop(256, "bicubic"), CentralCrop(256, "opencv-cubic")):
        np.testing.assert_array_equal(
            load_image(tmp_path / "x.jpg", (224, 224), crop), fit_image(whole, (224, 224), crop)
        )
