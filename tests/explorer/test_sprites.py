from __future__ import annotations

import base64

import numpy as np

from keras_classics.explorer.sprites import LONGEST_SIDE, png, text, tiled, to_gray


def test_tiles_stand_row_by_row(pixels):
    tiles = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 2, 3), np.uint8)
    sprite = tiled(tiles)
    assert (sprite.tile, sprite.columns) == ((2, 3), 3)
    image = pixels(sprite.png)
    assert image.shape == (4, 9)
    for i in range(5):
        top, left = 2 * (i // 3), 3 * (i % 3)
        assert (image[top : top + 2, left : left + 3] == i).all()


def test_large_tiles_are_averaged_and_coloured_ones_keep_their_colours(pixels):
    tiles = np.zeros((1, 4 * LONGEST_SIDE, 2 * LONGEST_SIDE, 3), np.uint8)
    tiles[..., 0] = 200
    sprite = tiled(tiles)
    assert sprite.tile == (LONGEST_SIDE, LONGEST_SIDE // 2)
    assert (pixels(sprite.png) == [200, 0, 0]).all()


def test_numbers_to_gray():
    values = np.array([-1.0, 0.0, 1.0, 2.0], np.float32)
    assert to_gray(values, -1.0, 1.0).tolist() == [0, 128, 255, 255]
    assert to_gray(values, 3.0, 3.0).tolist() == [0, 0, 0, 0]


def test_png_is_lossless(pixels):
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    assert (pixels(png(image)) == image).all()
    assert (pixels(png(image[..., 0])) == image[..., 0]).all()


def test_numbers_travel_in_one_order_of_bytes():
    values = np.array([1.5, -2.0], ">f4")
    raw = base64.urlsafe_b64decode(text(values))
    assert np.frombuffer(raw, "<f4").tolist() == [1.5, -2.0]
    assert text(b"\xfb\xff") == "-_8="
