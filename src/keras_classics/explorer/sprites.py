"""Pictures and numbers as the page takes them: many small pictures as one, PNG, base64."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from keras_classics.explanation.maps import sheet

LONGEST_SIDE = 128  # pixels of a tile; larger maps are averaged down to it


@dataclass(frozen=True)
class Sprite:
    """Tiles side by side, as a PNG."""

    png: bytes
    tile: tuple[int, int]  # height and width
    columns: int


def tiled(tiles: npt.NDArray[np.uint8]) -> Sprite:
    """Tiles (n, h, w) or (n, h, w, 3), as nearly a square of them as can be."""
    n, height, width = tiles.shape[:3]
    scale = LONGEST_SIDE / max(height, width)
    if scale < 1:
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        tiles = np.stack(
            [cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in tiles]
        )
    columns = math.ceil(math.sqrt(n))
    return Sprite(png(sheet(tiles, columns=columns, gap=0)), (height, width), columns)


def to_gray(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Numbers to 0..255 from low to high; all 0 where these are one."""
    slope = 255 / (high - low) if high > low else 0.0
    gray: npt.NDArray[np.uint8] = np.clip(np.rint((values - low) * slope), 0, 255).astype(np.uint8)
    return gray


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """(h, w) gray or (h, w, 3) red, green and blue as a PNG, packed in little time."""
    ordered = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    _, data = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return bytes(data)


def text(data: bytes | npt.NDArray[Any]) -> str:
    """Bytes, or the numbers of an array in little-endian order, as URL-safe base64."""
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data, data.dtype.newbyteorder("<")).tobytes()
    return base64.urlsafe_b64encode(data).decode()
