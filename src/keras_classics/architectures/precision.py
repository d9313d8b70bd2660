"""Numbers of one precision, whatever a user's `keras.json` or program has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def numbers(policy: str = "float32") -> Iterator[None]:
    """Build layers with a dtype policy; inputs, and what else no policy rules, are float32.

    Trained and published weights are float32, and a network that is saved with inputs of float16
    computes something else than was measured.
    """
    floatx, before = keras.config.floatx(), keras.config.dtype_policy()
    try:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy(policy)
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(before)
