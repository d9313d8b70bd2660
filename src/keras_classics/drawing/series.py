"""The shape of a graph: what stands in series, what in parallel, and what is neither.

A directed acyclic graph between two ends falls apart at the vertices through which every path
leads: these stand in series. What lies between two of them falls apart into components, which
stand in parallel. A component that has no such vertex of its own is a tangle. Networks are nearly
always series of parallels; then the decomposition is unique, and the drawing needs no heuristics.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

V = TypeVar("V", bound=Hashable)


@dataclass(frozen=True)
class Edge(Generic[V]):
    """A tensor on its way; None as a vertex is the end outside of the graph."""

    source: V | None
    target: V | None
    operand: int = 0  # of the target
    shape: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Vertex(Generic[V]):
    """A single vertex."""

    name: V


@dataclass(frozen=True)
class Series(Generic[V]):
    """Parts one after the other, none of them a series; none at all is a bare edge."""

    parts: tuple[Part[V], ...]
    first: Edge[V]  # by which it is entered
    last: Edge[V]  # by which it is left


@dataclass(frozen=True)
class Parallel(Generic[V]):
    """Branches side by side, in the order of the operands that they become."""

    branches: tuple[Series[V], ...]


@dataclass(frozen=True)
class Tangle(Generic[V]):
    """Vertices of which none is on every path."""

    names: tuple[V, ...]  # each after those that it depends on
    edges: tuple[Edge[V], ...]  # inside, into and out of it


Part = Vertex[V] | Parallel[V] | Tangle[V]


def decompose(vertices: Sequence[V], edges: Sequence[Edge[V]]) -> Series[V]:
    """The decomposition of a graph between its two ends outside.

    Args:
        vertices: Each after those that it depends on.
        edges: Between them, into the graph (source None) and out of it (target None). Every vertex
            has an edge in and an edge out.
    """
    return _chain(list(vertices), list(edges), None, None)


def _chain(names: list[V], edges: list[Edge[V]], start: V | None, end: V | None) -> Series[V]:
    """The series of a connected part between two ends, which are not in it."""
    if not names:
        return Series((), edges[0], edges[0])
    place = {name: i for i, name in enumerate(names)}

    def before(edge: Edge[V]) -> int:
        return -1 if edge.source == start else place[edge.source]  # type: ignore[index]

    def after(edge: Edge[V]) -> int:
        return len(names) if edge.target == end else place[edge.target]  # type: ignore[index]

    # A vertex is on every path if no edge passes over it, in whatever order the graph is read.
    passed = [0] * (len(names) + 1)
    for edge in edges:
        passed[before(edge) + 1] += 1
        passed[max(after(edge), before(edge) + 1)] -= 1
    cuts, over = [], 0
    for i in range(len(names)):
        over += passed[i]
        if not over:
            cuts.append(i)
    first = min((edge for edge in edges if before(edge) == -1), key=after)
    last = max((edge for edge in edges if after(edge) == len(names)), key=before)
    if not cuts:
        return Series((Tangle(tuple(names), tuple(edges)),), first, last)
    parts: list[Part[V]] = []
    ends = [-1, *cuts, len(names)]
    for left, right in pairwise(ends):
        inside = names[left + 1 : right]
        between = [edge for edge in edges if left <= before(edge) and after(edge) <= right]
        lower = start if left == -1 else names[left]
        upper = end if right == len(names) else names[right]
        if len(inside) or len(between) > 1:
            parts.append(_section(inside, between, lower, upper))
        if right < len(names):
            parts.append(Vertex(names[right]))
    return Series(tuple(parts), first, last)


def _section(
    names: list[V], edges: list[Edge[V]], start: V | None, end: V | None
) -> Parallel[V] | Tangle[V]:
    """What lies between two vertices that follow one another in a series."""
    root = {name: name for name in names}

    def find(name: V) -> V:
        while root[name] != name:
            name = root[name]
        return name

    for edge in edges:
        if edge.source != start and edge.target != end:
            one, other = find(edge.source), find(edge.target)  # type: ignore[arg-type]
            root[other] = one
    groups: dict[V, list[V]] = {}
    for name in names:
        groups.setdefault(find(name), []).append(name)
    direct = [edge for edge in edges if edge.source == start and edge.target == end]
    if len(groups) == 1 and not direct:
        return Tangle(tuple(names), tuple(edges))
    branches = [_chain([], [edge], start, end) for edge in direct]
    for group in groups.values():
        inside = set(group)
        own = [edge for edge in edges if edge.source in inside or edge.target in inside]
        branches.append(_chain(group, own, start, end))
    # What becomes the first operand stands first; what becomes none keeps the graph's order.
    return Parallel(tuple(sorted(branches, key=lambda branch: branch.last.operand)))
