"""A model as a list of steps, which can be run as far as needed, looked into and cut.

The steps are those of the model's own graph of layers, so that whatever is measured is measured on
the network itself and not on a copy. They run one by one: on a processor a ResNet50 at 224 x 224
takes 0.15 s that way on TensorFlow, JAX and torch alike, and any other tap or cut takes as long,
where a compiled graph would first be compiled again, for seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from keras_classics.architectures.wiring import graph_of, nodes
from keras_classics.errors import ClassicsError

Key = Hashable  # of a tensor in the graph
Tensor = Any  # of the backend
SCORES: Key = "scores"  # what stands before the activation of the last dense layer


@dataclass(frozen=True)
class Step:
    """A call of a layer, or a part of one."""

    name: str
    sources: tuple[Key, ...]  # what it reads, in the order of its operands
    results: tuple[Key, ...]
    call: Callable[[Sequence[Tensor]], list[Tensor]]
    neutral: float = 0.0  # what an operand that is cut counts as


@dataclass(frozen=True)
class Program:
    """What a model computes, step by step."""

    steps: tuple[Step, ...]  # each after those that it depends on
    images: Key  # the input
    scores: Key  # (b, classes) before the last activation
    output: Key  # the model's first output
    made_by: dict[str, Key]  # the output of each layer, of its last call
    calls: dict[str, Step]  # the last call of each layer

    def plan(self, wanted: Iterable[Key]) -> list[Step]:
        """The steps that some tensors need, in order."""
        needed = set(wanted)
        chosen = []
        for step in reversed(self.steps):
            if not needed.isdisjoint(step.results):
                needed.update(step.sources)
                chosen.append(step)
        return chosen[::-1]

    def leads(self, source: Key, target: Key) -> bool:
        """Whether a tensor has a part in another one."""
        return source == target or any(source in step.sources for step in self.plan([target]))


def program_of(model: keras.Model) -> Program:
    """The program of a flat model with one input.

    Raises:
        ClassicsError: If the model is not built, not a graph of layers, holds another model or
            has several inputs.
    """
    graph = _checked(model)
    steps: list[Step] = []
    made_by: dict[str, Key] = {}
    calls: dict[str, Step] = {}
    for node in nodes(model):
        name = node.operation.name
        made_by[name] = id(node.output_tensors[0])
        if not node.is_input:
            calls[name] = _step(node)
            steps.append(calls[name])
    output = graph.outputs[0]
    scores, head = _head(output)
    if head:
        last = calls[output._keras_history[0].name]
        at = steps.index(last)
        steps[at : at + 1] = head
    return Program(
        steps=tuple(steps),
        images=id(graph.inputs[0]),
        scores=scores,
        output=id(output),
        made_by=made_by,
        calls=calls,
    )


def run(
    steps: Sequence[Step],
    values: dict[Key, Tensor],
    *,
    keep: Collection[Key],
    cuts: Collection[tuple[Step, int]] = (),
    apply: Callable[[Step, Sequence[Tensor]], Sequence[Tensor]] | None = None,
) -> dict[Key, Tensor]:
    """Run steps from the values that are known to those that are kept.

    Args:
        steps: In order.
        values: By key; what no later step reads is dropped, so that the memory of a batch is that
            of its largest layers and not of them all.
        keep: What is wanted.
        cuts: Operands of steps that are replaced by what is neutral there, by their place.
        apply: Calls a step with its operands; by default just that.
    """
    last_reader = {source: step for step in steps for source in step.sources}
    cut = {(id(step), operand) for step, operand in cuts}
    for step in steps:
        operands = [
            keras.ops.full_like(values[source], step.neutral)
            if (id(step), i) in cut
            else values[source]
            for i, source in enumerate(step.sources)
        ]
        results = apply(step, operands) if apply else step.call(operands)
        values.update(zip(step.results, results, strict=True))
        for source in step.sources:
            if last_reader[source] is step and source not in keep:
                values.pop(source, None)
    return {key: values[key] for key in keep}


def _checked(model: Any) -> Any:
    """The graph of a model that can be run step by step."""
    if isinstance(model, keras.Sequential) and not model.built:
        raise ClassicsError(
            f"model {model.name!r} is not built: begin it with keras.Input(...), or build it."
        )
    graph = graph_of(model)
    if graph is None:
        raise ClassicsError(
            f"model of type {type(model).__name__}: a Functional or Sequential model is needed, "
            "whose graph of layers can be run step by step."
        )
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            raise ClassicsError(
                f"layer {layer.name!r} of {model.name!r} is itself a model: only flat models are "
                "explained; explain it alone, or call its layers one by one."
            )
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        raise ClassicsError(
            f"model {model.name!r} reads {', '.join(str(tuple(t.shape)) for t in graph.inputs)}: "
            "one input of images is needed."
        )
    return graph


def _step(node: Any) -> Step:
    """The step that does what a node of the graph does, in inference mode."""
    operation = node.operation
    structure = (node.arguments.args, node.arguments.kwargs)
    flat = keras.tree.flatten(structure)
    places = [i for i, value in enumerate(flat) if keras.utils.is_keras_tensor(value)]
    # Where a layer takes the word, it is said: batch norm uses its statistics, dropout does none.
    mode = {"training": False} if getattr(operation, "_call_has_training_arg", False) else {}

    def call(operands: Sequence[Tensor]) -> list[Tensor]:
        filled = list(flat)
        for place, operand in zip(places, operands, strict=True):
            filled[place] = operand
        args, kwargs = keras.tree.pack_sequence_as(structure, filled)
        return list(keras.tree.flatten(operation(*args, **{**kwargs, **mode})))

    return Step(
        name=operation.name,
        sources=tuple(id(flat[place]) for place in places),
        results=tuple(id(tensor) for tensor in node.output_tensors),
        call=call,
        neutral=neutral_of(operation),
    )


def neutral_of(operation: Any) -> float:
    """What an operand counts as that is cut: 1 in a product, so that a gate stands open; else 0."""
    return 1.0 if isinstance(operation, layers.Multiply) else 0.0


def _head(output: Any) -> tuple[Key, list[Step]]:
    """The key of the scores and, where a dense layer must be divided for them, its two halves."""
    layer, call, _ = output._keras_history
    (source, *_) = layer._inbound_nodes[call].input_tensors or [output]
    if type(layer).__name__ == "Softmax" or type(layer) is layers.Activation:
        return id(source), []
    if type(layer) is not layers.Dense or layer.activation is keras.activations.linear:
        return id(output), []

    def linear(operands: Sequence[Tensor]) -> list[Tensor]:
        dtype = layer.compute_dtype
        x, kernel = (keras.ops.cast(value, dtype) for value in (operands[0], layer.kernel))
        scores = keras.ops.matmul(x, kernel)
        return [scores if layer.bias is None else scores + keras.ops.cast(layer.bias, dtype)]

    def activate(operands: Sequence[Tensor]) -> list[Tensor]:
        return [layer.activation(operands[0])]

    return SCORES, [
        Step(layer.name, (id(source),), (SCORES,), linear),
        Step(f"{layer.name} (activation)", (SCORES,), (id(output),), activate),
    ]
