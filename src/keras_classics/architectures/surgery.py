"""Surgery on built networks: other channels, other classes, any size, no gamma.

Each function takes a model and gives a new one, flat, Functional, not compiled and of plain Keras
layers under the same names, which shares no variable with the old. The old one stays as it was.
They work on the networks of the catalog, on such models loaded from a file, and on any other graph
of Keras' layers, Sequential ones included; trainable flags and dtype policies are kept.
"""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers

from keras_classics.architectures.frame import Activation, whole
from keras_classics.architectures.optimise import own_scaling
from keras_classics.architectures.rebuild import (
    Array,
    Sizes,
    by_output,
    called,
    channel_axis_of,
    config_of,
    copy_of,
    graph_of,
    is_convolution,
    layer_of,
    named,
    normed,
    rebuild,
)
from keras_classics.errors import ClassicsError, WeightsError

# What a dense layer and a convolution have in common.
_SHARED_BY_DENSE_AND_CONVOLUTION = (
    *("name", "trainable", "dtype", "activation", "use_bias"),
    *("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    *("bias_initializer", "bias_regularizer", "bias_constraint"),
)


def adapt_channels(model: keras.Model, channels: int) -> keras.Model:
    """The model for images of 1 or 4 channels: (b, h, w, 3) -> ... becomes (b, h, w, channels).

    Only the convolutions that read the image change, as `adapt_stem` says: a grey image gives what
    its three equal channels gave, and a fourth channel counts nothing until it is trained. Where
    the model itself scales each channel by numbers of its own, as EfficientNet does, a grey channel
    is made three before that, and a fourth is scaled by the means of the others' numbers.

    Args:
        model: For images of 3 channels, with or without a top.
        channels: 1 or 4; 3 gives a copy.

    Raises:
        ClassicsError: If channels is none of these, or if the model does not begin with
            convolutions over 3 channels.
    """
    if whole(channels) not in (1, 3, 4):
        raise ClassicsError(f"channels={channels!r}: a model for 3 can be adapted to 1 or 4 only.")
    graph = graph_of(model)
    axis = next((channel_axis_of(layer) for layer in graph.layers if is_convolution(layer)), 0)
    shapes = [tensor.shape for tensor in graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or not axis or shapes[0][axis] != 3:
        raise ClassicsError(
            f"model {model.name!r} reads {', '.join(map(str, shapes))}: one input of images with "
            "3 channels, and convolutions that read it, are needed."
        )
    adapted: list[str] = []
    scaling = [
        name
        for name, numbers in own_scaling(graph, axis)[0].items()
        if max(map(np.size, numbers)) > 1
    ]

    def copy(layer: Any) -> Any:
        if channels != 4 or layer.name not in scaling:
            return copy_of(layer)
        config = layer.get_config()
        numbers = ("scale", "offset", "mean", "variance")
        wide = {key: _widened(config[key]) for key in numbers if np.ndim(config.get(key))}
        return copy_of(layer, **{key: values.tolist() for key, values in wide.items()})

    def call(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if channels == 1 and [layer.name] == scaling[:1]:
            adapted.append(layer.name)
            x = layers.Concatenate(axis, name="three_channels")([x, x, x])
        return called(layer, x, *args, **kwargs)

    def carry(old: keras.Layer, new: keras.Layer) -> list[Array]:
        weights: list[Array] = old.get_weights()
        if (
            is_convolution(old)
            and weights[0].shape[-2] == 3
            and new.kernel.shape[-2] == channels != 3
        ):
            weights[0] = adapt_stem(weights[0], channels)
            adapted.append(old.name)
        if old.name in scaling and channels == 4:
            weights = [_widened(each) if np.ndim(each) else each for each in weights]
        return weights

    def shape(sizes: Sizes) -> Sizes:
        return (*sizes[:axis], int(channels), *sizes[axis + 1 :])

    new = rebuild(model, shape=shape, copy=copy, call=call, carry=carry)
    if channels != 3 and not adapted:
        raise ClassicsError(
            f"model {model.name!r}: no convolution reads the image's channels one by one, so that "
            "there is nothing to adapt; a layer before them mixes or broadcasts the channels."
        )
    return new


def _widened(values: Any) -> Array:
    """Numbers of three channels and, for a fourth, their mean."""
    three = np.ravel(values)
    return np.append(three, three.mean().astype(three.dtype))


def adapt_stem(kernel: Array, channels: int) -> Array:
    """The first convolution's kernel for other channels: (h, w, 3, f) -> (h, w, channels, f).

    One channel gets the sum of the three, so that a grey image gives what its three equal channels
    gave; a fourth gets zeros, so that an image's first three channels give what they gave.

    Raises:
        WeightsError: If channels is not 1, 3 or 4.
    """
    if channels == 1:
        return np.asarray(kernel.sum(axis=-2, keepdims=True))
    if channels == 3:
        return kernel
    if channels == 4:
        return np.concatenate([kernel, np.zeros_like(kernel[..., :1, :])], axis=-2)
    raise WeightsError(f"{channels} channels: weights for 3 can be adapted to 1 or 4 only.")


def with_classes(
    model: keras.Model, classes: int, *, activation: Activation | EllipsisType = ...
) -> keras.Model:
    """The model for other classes: (b, h, w, c) -> (b, classes).

    The dense layers that give the outputs, `predictions` and `auxiliary_predictions`, begin at
    random; all before them, VGG16's `fc1` and `fc2` too, carry their weights.

    Args:
        model: A network with its top.
        classes: The number of the new classes.
        activation: Of the new layers; None gives logits. Default: the old ones'.

    Raises:
        ClassicsError: If classes or activation is out of its range, or an output is not that of a
            dense layer.
    """
    number = whole(classes)
    if number is None or number < 1:
        raise ClassicsError(f"classes={classes!r}: a whole number of at least 1 is needed.")
    changes: dict[str, Any] = {"units": number}
    if activation is not ...:
        try:
            changes["activation"] = keras.activations.get(activation)
        except ValueError as error:
            raise ClassicsError(
                f"activation={activation!r}: the name of one of Keras' activations, a function or "
                "None is needed."
            ) from error
    heads = {layer_of(tensor) for tensor in graph_of(model).outputs}
    for head in heads:
        if type(head) is not layers.Dense:
            raise ClassicsError(
                f"model {model.name!r} ends with {named(head)}: dense layers, such as "
                "'predictions', are needed at its outputs; build it with include_top=True."
            )
    return rebuild(
        model,
        copy=lambda layer: copy_of(layer, **(changes if layer in heads else {})),
        carry=lambda old, new: (new if old in heads else old).get_weights(),
    )


def convolutional_top(model: keras.Model) -> keras.Model:
    """VGG16's dense top as convolutions, which slides over larger images: arXiv 1409.1556, 3.2.

    From (b, h, w, c) for any h and w from the trained ones up to (b, classes). The first dense
    layer becomes a 'valid' convolution of the last feature map's size, 7 x 7 at 224, the others 1x1
    convolutions of the same names; `predictions` then gives a map of class scores, before the
    activation. `predictions_avg_pool` averages it over its positions, one every 32 pixels, and
    `predictions_activation` follows, if there is one. At the trained size the outputs are the old
    ones. Smaller images are an error of Keras (ValueError) or of its backend when the model is
    called on them; below 32 pixels, where no feature is left, JAX gives NaN.

    Raises:
        ClassicsError: If the model does not end with Flatten and dense layers, with dropout or not.
    """
    features, (flatten, *stack) = _dense_top(graph_of(model))
    axis, last = channel_axis_of(flatten), stack[-1]
    dense = [layer for layer in stack if type(layer) is layers.Dense]
    sides = tuple(n for i, n in enumerate(features.shape) if i not in (0, axis))

    def copy(layer: Any) -> Any:
        if layer not in dense:
            return copy_of(layer)
        config = {key: config_of(layer)[key] for key in _SHARED_BY_DENSE_AND_CONVOLUTION}
        if layer is last:
            config["activation"] = None
        return layers.Conv2D(
            layer.units,
            sides if layer is dense[0] else 1,
            data_format=flatten.data_format,
            **config,
        )

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name == flatten.name:
            return args[0]
        x = layer(*args, **kwargs)
        if layer.name != last.name:
            return x
        x = layers.GlobalAveragePooling2D(
            data_format=flatten.data_format, dtype=last.dtype_policy, name=f"{last.name}_avg_pool"
        )(x)
        activation = keras.activations.get(config_of(last)["activation"])
        if activation is keras.activations.linear:
            return x
        return layers.Activation(
            activation, dtype=last.dtype_policy, name=f"{last.name}_activation"
        )(x)

    def carry(old: keras.Layer, new: keras.Layer) -> list[Array]:
        if old not in dense:
            return list(old.get_weights())
        kernel, *bias = old.get_weights()
        return [kernel.reshape(new.kernel.shape), *bias]

    def shape(sizes: Sizes) -> Sizes:
        return tuple(n if i in (0, axis) else None for i, n in enumerate(sizes))

    return rebuild(model, shape=shape, copy=copy, call=call, carry=carry)


def fold_gamma(model: keras.Model) -> keras.Model:
    """The model whose batch norms behind convolutions have no gamma, as Keras' Inception V3.

    Gamma goes into the kernel, the bias and the moving mean; the moving variance stays. In
    inference the outputs are the same up to rounding; in training they are not, for there a batch
    norm undoes whatever scale its convolution has. Folded are the gammas of batch norms that alone
    read a linear `Conv2D`, `DepthwiseConv2D` or `Dense`; all others are left as they are.
    `optimise.fold_batch_norm` leaves no batch norm at all.

    Raises:
        ClassicsError: If the model is not a graph of layers.
    """
    pairs = {norm: layer for norm, layer in normed(graph_of(model)) if norm.scale}
    weights: dict[Any, list[Array]] = {}
    for norm, layer in pairs.items():
        gamma, *beta, mean, variance = norm.get_weights()
        kernel, *bias = layer.get_weights()
        weights[layer] = [kernel * by_output(layer, gamma), *(b * gamma for b in bias)]
        weights[norm] = [*beta, mean * gamma, variance]
    return rebuild(
        model,
        copy=lambda layer: copy_of(layer, **({"scale": False} if layer in pairs else {})),
        carry=lambda old, _: weights[old] if old in weights else old.get_weights(),
    )


def _dense_top(graph: keras.Model) -> tuple[KerasTensor, list[Any]]:
    """The last feature map, and the layers from Flatten to the output, dense or dropout."""
    top: list[Any] = []
    tensor = graph.outputs[0]
    while not top or type(top[0]) in (layers.Dense, layers.Dropout):
        layer, call, _ = tensor._keras_history
        top.insert(0, layer)
        tensor = next(iter(layer._inbound_nodes[call].input_tensors), tensor)
    if (
        len(graph.outputs) != 1
        or type(top[0]) is not layers.Flatten
        or type(top[-1]) is not layers.Dense
        or len(tensor.shape) != 4
    ):
        raise ClassicsError(
            f"model {graph.name!r} ends with {named(top[-1])}: Flatten and dense layers behind "
            "a feature map are needed; global pooling takes any size as it is."
        )
    return tensor, top
