"""Heat maps: enlarged, laid over their pictures, and as plain values for JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib import colormaps

HEAT, SIGNED = "inferno", "coolwarm"  # even steps to the eye; and for signs, away from white

Array = npt.NDArray[np.float32]


def enlarged(maps: Array, size: tuple[int, int]) -> Array:
    """Maps (n, h, w) at the size of the image, height and width: linear between the positions."""
    return np.stack(
        [cv2.resize(each, size[::-1], interpolation=cv2.INTER_LINEAR) for each in maps]
    ).astype(np.float32)


def overlay(picture: npt.NDArray[np.uint8], heat: Array, *, signed: bool) -> Array:
    """A heat map (h', w') laid over a picture (h, w, 3): (h, w, 3) from 0 to 1.

    The picture is grey beneath, so that every colour is the map's, and shows through where the map
    is silent.
    """
    height, width = picture.shape[:2]
    large = enlarged(heat[None], (height, width))[0]
    relative = np.clip(large / (limit_of(picture, heat) or 1), -1 if signed else 0, 1)
    colours = colormaps[SIGNED](relative / 2 + 0.5) if signed else colormaps[HEAT](relative)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None] / 255.0
    cover = 0.85 * np.abs(relative)[..., None] ** 0.7
    ground = 0.25 + 0.75 * grey if signed else 0.75 * grey
    return np.asarray((1 - cover) * ground + cover * colours[..., :3], np.float32)


def limit_of(picture: npt.NDArray[np.uint8], heat: Array) -> float:
    """Where the colours end: the largest value, of single pixels all but the largest hundredth."""
    pixels = heat.shape == picture.shape[:2]
    return float(np.percentile(np.abs(heat), 99 if pixels else 100))


def encoded(values: Array) -> dict[str, Any]:
    """An array for JSON: its shape, its range, and its bytes, little-endian and row by row."""
    return {
        "shape": list(values.shape),
        "low": float(values.min()),
        "high": float(values.max()),
        "float32": base64.b64encode(values.astype("<f4").tobytes()).decode("ascii"),
    }


def decoded(values: Mapping[str, Any]) -> Array:
    """The array that `encoded` took."""
    flat = np.frombuffer(base64.b64decode(values["float32"]), "<f4")
    return flat.reshape(values["shape"]).astype(np.float32)
