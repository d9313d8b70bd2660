"""A Keras model in bfloat16, for formats whose files hold the numbers that are computed with."""

from __future__ import annotations

import keras
import numpy as np

# Grey levels less their mean need more digits than bfloat16 has.
_KEPT = (keras.layers.InputLayer, keras.layers.Normalization, keras.layers.Rescaling)


def in_bfloat16(model: keras.Model) -> keras.Model:
    """The network of a model from `portable` with weights and activations in bfloat16.

    What makes inputs of pixels and what makes the output of the network stay in float32: the one
    would lose grey levels, the other digits of probabilities, and neither takes time.
    """
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if not inner:
        return _converted(model)

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        return _converted(layer) if layer in inner else layer

    return keras.models.clone_model(model, clone_function=clone)


def _converted(network: keras.Model) -> keras.Model:
    last = {tensor._keras_history.operation for tensor in network.outputs}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, keras.layers.Layer) or isinstance(layer, _KEPT) or layer in last:
            return layer
        config = {**layer.get_config(), "dtype": "bfloat16"}
        return type(layer).from_config(config)

    converted = keras.models.clone_model(network, clone_function=clone)
    for one, other in zip(network.layers, converted.layers, strict=True):
        if one is not other:
            for weight, value in zip(other.weights, one.get_weights(), strict=True):
                weight.assign(keras.ops.cast(np.asarray(value), "bfloat16"))
    return converted
