"""Batch norm's policy: the moving statistics must never lag behind the weights.

With Keras' momentum of 0.99 they need some 500 steps to settle, which a small set of images takes
many epochs to make: training accuracy rises and validation accuracy stays at chance. Two cures,
both applied: a momentum fitted to the number of steps, and statistics re-estimated after training,
as ResNet's authors did (https://github.com/KaimingHe/deep-residual-networks).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

SETTLED = 5.0  # after one epoch, exp(-5) = 0.7 % of the initial statistics is left


def fitted_momentum(steps_per_epoch: int, momentum: float = 0.99) -> float:
    """The momentum with which one epoch settles the statistics, at most the network's own.

    Not below 0.5, where the statistics of a single batch would rule.
    """
    return min(momentum, max(0.5, math.exp(-SETTLED / steps_per_epoch)))


def batch_norms(model: keras.Model) -> list[Any]:
    """The batch-norm layers of a flat model."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


@contextmanager
def momentum(model: keras.Model, choose: Callable[[float], float]) -> Iterator[None]:
    """Train with another momentum; the layers get their own back afterwards.

    Enter it before the model is compiled: backends read the momentum once, when they trace.
    """
    own = [(layer, layer.momentum) for layer in batch_norms(model)]
    try:
        for layer, value in own:
            layer.momentum = choose(value)
        yield
    finally:
        for layer, value in own:
            layer.momentum = value


def reestimate(model: keras.Model, batches: Iterable[Any]) -> None:
    """Set the moving statistics to those of the given inputs under the present weights.

    Each batch is normalised by itself, as in training; the population's mean is the mean of the
    batches' means, its variance the mean of their variances plus the variance of their means.

    Args:
        model: Flat; one without batch norm, or with frozen one alone, is left as it is.
        batches: Inputs (b, h, w, c) as the model takes them, all of one size.
    """
    layers = batch_norms(model)
    if not any(layer.trainable for layer in layers):
        return  # there is none, or it is in inference mode
    means: list[list[Any]] = [[] for _ in layers]
    variances: list[list[Any]] = [[] for _ in layers]
    with momentum(model, lambda _: 0.0):  # the moving statistics become the batch's
        forward = _forward(model)
        for batch in batches:
            forward(batch)
            for i, layer in enumerate(layers):
                means[i].append(keras.ops.convert_to_numpy(layer.moving_mean))
                variances[i].append(keras.ops.convert_to_numpy(layer.moving_variance))
    for layer, mean, variance in zip(layers, means, variances, strict=True):
        if mean:
            layer.moving_mean.assign(np.mean(mean, axis=0))
            layer.moving_variance.assign(np.mean(variance, axis=0) + np.var(mean, axis=0))


def _forward(model: keras.Model) -> Callable[[Any], None]:
    """A compiled forward pass in training mode, which updates the moving statistics alone."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        traced = tf.function(lambda x: model(x, training=True), reduce_retracing=True)

        def traced_pass(x: Any) -> None:
            traced(tf.convert_to_tensor(x))

        return traced_pass
    if backend == "jax":
        import jax

        def states(trainable: Any, fixed: Any, x: Any) -> Any:
            return model.stateless_call(trainable, fixed, x, training=True)[1]

        compiled = jax.jit(states)

        def pass_through(x: Any) -> None:
            new = compiled(
                [v.value for v in model.trainable_variables],
                [v.value for v in model.non_trainable_variables],
                x,
            )
            for variable, value in zip(model.non_trainable_variables, new, strict=True):
                variable.assign(value)

        return pass_through

    import torch

    def without_gradient(x: Any) -> None:
        with torch.no_grad():
            model(x, training=True)

    return without_gradient
