"""What a built graph tells: shapes, parameters, multiply-adds, memory, receptive fields.

Receptive fields follow the arithmetic of Araujo, Norris and Sim, 2019,
https://distill.pub/2019/computing-receptive-fields: every position of a feature map sees an
interval of input pixels on each axis, and neighbours see intervals that are one stride apart.
Where numbers of the whole map, such as a squeeze-and-excite gate, scale or shift each channel, the
field is that of the map itself, and says that it is gated.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import KerasTensor, layers

from keras_classics.architectures.catalog import block_tree
from keras_classics.architectures.layers import channel_axis
from keras_classics.architectures.tree import Block
from keras_classics.architectures.wiring import graph_of, nodes
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

    `gated` is true behind a squeeze-and-excite block (arXiv 1709.01507) and its like: through the
    numbers that pooling makes of a whole map, every position depends on all of the image, too. The
    field is what it sees apart from that.
    """

    rows: Span
    columns: Span
    exact: bool = True
    gated: bool = False

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
    macs: int  # multiply-adds, as the papers count them; of which layers: see `analyse`
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

    Multiply-adds are counted for `Conv1D`, `2D` and `3D`, their transposed, depthwise and separable
    forms, and `Dense`, without biases; those of any other layer, attention and recurrence too, are
    given as 0. The channels stand where the layers' own `data_format` says.

    Args:
        model: Built from any layers; the receptive field behind one that this module does not know
            is None, and so is that of whatever is not an image.
        size: Height and width of the input in pixels, where the model leaves them open.

    Raises:
        ClassicsError: If the model is not built, not a graph of layers, or holds another model; if
            it leaves sizes open and `size` does not give them; if `size` is not one or two whole
            numbers, not the model's, or too small for it.
    """
    _check_flat(model)
    sides, axis = _sides(size), _channel_axis(model)
    specs = {id(tensor): _concrete(tensor, sides, axis) for tensor in model.inputs}
    fields: dict[int, Field | None] = {
        tensor: Field(Span(), Span()) if len(spec.shape) == 4 else None
        for tensor, spec in specs.items()
    }
    pooled: set[int] = set()  # tensors in which no position of the image is left
    costs: dict[str, Cost] = {}
    for node in nodes(model):
        operation = node.operation
        inputs = [specs[id(tensor)] for tensor in node.input_tensors]
        if node.is_input:
            outputs = [specs[id(tensor)] for tensor in node.output_tensors]
            field = fields[id(node.output_tensors[0])]
        else:
            outputs = _outputs(node, specs)
            field = _field_behind(
                node, fields, pooled, specs=specs, output=outputs[0], channels=axis
            )
        for tensor, spec in zip(node.output_tensors, outputs, strict=True):
            specs[id(tensor)], fields[id(tensor)] = spec, field
        cost = _cost(operation, inputs, outputs, field)
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


def _check_flat(model: Any) -> None:
    """Refuse what has no graph of layers, and a model in which another one is a layer."""
    if isinstance(model, keras.Sequential) and not model.built:
        raise ClassicsError(
            f"model {model.name!r} is not built: begin it with keras.Input(...), or build it."
        )
    if graph_of(model) is None:
        raise ClassicsError(
            f"model of type {type(model).__name__}: a Functional or Sequential model is needed, "
            "whose graph of layers can be read."
        )
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            raise ClassicsError(
                f"layer {layer.name!r} of {model.name!r} is itself a model: only flat models are "
                "measured; measure it alone, or call its layers one by one."
            )


def _sides(size: Any) -> tuple[int | None, int | None]:
    """Height and width from the argument, of which Nones leave the model's."""
    if size is None:
        return None, None
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or any(
        isinstance(side, bool) or not isinstance(side, numbers.Integral) or side < 1
        for side in pair
    ):
        raise ClassicsError(
            f"size={size!r}: one whole number of at least 1, or two (height, width), are needed."
        )
    return int(pair[0]), int(pair[1])


def _channel_axis(model: keras.Model) -> int:
    """The axis of the channels as the model's layers have it, whatever Keras is now set to."""
    return next(filter(None, map(_axis_of, model.layers)), channel_axis())


def _axis_of(layer: Any) -> int | None:
    """The axis of the channels in a batch of images that a layer takes, if it has one."""
    return {"channels_first": 1, "channels_last": 3}.get(getattr(layer, "data_format", ""))


def _outputs(node: Any, specs: dict[int, KerasTensor]) -> list[KerasTensor]:
    """What a call gives for inputs of known shapes."""
    name, given = node.operation.name, [specs[id(tensor)].shape for tensor in node.input_tensors]
    shapes = ", ".join(str(tuple(shape[1:])) for shape in given)
    arguments, keywords = node.arguments.fill_in(specs)
    try:
        outputs: list[KerasTensor] = keras.tree.flatten(
            node.operation.compute_output_spec(*arguments, **keywords)
        )
    except Exception as error:  # whatever a layer, of one's own too, says to an unfit shape
        raise ClassicsError(
            f"layer {name!r} cannot take the shape {shapes}: give a size that fits the model."
        ) from error
    for output in outputs:
        if not all(output.shape[1:]):
            raise ClassicsError(
                f"layer {name!r} makes {tuple(output.shape[1:])} of {shapes}, which is empty or "
                "leaves a size open: give a larger size, or build the model with fixed shapes."
            )
    return outputs


def _walk(block: Block, depth: int = 0) -> Iterator[tuple[int, Block]]:
    yield depth, block
    for inner in block.blocks:
        yield from _walk(inner, depth + 1)


def _concrete(
    tensor: KerasTensor, sides: tuple[int | None, int | None], channels: int
) -> KerasTensor:
    """The model's input with its open height and width filled in."""
    shape = list(tensor.shape)
    axes = _image_axes(channels) if len(shape) == 4 else ()
    for axis, side in zip(axes, sides, strict=False):
        if shape[axis] is None and side is None:
            raise ClassicsError(
                f"the input of shape {tuple(shape)} leaves its height or width open: give size."
            )
        if side is not None and shape[axis] not in (None, side):
            raise ClassicsError(
                f"size={sides}: the model's input is fixed to {tuple(shape[1:])}; "
                "build the network with that size, or leave size out."
            )
        shape[axis] = shape[axis] or side
    if None in shape[1:]:
        raise ClassicsError(
            f"the input of shape {tuple(tensor.shape)} leaves more open than the height and width "
            "that size fills: build the model with a fixed shape."
        )
    return KerasTensor(shape, dtype=tensor.dtype, name=tensor.name)


def _field_behind(
    node: Any,
    fields: dict[int, Field | None],
    pooled: set[int],
    *,
    specs: dict[int, KerasTensor],
    output: KerasTensor,
    channels: int,
) -> Field | None:
    """The field after a call; what it gives joins `pooled` where no position is left in it."""
    layer, given = node.operation, [id(tensor) for tensor in node.input_tensors]
    if pooled.issuperset(given) or _pools_all(layer, channels):
        pooled.update(id(tensor) for tensor in node.output_tensors)
        return None
    maps = [tensor for tensor in given if tensor not in pooled]
    field = _merge([fields[tensor] for tensor in maps])
    field = _field_after(layer, field, [specs[tensor] for tensor in maps], output, channels)
    if field is None or len(maps) == len(given):
        return field
    return dataclasses.replace(field, gated=True)


def _pools_all(layer: Any, channels: int) -> bool:
    """Whether a layer makes one number of each whole map."""
    if isinstance(layer, (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)):
        return True
    if not (_is_operation(layer) and type(layer).__name__ in ("Mean", "Max", "Sum")):
        return False
    axes = layer.axis if isinstance(layer.axis, (tuple, list)) else [layer.axis]
    return None not in axes and {axis % 4 for axis in axes} == set(_image_axes(channels))


def _merge(fields: Sequence[Field | None]) -> Field | None:
    """The field of a sum or a concatenation: all that any branch sees."""
    known = [field for field in fields if field is not None]
    if len(known) < len(fields) or not known or len({field.stride for field in known}) > 1:
        return None
    gated = any(field.gated for field in known)
    for field in known:
        if all(field.contains(other) for other in known):
            return dataclasses.replace(field, gated=gated)
    return Field(
        rows=_around([field.rows for field in known]),
        columns=_around([field.columns for field in known]),
        exact=False,
        gated=gated,
    )


def _around(spans: Sequence[Span]) -> Span:
    return Span(min(s.first for s in spans), max(s.last for s in spans), spans[0].stride)


def _field_after(
    layer: Any,
    field: Field | None,
    sources: Sequence[KerasTensor],
    output: KerasTensor,
    channels: int,
) -> Field | None:
    """The field after a layer, of which `sources` and `output` are inputs and output."""
    if field is None or len(output.shape) != 4 or _axis_of(layer) not in (None, channels):
        return None
    if not _activation_is_pointwise(layer, channels):
        return None
    if isinstance(layer, (layers.ZeroPadding2D, layers.Cropping2D)):
        (top, _), (left, _) = (
            layer.padding if isinstance(layer, layers.ZeroPadding2D) else _negative(layer.cropping)
        )
        return dataclasses.replace(
            field,
            rows=field.rows.window(1, 1, 1, top),
            columns=field.columns.window(1, 1, 1, left),
        )
    if isinstance(layer, _WINDOWED):
        kernel = getattr(layer, "pool_size", None) or layer.kernel_size
        dilation = getattr(layer, "dilation_rate", (1, 1))
        spans = []
        for axis, span, k, stride, d in zip(
            _image_axes(channels),
            (field.rows, field.columns),
            kernel,
            layer.strides,
            dilation,
            strict=True,
        ):
            before = 0
            if layer.padding == "same":
                reach = (output.shape[axis] - 1) * stride + d * (k - 1) + 1
                before = max(0, reach - sources[0].shape[axis]) // 2
            spans.append(span.window(k, stride, d, before))
        return dataclasses.replace(field, rows=spans[0], columns=spans[1])
    # Where one side is broadcast, its only position reaches all of the output.
    grids = {_grid(tensor, channels) for tensor in (*sources, output)}
    return field if len(grids) == 1 and _is_pointwise(layer, channels) else None


def _negative(cropping: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Cropping as padding."""
    return [(-before, -after) for before, after in cropping]


def _activation_is_pointwise(layer: Any, channels: int) -> bool:
    """Whether a layer's activation, if it has one, mixes channels at most."""
    function = getattr(layer, "activation", None)
    if function is None:
        return True
    name = getattr(function, "__name__", "")
    if getattr(keras.activations, name, None) is not function:
        return False  # a function of one's own may mix positions
    return channels == 3 or name not in _ALONG_THE_LAST_AXIS


def _is_pointwise(layer: Any, channels: int) -> bool:
    """Whether a position of the output depends on the same position of the inputs alone."""
    if isinstance(layer, _POINTWISE):
        return True
    if isinstance(layer, layers.Dense):
        return channels == 3
    # The classes of keras.ops have no public names; a class of one's own may be called the same.
    operation = _is_operation(layer)
    kind = type(layer).__name__
    if isinstance(layer, _ALONG_AN_AXIS) or (operation and kind in _OPERATIONS_ALONG_AN_AXIS):
        axes = layer.axis if isinstance(layer.axis, (tuple, list)) else [layer.axis]
        return {axis % 4 for axis in axes if axis is not None} == {channels}
    return operation and kind in _POINTWISE_OPERATIONS


def _is_operation(layer: Any) -> bool:
    """Whether it is one of keras.ops."""
    return type(layer).__module__.startswith("keras.src.ops.")


_WINDOWED = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.SeparableConv2D,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
)
# At prediction: dropout and noise do nothing then, and batch norm's statistics are constants.
_POINTWISE = (
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.PReLU,
    layers.ELU,
    layers.BatchNormalization,
    layers.Normalization,
    layers.Rescaling,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.Identity,
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)
# Pointwise if the axis is that of the channels.
_ALONG_AN_AXIS = (
    layers.Concatenate,
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
    layers.Softmax,
)
_OPERATIONS_ALONG_AN_AXIS = {"Concatenate", "Softmax", "LogSoftmax"}
_ALONG_THE_LAST_AXIS = {"softmax", "log_softmax", "sparsemax", "glu"}
_POINTWISE_OPERATIONS = {
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Power"),
    *("Negative", "Abs", "Absolute", "Square", "Sqrt", "Exp", "Log", "Clip", "Cast", "Identity"),
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu", "Sigmoid", "Tanh"),
    *("Softplus", "Softsign", "HardSigmoid", "HardSilu", "HardTanh", "LogSigmoid"),
}


def _image_axes(channels: int) -> tuple[int, int]:
    """The axes of height and width."""
    return (2, 3) if channels == 1 else (1, 2)


def _grid(tensor: KerasTensor, channels: int) -> tuple[int, ...]:
    return tuple(n for axis, n in enumerate(tensor.shape) if axis not in (0, channels))


def _cost(
    layer: Any,
    inputs: Sequence[KerasTensor],
    outputs: Sequence[KerasTensor],
    field: Field | None,
) -> Cost:
    weights = getattr(layer, "weights", [])
    trainable = getattr(layer, "trainable_weights", [])
    return Cost(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=tuple(outputs[0].shape[1:]),
        parameters=sum(math.prod(w.shape) for w in weights),
        trainable=sum(math.prod(w.shape) for w in trainable),
        macs=_macs(layer, inputs, outputs[0]),
        activation_bytes=sum(
            math.prod(output.shape[1:]) * _ITEM_BYTES.get(output.dtype, 4) for output in outputs
        ),
        field=field,
    )


_ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1}


def _macs(layer: Any, inputs: Sequence[KerasTensor], output: KerasTensor) -> int:
    """Multiply-adds: every weight of a kernel once for every position that the kernel visits."""
    kernels: tuple[Any, ...]
    if isinstance(layer, _SEPARABLE):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    elif isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED, layers.Dense)):
        kernels = (layer.kernel,)
    else:
        return 0
    # A transposed convolution spreads its kernel from every position of the input.
    visited = (inputs[0] if isinstance(layer, _TRANSPOSED) else output).shape
    first = getattr(layer, "data_format", None) == "channels_first"
    positions = visited[2:] if first else visited[1:-1]
    return int(math.prod(positions) * sum(math.prod(kernel.shape) for kernel in kernels))


_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
)


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
