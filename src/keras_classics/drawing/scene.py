"""What a drawing is made of: boxes, lines and words in groups, with no thought of a file format.

Lengths are in pixels of an SVG (1/96 inch), y points down. Each mark names a style; what colour
that is, the theme says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import Any, Literal

from PIL import ImageFont

Weight = Literal["Regular", "SemiBold"]
WEIGHTS: tuple[Weight, ...] = ("Regular", "SemiBold")
Anchor = Literal["start", "middle", "end"]
FONT = "Inter"


@dataclass(frozen=True)
class Rect:
    """A rectangle with round corners."""

    x: float
    y: float
    width: float
    height: float
    style: str
    radius: float = 0.0


@dataclass(frozen=True)
class Path:
    """Straight lines and cubic curves: ("M", x, y), ("L", x, y), ("C", x1, y1, x2, y2, x, y)."""

    commands: tuple[tuple[Any, ...], ...]
    style: str
    closed: bool = False


@dataclass(frozen=True)
class Words:
    """A line of text; y is that of its base line."""

    x: float
    y: float
    text: str
    size: float
    style: str = "text"
    weight: Weight = "Regular"
    anchor: Anchor = "middle"


@dataclass(frozen=True)
class Group:
    """Marks that belong together, moved by (x, y); what it stands for goes into the file."""

    marks: Sequence[Mark]
    x: float = 0.0
    y: float = 0.0
    kind: str = ""  # its classes
    title: str = ""  # read aloud, and shown where the mouse rests
    data: dict[str, str] = field(default_factory=dict)


Mark = Rect | Path | Words | Group


@dataclass(frozen=True)
class Scene:
    """A whole drawing."""

    width: float
    height: float
    title: str
    description: str
    marks: tuple[Mark, ...]


def text_width(text: str, size: float, weight: Weight = "Regular") -> float:
    """Length of a line of text in pixels."""
    return _font(weight).getlength(text) * size / _MEASURED_AT


_MEASURED_AT = 200  # large enough that rounding to pixels is of no account


def font_file(weight: Weight, kind: Literal["ttf", "woff2"]) -> Traversable:
    """A file of the font that comes with the package; its letters are those of Latin-1."""
    return resources.files(__package__) / "fonts" / f"{FONT}-{weight}.{kind}"


@cache
def _font(weight: Weight) -> ImageFont.FreeTypeFont:
    file = BytesIO(font_file(weight, "ttf").read_bytes())
    return ImageFont.truetype(file, _MEASURED_AT, layout_engine=ImageFont.Layout.BASIC)
