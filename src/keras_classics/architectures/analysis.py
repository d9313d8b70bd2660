"""What a built graph tells: shapes, parameters, multiply-adds, memory, receptive fields.

Receptive fields follow the arithmetic of Araujo, Norris and Sim, 2019,
https://distill.pub/2019/computing-receptive-fields: every position of a feature map sees an
interval of input pixels on each axis, and neighbours see intervals that are one stride apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import KerasTensor, layers

from keras_classics.architectures.catalog import block_tree
from keras_classics.architectures.layers import channel_axis
from keras_classics.architectures.tree import Block
from keras_classics.errors import ClassicsError


@dataclass(frozen=True)
class Span:
    """The input pixels that the first position of a feature map sees on one axis."""

    first: int = 0
    last: int = 0
    stride: int = 1

    @property
    def size(self) -> int:
        """The number of pixels from the first to the last one seen."""
        return self.last - self.first + 1

    def window(self, kernel: int, stride: int, dilation: int, before: int) -> Span:
        """The span after a sliding window, with `before` positions of padding ahead of the map."""
        first = self.first - self.stride * before
        last = self.last + self.stride * (dilation * (kernel - 1) - before)
        return Span(first, last, self.stride * stride)

    def covers(self, other: Span) -> bool:
        """Whether all that the other span sees, this one sees."""
        return self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class Field:
    """Receptive field of a position, borders of the image left aside.

    `exact` is false where branches see different regions of which none contains the others: then
    the field is the smallest rectangle around them, an upper bound.
    """

    rows: Span
    columns: Span
    exact: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rows.size, self.columns.size

    @property
    def stride(self) -> tuple[int, int]:
        """Pixels between the centres of neighbours, down and across."""
        return self.rows.stride, self.columns.stride

    def contains(self, other: Field) -> bool:
        """Whether the other field lies inside this one."""
        return self.rows.covers(other.rows) and self.columns.covers(other.columns)


@dataclass(frozen=True)
class Cost:
    """What a layer, a block or a model is and costs, for one image."""

    name: str
    kind: str  # class of the layer, or kind of the block
    output_shape: tuple[int | None, ...]  # of the layer, or of the block's end; without the batch
    parameters: int
    trainable: int
    macs: int  # multiply-adds of convolutions and dense layers, as the papers count them
    activation_bytes: int  # of all outputs inside
    field: Field | None  # None: the whole image, or not known


@dataclass(frozen=True)
class Analysis:
    """The costs of a model's layers, blocks and whole."""

    model: Cost
    layers: tuple[Cost, ...]
    blocks: tuple[tuple[int, Cost], ...]  # depth in the tree and cost, outer before inner
    tree: Block


def analyse(model: keras.Model, *, size: int | tuple[int, int] | None = None) -> Analysis:
    """Measure a flat Functional or Sequential model without running it.

    Args:
        model: Built from any layers; the receptive field behind one that this module does not know
            is None.
        size: Height and width of the input in pixels, where the model leaves them open.

    Raises:
        ClassicsError: If the model leaves its input's size open and none is given, or if the given
            one is not the model's.
    """
    specs = {id(tensor): _concrete(tensor, size) for tensor in model.inputs}
    fields: dict[int, Field | None] = {
        tensor: Field(Span(), Span()) if len(spec.shape) == 4 else None
        for tensor, spec in specs.items()
    }
    costs: dict[str, Cost] = {}
    for node in _nodes(model):
        operation = node.operation
        inputs = [specs[id(tensor)] for tensor in node.input_tensors]
        if node.is_input:
            outputs = [specs[id(tensor)] for tensor in node.output_tensors]
            field = fields[id(node.output_tensors[0])]
        else:
            arguments, keywords = node.arguments.fill_in(specs)
            outputs = keras.tree.flatten(operation.compute_output_spec(*arguments, **keywords))
            merged = _merge([fields[id(tensor)] for tensor in node.input_tensors])
            field = _field_after(operation, merged, inputs[0], outputs[0])
        for tensor, spec in zip(node.output_tensors, outputs, strict=True):
            specs[id(tensor)], fields[id(tensor)] = spec, field
        cost = _cost(operation, outputs, field)
        again = costs.get(operation.name)  # a layer that is called twice has its weights once
        costs[operation.name] = cost if again is None else _called_again(again, cost)
    tree = block_tree(model)
    return Analysis(
        model=_total(
            tree, list(costs.values()), end=costs[model.outputs[0]._keras_history[0].name]
        ),
        layers=tuple(costs.values()),
        blocks=tuple(
            (depth, _total(block, [costs[layer] for layer in block.layers], end=costs[block.end]))
            for depth, block in _walk(tree)
            if depth
        ),
        tree=tree,
    )


def _nodes(model: keras.Model) -> list[Any]:
    """The calls of the model's layers, inputs first, each after those that it depends on."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    by_depth = graph._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def _walk(block: Block, depth: int = 0) -> Iterator[tuple[int, Block]]:
    yield depth, block
    for inner in block.blocks:
        yield from _walk(inner, depth + 1)


def _concrete(tensor: KerasTensor, size: int | tuple[int, int] | None) -> KerasTensor:
    """The model's input with its open height and width filled in."""
    shape = list(tensor.shape)
    wanted = (size, size) if isinstance(size, int) else size
    if len(shape) == 4:
        axes = [axis for axis in (1, 2, 3) if axis != channel_axis()]
        for axis, side in zip(axes, wanted or (None, None), strict=True):
            if shape[axis] is None and side is None:
                raise ClassicsError(
                    f"the input of shape {tuple(shape)} leaves its height or width open: give size."
                )
            if side is not None and shape[axis] not in (None, side):
                raise ClassicsError(
                    f"size={size}: the model's input is fixed to {tuple(shape[1:])}; "
                    "build the network with that size, or leave size out."
                )
            shape[axis] = shape[axis] or side
    return KerasTensor(shape, dtype=tensor.dtype, name=tensor.name)


def _merge(fields: Sequence[Field | None]) -> Field | None:
    """The field of a sum or a concatenation: all that any branch sees."""
    known = [field for field in fields if field is not None]
    if len(known) < len(fields) or not known or len({field.stride for field in known}) > 1:
        return None
    for field in known:
        if all(field.contains(other) for other in known):
            return field
    return Field(
        rows=_around([field.rows for field in known]),
        columns=_around([field.columns for field in known]),
        exact=False,
    )


def _around(spans: Sequence[Span]) -> Span:
    return Span(min(s.first for s in spans), max(s.last for s in spans), spans[0].stride)


def _field_after(
    layer: Any, field: Field | None, source: KerasTensor, output: KerasTensor
) -> Field | None:
    """The field after a layer, of which `source` and `output` are input and output."""
    if field is None or len(output.shape) != 4:
        return None
    if isinstance(layer, layers.ZeroPadding2D):
        (top, _), (left, _) = layer.padding
        return Field(
            field.rows.window(1, 1, 1, top), field.columns.window(1, 1, 1, left), field.exact
        )
    if isinstance(layer, _WINDOWED):
        kernel = getattr(layer, "pool_size", None) or layer.kernel_size
        dilation = getattr(layer, "dilation_rate", (1, 1))
        axes = [axis for axis in (1, 2, 3) if axis != channel_axis()]
        spans = []
        for axis, span, k, stride, d in zip(
            axes, (field.rows, field.columns), kernel, layer.strides, dilation, strict=True
        ):
            before = 0
            if layer.padding == "same":
                reach = (output.shape[axis] - 1) * stride + d * (k - 1) + 1
                before = max(0, reach - source.shape[axis]) // 2
            spans.append(span.window(k, stride, d, before))
        return Field(spans[0], spans[1], field.exact)
    # A layer that keeps the grid mixes no positions, as far as the layers of images go.
    return field if _grid(source) == _grid(output) else None


_WINDOWED = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.SeparableConv2D,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
)


def _grid(tensor: KerasTensor) -> tuple[int, ...]:
    return tuple(n for axis, n in enumerate(tensor.shape) if axis not in (0, channel_axis()))


def _cost(layer: Any, outputs: Sequence[KerasTensor], field: Field | None) -> Cost:
    weights = getattr(layer, "weights", [])
    trainable = getattr(layer, "trainable_weights", [])
    return Cost(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=tuple(outputs[0].shape[1:]),
        parameters=sum(math.prod(w.shape) for w in weights),
        trainable=sum(math.prod(w.shape) for w in trainable),
        macs=_macs(layer, outputs[0]),
        activation_bytes=sum(
            math.prod(output.shape[1:]) * _ITEM_BYTES.get(output.dtype, 4) for output in outputs
        ),
        field=field,
    )


_ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1}


def _macs(layer: Any, output: KerasTensor) -> int:
    """Multiply-adds: every position of the output times every weight of a kernel."""
    kernels: tuple[Any, ...]
    if isinstance(layer, layers.SeparableConv2D):
        kernels, positions = (layer.depthwise_kernel, layer.pointwise_kernel), _grid(output)
    elif isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        kernels, positions = (layer.kernel,), _grid(output)
    elif isinstance(layer, layers.Dense):
        kernels, positions = (layer.kernel,), tuple(output.shape[1:-1])
    else:
        return 0
    return int(math.prod(positions) * sum(math.prod(kernel.shape) for kernel in kernels))


def _called_again(first: Cost, second: Cost) -> Cost:
    return dataclasses.replace(
        second,
        macs=first.macs + second.macs,
        activation_bytes=first.activation_bytes + second.activation_bytes,
    )


def _total(block: Block, costs: Sequence[Cost], *, end: Cost) -> Cost:
    return Cost(
        name=block.name,
        kind=block.kind,
        output_shape=end.output_shape,
        parameters=sum(cost.parameters for cost in costs),
        trainable=sum(cost.trainable for cost in costs),
        macs=sum(cost.macs for cost in costs),
        activation_bytes=sum(cost.activation_bytes for cost in costs),
        field=end.field,
    )
