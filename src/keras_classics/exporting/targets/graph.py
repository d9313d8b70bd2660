"""A Keras model as a graph of TensorFlow, from which four of the targets are made."""

from __future__ import annotations

from typing import Any

import keras

INPUT, OUTPUT = "image", "probabilities"
"""What input and output are called in every format that has names."""
DIMENSIONS = ("batch", "height", "width")
"""The first axes of the input, where a format has names for those of no fixed length."""


def function_of(model: keras.Model) -> Any:
    """The inference of a model as a `tf.function` with a signature and a named output."""
    import tensorflow as tf

    signature = tf.TensorSpec(model.input_shape, model.input.dtype, name=INPUT)

    def infer(image: Any) -> dict[str, Any]:
        return {OUTPUT: model(image, training=False)}

    return tf.function(infer, input_signature=[signature], autograph=False)


def frozen(model: keras.Model) -> Any:
    """The same, with the weights as constants.

    Converters freeze variables by themselves, but take the constants of a layer for inputs.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    function = function_of(model)
    constant = convert_variables_to_constants_v2(function.get_concrete_function())

    def infer(image: Any) -> dict[str, Any]:
        return {OUTPUT: constant(image)[0]}

    return tf.function(infer, input_signature=function.input_signature, autograph=False)
