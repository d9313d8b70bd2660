from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_classics.training.optimizer import AdamW, averaged, optimizer_for
from keras_classics.training.recipe import Optimizer
from weights.references import torch_module


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


@pytest.mark.every_backend
def test_with_equal_rates_it_is_keras_own_adamw():
    settings = {"global_clipnorm": 1.0}
    ours = AdamW(0.01, rates={"below": 1.0, "above": 1.0}, decay=0.1, **settings)
    keras_own = keras.optimizers.AdamW(0.01, weight_decay=0.1, **settings)
    one, two = steps(two_layers(), ours, 3), steps(two_layers(), keras_own, 3)
    for path, value in one.items():
        np.testing.assert_allclose(value, two[path], rtol=1e-6, atol=1e-7)


@pytest.mark.backends
def test_the_size_of_a_step_is_the_layer_s_rate():
    optimizer = AdamW(0.01, rates={"below": 0.25, "above": 1.0}, decay=0.0, global_clipnorm=1.0)
    after = steps(two_layers(), optimizer, 1)
    # Adam's first step has the size of the learning rate, whatever the gradient.
    np.testing.assert_allclose(np.abs(after["above/kernel"] - 1), 0.01, rtol=1e-3)
    np.testing.assert_allclose(np.abs(after["below/kernel"] - 1), 0.0025, rtol=1e-3)


def test_the_weights_decay_with_the_layer_s_rate_too():
    def change(decay):
        rates = {"below": 0.25, "above": 1.0}
        optimizer = AdamW(0.01, rates=rates, decay=decay, global_clipnorm=1.0)
        return steps(two_layers(), optimizer, 1)

    with_decay, without = change(0.5), change(0.0)
    for path, rate in (("above/kernel", 1.0), ("below/kernel", 0.25)):
        np.testing.assert_allclose(without[path] - with_decay[path], 0.01 * rate * 0.5, rtol=1e-3)


def test_a_schedule():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.01, 0.0])
    optimizer = AdamW(schedule, rates={"below": 0.5, "above": 1.0}, decay=0.1, global_clipnorm=1.0)
    model = two_layers()
    first = steps(model, optimizer, 1)
    again = steps(model, optimizer, 1)  # the rate is zero by now
    np.testing.assert_array_equal(first["below/kernel"], again["below/kernel"])


EQUAL = {"below": 1.0, "above": 1.0}


def in_steps(model, optimizer, gradients):
    """Weights after each step with these gradients for all of them."""
    optimizer.build(model.trainable_variables)
    found = []
    for gradient in gradients:
        optimizer.apply(
            [keras.ops.full(v.shape, gradient, dtype="float32") for v in model.trainable_variables]
        )
        found.append(float(keras.ops.convert_to_numpy(model.get_layer("above").kernel)[0, 0]))
    return found


@pytest.mark.backends
def test_sgd_has_the_penalty_in_the_gradient_as_caffe_and_torch():
    recipe = Optimizer(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    weight, speed, expected = 1.0, 0.0, []
    for gradient in (0.3, -0.2, 0.1):
        speed = 0.9 * speed - 0.1 * (gradient + 0.5 * weight)
        weight += speed
        expected.append(weight)
    found = in_steps(two_layers(), optimizer_for(recipe, 0.1, EQUAL), (0.3, -0.2, 0.1))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.backends
def test_rmsprop_begins_with_a_mean_of_one_and_epsilon_is_under_the_root():
    recipe = Optimizer(name="rmsprop", learning_rate=0.1, rho=0.9, epsilon=1.0)
    weight, mean, expected = 1.0, 1.0, []
    for gradient in (0.3, -0.2):
        mean = 0.9 * mean + 0.1 * gradient**2
        weight -= 0.1 * gradient / np.sqrt(mean + 1.0)
        expected.append(weight)
    found = in_steps(two_layers(), optimizer_for(recipe, 0.1, EQUAL), (0.3, -0.2))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def lamb_of_timm(shapes, gradients, **settings):
    import torch

    lamb = torch_module("timm.optim").Lamb
    weights = {name: torch.nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}
    groups = [
        {"params": [w for name, w in weights.items() if name != "bias"], "weight_decay": 0.02},
        {"params": [weights["bias"]], "weight_decay": 0.0},
    ]
    optimizer = lamb(groups, lr=0.01, eps=1e-6, max_grad_norm=None, **settings)
    for values in gradients:
        for name, weight in weights.items():
            weight.grad = torch.tensor(values[name])
        optimizer.step()
    return {name: weight.detach().numpy() for name, weight in weights.items()}


def test_lamb_is_timm_s():
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 2), "bias": (2,)}
    gradients = [
        {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
        for _ in range(4)
    ]
    reference = lamb_of_timm(shapes, gradients)
    inputs = keras.Input((3,))
    layer = layers.Dense(2, name="one", kernel_initializer="ones", bias_initializer="ones")
    model = keras.Model(inputs, layer(inputs))
    recipe = Optimizer(
        name="lamb", learning_rate=0.01, weight_decay=0.02, no_decay=("bias",), epsilon=1e-6
    )
    optimizer = optimizer_for(recipe, 0.01, {"one": 1.0})
    optimizer.build(model.trainable_variables)
    for values in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(values[v.name]) for v in layer.weights])
    for variable in layer.weights:
        ours = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(ours, reference[variable.name], rtol=2e-6)


def test_what_is_named_does_not_decay():
    recipe = Optimizer(name="adamw", learning_rate=0.1, weight_decay=0.5, no_decay=("bias",))
    model = two_layers()
    model.get_layer("above").bias.assign([1.0, 1.0])
    optimizer = optimizer_for(recipe, 0.1, EQUAL)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables])
    above = model.get_layer("above")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(above.kernel), 1 - 0.1 * 0.5)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(above.bias), 1)


@pytest.mark.backends
def test_the_mean_of_the_weights_forgets_the_beginning_and_is_there_when_asked_for():
    recipe = Optimizer(name="sgd", learning_rate=1.0, ema=0.5)
    model = two_layers()
    model.compile(optimizer_for(recipe, 1.0, EQUAL), "mse")
    weights = in_steps(model, model.optimizer, (0.1, 0.2, 0.3))
    mean = 0.0
    for step, weight in enumerate(weights):
        keep = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        mean = keep * mean + (1 - keep) * weight
    kernel = model.get_layer("above").kernel
    with averaged(model):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel)[0, 0], mean, rtol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel)[0, 0], weights[-1], rtol=1e-6)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel)[0, 0], weights[-1], rtol=1e-6)


@pytest.mark.every_backend
def test_gradients_of_several_batches_make_one_step():
    recipe = Optimizer(name="sgd", learning_rate=1.0, accumulate=2)
    found = in_steps(two_layers(), optimizer_for(recipe, 1.0, EQUAL), (0.1, 0.3, 0.2, 0.2))
    np.testing.assert_allclose(found, [1.0, 0.8, 0.8, 0.6], rtol=1e-6)


def test_gradients_are_clipped_all_together():
    recipe = Optimizer(name="sgd", learning_rate=1.0, clip_norm=1.0)
    model = two_layers()
    numbers = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    found = in_steps(model, optimizer_for(recipe, 1.0, EQUAL), (5.0,))
    np.testing.assert_allclose(found, [1 - 1 / np.sqrt(numbers)], rtol=1e-6)
