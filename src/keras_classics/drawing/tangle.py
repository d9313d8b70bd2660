"""Rows for what is neither series nor parallel: a layered drawing, after Sugiyama et al., 1981.

Each vertex stands below all that it depends on; the edges of one tensor that run over several rows
pass through a place of their own in each; rows are sorted, sweep by sweep, by the mean place of
their neighbours. No chance is involved: the same graph is always drawn alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from keras_classics.drawing.series import Edge

SWEEPS = 8
_THREAD = (8.0, 8.0, 0.0)  # the place through which an edge passes: left, right, height

Point = tuple[float, float]
Size = tuple[float, float, float]  # how far a vertex reaches to the left, to the right and down
Slot = tuple[str, int]  # the name of a vertex and -1, or "" and the number of a tensor


@dataclass(frozen=True)
class Rows:
    """Where the vertices stand: x of their axes, y of their tops."""

    places: dict[str, Point]
    bottoms: dict[str, float]  # of the rows in which they stand
    left: float
    right: float
    height: float
    paths: tuple[tuple[Edge[str], tuple[Point, ...]], ...]  # the points an edge runs through


def arrange(
    names: Sequence[str],
    edges: Sequence[Edge[str]],
    sizes: Mapping[str, Size],
    *,
    apart: float,
    step: float,
) -> Rows:
    """Places for vertices, and ways for the edges between them, into them and out of them.

    Args:
        names: Each after those that it depends on.
        edges: At least one at each vertex.
        sizes: Of the vertices.
        apart: Between neighbours in a row.
        step: Between rows.
    """
    row_of = _rows_of(names, edges)
    count = max(row_of.values()) + 1
    rows: list[list[Slot]] = [[] for _ in range(count)]
    for name in names:
        rows[row_of[name]].append((name, -1))
    chains: list[list[tuple[int, Slot]]] = []  # the rows and slots of each edge
    tensor = {source: i for i, source in enumerate(dict.fromkeys(e.source for e in edges))}
    for edge in edges:
        first = row_of.get(edge.source or "", -1)
        last = row_of.get(edge.target or "", count)
        thread = ("", tensor[edge.source])
        chain: list[tuple[int, Slot]] = [(j, thread) for j in range(first + 1, last)]
        for j, slot in chain:
            if slot not in rows[j]:
                rows[j].append(slot)
        if edge.source in row_of:
            chain.insert(0, (first, (edge.source or "", -1)))
        if edge.target in row_of:
            chain.append((last, (edge.target or "", -1)))
        chains.append(chain)

    x = _places(rows, chains, sizes, apart)
    tops, y = [], 0.0
    for row in rows:
        tops.append(y)
        y += max(sizes.get(name, _THREAD)[2] for name, _ in row) + step
    bottoms = [top - step for top in [*tops[1:], y]]
    paths = []
    for edge, chain in zip(edges, chains, strict=True):
        points: list[Point] = []
        for j, slot in chain:
            at = x[j, slot]
            if not slot[0]:  # straight through the row
                points += [(at, tops[j]), (at, bottoms[j])]
            elif slot[0] == edge.source:
                points += [(at, tops[j] + sizes[slot[0]][2]), (at, bottoms[j])]
            else:
                points.append((at, tops[j]))
        paths.append((edge, tuple(points)))
    reach = {key: sizes.get(key[1][0], _THREAD) for key in x}
    return Rows(
        places={name: (x[row, (name, -1)], tops[row]) for name, row in row_of.items()},
        bottoms={name: bottoms[row] for name, row in row_of.items()},
        left=max(reach[key][0] - at for key, at in x.items()),
        right=max(reach[key][1] + at for key, at in x.items()),
        height=y - step,
        paths=tuple(paths),
    )


def _rows_of(names: Sequence[str], edges: Sequence[Edge[str]]) -> dict[str, int]:
    """The row of each vertex: the first one below all that it depends on."""
    row_of: dict[str, int] = {}
    for name in names:
        above = [row_of.get(edge.source or "", -1) for edge in edges if edge.target == name]
        row_of[name] = max(above, default=-1) + 1
    return row_of


def _places(
    rows: list[list[Slot]],
    chains: Sequence[Sequence[tuple[int, Slot]]],
    sizes: Mapping[str, Size],
    apart: float,
) -> dict[tuple[int, Slot], float]:
    """The axes of the slots of all rows, by row and slot; sorts the rows."""
    above: dict[tuple[int, Slot], list[tuple[int, Slot]]] = {}
    below: dict[tuple[int, Slot], list[tuple[int, Slot]]] = {}
    for chain in chains:
        for upper, lower in pairwise(chain):
            below.setdefault(upper, []).append(lower)
            above.setdefault(lower, []).append(upper)
    x = {(j, slot): 0.0 for j, row in enumerate(rows) for slot in row}
    for sweep in range(-1, SWEEPS):  # the first one spreads the rows as they are
        down = sweep % 2 == 0
        near = {} if sweep < 0 else above if down else below
        for j in range(len(rows)) if down else reversed(range(len(rows))):
            wanted = {
                slot: _mean([x[other] for other in near.get((j, slot), [])], x[j, slot])
                for slot in rows[j]
            }
            rows[j].sort(key=wanted.__getitem__)  # stable: equals keep their order
            x.update({(j, slot): at for slot, at in _spread(rows[j], wanted, sizes, apart)})
    return x


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(
    row: Sequence[Slot], wanted: Mapping[Slot, float], sizes: Mapping[str, Size], apart: float
) -> list[tuple[Slot, float]]:
    """Places in the order of the row, near the wanted ones and none too near to another."""
    placed: list[tuple[Slot, float]] = []
    edge = float("-inf")
    for slot in row:
        left, right, _ = sizes.get(slot[0], _THREAD)
        at = max(wanted[slot], edge + apart + left)
        placed.append((slot, at))
        edge = at + right
    # All were pushed to the right, if anywhere: back, so that on average they are where they would.
    shift = _mean([at - wanted[slot] for slot, at in placed], 0.0)
    return [(slot, at - shift) for slot, at in placed]
