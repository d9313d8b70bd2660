from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from keras_classics.data import depth
from keras_classics.data.decode import read_image

SIGNED, FLOAT = 2, 3


def grey(path):
    pixels = read_image(path)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].tolist()


def tiff(path, values, *, bits, form=1, white_is_zero=False, **tags):
    """A TIFF of one strip, as the standard has it, of any bits: (h, w) values."""
    values = np.asarray(values)
    height, width = values.shape
    if bits == 12:
        samples = values.astype(np.uint16).reshape(-1, 2)
        packed = bytearray()
        for first, second in samples.tolist():
            packed += bytes([first >> 4, (first & 15) << 4 | second >> 8, second & 255])
        data = bytes(packed)
    else:
        kind = {1: "u", SIGNED: "i", FLOAT: "f"}[form]
        data = values.astype(f"<{kind}{bits // 8}").tobytes()
    entries = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1),
        (262, 3, 0 if white_is_zero else 1), (273, 4, 512), (277, 3, 1), (278, 3, height),
        (279, 4, len(data)), (339, 3, form),
    ]  # fmt: skip
    numbers = {"most_used": 281, "least": 340, "most": 341}
    for name, value in tags.items():
        kind = FLOAT if form == FLOAT else 1
        entries.append((numbers[name], 11 if kind == FLOAT else 4, value))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, value in sorted(entries):
        layout = {3: "<HHIHxx", 4: "<HHII", 11: "<HHIf"}[kind]
        head += struct.pack(layout, tag, kind, 1, value)
    path.write_bytes((head + bytes(4)).ljust(512, b"\0") + data)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"x{suffix}")
    assert grey(tmp_path / f"x{suffix}") == [[0, 1, 128, 255]]


def test_12_bits_are_scaled_by_12_bits(tmp_path):
    path = tiff(tmp_path / "x.tif", [[0, 16, 2048, 4095]], bits=12)
    assert grey(path) == [[0, 1, 128, 255]]


def test_a_dark_picture_is_not_stretched(tmp_path):
    path = tiff(tmp_path / "x.tif", [[0, 100, 200, 300]], bits=12)
    assert grey(path) == [[0, 6, 12, 19]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"bits": 16, "most": 4095}, [0, 64, 128, 255]),
        ({"bits": 16, "least": 2048, "most": 4095}, [0, 0, 0, 255]),
        ({"bits": 16, "most_used": 4095}, [0, 64, 128, 255]),
        ({"bits": 16, "most_used": 4000}, [0, 4, 8, 16]),  # the brightest, and no range
        ({"bits": 16, "form": SIGNED}, [0, 8, 16, 32]),
        ({"bits": 16, "white_is_zero": True}, [255, 251, 247, 239]),
        ({"bits": 32, "most": 4095}, [0, 64, 128, 255]),
        ({"bits": 32, "form": FLOAT, "most": 4095.0}, [0, 64, 128, 255]),
    ],
)
def test_the_range_that_a_tiff_states(tmp_path, options, expected):
    assert grey(tiff(tmp_path / "x.tif", [[0, 1024, 2048, 4095]], **options)) == [expected]


@pytest.mark.parametrize("form", [1, SIGNED])
def test_32_bit_integers_are_not_black(tmp_path, form):
    assert grey(tiff(tmp_path / "a.tif", [[200] * 4], bits=32, form=form)) == [[200] * 4]
    values = [[0, 257, 32896, 65535]]
    assert grey(tiff(tmp_path / "b.tif", values, bits=32, form=form)) == [[0, 1, 128, 255]]
    path = tiff(tmp_path / "c.tif", [[2**30, 2**31 - 1] * 2], bits=32, form=form)
    assert grey(path) == [[64, 127] * 2]


def test_the_largest_unsigned_integers(tmp_path):
    assert grey(tiff(tmp_path / "x.tif", [[0, 2**31, 2**32 - 1] * 2], bits=32)) == [
        [0, 128, 255] * 2
    ]


@pytest.mark.parametrize(
    ("values", "expected"), [([0, 0.5, 1], [0, 128, 255]), ([0, 7, 300], [0, 7, 255])]
)
def test_float_grey(tmp_path, values, expected):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "x.tif")
    assert grey(tmp_path / "x.tif") == [expected]


@pytest.mark.parametrize("stray", [1.0001, 200.0, np.inf, np.nan, -np.inf])
def test_one_pixel_does_not_decide(tmp_path, stray):
    values = np.full((20, 30), 0.5, np.float32)
    values[3, 4] = stray
    Image.fromarray(values).save(tmp_path / "x.tif")
    found = np.array(grey(tmp_path / "x.tif"))
    assert found[3, 4] == (255 if stray > 1 else 0)
    assert (np.delete(found.ravel(), 3 * 30 + 4) == 128).all()


def test_one_pixel_of_integers_does_not_decide(tmp_path):
    values = np.full((20, 30), 100)
    values[3, 4] = 60_000
    assert grey(tiff(tmp_path / "x.tif", values, bits=32))[0][:3] == [100, 100, 100]


def test_the_transparent_grey_of_a_png_is_white(tmp_path):
    values = np.array([[0, 1000, 1001, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png", transparency=1000)
    assert grey(tmp_path / "x.png") == [[0, 255, 4, 255]]


def test_large_pictures_go_through_in_parts(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 2**16, (50, 30), np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    whole = grey(tmp_path / "x.png")
    monkeypatch.setattr(depth, "_AT_A_TIME", 200)
    assert grey(tmp_path / "x.png") == whole
