"""What the tests of functions from model to model have in common."""

from __future__ import annotations

import contextlib

import keras
import numpy as np


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
