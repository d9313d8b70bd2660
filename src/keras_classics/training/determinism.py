"""The same run twice gives the same weights, bit for bit, where the backend can."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from keras_classics.errors import ClassicsError

_XLA = "--xla_gpu_deterministic_ops=true"


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Compute with deterministic kernels only, which may be slower.

    On a CPU, JAX and torch are deterministic anyway, and so is TensorFlow in nearly all kernels; it
    is on GPUs that this matters.

    Raises:
        ClassicsError: If it must be said before the backend starts, and was not.
    """
    backend = keras.backend.backend()
    if not wanted:
        yield
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()  # there is no way back in this process
        yield
    elif backend == "torch":
        import torch

        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
    else:
        import jax

        if jax.default_backend() == "gpu" and _XLA not in os.environ.get("XLA_FLAGS", ""):
            raise ClassicsError(
                f"deterministic: on a GPU, JAX needs XLA_FLAGS={_XLA} from the start."
            )
        yield
