"""The wiring of a model: its calls of layers, and what each of them reads.

A layer that is called twice has its weights once, but stands in two places of the graph; so the
vertices of the graph are the calls, not the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Operand:
    """A tensor that a call reads."""

    source: str  # the call that makes it
    shape: Shape  # without the batch


@dataclass(frozen=True)
class Call:
    """A call of a layer."""

    name: str  # of the layer; from its second call on with the number of the call behind it
    layer: str
    inputs: tuple[Operand, ...]  # in the order of the operands


def graph_of(model: Any) -> Any:
    """The graph of layers of a Functional or Sequential model; None where there is none."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    return graph if getattr(graph, "_nodes_by_depth", None) is not None else None


def nodes(model: keras.Model) -> list[Any]:
    """Keras' records of the calls, inputs first, each after those that it depends on."""
    by_depth = graph_of(model)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def wiring(
    model: keras.Model, shapes: Mapping[str, Shape] | None = None
) -> tuple[tuple[Call, ...], tuple[str, ...]]:
    """The calls of a flat model in the order of the graph, and those that make its outputs.

    Args:
        model: Functional or Sequential.
        shapes: Of the outputs of its layers by name, in the place of what the model leaves open.
    """
    names: dict[Any, str] = {}
    times: dict[str, int] = {}
    for node in nodes(model):
        layer = node.operation.name
        times[layer] = times.get(layer, 0) + 1
        names[node] = layer if times[layer] == 1 else f"{layer} ({times[layer]})"

    def made_by(tensor: Any) -> str:
        layer, call, _ = tensor._keras_history
        return names[layer._inbound_nodes[call]]

    def operand(tensor: Any) -> Operand:
        shape = tuple(tensor.shape[1:])
        if None in shape and shapes:
            shape = tuple(shapes[tensor._keras_history[0].name])
        return Operand(made_by(tensor), shape)

    calls = tuple(
        Call(name, node.operation.name, tuple(map(operand, node.input_tensors)))
        for node, name in names.items()
    )
    return calls, tuple(made_by(tensor) for tensor in graph_of(model).outputs)
