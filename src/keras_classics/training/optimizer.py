"""AdamW with a learning rate for every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


class LayerwiseAdamW(keras.optimizers.Adam):  # type: ignore[misc]  # Keras ships no types
    """AdamW in which every layer has its own fraction of the learning rate.

    Adam's steps do not depend on the scale of the gradients, so smaller gradients would change
    nothing: the rate itself has to differ, for the decoupled decay of the weights too.

    Args:
        learning_rate: A number or a schedule.
        rates: Names of layers, and their fractions of the learning rate.
        decay: Of the weights, for each step the part of them that the learning rate takes.
        global_clipnorm: Of all gradients together.
    """

    def __init__(
        self,
        learning_rate: Any,
        *,
        rates: Mapping[str, float],
        decay: float,
        global_clipnorm: float,
    ) -> None:
        # Keras' own decay would know one rate only.
        super().__init__(learning_rate, weight_decay=None, global_clipnorm=global_clipnorm)
        self._rates = dict(rates)
        self._decay = decay

    def build(self, var_list: Any) -> None:
        """Find the rate of every variable by its layer's name, with which its path begins."""
        super().build(var_list)
        self._by_index = tuple(self._rates[v.path.rsplit("/", 1)[0]] for v in var_list)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        rate = learning_rate * self._by_index[self._get_variable_index(variable)]
        decay = keras.ops.cast(rate * self._decay, variable.dtype)
        self.assign_sub(variable, keras.ops.multiply(variable, decay))
        super().update_step(gradient, variable, rate)
