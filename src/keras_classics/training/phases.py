"""The phases of a run: which stages of the network are trained from when on, and how fast.

Random weights are trained in a single phase. Trained ones begin with a head that is fitted to their
features, so that no gradient of a random one spoils them (Kumar et al. 2022,
https://arxiv.org/abs/2202.10054); then they are fine-tuned, every stage with a lower learning rate
than the one above, as the lower features are, the more general they are (Howard and Ruder 2018,
https://arxiv.org/abs/1801.06146; Yosinski et al. 2014, https://arxiv.org/abs/1411.1792).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from keras_classics.architectures.stages import Stage, stages
from keras_classics.training.batch_norm import batch_norms
from keras_classics.training.recipe import Recipe, Transfer


@dataclass(frozen=True)
class Phase:
    """Some epochs in which the same layers are trained."""

    begins: tuple[str, ...]  # stages that are trained from here on, from the top down
    rates: Mapping[str, float]  # trained layers, and their fraction of the learning rate
    epochs: int

    @contextmanager
    def trainable(self, model: keras.Model) -> Iterator[None]:
        """Only the layers of this phase are trainable; frozen batch norm is in inference mode.

        Enter it before the model is compiled; afterwards every layer is as it was.
        """
        own = [(layer, layer.trainable) for layer in model.layers if layer.weights]
        try:
            for layer, _ in own:
                layer.trainable = layer.name in self.rates
            yield
        finally:
            for layer, value in own:
                layer.trainable = value


def plan(model: keras.Model, recipe: Recipe) -> tuple[Phase, ...]:
    """The phases of a run, one after the other, with the recipe's epochs in all."""
    if recipe.transfer is None:
        everything = {layer.name: 1.0 for layer in model.layers if layer.weights}
        return (Phase(begins=(), rates=everything, epochs=recipe.epochs),)
    descending = stages(model)[::-1]
    frozen = (
        {layer.name for layer in batch_norms(model)}
        if recipe.transfer.batch_norm == "frozen"
        else set()
    )
    phases, rates = [], {}
    for group, epochs in _divide(descending, recipe.epochs, recipe.transfer):
        for stage in group:
            rate = recipe.transfer.lower ** descending.index(stage)
            rates.update({name: rate for name in stage.layers if name not in frozen})
        phases.append(Phase(tuple(stage.name for stage in group), dict(rates), epochs))
    return tuple(phases)


def phase_at(phases: tuple[Phase, ...], epoch: int) -> Phase:
    """The phase of an epoch, which is counted from 1."""
    for phase in phases:
        epoch -= phase.epochs
        if epoch <= 0:
            return phase
    return phases[-1]


def _divide(
    descending: tuple[Stage, ...], epochs: int, transfer: Transfer
) -> list[tuple[tuple[Stage, ...], int]]:
    """The stages that begin together, and the epochs until the next ones do.

    Where there are fewer epochs than stages, the lowest ones begin together.
    """
    top, below = descending[:1], descending[1:]
    if transfer.unfreeze == "none":
        return [(top, epochs)]
    count = 1 if transfer.unfreeze == "all" else min(len(below), epochs)
    groups = [*((stage,) for stage in below[: count - 1]), below[count - 1 :]]
    groups[0] = (*top, *groups[0])
    each, more = divmod(epochs, count)
    # What the division leaves over goes to the phase that trains the most.
    return [*((group, each) for group in groups[:-1]), (groups[-1], each + more)]
