"""The code of docs/export.md, by its names, and a photograph that shows whether it is right."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(?:python|js) (\w+)\n(.*?)```", GUIDE, flags=re.DOTALL))

ORIENTATION = 0x0112


def defined(*names):
    """What some blocks define, run one after the other."""
    found = {}
    for name in names:
        exec(BLOCKS[name], found)
    return found


def write_photo(place, orientation=6, size=(1100, 1500)):
    """A large JPEG whose EXIF data turn it, sharp enough that every way to shrink it differs."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (size[0] // 20, size[1] // 20, 3), np.uint8)
    image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, 40, (size[0] // 2, size[1] // 2, 3)).repeat(2, axis=0).repeat(2, axis=1)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = Image.fromarray(np.clip(image + fine, 0, 255).astype(np.uint8))
    picture.save(place, quality=92, exif=exif)
    return place
