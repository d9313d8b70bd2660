"""A built model made anew, layer by layer: what all that changes a graph stands on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy.typing as npt
from keras import KerasTensor, layers

from keras_classics.errors import ClassicsError

Array = npt.NDArray[Any]
Sizes = tuple[int | None, ...]  # of a tensor, the batch first


def graph_of(model: Any) -> keras.Model:
    """The model as a Functional one that shares its layers, and is not compiled."""
    if not hasattr(model, "inputs"):
        raise ClassicsError(
            f"model of type {type(model).__name__}: a Functional or a built Sequential model is "
            "needed, whose graph of layers can be read."
        )
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def config_of(layer: Any) -> dict[str, Any]:
    """What makes a layer anew, with an activation of one's own as the function that it is."""
    config: dict[str, Any] = layer.get_config()
    if "activation" in config and not isinstance(layer.activation, keras.Layer):
        config["activation"] = layer.activation
    return config


def copy_of(layer: Any, **changes: Any) -> Any:
    """A layer like this one with other weights, as far as `changes` does not say otherwise."""
    return type(layer).from_config({**config_of(layer), **changes})


def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer makes of its arguments."""
    return layer(*args, **kwargs)


def rebuild(
    model: keras.Model,
    *,
    carry: Callable[[Any, Any], Sequence[Array]],
    shape: Callable[[Sizes], Sizes] = tuple,
    copy: Callable[[Any], Any] = copy_of,
    call: Callable[..., Any] = called,
) -> keras.Model:
    """The model made anew from `copy` of its layers, with what `carry(old, new)` has for each.

    Args:
        model: Which is left as it is.
        carry: The weights of a new layer.
        shape: Of a new input from the old one's.
        copy: A new layer from the old one, of the same name.
        call: Puts a new layer into the graph.

    Raises:
        ClassicsError: If the model is no graph, or a layer cannot be where the surgery puts it.
    """
    graph = graph_of(model)

    def begin(tensor: KerasTensor) -> KerasTensor:
        config = layer_of(tensor).get_config()
        return keras.Input(**{**config, "batch_shape": shape(tensor.shape)})

    def attempt(layer: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return call(layer, *args, **kwargs)
        except Exception as error:  # whatever a layer, of one's own too, says to an unfit shape
            raise _misfit(model, layer) from error

    new = keras.models.clone_model(
        graph,
        input_tensors=keras.tree.map_structure(begin, graph.input),
        clone_function=copy,
        call_function=attempt,
    )
    if not model.trainable:
        new.trainable = False  # for all layers, of which some may have been set otherwise
    before = {layer.name: layer for layer in graph.layers}
    for layer in new.layers:
        if layer.name not in before:
            continue
        old = before[layer.name]
        if layer.trainable != old.trainable:
            layer.trainable = old.trainable
        weights = carry(old, layer)
        if [w.shape for w in weights] != [tuple(w.shape) for w in layer.weights]:
            raise _misfit(model, layer)
        layer.set_weights(weights)
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # Normalization computes with constants made of its weights
    return new


def normed(graph: keras.Model) -> Iterator[tuple[Any, Any]]:
    """Batch norms that alone read a linear convolution or dense layer, each with that layer.

    In inference, such a norm is a scale and an offset of each of the layer's outputs.
    """
    nodes = nodes_of(graph)
    calls = Counter(node.operation for node in nodes)
    readers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    readers.update(map(id, graph.outputs))
    for node in nodes:
        norm = node.operation
        if type(norm) is not layers.BatchNormalization or node.arguments.kwargs.get("training"):
            continue
        (source,) = node.input_tensors
        layer = layer_of(source)
        if (
            type(layer) in (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
            and layer.activation is keras.activations.linear
            and has_plain_weights(layer)
            and norm.axis % len(source.shape) == channel_axis_of(layer) % len(source.shape)
            and source.dtype == node.outputs[0].dtype
            and readers[id(source)] == calls[layer] == calls[norm] == 1
        ):
            yield norm, layer


def by_output(layer: Any, values: Array) -> Array:
    """Values for each output of a layer, in a shape that its kernel can be multiplied by."""
    if type(layer) is layers.DepthwiseConv2D:  # (h, w, c, multiplier), c before it
        return values.reshape(layer.kernel.shape[-2:])
    return values


def has_plain_weights(layer: Any) -> bool:
    """Whether a layer has a kernel and its bias alone: neither quantised nor adapted by LoRA."""
    return len(layer.weights) == 1 + bool(layer.use_bias)


def nodes_of(graph: keras.Model) -> list[Any]:
    """All calls of layers and operations in a graph."""
    return [node for nodes in graph._nodes_by_depth.values() for node in nodes]


def _misfit(model: keras.Model, layer: Any) -> ClassicsError:
    return ClassicsError(
        f"model {model.name!r}: {named(layer)} does not fit what this surgery makes of the layers "
        "before it; leave it out of the model, and put it back afterwards."
    )


def named(layer: Any) -> str:
    """A layer as errors call it."""
    return f"layer {layer.name!r} ({type(layer).__name__})"


def layer_of(tensor: KerasTensor) -> Any:
    """The layer whose output a tensor is."""
    return tensor._keras_history[0]


def is_convolution(layer: Any) -> bool:
    """Whether a layer is Keras' own `Conv2D`."""
    return type(layer) is layers.Conv2D


def channel_axis_of(layer: Any) -> int:
    """The axis of the channels in a layer's batches of images, or of a dense layer's units."""
    if type(layer) is layers.Dense:
        return -1
    return 1 if layer.data_format == "channels_first" else 3
