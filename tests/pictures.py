"""A small set of real image files that a small network can learn in seconds."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
from PIL import Image

CLASSES = ("circle", "cross", "stripes")


def picture(kind, rng, size=40):
    """One shape in a random colour at a random place on a noisy ground."""
    image = rng.integers(0, 60, (size, size, 3)).astype(np.uint8)
    colour = tuple(int(c) for c in rng.integers(150, 255, 3))
    x, y = (int(c) for c in rng.integers(size // 3, size - size // 3, 2))
    r = size // 4
    if kind == "circle":
        cv2.circle(image, (x, y), r, colour, -1)
    elif kind == "cross":
        cv2.line(image, (x - r, y), (x + r, y), colour, 5)
        cv2.line(image, (x, y - r), (x, y + r), colour, 5)
    else:
        for row in range(int(rng.integers(0, 6)), size, 8):
            cv2.line(image, (0, row), (size, row), colour, 3)
    return Image.fromarray(image)


def write_pictures(folder, *, each, classes=CLASSES, seed=0, ending="png"):
    """`each` pictures of each class in sub-folders."""
    rng = np.random.default_rng(seed)
    for kind in classes:
        (folder / kind).mkdir(parents=True)
        for i in range(each):
            picture(kind, rng).save(folder / kind / f"{i:03d}.{ending}")
    return folder


def state(folder):
    """All that a program could have changed in a folder: names, bytes, times."""
    return {
        path.relative_to(folder): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def no_pictures(pictures):
    """What a network must not take for pictures (n, h, w, 3), made of some, and what it says."""
    height, width = pictures.shape[1:3]
    shape = rf"\(n, {height}, {width}, 3\) or, of one picture, \({height}, {width}, 3\) is needed"
    numbers = r"pixels are whole numbers from 0 to 255"
    return [
        (np.zeros((2, height + 28, width + 8, 3), np.uint8), rf"^images: shape .*; {shape}"),
        (pictures[:, : height // 2], rf"^images: shape .*; {shape}"),
        (np.moveaxis(pictures, -1, 1), rf"^images: shape .*; {shape}"),
        (pictures[..., :1], rf"^images: shape .*; {shape}"),
        (pictures[0, ..., 0], rf"^images: shape .*; {shape}"),
        (pictures[None], rf"^images: shape .*; {shape}"),
        ([pictures[0], pictures[1][1:]], rf"^images\[1\]: shape .*; {shape}"),
        ([pictures[0][1:], pictures[1]], rf"^images\[0\]: shape .*; {shape}"),
        ([[[1, 2, 3], [4, 5]]], r"^images: .*inhomogeneous"),
        (pictures / 255, rf"^images: float64 numbers; {numbers} .*np.rint\(255 \* images\)"),
        ([pictures[0], pictures[1] / np.float32(255)], rf"^images: float32 numbers; {numbers}"),
        (pictures > 100, rf"^images: bool numbers; {numbers}"),
        (["photo.jpg"], rf"^images: <U9 numbers; {numbers}"),
        (pictures.astype(int) - 256, rf"^images: numbers from -\d+ to -\d+; {numbers}"),
        (pictures.astype(int) + 256, rf"^images: numbers from \d+ to \d+; {numbers}"),
    ]
