"""What TensorFlow keeps of a training after it is over, given back: for many in one process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import keras


@contextmanager
def released() -> Iterator[None]:
    """Give back the networks that were trained in the context, once nothing else holds them.

    Keras' optimisers sum gradients over replicas, also where there is one. TensorFlow registers the
    gradient of that for good, and with it the graph of the training step and the memory of every
    variable in it: the network, and what the optimiser knows of it. Nobody asks for that gradient
    again when the training is over.
    """
    before = set(_registered())
    try:
        yield
    finally:
        registry = _registered()
        for name in set(registry) - before:
            if name.startswith("CustomGradient-"):
                del registry[name]
        gc.collect()  # networks are in circles of references


def _registered() -> dict[str, Any]:
    """TensorFlow's gradients by name; nothing on other backends, or where it has moved them."""
    if keras.backend.backend() != "tensorflow":
        return {}
    with suppress(ImportError, AttributeError):
        from tensorflow.python.framework import ops

        registry: dict[str, Any] = ops.gradient_registry._registry
        return registry
    return {}
