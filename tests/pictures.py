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
