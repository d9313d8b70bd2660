"""What the tests of functions from model to model have in common."""

from __future__ import annotations

import contextlib

import keras
import numpy as np
from keras import layers


def outputs(run, model, x):
    return keras.tree.flatten(run(model, x))


def assert_close(actual, expected, rtol=1e-5):
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        assert np.isfinite(b).all()
        assert np.abs(b[0] - b[1:]).max(initial=0) > 1e-4 or len(b) == 1  # the images matter
        assert np.abs(a - b).max() <= rtol * np.abs(b).max()


@contextlib.contextmanager
def unharmed(model):
    """The model is as it was, and what the surgery made has nothing in common with it."""

    def state():
        return (
            keras.saving.serialize_keras_object(model),
            [(layer.name, layer.trainable, len(layer._inbound_nodes)) for layer in model.layers],
            model.trainable,
        )

    before, weights, made = state(), model.get_weights(), []
    yield made
    assert state() == before
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for new in made:
        assert type(new) is type(keras.Model(model.inputs, model.outputs))
        assert not new.compiled
        assert new.name == model.name
        assert not {id(v) for v in model.variables} & {id(v) for v in new.variables}
        assert not {id(layer) for layer in model.layers} & {id(layer) for layer in new.layers}


def chain(*stack, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *stack], name="own")


def squeeze_excite(x, *, name, reduced=2):
    """(b, h, w, c) scaled by a number a channel, as EfficientNet does it."""
    gate = layers.GlobalAveragePooling2D(name=f"{name}_squeeze")(x)
    gate = layers.Reshape((1, 1, x.shape[-1]), name=f"{name}_reshape")(gate)
    gate = layers.Conv2D(reduced, 1, activation="swish", name=f"{name}_reduce")(gate)
    gate = layers.Conv2D(x.shape[-1], 1, activation="sigmoid", name=f"{name}_expand")(gate)
    return layers.Multiply(name=f"{name}_excite")([x, gate])


def inverted_residuals(*, activation, gated, inside, side=32, classes=4):
    """A small network with all that EfficientNet (`gated`, `inside`) or MobileNetV2 are made of."""

    def unit(x, layer, name):
        x = layers.BatchNormalization(name=f"{name}_bn")(layer(x))
        return layers.Activation(activation, name=f"{name}_act")(x)

    images = x = keras.Input((side, side, 3), name="images")
    if inside:
        x = layers.Rescaling(1 / 255, name="rescaling")(x)
        x = layers.Normalization(
            mean=(0.485, 0.456, 0.406), variance=(0.052, 0.05, 0.051), name="normalization"
        )(x)
    pad = layers.ZeroPadding2D(((0, 1), (0, 1)), name="first_pad")
    x = unit(pad(x), layers.Conv2D(8, 3, 2, use_bias=False, name="first_conv"), "first")
    for i, strides in enumerate((2, 1)):
        name, shortcut = f"b{i}", x
        x = unit(x, layers.Conv2D(16, 1, use_bias=False, name=f"{name}_expand"), f"{name}_expand")
        depthwise = layers.DepthwiseConv2D(
            3, strides, padding="same", use_bias=False, name=f"{name}_dw"
        )
        x = unit(x, depthwise, f"{name}_dw")
        if gated:
            x = squeeze_excite(x, name=f"{name}_se")
        x = layers.Conv2D(8, 1, use_bias=False, name=f"{name}_project")(x)
        x = layers.BatchNormalization(name=f"{name}_project_bn")(x)
        if strides == 1:
            x = layers.Dropout(0.2, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
            x = layers.Add(name=f"{name}_add")([shortcut, x])
    x = unit(x, layers.Conv2D(24, 1, use_bias=False, name="last_conv"), "last")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dropout(0.2, name="drop")(x)
    outputs = layers.Dense(classes, name="predictions")(x)
    return keras.Model(images, outputs, name="inverted")


# EfficientNet's, its Lite variant's and MobileNetV2's ingredients.
SWISH = {"activation": "swish", "gated": True, "inside": True}
RELU6 = {"activation": "relu6", "gated": False, "inside": False}
