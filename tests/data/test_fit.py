from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_classics.data.fit import fit_image, load_image

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
