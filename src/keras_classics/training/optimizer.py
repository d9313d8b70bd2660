"""The optimisers of the recipes: Keras' own, with what the papers have and Keras has not.

Every layer has a learning rate of its own, weight decay is as the papers mean it, RMSProp's mean of
squares begins at one as in TensorFlow's, and the mean of the weights is quick at the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from keras_classics.training.recipe import Optimizer


class _Rated:
    """What the optimisers below have in common; stands before Keras' class among the bases.

    Adam's steps do not depend on the scale of the gradients, so smaller gradients would change
    nothing: the rate itself has to differ from layer to layer, for the decay of the weights too.

    Args:
        learning_rate: A number or a schedule.
        rates: Names of layers, and their fractions of the learning rate.
        decay: Of the weights: coupled, the gradient's part of an L2 penalty of half of it;
            decoupled, for each step the part of them that the learning rate takes.
        no_decay: Names of weights without it, such as "gamma".
        arguments: Of Keras' optimiser.
    """

    coupled = False

    def __init__(
        self,
        learning_rate: Any,
        *,
        rates: Mapping[str, float],
        decay: float = 0.0,
        no_decay: Sequence[str] = (),
        **arguments: Any,
    ) -> None:
        # Keras' own decay would know one rate only.
        super().__init__(learning_rate, weight_decay=None, **arguments)  # type: ignore[call-arg]
        self._rates = dict(rates)
        self._decay = decay
        self._no_decay = frozenset(no_decay)

    def build(self, var_list: Any) -> None:
        """Find the rate of every variable by its layer's name, with which its path begins."""
        super().build(var_list)  # type: ignore[misc]
        layer_and_name = [v.path.rsplit("/", 1) for v in var_list]
        self._by_index = tuple(self._rates[layer] for layer, _ in layer_and_name)
        self._decays = tuple(
            0.0 if name in self._no_decay else self._decay for _, name in layer_and_name
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        index = self._get_variable_index(variable)  # type: ignore[attr-defined]
        rate, decay = learning_rate * self._by_index[index], self._decays[index]
        if decay and self.coupled:
            gradient = ops.cast(gradient, variable.dtype) + decay * ops.convert_to_tensor(variable)
        elif decay:
            lost = ops.cast(rate * decay, variable.dtype)
            self.assign_sub(variable, ops.multiply(variable, lost))  # type: ignore[attr-defined]
        super().update_step(gradient, variable, rate)  # type: ignore[misc]

    def _update_model_variables_moving_average(self, variables: Any) -> None:
        """As Keras, but the mean forgets faster at the beginning, as TensorFlow's `num_updates`.

        A mean over 10,000 steps would otherwise be that of random weights in a short run.
        """
        step = ops.cast(self.iterations, "float32")  # type: ignore[attr-defined]
        momentum = ops.minimum(self.ema_momentum, (1.0 + step) / (10.0 + step))  # type: ignore[attr-defined]
        momentum = ops.where(step > 0, momentum, 0.0)
        for variable, average in zip(variables, self._averages, strict=True):
            keep = ops.cast(momentum, variable.dtype)
            average.assign(ops.multiply(keep, average) + ops.multiply(1 - keep, variable))

    @property
    def _averages(self) -> list[Any]:
        return self._model_variables_moving_average  # type: ignore[attr-defined,no-any-return]

    @property
    def averages(self) -> list[tuple[Any, Any]]:
        """Weights and their means over the steps, where they are kept."""
        if not self.use_ema:  # type: ignore[attr-defined]
            return []
        return list(zip(self._trainable_variables, self._averages, strict=True))  # type: ignore[attr-defined]

    def finalize_variable_values(self, var_list: Any) -> None:
        """Leave the weights alone: the mean is taken where it is wanted.

        Keras would put it into the model whenever `fit` ends, from where no run could go on.
        """


class AdamW(_Rated, keras.optimizers.Adam):  # type: ignore[misc]  # Keras ships no types
    """Adam with decoupled decay: Loshchilov and Hutter, https://arxiv.org/abs/1711.05101."""


class SGD(_Rated, keras.optimizers.SGD):  # type: ignore[misc]
    """Momentum with an L2 penalty, in the order of Caffe, which trained VGG16 and ResNet."""

    coupled = True


class RMSProp(_Rated, keras.optimizers.RMSprop):  # type: ignore[misc]
    """RMSProp with an L2 penalty; the mean of squares begins at one, as in TensorFlow's."""

    coupled = True

    def build(self, var_list: Any) -> None:
        """Begin the means of squares with one."""
        super().build(var_list)
        for mean in self._velocities:
            mean.assign(ops.ones(mean.shape, dtype=mean.dtype))


class Lamb(_Rated, keras.optimizers.Lamb):  # type: ignore[misc]
    """LAMB: You et al., https://arxiv.org/abs/1904.00962, algorithm 2.

    The decay is part of the step that the trust ratio scales, which Keras' class leaves out. As in
    timm's, from which the recipes come, the step of a variable without decay is not scaled.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        index = self._get_variable_index(variable)
        decay = self._decays[index]
        rate = ops.cast(learning_rate * self._by_index[index], variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        mean, square = self._momentums[index], self._velocities[index]
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        unbiased = mean / (1 - ops.power(self.beta_1, step))
        scale = ops.sqrt(square / (1 - ops.power(self.beta_2, step))) + self.epsilon
        update = unbiased / scale
        if decay:
            update = update + decay * ops.convert_to_tensor(variable)
            weights, steps = (ops.sqrt(ops.sum(ops.square(v))) for v in (variable, update))
            some = ops.logical_and(weights > 0, steps > 0)
            trust = ops.where(some, weights / ops.maximum(steps, 1e-30), 1.0)
            update = update * trust
        self.assign_sub(variable, rate * update)


def optimizer_for(
    recipe: Optimizer, learning_rate: Any, rates: Mapping[str, float]
) -> keras.Optimizer:
    """The optimiser of a recipe.

    Args:
        recipe: Its section.
        learning_rate: A number or a schedule.
        rates: Names of layers, and their fractions of the learning rate.
    """
    common: dict[str, Any] = {
        "rates": rates,
        "decay": recipe.weight_decay,
        "no_decay": recipe.no_decay,
        "global_clipnorm": recipe.clip_norm or None,
        "gradient_accumulation_steps": recipe.accumulate if recipe.accumulate > 1 else None,
        "use_ema": recipe.ema > 0,
        "ema_momentum": recipe.ema,
    }
    if recipe.name == "sgd":
        return SGD(learning_rate, momentum=recipe.momentum, **common)
    if recipe.name == "rmsprop":
        return RMSProp(
            learning_rate,
            rho=recipe.rho,
            momentum=recipe.momentum,
            epsilon=recipe.epsilon,
            **common,
        )
    kind = Lamb if recipe.name == "lamb" else AdamW
    return kind(learning_rate, epsilon=recipe.epsilon, **common)


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """The means of the weights in the place of the weights, where the optimiser keeps any."""
    optimizer = model.optimizer
    pairs = getattr(optimizer, "inner_optimizer", optimizer).averages  # one that scales the loss
    weights = [ops.convert_to_numpy(weight) for weight, _ in pairs]
    for weight, mean in pairs:
        weight.assign(ops.convert_to_numpy(mean))  # JAX gives away what two variables share
    try:
        yield
    finally:
        for (weight, _), value in zip(pairs, weights, strict=True):
            weight.assign(value)
