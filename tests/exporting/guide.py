"""The code of docs/export.md, by its names, and a photograph that shows whether it is right."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pictures import picture as shape

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
    rng = np.random.default_rng(3)
    image = cv2.resize(np.asarray(shape("cross", rng)), size[::-1], interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, 40, (size[0] // 2, size[1] // 2, 3)).repeat(2, axis=0).repeat(2, axis=1)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = np.clip(image + fine, 0, 255).astype(np.uint8)
    Image.fromarray(image).save(place, quality=92, exif=exif)
    return place
