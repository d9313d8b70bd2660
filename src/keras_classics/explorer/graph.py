"""What a model is, apart from any picture: blocks, layers, costs, and the code of its blocks."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from types import FunctionType
from typing import Any

import keras_classics
from keras_classics.architectures import analysis
from keras_classics.architectures.frame import Architecture
from keras_classics.architectures.tree import Block, family_of
from keras_classics.architectures.wiring import wiring
from keras_classics.explorer import schema
from keras_classics.explorer.models import Held


def graph(held: Held) -> schema.Graph:
    """The blocks and the layers of a model, with costs and receptive fields."""
    tree = held.analysis.tree
    costs = {cost.name: cost for cost in held.analysis.layers}
    of_block = {cost.name: cost for _, cost in held.analysis.blocks}
    first = held.channels_first
    inputs = operands(held)
    innermost = innermost_blocks(tree)

    def blocks(block: Block, parent: str | None) -> Iterator[schema.Block]:
        yield schema.Block(
            name=block.name,
            kind=block.kind,
            family=block.declared.family,
            source=block.source,
            parent=parent,
            children=[inner.name for inner in block.blocks],
            layers=list(block.layers),
            end=block.end,
            cost=_cost(of_block[block.name] if parent else held.analysis.model, first=first),
        )
        for inner in block.blocks:
            yield from blocks(inner, block.name)

    return schema.Graph(
        model=held.id,
        blocks=list(blocks(tree, None)),
        layers=[
            schema.Layer(
                name=layer.name,
                kind=type(layer).__name__,
                family=family_of(type(layer).__name__),
                block=innermost[layer.name].name,
                config=_config(layer),
                inputs=inputs[layer.name],
                output_shape=_shape(costs[layer.name].output_shape, first=first),
                cost=_cost(costs[layer.name], first=first),
                field=_field(costs[layer.name].field),
            )
            for layer in held.model.layers
        ],
    )


def operands(held: Held) -> dict[str, list[str]]:
    """The layers that each layer reads, in the order of its operands; of its last call."""
    calls, _ = wiring(held.model)
    layer_of = {call.name: call.layer for call in calls}
    return {call.layer: [layer_of[operand.source] for operand in call.inputs] for call in calls}


def innermost_blocks(tree: Block) -> dict[str, Block]:
    """The innermost block of every layer."""
    return {
        member: block
        for block in tree.walk()
        for member in block.members
        if isinstance(member, str)
    }


def _cost(cost: analysis.Cost, *, first: bool) -> schema.Cost:
    return schema.Cost(
        parameters=cost.parameters,
        trainable=cost.trainable,
        macs=cost.macs,
        activation_bytes=cost.activation_bytes,
        output_shape=_shape(cost.output_shape, first=first),
        field=_field(cost.field),
    )


def _shape(shape: tuple[int | None, ...], *, first: bool) -> list[int | None]:
    """Channels last."""
    return [*shape[1:], shape[0]] if first and len(shape) == 3 else list(shape)


def _field(field: analysis.Field | None) -> schema.ReceptiveField | None:
    return None if field is None else schema.ReceptiveField(**asdict(field))


def _config(layer: Any) -> schema.Config:
    """The settings of a layer that the page shows."""
    known: dict[str, Any] = layer.get_config()
    padding = known.get("padding")
    explicit = isinstance(padding, (tuple, list))
    activation = known.get("activation")
    return schema.Config(
        filters=known.get("filters"),
        units=known.get("units"),
        kernel=_pair(known.get("kernel_size")),
        pool=_pair(known.get("pool_size")),
        strides=_pair(known.get("strides")),
        dilation=_pair(known.get("dilation_rate")),
        padding=None if explicit else padding,
        pads=_pairs(padding) if explicit else None,
        cropping=_pairs(known.get("cropping")),
        groups=known.get("groups"),
        depth_multiplier=known.get("depth_multiplier"),
        use_bias=known.get("use_bias"),
        activation=activation if isinstance(activation, str) else None,
        rate=known.get("rate"),
        scale=known["scale"] if isinstance(known.get("scale"), bool) else None,
        center=known.get("center"),
        epsilon=known.get("epsilon"),
        momentum=known.get("momentum"),
        axis=known["axis"] if isinstance(known.get("axis"), int) else None,
        keepdims=known.get("keepdims"),
        data_format=known.get("data_format"),
    )


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return int(value[0]), int(value[1])
    return None


def _pairs(value: Any) -> tuple[tuple[int, int], tuple[int, int]] | None:
    rows, columns = (_pair(each) for each in value) if value and len(value) == 2 else (None, None)
    return (rows, columns) if rows and columns else None


def code(held: Held, block: Block) -> schema.Code:
    """The function that makes blocks of a kind, as it stands in this package."""
    place, paper = block.cited(held.architecture.paper)
    function = _function(held.architecture, block)
    return schema.Code(
        block=block.name,
        kind=block.kind,
        **_text(function).model_dump(),
        helpers=[_text(helper) for helper in _helpers(function)],
        source=place,
        paper=paper,
    )


def _function(architecture: Architecture, block: Block) -> FunctionType:
    """The function that makes a block; `features` makes the model and its stages."""
    made_by: Any = block.declared.made_by or architecture.features
    function = getattr(made_by, "func", made_by)  # of a partial
    if not isinstance(function, FunctionType):
        raise LookupError(f"no function makes blocks of the kind {block.kind!r}")
    return function


def _helpers(function: FunctionType) -> list[FunctionType]:
    """The functions of the same file that a function names, in its order."""
    found = (function.__globals__.get(name) for name in function.__code__.co_names)
    return [
        each
        for each in found
        if isinstance(each, FunctionType)
        and each.__module__ == function.__module__
        and each is not function
    ]


def _text(function: FunctionType) -> schema.Function:
    lines, first = inspect.getsourcelines(function)
    _, _, file = function.__code__.co_filename.replace("\\", "/").rpartition(
        f"/{keras_classics.__name__}/"
    )
    return schema.Function(
        function=function.__qualname__,
        file=f"{keras_classics.__name__}/{file}",
        first_line=first,
        code=textwrap.dedent("".join(lines)),
    )
