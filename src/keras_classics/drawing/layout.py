"""From a diagram to a scene: data flow downwards, along one axis wherever they can.

Every part is a sketch whose axis, by which data come in at the top and leave at the bottom, lies at
x = 0. A series stacks sketches axis on axis; a parallel sets them side by side: around the axis
before a concatenation, which becomes a bar below all of them, and beside it before a sum, whose
longest branch keeps the axis while the shortcuts run on its right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from keras_classics.drawing.diagram import Diagram, Item
from keras_classics.drawing.scene import Group, Mark, Path, Rect, Words, text_width
from keras_classics.drawing.series import Edge, Parallel, Part, Series, Tangle, Vertex, decompose
from keras_classics.drawing.tangle import arrange
from keras_classics.drawing.words import (
    below_title,
    box_title,
    figures,
    name_of,
    shape_of,
    spoken,
)

TITLE, SMALL = 12.5, 10.5  # sizes of letters
STEP = 30.0  # between two boxes in a row, with the shape of the tensor in it
FORK = 34.0  # from a box to the branches below it
TAIL = 24.0  # from the end of the longest branch to where the branches meet
APART = 26.0  # between branches
PAD = 14.0  # between a frame and its inside
HEAD = 42.0  # of a frame: its name and figures
ROUND = 7.0  # radius of a turn
ARROW = 6.0
SUM = 11.0  # radius of the circle of a sum
LEAST = 128.0  # width of a box
PAPER = 4.0  # how far the sheets of a pile of blocks stand out

_LABEL = 18.0  # from the axis of a box in a tangle to the shape below it
_SUMS = {"Add": "+", "Multiply": "×", "Subtract": "−", "Average": "avg", "Maximum": "max"}


@dataclass(frozen=True)
class Sketch:
    """Marks about an axis at x = 0, from y = 0 to y = height."""

    left: float  # how far it reaches on either side of the axis
    right: float
    height: float
    marks: tuple[Mark, ...]

    def moved(self, x: float, y: float) -> Group:
        """Its marks with the axis at x and the top at y."""
        return Group(self.marks, x, y)


def sketch(diagram: Diagram, *, ends: bool = False) -> Sketch:
    """A diagram as a sketch.

    Args:
        diagram: What is drawn.
        ends: Whether data are seen to come in at the top and to leave at the bottom.
    """
    return _Sketcher(diagram).whole(ends=ends, labelled=True)


def sketch_parts(
    diagram: Diagram, series: Series[str], parts: Sequence[Part[str]], *, enter: bool
) -> Sketch:
    """Some parts of a diagram's series that follow one another.

    Args:
        diagram: What is drawn.
        series: Its decomposition.
        parts: Of the series.
        enter: Whether the line that leads into them is drawn.
    """
    sketcher = _Sketcher(diagram)
    first = series.first
    if isinstance(parts[0], Vertex):
        name = parts[0].name
        first = next(edge for edge in diagram.edges if edge.target == name)
    return sketcher.series(
        Series(tuple(parts), first, series.last), enter=enter, leave=False, labelled=True
    )


def draw_line(x: float, start: float, end: float) -> list[Mark]:
    """A line straight down."""
    return _drawn([(x, start), (x, end)], "line", arrow=False)


class _Sketcher:
    """Sketches the items of one diagram; the inside of an open block has a sketcher of its own."""

    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram
        self.edges: dict[tuple[str | None, str | None], list[Edge[str]]] = {}
        for edge in diagram.edges:
            self.edges.setdefault((edge.source, edge.target), []).append(edge)

    def whole(self, *, ends: bool, labelled: bool) -> Sketch:
        """All of the diagram."""
        found = decompose([item.name for item in self.diagram.items], self.diagram.edges)
        return self.series(found, enter=ends, leave=ends, labelled=labelled)

    # --- parts ---

    def series(
        self, series: Series[str], *, enter: bool, leave: bool, labelled: bool = False
    ) -> Sketch:
        """Parts one below the other; `enter` and `leave` draw the lines at both ends."""
        parts = list(series.parts)
        stack = _Stack()
        previous: Vertex[str] | None = None  # the box from whose lower side the next line starts
        i = 0
        while i < len(parts):
            part = parts[i]
            first, last = i == 0, i == len(parts) - 1
            after = parts[i + 1] if not last else None
            if isinstance(part, Vertex):
                if previous is not None or (first and enter):
                    self._step(stack, part, previous, series, labelled=labelled or not first)
                elif not first:
                    stack.line(STEP / 2, arrow=True)  # from where branches met without a merge
                stack.add(self.vertex(self.diagram.by_name[part.name]))
                previous, i = part, i + 1
                continue
            fork = not first or enter
            if isinstance(part, Parallel):
                merge = self.diagram.by_name[after.name] if isinstance(after, Vertex) else None
                joins = merge is not None and (merge.kind in _SUMS or merge.kind == "Concatenate")
                stack.add(
                    self.parallel(
                        part,
                        fork=fork,
                        merge=merge if joins else None,
                        join=leave or after is not None,
                        labelled=not first or labelled,
                    )
                )
                previous = after if joins and isinstance(after, Vertex) else None
                i += 2 if joins else 1
            else:
                stack.add(self.tangle(part, fork=fork, join=leave or after is not None))
                previous, i = None, i + 1
        if leave:
            if previous is None:
                stack.line(STEP / 2, arrow=labelled)
            else:
                edge = series.last
                label = shape_of(edge.shape) if labelled else ""
                stack.edge(edge, STEP if label else PAD, label=label, arrow=labelled)
        return stack.sketch()

    def _step(
        self,
        stack: _Stack,
        part: Vertex[str],
        previous: Vertex[str] | None,
        series: Series[str],
        *,
        labelled: bool,
    ) -> None:
        """The line from one box, or from the top of a frame, to the next box."""
        edge = series.first if previous is None else self.edges[(previous.name, part.name)][0]
        label = shape_of(edge.shape) if labelled else ""
        stack.edge(edge, STEP if label else 18.0, label=label, arrow=True)

    def vertex(self, item: Item) -> Sketch:
        """A box, the circle of a sum, the bar of a concatenation, or an open block's frame."""
        if item.inside is not None:
            return self.frame(item)
        if item.kind in _SUMS and not item.is_block:
            return self.circle(item)
        return self.box(item)

    def box(self, item: Item, width: float = 0.0) -> Sketch:
        """A layer or a closed block as a box."""
        title, lines = box_title(item), below_title(item)
        fold = item.fold
        needed = max(
            LEAST,
            width,
            text_width(title, TITLE, "SemiBold") + 24,
            *(text_width(line, SMALL) + 20 for line in lines),
        )
        half = needed / 2
        height = 27.0 + 14.0 * len(lines)
        style = item.family
        marks: list[Mark] = []
        if fold:
            marks += [Rect(-half + d, d, needed, height, style, 6.0) for d in (2 * PAPER, PAPER)]
        marks.append(Rect(-half, 0, needed, height, style, 6.0))
        marks.append(Words(0, 18.0, title, TITLE, weight="SemiBold"))
        y = 33.0
        for line in lines:
            marks.append(Words(0, y, line, SMALL, "dim"))
            y += 14.0
        if fold:
            marks += _badge(-half + 4, 0, fold)
        right = half + (2 * PAPER if fold else 0)
        if item.skips:
            marks += _shortcuts(item, right, height)
            right += 38.0
        bottom = height + (2 * PAPER if fold else 0)
        return Sketch(half + (12 if fold else 0), right, bottom, (_node(item, marks),))

    def circle(self, item: Item) -> Sketch:
        """A sum."""
        sign = _SUMS[item.kind]
        radius = _radius(item)
        marks = (
            Rect(-radius, 0, 2 * radius, 2 * SUM, "merge", SUM),
            Words(0, SUM + 5 if len(sign) == 1 else SUM + 4, sign, 15 if len(sign) == 1 else SMALL),
        )
        return Sketch(radius, radius, 2 * SUM, (_node(item, marks),))

    def bar(self, item: Item, left: float, right: float) -> Sketch:
        """A concatenation, below all of its branches."""
        title = f"concat  {shape_of(item.cost.output_shape)}"
        half = max(text_width(title, SMALL, "SemiBold") / 2 + 12, 40.0)
        left, right = max(left + 16, half), max(right + 16, half)
        marks = (
            Rect(-left, 0, left + right, 24.0, "merge", 12.0),
            Words((right - left) / 2, 16.0, title, SMALL, weight="SemiBold"),
        )
        return Sketch(left, right, 24.0, (_node(item, marks),))

    def frame(self, item: Item) -> Sketch:
        """An open block: its inside in a frame with its name and figures."""
        assert item.inside is not None
        inner = _Sketcher(item.inside).whole(ends=True, labelled=False)
        title, name, fold = box_title(item), name_of(item), item.fold
        left = max(
            inner.left + PAD,
            text_width(title, TITLE, "SemiBold") + 22,
            text_width(name, SMALL) + 22,
        )
        lines = figures(item.cost, apart=True)
        right = max(inner.right + PAD, max(text_width(line, SMALL) for line in lines) + 20)
        height = HEAD + inner.height
        marks: list[Mark] = []
        if fold:
            marks += [
                Rect(-left + d, d, left + right, height, "frame", 9.0) for d in (2 * PAPER, PAPER)
            ]
        marks.append(Rect(-left, 0, left + right, height, "frame", 9.0))
        marks.append(Words(-left + 12, 18.0, title, TITLE, weight="SemiBold", anchor="start"))
        if name:
            marks.append(Words(-left + 12, 33.0, name, SMALL, "dim", anchor="start"))
        for i, line in enumerate(lines):
            marks.append(Words(right - 12, 15.0 + 13 * i, line, SMALL, "dim", anchor="end"))
        if fold:
            marks += _badge(-left + 4, 0, fold)
        marks.append(Path((("M", 0.0, 0.0), ("L", 0.0, HEAD)), "line"))
        marks.append(inner.moved(0, HEAD))
        extra = 2 * PAPER if fold else 0.0
        group = Group(
            marks,
            kind=f"frame {item.kind}",
            title=spoken(item),
            data={**_data(item), "open": "1"},
        )
        return Sketch(left, right + extra, height + extra, (group,))

    # --- branches ---

    def parallel(
        self,
        part: Parallel[str],
        *,
        fork: bool,
        merge: Item | None,
        join: bool,
        labelled: bool,
    ) -> Sketch:
        """Branches side by side, from where they part to where they meet, the merge included."""
        branches = part.branches
        inner = [self.series(branch, enter=False, leave=False) for branch in branches]
        widths = [self._reach(one, branch) for one, branch in zip(inner, branches, strict=True)]
        is_sum = merge is not None and merge.kind in _SUMS
        places = _beside(branches, widths) if is_sum else _around(widths)
        top = FORK if fork else 0.0
        bottom = max(top + one.height for one in inner) + (TAIL if merge or join else 0.0)
        left = max(0.0, *(w[0] - x for w, x in zip(widths, places, strict=True)))
        right = max(0.0, *(w[1] + x for w, x in zip(widths, places, strict=True)))
        marks: list[Mark] = []
        if fork and labelled and len({branch.first.shape for branch in branches}) == 1:
            marks.append(_label(0, FORK / 2 - 5, shape_of(branches[0].first.shape)))
        for branch, one, x in zip(branches, inner, places, strict=True):
            marks += self._lines(branch, x, (top, top + one.height, bottom), merge, join=join)
        marks += [one.moved(x, top) for one, x in zip(inner, places, strict=True)]
        if merge is None:
            return Sketch(left, right, bottom, tuple(marks))
        # The bar of a concatenation reaches from its first branch to its last.
        end = self.circle(merge) if is_sum else self.bar(merge, -min(places), max(places))
        marks.append(end.moved(0, bottom))
        return Sketch(max(left, end.left), max(right, end.right), bottom + end.height, tuple(marks))

    def _lines(
        self,
        branch: Series[str],
        x: float,
        heights: tuple[float, float, float],
        merge: Item | None,
        *,
        join: bool,
    ) -> list[Mark]:
        """The lines from the fork to a branch at x and from its end to where all meet.

        `heights` are those of its top, of its end, and of where they meet.
        """
        top, end, bottom = heights
        is_sum = merge is not None and merge.kind in _SUMS
        style = "skip" if not branch.parts or (is_sum and x != 0) else "line"
        marks: list[Mark] = []
        points = [(x, end)]
        if top:
            # A shortcut turns off the line that is already there.
            before = [(0.0, top / 2), (x, top / 2)]
            before = before if style == "skip" else [(0.0, 0.0), *before]
            if branch.parts:
                marks.append(_edge(branch.first, [*before, (x, top)], style, arrow=True))
            else:
                points = before
        if merge is not None and is_sum and x != 0:
            points += [(x, bottom + SUM), (_radius(merge), bottom + SUM)]
        elif merge is not None:
            points.append((x, bottom))
        elif join and x:
            points += [(x, bottom - TAIL / 2), (0.0, bottom - TAIL / 2), (0.0, bottom)]
        elif join:
            points.append((0.0, bottom))
        else:
            return marks
        marks.append(_edge(branch.last, points, style, arrow=merge is not None))
        if branch.parts:
            marks.append(_label(x, end + 14, shape_of(branch.last.shape)))
        return marks

    def _reach(self, one: Sketch, branch: Series[str]) -> tuple[float, float]:
        """How far a branch reaches on both sides, the shape at its end included."""
        if not branch.parts:
            return 4.0, 8.0
        label = text_width(shape_of(branch.last.shape), SMALL) + 10
        return max(one.left, 8.0), max(one.right, label)

    def tangle(self, part: Tangle[str], *, fork: bool, join: bool) -> Sketch:
        """Vertices in rows, each below all that it depends on."""
        boxes = {name: self.vertex(self.diagram.by_name[name]) for name in part.names}
        shapes = {
            edge.source: shape_of(edge.shape)
            for edge in part.edges
            if edge.source in boxes and (join or edge.target in boxes)
        }
        sizes = {
            name: (box.left, max(box.right, _LABEL + text_width(shapes.get(name, ""), SMALL)),
                   box.height)
            for name, box in boxes.items()
        }  # fmt: skip
        rows = arrange(part.names, part.edges, sizes, apart=APART, step=STEP + 16)
        top = FORK if fork else 0.0
        height = top + rows.height + (TAIL if join else 0.0)
        marks: list[Mark] = []
        for edge, points in rows.paths:
            moved = [(x, y + top) for x, y in points]
            if edge.source not in boxes:
                if not fork:
                    continue
                moved = [(0.0, 0.0), *moved]
            if edge.target not in boxes:
                if not join:
                    continue
                moved = [*moved, (0.0, height)]
            marks.append(_edge(edge, moved, "line", arrow=edge.target in boxes, curved=True))
        marks += [
            _label(rows.places[name][0] + _LABEL - 6, rows.bottoms[name] + top + 14, shape)
            for name, shape in shapes.items()
            if name is not None
        ]
        marks += [boxes[name].moved(x, y + top) for name, (x, y) in rows.places.items()]
        return Sketch(rows.left, rows.right, height, tuple(marks))


class _Stack:
    """Sketches one below the other, with lines between them."""

    def __init__(self) -> None:
        self.y = self.left = self.right = 0.0
        self.lines: list[Mark] = []
        self.marks: list[Mark] = []

    def add(self, one: Sketch) -> None:
        self.marks.append(one.moved(0, self.y))
        self.left, self.right = max(self.left, one.left), max(self.right, one.right)
        self.y += one.height

    def edge(self, edge: Edge[str], length: float, *, label: str, arrow: bool) -> None:
        ends = [(0.0, self.y), (0.0, self.y + length)]
        self.lines.append(_edge(edge, ends, "line", arrow=arrow))
        if label:
            self.lines.append(_label(0, self.y + length / 2 + 2, label))
            self.right = max(self.right, text_width(label, SMALL) + 10)
        self.y += length

    def line(self, length: float, *, arrow: bool) -> None:
        ends = [(0.0, self.y), (0.0, self.y + length)]
        self.lines += _drawn(ends, "line", arrow=arrow)
        self.y += length

    def sketch(self) -> Sketch:
        return Sketch(self.left, self.right, self.y, (*self.lines, *self.marks))


def _around(widths: Sequence[tuple[float, float]]) -> list[float]:
    """The places of branches side by side, their axes in the middle of all."""
    places, x = [], 0.0
    for left, right in widths:
        places.append(x + left)
        x += left + right + APART
    middle = (places[0] + places[-1]) / 2
    return [place - middle for place in places]


def _beside(branches: Sequence[Series[str]], widths: Sequence[tuple[float, float]]) -> list[float]:
    """The longest branch keeps the axis; the others stand on its right, in their order."""
    longest = max(range(len(branches)), key=lambda i: (len(branches[i].parts), i))
    places = [0.0] * len(branches)
    x = widths[longest][1]
    for i, (left, right) in enumerate(widths):
        if i != longest:
            places[i] = x + APART / 2 + left
            x = places[i] + right
    return places


# --- marks ---


def _radius(merge: Item) -> float:
    """Half the width of the circle of a sum."""
    return max(SUM, text_width(_SUMS[merge.kind], SMALL) / 2 + 5)


def _node(item: Item, marks: Sequence[Mark]) -> Group:
    return Group(marks, kind=f"node {item.kind}", title=spoken(item), data=_data(item))


def _data(item: Item) -> dict[str, str]:
    data = {"name": item.name, "kind": item.kind}
    if item.is_block:
        data["block"] = "1"
    if len(item.members) > 1:
        data["members"] = " ".join(item.members[1:])
    return data


def _badge(x: float, y: float, text: str) -> list[Mark]:
    """How often a block is repeated, over the corner of its box."""
    half = text_width(text, SMALL, "SemiBold") / 2 + 7
    return [
        Rect(x - half, y - 9, 2 * half, 18, "badge", 9),
        Words(x, y + 4, text, SMALL, "badge-text", "SemiBold"),
    ]


def _shortcuts(item: Item, right: float, height: float) -> list[Mark]:
    """The shortcuts of a closed block: an arc around it, through a small box if it is projected."""
    top, bottom, out = 8.0, height - 8.0, right + 18.0
    points = [(right, top), (out, top), (out, bottom), (right, bottom)]
    kinds = [skip.kind for skip in item.skips]
    marks = _drawn(points, "skip", arrow=True)
    middle = (top + bottom) / 2
    if "projection" in kinds:
        marks.append(Rect(out - 5, middle - 5, 10, 10, "projection", 2))
    if len(kinds) > 1 and not item.fold:
        marks.append(
            Words(out + 9, middle + 4, str(len(kinds)), SMALL, "skip-text", "SemiBold", "start")
        )
    said = " and ".join(
        f"{kinds.count(kind)} {kind} shortcut{'s' if kinds.count(kind) > 1 else ''}"
        for kind in dict.fromkeys(kinds)
    )
    return [Group(marks, kind="skips", title=said)]


def _label(x: float, y: float, text: str) -> Words:
    return Words(x + 6, y, text, SMALL, "dim", anchor="start")


def _edge(
    edge: Edge[str],
    points: Sequence[tuple[float, float]],
    style: str,
    *,
    arrow: bool,
    curved: bool = False,
) -> Group:
    return Group(
        _drawn(points, style, arrow=arrow, curved=curved),
        kind="edge skip" if style == "skip" else "edge",
        title=shape_of(edge.shape),
        data={
            "from": edge.source or "",
            "to": edge.target or "",
            "shape": " ".join(map(str, edge.shape)),
        },
    )


def _drawn(
    points: Sequence[tuple[float, float]], style: str, *, arrow: bool, curved: bool = False
) -> list[Mark]:
    """A line through points, its turns rounded, with an arrow head at its end."""
    points = [p for i, p in enumerate(points) if i == 0 or p != points[i - 1]]
    marks: list[Mark] = []
    if arrow:
        (x0, y0), (x, y) = points[-2:]
        if curved or abs(x - x0) < abs(y - y0):
            down = 1 if y >= y0 else -1
            tip = (("L", x - 3.6, y - down * ARROW), ("L", x + 3.6, y - down * ARROW))
            points = [*points[:-1], (x, y - down * (ARROW - 1))]
        else:
            across = 1 if x >= x0 else -1
            tip = (("L", x - across * ARROW, y - 3.6), ("L", x - across * ARROW, y + 3.6))
            points = [*points[:-1], (x - across * (ARROW - 1), y)]
        head = "skip-head" if style == "skip" else "head"
        marks.append(Path((("M", x, y), *tip), head, closed=True))
    commands = _curves(points) if curved else _turns(points)
    return [Path(commands, style), *marks]


def _turns(points: Sequence[tuple[float, float]]) -> tuple[tuple[object, ...], ...]:
    """Straight lines whose corners are rounded."""
    commands: list[tuple[object, ...]] = [("M", *points[0])]
    for (x0, y0), (x1, y1), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        first, second = abs(x1 - x0) + abs(y1 - y0), abs(x2 - x1) + abs(y2 - y1)
        radius = min(ROUND, first / 2, second / 2)
        ax, ay = x1 - radius * (x1 - x0) / first, y1 - radius * (y1 - y0) / first
        bx, by = x1 + radius * (x2 - x1) / second, y1 + radius * (y2 - y1) / second
        # A quadratic curve through the corner, as the cubic one that it is.
        commands.append(("L", ax, ay))
        commands.append(
            ("C", ax + 2 * (x1 - ax) / 3, ay + 2 * (y1 - ay) / 3,
             bx + 2 * (x1 - bx) / 3, by + 2 * (y1 - by) / 3, bx, by)
        )  # fmt: skip
    return (*commands, ("L", *points[-1]))


def _curves(points: Sequence[tuple[float, float]]) -> tuple[tuple[object, ...], ...]:
    """A line that leaves and reaches every point straight down."""
    commands: list[tuple[object, ...]] = [("M", *points[0])]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        commands.append(("C", x0, middle, x1, middle, x1, y1))
    return tuple(commands)
