from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_classics.training.optimizer import LayerwiseAdamW


def two_layers():
    inputs = keras.Input((3,))
    x = layers.Dense(4, name="below", kernel_initializer="ones")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="above", kernel_initializer="ones")(x))


def steps(model, optimizer, count):
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    for _ in range(count):
        gradients = [rng.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients])
    return {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables}


@pytest.mark.backends
def test_with_equal_rates_it_is_keras_own_adamw():
    settings = {"global_clipnorm": 1.0}
    ours = LayerwiseAdamW(0.01, rates={"below": 1.0, "above": 1.0}, decay=0.1, **settings)
    keras_own = keras.optimizers.AdamW(0.01, weight_decay=0.1, **settings)
    one, two = steps(two_layers(), ours, 3), steps(two_layers(), keras_own, 3)
    for path, value in one.items():
        np.testing.assert_allclose(value, two[path], rtol=1e-6, atol=1e-7)


@pytest.mark.backends
def test_the_size_of_a_step_is_the_layer_s_rate():
    optimizer = LayerwiseAdamW(
        0.01, rates={"below": 0.25, "above": 1.0}, decay=0.0, global_clipnorm=1.0
    )
    after = steps(two_layers(), optimizer, 1)
    # Adam's first step has the size of the learning rate, whatever the gradient.
    np.testing.assert_allclose(np.abs(after["above/kernel"] - 1), 0.01, rtol=1e-3)
    np.testing.assert_allclose(np.abs(after["below/kernel"] - 1), 0.0025, rtol=1e-3)


def test_the_weights_decay_with_the_layer_s_rate_too():
    def change(decay):
        rates = {"below": 0.25, "above": 1.0}
        optimizer = LayerwiseAdamW(0.01, rates=rates, decay=decay, global_clipnorm=1.0)
        return steps(two_layers(), optimizer, 1)

    with_decay, without = change(0.5), change(0.0)
    for path, rate in (("above/kernel", 1.0), ("below/kernel", 0.25)):
        np.testing.assert_allclose(without[path] - with_decay[path], 0.01 * rate * 0.5, rtol=1e-3)


def test_a_schedule():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.01, 0.0])
    optimizer = LayerwiseAdamW(
        schedule, rates={"below": 0.5, "above": 1.0}, decay=0.1, global_clipnorm=1.0
    )
    model = two_layers()
    first = steps(model, optimizer, 1)
    again = steps(model, optimizer, 1)  # the rate is zero by now
    np.testing.assert_array_equal(first["below/kernel"], again["below/kernel"])
