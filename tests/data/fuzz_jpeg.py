"""Decodes JPEGs of all kinds of frames, samplings and sizes, changed at random: see test_jpeg."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from test_jpeg import PROCESSES, SAMPLINGS, corners, encoded, framed

from keras_classics.data import decode
from keras_classics.errors import ImageError

turbo = decode._simplejpeg


def one(rng: np.random.Generator) -> bytes:
    """A file, sound or not."""
    width, height = (int(side) for side in rng.integers(1, 300, 2))
    if rng.random() < 0.7:
        data = bytearray(
            framed(
                int(rng.choice(PROCESSES)),
                width=width,
                height=height,
                sampling=int(rng.choice(SAMPLINGS)),
                bits=int(rng.choice([8, 8, 8, 2, 12, 16])),
            )
        )
    else:
        image = corners(width, height).convert(str(rng.choice(["L", "RGB", "CMYK"])))
        data = bytearray(encoded(image, progressive=bool(rng.integers(2))))
        data[data.find(b"\xff\xc0") + 1] = 0xC0 + int(rng.choice(PROCESSES))
    start = data.find(b"\xff\xda") + 20
    for _ in range(int(rng.integers(4))):  # mostly in the header, and some in the codes
        end = start if rng.random() < 0.7 else len(data)
        data[int(rng.integers(2, min(end, len(data))))] = int(rng.integers(256))
    return bytes(data[: int(rng.integers(4, len(data)))] if rng.random() < 0.1 else data)


def main() -> None:
    rng = np.random.default_rng(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        data = one(rng)
        at_least = [None, 1, 8, 32, 64][int(rng.integers(5))]
        for decoder in (turbo, lambda: None):
            decode._simplejpeg = decoder
            try:
                pixels = decode.decode_image(data, Path("x.jpg"), at_least=at_least)
            except ImageError:
                continue
            assert pixels.ndim == 3
            assert pixels.dtype == np.uint8
            assert at_least is None or min(pixels.shape[:2]) >= 1


main()
