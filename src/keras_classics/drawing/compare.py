"""Two networks side by side, at the same height where they have the same resolution.

Resolution is counted in octaves, the halvings since the image: 112 of 224 pixels is one, and so is
149 of 299. What has no rows and columns any more, the classifier, comes last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keras_classics.drawing.diagram import Subject
from keras_classics.drawing.layout import SMALL, Sketch, draw_line, sketch_parts
from keras_classics.drawing.scene import Mark, Rect, Words, text_width
from keras_classics.drawing.series import Part, Vertex, decompose

BETWEEN = 48.0  # the two networks
BELOW = 22.0  # from the end of a band to the next

Octave = float  # infinite for what is no feature map


@dataclass(frozen=True)
class _Band:
    """The parts of a network at one resolution."""

    sketch: Sketch
    sides: tuple[tuple[int, int], ...]  # of its feature maps, in their order


def side_by_side(one: Subject, other: Subject) -> tuple[Sketch, float, float]:
    """Both networks as one sketch from x = 0, and the places where either begins."""
    columns = [_bands(one), _bands(other)]
    octaves = sorted({octave for column in columns for octave in column})
    lefts = [max(band.sketch.left for band in column.values()) for column in columns]
    rights = [max(band.sketch.right for band in column.values()) for column in columns]
    labels = [
        max(text_width(_label(band.sides), SMALL, "SemiBold") for band in column.values()) + 24
        for column in columns
    ]
    starts = [0.0, labels[0] + lefts[0] + rights[0] + BETWEEN]
    axes = [
        labels[0] + lefts[0],
        starts[1] + labels[1] + lefts[1],
    ]
    width = axes[1] + rights[1] + 12
    backs: list[Mark] = []
    lines: list[Mark] = []
    marks: list[Mark] = []
    y = 0.0
    ends: list[float | None] = [None, None]
    for octave in octaves:
        bands = [column.get(octave) for column in columns]
        height = max(band.sketch.height for band in bands if band) + BELOW
        backs.append(Rect(0, y, width, height - 6, "band", 8.0))
        for k, band in enumerate(bands):
            if band is None:
                continue
            if ends[k] is not None:
                lines += draw_line(axes[k], ends[k] or 0.0, y)
            marks.append(band.sketch.moved(axes[k], y))
            ends[k] = y + band.sketch.height
            marks.append(
                Words(starts[k] + 12, y + 20, _label(band.sides), SMALL, "dim", "SemiBold", "start")
            )
        y += height
    return Sketch(0.0, width, y - 6, (*backs, *lines, *marks)), starts[0], starts[1]


def _label(sides: Sequence[tuple[int, int]]) -> str:
    """The resolutions of a band, the first and the last where there are several."""
    if not sides:
        return "classifier"
    words = [str(a) if a == b else f"{a} × {b}" for a, b in (sides[0], sides[-1])]
    return words[0] if words[0] == words[1] else f"{words[0]} – {words[1]}"


def _bands(subject: Subject) -> dict[Octave, _Band]:
    """A network by octaves, in the order of the data."""
    series = decompose([item.name for item in subject.root.items], subject.root.edges)
    axes = (1, 2) if subject.channels_first else (0, 1)
    first = [subject.input_shape[axis] or 1 for axis in axes]
    groups: dict[Octave, list[Part[str]]] = {}
    sides: dict[Octave, list[tuple[int, int]]] = {}
    octave = 0.0
    for part in series.parts:
        shapes = [
            subject.root.by_name[name].cost.output_shape
            for name in _names(part)
            if len(subject.root.by_name[name].cost.output_shape) == 3
        ]
        grids = [(shape[axes[0]] or 1, shape[axes[1]] or 1) for shape in shapes]
        here = math.inf
        if grids:
            smallest = min(grids)
            here = float(round(math.log2(max(a / b for a, b in zip(first, smallest, strict=True)))))
        octave = max(octave, here)  # a grid that grows again stays with what is before it
        groups.setdefault(octave, []).append(part)
        sides.setdefault(octave, []).extend(grids[-1:])
    found: dict[Octave, _Band] = {}
    for i, (level, parts) in enumerate(groups.items()):
        found[level] = _Band(
            sketch_parts(subject.root, series, parts, enter=i > 0), tuple(sides[level])
        )
    return found


def _names(part: Part[str]) -> list[str]:
    """The items of a part, the one that ends it last."""
    if isinstance(part, Vertex):
        return [part.name]
    if hasattr(part, "names"):
        return list(part.names)
    return [name for branch in part.branches for inner in branch.parts for name in _names(inner)]
