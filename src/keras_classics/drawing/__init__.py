"""Drawings of networks, from the live model: SVG, PNG and PDF, the same bytes every time."""

from __future__ import annotations

from keras_classics.drawing.draw import Drawing, draw
from keras_classics.drawing.theme import stylesheet

__all__ = ["Drawing", "draw", "stylesheet"]
