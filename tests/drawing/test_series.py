from __future__ import annotations

import random

import pytest

from keras_classics.drawing.series import Edge, Parallel, Series, Tangle, Vertex, decompose


def edges(*pairs):
    return [Edge(*pair) for pair in pairs]


def told(part):
    """The decomposition as nested text: `-` in series, `|` in parallel, `~` a tangle."""
    if isinstance(part, Series):
        return "-".join(map(told, part.parts)) or "."
    if isinstance(part, Parallel):
        return "(" + "|".join(map(told, part.branches)) + ")"
    return part.name if isinstance(part, Vertex) else "~" + "".join(part.names)


def test_a_row():
    assert told(decompose("abc", edges((None, "a"), ("a", "b"), ("b", "c"), ("c", None)))) == (
        "a-b-c"
    )


def test_a_skip_is_a_bare_branch():
    graph = edges((None, "a"), ("a", "b"), ("b", "+", 1), ("a", "+", 0), ("+", None))
    assert told(decompose("ab+", graph)) == "a-(.|b)-+"


def test_branches_stand_in_the_order_of_the_operands():
    graph = edges(
        (None, "a"), ("a", "b"), ("a", "c"), ("a", "d"),
        ("d", "+", 0), ("b", "+", 2), ("c", "+", 1), ("+", None),
    )  # fmt: skip
    assert told(decompose("abcd+", graph)) == "a-(d|c|b)-+"


def test_branches_inside_branches():
    graph = edges(
        (None, "a"), ("a", "b"), ("b", "c"), ("b", "d"), ("c", "e", 0), ("d", "e", 1),
        ("a", "f"), ("e", "g", 0), ("f", "g", 1), ("g", None),
    )  # fmt: skip
    assert told(decompose("abcdefg", graph)) == "a-(b-(c|d)-e|f)-g"


def test_a_tangle_between_two_ends():
    graph = edges(
        (None, "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("b", "e"), ("d", "e"),
        ("e", None),
    )  # fmt: skip
    assert told(decompose("abcde", graph)) == "a-~bcd-e"


def test_several_inputs_and_outputs():
    graph = edges((None, "a"), (None, "b"), ("a", "c", 0), ("b", "c", 1), ("c", "d"), ("c", "e"),
                  ("d", None), ("e", None))  # fmt: skip
    assert told(decompose("abcde", graph)) == "(a|b)-c-(d|e)"


def test_a_tensor_that_is_added_to_itself():
    graph = edges((None, "a"), ("a", "+", 0), ("a", "+", 1), ("+", None))
    assert told(decompose("a+", graph)) == "a-(.|.)-+"


def grown(rng, depth):
    """A random series of parallels as text, its vertices and its edges between two ends."""
    vertices, found = [], []

    def vertex():
        vertices.append(f"v{len(vertices)}")
        return vertices[-1]

    def series(start, depth):
        """Puts a series behind `start`; gives its text and last vertex."""
        text = []
        for _ in range(rng.randint(1, 3)):
            name = None
            if depth and text and rng.random() < 0.6:
                ends, branches = [], []
                for _ in range(rng.randint(2, 3)):
                    inner, last = series(start, depth - 1)
                    ends.append(last)
                    branches.append(inner)
                name = vertex()
                found.extend(Edge(end, name, k) for k, end in enumerate(ends))
                text.append("(" + "|".join(branches) + ")")
            else:
                name = vertex()
                found.append(Edge(start, name))
            text.append(name)
            start = name
        return "-".join(text), start

    text, last = series(None, depth)
    return text, vertices, [*found, Edge(last, None)]


@pytest.mark.parametrize("seed", range(50))
def test_what_was_grown_in_series_and_parallel_is_found_again(seed):
    text, vertices, graph = grown(random.Random(seed), depth=3)
    assert told(decompose(vertices, graph)) == text


@pytest.mark.parametrize("seed", range(50))
def test_nothing_of_any_graph_is_lost(seed):
    rng = random.Random(seed)
    names = [f"v{i}" for i in range(rng.randint(1, 14))]
    graph = []
    for i, name in enumerate(names):
        sources = rng.sample(names[:i], min(i, rng.randint(1, 3))) or [None]
        graph += [Edge(source, name, k) for k, source in enumerate(sources)]
    read = {edge.source for edge in graph}
    graph += [Edge(name, None) for name in names if name not in read]

    def names_in(part):
        if isinstance(part, Vertex):
            return [part.name]
        if isinstance(part, Tangle):
            return list(part.names)
        parts = part.parts if isinstance(part, Series) else part.branches
        return [name for inner in parts for name in names_in(inner)]

    found = names_in(decompose(names, graph))
    assert sorted(found) == sorted(names)
