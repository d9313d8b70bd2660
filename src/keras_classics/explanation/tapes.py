"""Gradients on each backend, of what lies behind the tensors of interest and of nothing else.

A tape is told which tensors are of interest as they come by, records what is computed from them,
and then gives the gradients with respect to all of them from one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import keras

from keras_classics.explanation.program import Key, Step, Tensor


class Tape(Protocol):
    """Records and differentiates."""

    def apply(self, step: Step, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        """Call a step; its results by the tensors that the tape will know."""

    def gradients(
        self, target: Key, weights: Callable[[Tensor], Tensor], wanted: Sequence[Key]
    ) -> list[Tensor]:
        """Gradients of the sum of weights(target) * target with respect to what is wanted."""


def tape(images: Key, pixels: Tensor, wanted: Collection[Key], target: Key) -> Tape:
    """A tape of the current backend; `images` is the key of the input, whose value is `pixels`."""
    kinds: dict[str, type[_Tape]] = {
        "tensorflow": _TensorFlowTape,
        "jax": _JaxTape,
        "torch": _TorchTape,
    }
    return kinds[keras.backend.backend()]({images: pixels}, wanted, target)


class _Tape:
    """What the tapes share: which tensors come from those of interest, and where they are kept."""

    def __init__(self, known: dict[Key, Tensor], wanted: Collection[Key], target: Key) -> None:
        self.wanted = frozenset(wanted)
        self.target = target
        self.live: set[Key] = set()  # what has a gradient
        self.kept: dict[Key, Tensor] = {}
        self.begin()
        for key, value in known.items():
            self.pass_by(key, value)

    def begin(self) -> None:
        """Before anything is computed."""

    def apply(self, step: Step, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        live = not self.live.isdisjoint(step.sources)
        if live:
            self.live.update(step.results)
        results = self.recorded(step, operands) if live else self.unrecorded(step, operands)
        for key, value in zip(step.results, results, strict=True):
            self.pass_by(key, value)
        return results

    def pass_by(self, key: Key, value: Tensor) -> None:
        if key in self.wanted:
            self.watch(value, live=key in self.live)
            self.live.add(key)
        if key in self.wanted or key == self.target:
            self.kept[key] = value

    def watch(self, value: Tensor, *, live: bool) -> None:
        """Begin to record what is computed from a value."""

    def recorded(self, step: Step, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        return step.call(operands)

    def unrecorded(self, step: Step, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        return step.call(operands)

    def gradients(
        self, target: Key, weights: Callable[[Tensor], Tensor], wanted: Sequence[Key]
    ) -> list[Tensor]:
        raise NotImplementedError


class _TensorFlowTape(_Tape):
    def begin(self) -> None:
        import tensorflow as tf

        self.tape = tf.GradientTape(watch_accessed_variables=False)

    def watch(self, value: Tensor, *, live: bool) -> None:  # noqa: ARG002
        with self.tape:
            self.tape.watch(value)

    def recorded(self, step: Step, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        with self.tape:
            return step.call(operands)

    def gradients(
        self, target: Key, weights: Callable[[Tensor], Tensor], wanted: Sequence[Key]
    ) -> list[Tensor]:
        value = self.kept[target]
        found: list[Tensor] = self.tape.gradient(
            value,
            [self.kept[key] for key in wanted],
            output_gradients=weights(value),
            unconnected_gradients="zero",  # a layer may let no gradient pass
        )
        return found


class _TorchTape(_Tape):
    def watch(self, value: Tensor, *, live: bool) -> None:
        if not live:
            value.requires_grad_()

    def recorded(self, step: Step, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        import torch

        with torch.enable_grad():
            return step.call(operands)

    def unrecorded(self, step: Step, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        import torch

        with torch.no_grad():
            return step.call(operands)

    def gradients(
        self, target: Key, weights: Callable[[Tensor], Tensor], wanted: Sequence[Key]
    ) -> list[Tensor]:
        import torch

        value = self.kept[target]
        kept = [self.kept[key] for key in wanted]
        found: Sequence[Tensor | None] = torch.autograd.grad(
            value, kept, grad_outputs=weights(value), allow_unused=True
        )
        return [
            torch.zeros_like(tensor) if gradient is None else gradient
            for tensor, gradient in zip(kept, found, strict=True)
        ]


class _JaxTape(_Tape):
    """The chain rule over the steps themselves, each differentiated by JAX.

    Arrays of JAX know nothing of what they were computed from; a function of the whole graph would
    have to be run once more to learn the shapes of what is of interest.
    """

    def begin(self) -> None:
        self.pulls: list[tuple[Step, Sequence[Tensor], Any]] = []

    def recorded(self, step: Step, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        import jax

        def call(*operands: Tensor) -> list[Tensor]:
            return step.call(operands)

        results, pull = jax.vjp(call, *operands)
        self.pulls.append((step, results, pull))
        values: list[Tensor] = results
        return values

    def gradients(
        self, target: Key, weights: Callable[[Tensor], Tensor], wanted: Sequence[Key]
    ) -> list[Tensor]:
        found = {target: weights(self.kept[target])}
        for step, results, pull in reversed(self.pulls):
            if found.keys().isdisjoint(step.results):
                continue
            arriving = [
                found[key] if key in found else keras.ops.zeros_like(result)
                for key, result in zip(step.results, results, strict=True)
            ]
            for key, gradient in zip(step.sources, pull(arriving), strict=True):
                if key in self.live:
                    found[key] = found[key] + gradient if key in found else gradient
        return [
            found[key] if key in found else keras.ops.zeros_like(self.kept[key]) for key in wanted
        ]
