"""Networks for inference: the same answers from fewer layers.

Each function takes a model and gives a new one, as those of `surgery` do: flat, Functional, not
compiled, of plain Keras layers, sharing no variable with the old. In inference its outputs are the
old ones, up to rounding where arithmetic is folded; it is not for training. They work on the
networks of the catalog and on any other graph of Keras' layers; what cannot be folded stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers

from keras_classics.architectures.rebuild import (
    Array,
    by_output,
    called,
    channel_axis_of,
    copy_of,
    graph_of,
    has_plain_weights,
    layer_of,
    nodes_of,
    normed,
    rebuild,
)
from keras_classics.errors import ClassicsError

# In inference, these hand on what they get.
_IDLE = (
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)


def for_inference(model: keras.Model) -> keras.Model:
    """The model by all that applies: same inputs, same outputs but an auxiliary one, fewer layers.

    That is `without_auxiliary` for networks built with `auxiliary=True`, `without_dropout`,
    `fold_batch_norm`, and `fold_scaling` of the `Rescaling` and `Normalization` that a model may
    begin with.

    Raises:
        ClassicsError: If the model is not a graph of layers.
    """
    heads = [layer_of(tensor).name for tensor in graph_of(model).outputs]
    if len(heads) == 2 and heads[1].endswith("auxiliary_predictions"):
        model = without_auxiliary(model)
    model = fold_batch_norm(without_dropout(model))
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        return model
    return fold_scaling(model) if own_scaling(model, image_axis(model))[0] else model


def without_auxiliary(model: keras.Model) -> keras.Model:
    """The model without its side classifier: same weights, the first output alone.

    Raises:
        ClassicsError: If the model has one output only, or is not a graph of layers.
    """
    if len(graph_of(model).outputs) != 2:
        raise ClassicsError(
            f"model {model.name!r} has {len(model.outputs)} output(s); only one built with "
            "auxiliary=True has a second one to detach."
        )
    return _carried(keras.Model(model.input, model.outputs[0], name=model.name))


def without_dropout(model: keras.Model) -> keras.Model:
    """The model without the layers that in inference hand on what they get.

    These are Keras' dropouts and noises, `Identity`, `ActivityRegularization` and linear
    `Activation`. One that was put into the graph with `training=True` drops in inference, too, and
    stays, as does one that changes the dtype.

    Raises:
        ClassicsError: If the model is not a graph of layers.
    """
    idle: dict[str, bool] = {}
    for node in nodes_of(graph_of(model)):
        layer = node.operation
        same = (
            not node.arguments.kwargs.get("training")
            and len(node.input_tensors) == 1
            and node.input_tensors[0].dtype == node.outputs[0].dtype
            and (type(layer) in _IDLE or _is_linear(layer))
        )
        idle[layer.name] = idle.get(layer.name, True) and same
    return _carried(model, without={name for name, same in idle.items() if same})


def _is_linear(layer: Any) -> bool:
    return type(layer) is layers.Activation and layer.activation is keras.activations.linear


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """The model whose convolutions and dense layers do the work of the batch norms behind them.

    Scale and offset of the moving statistics, gamma and beta go into kernel and bias. Folded are
    the batch norms that alone read a linear `Conv2D`, `DepthwiseConv2D` or `Dense`; others stay: a
    layer that somebody else reads, too, is needed as it is.

    Raises:
        ClassicsError: If the model is not a graph of layers.
    """
    pairs = list(normed(graph_of(model)))
    weights: dict[Any, list[Array]] = {}
    for norm, layer in pairs:
        scale, offset = _affine(norm)
        kernel, *bias = (w.astype(np.float64) for w in layer.get_weights())
        weights[layer] = [
            kernel * by_output(layer, scale),
            (bias[0] * scale if bias else 0.0) + offset,
        ]
    return _carried(model, weights, without={norm.name for norm, _ in pairs})


def _affine(norm: Any) -> tuple[Array, Array]:
    """What a batch norm multiplies each channel by in inference, and then adds."""
    values = [w.astype(np.float64) for w in norm.get_weights()]
    gamma = values.pop(0) if norm.scale else 1.0
    beta = values.pop(0) if norm.center else 0.0
    mean, variance = values
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


def _carried(
    model: keras.Model,
    weights: dict[Any, list[Array]] | None = None,
    *,
    without: Collection[str] = (),
    stem: Callable[[KerasTensor], KerasTensor] | None = None,
) -> keras.Model:
    """The model with other kernels and biases in some layers, and without some others.

    Args:
        model: Which is left as it is.
        weights: A kernel, or a kernel and a bias, in the place of a layer's.
        without: The names of layers that do nothing.
        stem: What is done to the images before the first layers.
    """
    weights = weights or {}
    stems: dict[int, KerasTensor] = {}

    def begin(x: Any) -> Any:
        if stem is None or not isinstance(x, KerasTensor):
            return x
        if type(layer_of(x)) is not layers.InputLayer:
            return x
        if id(x) not in stems:
            stems[id(x)] = stem(x)
        return stems[id(x)]

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = keras.tree.map_structure(begin, (args, kwargs))
        return args[0] if layer.name in without else called(layer, *args, **kwargs)

    return rebuild(
        model,
        copy=lambda layer: copy_of(
            layer, **({"use_bias": len(weights[layer]) == 2} if layer in weights else {})
        ),
        call=call,
        carry=lambda old, _: weights[old] if old in weights else old.get_weights(),
    )


def fold_scaling(
    model: keras.Model,
    *,
    mean: float | Sequence[float] = 0.0,
    deviation: float | Sequence[float] = 1.0,
    reverse: bool = False,
) -> keras.Model:
    """The model for images before they are scaled: it does the scaling itself.

    The old model reads `(image - mean) / deviation`, with the channels of the image reversed
    before, if `reverse`. `Rescaling` and `Normalization` that the model begins with, as
    EfficientNet does, are part of it. The new model leaves to its first convolutions whatever is
    exact:

    - The order of the channels and the deviation, where all that reads the images are convolutions
      of one group, behind zero padding or not.
    - The mean, where none of them pads. Zeros around images without a mean stand for the mean
      around images with one, so that it is else subtracted before anything is padded.

    Inception V3 does not pad there; the others do. Where something else than
    convolutions reads the images, all of the scaling is done before it.

    Args:
        model: With one input, of images.
        mean: Of all channels or of each, in the order of the old input.
        deviation: As the mean.
        reverse: Whether the channels are in the opposite order in the new input.

    Raises:
        ClassicsError: If the model is not a graph of layers with one input of images, or there are
            not as many numbers as channels.
    """
    graph = graph_of(model)
    axis = image_axis(graph)
    shapes = [tensor.shape for tensor in graph.inputs]
    sizes = {np.size(mean), np.size(deviation)} - {1}
    if len(shapes) != 1 or len(shapes[0]) != 4 or not sizes <= {shapes[0][axis]}:
        raise ClassicsError(
            f"model {model.name!r} reads {', '.join(map(str, shapes))}: one input of images, and a "
            "mean and deviation for all or each of its channels, are needed."
        )
    own, images = own_scaling(graph, axis)
    factor, offset = np.ones(()), np.zeros(())
    for scale, shift in own.values():
        factor, offset = factor * scale, offset * scale + shift
    wide = (shapes[0][axis],)
    deviations = np.broadcast_to(np.asarray(deviation, np.float64) / factor, wide)
    means = np.broadcast_to(np.asarray(mean, np.float64) - offset * deviations, wide)

    convs, pads = _first_convolutions(graph, images)
    weights: dict[Any, list[Array]] = {}
    for conv in convs:
        kernel, *bias = (w.astype(np.float64) for w in conv.get_weights())
        kernel = kernel / deviations[:, None]
        constant = np.einsum("hwcf,c->f", kernel, means)
        if not pads:
            bias = [(bias[0] if bias else 0.0) - constant]
        weights[conv] = [kernel[:, :, ::-1] if reverse else kernel, *bias]

    def stem(x: KerasTensor) -> KerasTensor:
        """What is left to do before the first layers."""
        # In place of zeros and ones: nothing.
        shift = np.zeros(wide) if convs and not pads else means
        ratio = np.ones(wide) if convs else deviations
        if reverse and convs:
            shift = shift[::-1]
        elif reverse:
            x = keras.ops.flip(x, axis)
        if shift.any():
            x = x - _of_channels(shift, axis)
        if (ratio != 1).any():
            x = x / _of_channels(ratio, axis)
        return x

    return _carried(model, weights, without=own, stem=stem)


def image_axis(graph: keras.Model) -> int:
    """The axis of the channels in the images."""
    return next((channel_axis_of(x) for x in graph.layers if hasattr(x, "data_format")), 3)


def own_scaling(
    graph: keras.Model, axis: int
) -> tuple[dict[str, tuple[Array, Array]], KerasTensor]:
    """The layers that a model begins with that scale its channels, and what they give.

    Returns:
        By the layer's name what it multiplies by and then adds, one number or one a channel.
    """
    found: dict[str, tuple[Array, Array]] = {}
    tensor = graph.inputs[0]
    while not any(tensor is output for output in graph.outputs):
        readers = [node for node in nodes_of(graph) if any(x is tensor for x in node.input_tensors)]
        scaling = _scaling_of(readers[0].operation, axis) if len(readers) == 1 else None
        if scaling is None:
            break
        found[readers[0].operation.name] = scaling
        tensor = readers[0].outputs[0]
    return found, tensor


def _scaling_of(layer: Any, axis: int) -> tuple[Array, Array] | None:
    """What a layer multiplies the channels by and then adds; None where it does anything else."""
    if type(layer) is layers.Rescaling:
        scale, offset = (np.asarray(each, np.float64) for each in (layer.scale, layer.offset))
        # Numbers of one channel each stand along the last axis.
        fits = max(scale.ndim, offset.ndim) <= (axis == 3)
        return (scale, offset) if fits else None
    if type(layer) is layers.Normalization and layer.built:
        axes = layer.axis if isinstance(layer.axis, tuple) else (layer.axis,)
        if {each % 4 for each in axes if each is not None} <= {axis}:
            mean, variance = (
                keras.ops.convert_to_numpy(each).astype(np.float64).ravel()
                for each in (layer.mean, layer.variance)
            )
            deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
            return (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)
    return None


def _first_convolutions(graph: keras.Model, images: KerasTensor) -> tuple[list[Any], bool]:
    """The convolutions that read the images, if nothing else does, and whether one pads."""
    nodes = nodes_of(graph)
    calls = Counter(node.operation for node in nodes)
    found, pads, tensors = [], False, [images]
    for tensor in tensors:
        if any(tensor is output for output in graph.outputs):
            return [], False
        for node in nodes:
            if not any(tensor is x for x in node.input_tensors):
                continue
            layer = node.operation
            if type(layer) is layers.ZeroPadding2D:
                pads = True
                tensors += node.outputs
            elif (
                type(layer) is layers.Conv2D
                and layer.groups == 1
                and has_plain_weights(layer)
                and calls[layer] == 1
            ):
                pads |= layer.padding == "same" and layer.kernel_size != (1, 1)
                found.append(layer)
            else:
                return [], False
    return found, pads


def _of_channels(values: Array, axis: int) -> Array:
    """Values for each channel in a shape that images can be combined with."""
    return values.astype(np.float32).reshape((-1, 1, 1) if axis == 1 else (1, 1, -1))
