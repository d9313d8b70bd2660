"""Forward passes of a Keras model, from arrays to arrays: from any thread, in few batch sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np
import numpy.typing as npt

Kind = TypeVar("Kind", bound=np.generic)


def size_for(n: int, batch_size: int) -> int:
    """Images of each batch for n of them: a power of two, or `batch_size` if that is smaller.

    Compiled backends compile for every new size, which takes seconds: batches are `filled` to few.
    """
    return min(1 << max(n - 1, 0).bit_length(), batch_size)


def filled(batch: npt.NDArray[Kind], size: int) -> npt.NDArray[Kind]:
    """A batch (n, ...) with its last row repeated up to a size, which is at least n."""
    missing = size - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch


def forward_of(model: keras.Model) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """What a model with one output makes of a batch, in inference mode, with the weights of then.

    Any number of threads may call it, and side by side they are faster than in turns.
    """
    if keras.backend.backend() != "jax":
        return lambda inputs: _to_array(model.predict_on_batch(inputs))
    import jax

    # Keras' own gives the buffers of the weights away, and puts back what comes of them: whoever
    # reads the weights meanwhile finds them deleted.
    outputs = jax.jit(
        lambda trainable, others, inputs: model.stateless_call(
            trainable, others, inputs, training=False
        )[0]
    )

    def forward(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        trainable = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        return _to_array(outputs(trainable, others, inputs))

    return forward


def _to_array(outputs: Any) -> npt.NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(outputs), np.float32)
