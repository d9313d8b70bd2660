"""TensorFlow's SavedModel: `model/`, for TensorFlow Serving and `tf.saved_model.load`.

The signature is `serving_default`; the same function is there as `serve`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from keras_classics.exporting.exported import KEY, Precision
from keras_classics.exporting.quantise import Calibration
from keras_classics.exporting.targets import Run
from keras_classics.exporting.targets.graph import function_of

if TYPE_CHECKING:
    import keras

MODEL = "model"
EXTRA = "assets.extra"  # where the format has room for what TensorFlow does not read


def write(
    model: keras.Model,
    folder: Path,
    precision: Precision,
    metadata: str,
    calibration: Calibration | None = None,
) -> dict[str, Any] | None:
    """As `Writer` says; the metadata are in `model/assets.extra/keras_classics.json`."""
    del precision, calibration  # the model is in its precision already
    import tensorflow as tf

    module = tf.Module()
    module.serve = function_of(model)
    module.weights = [weight.value for weight in model.weights]
    tf.saved_model.save(module, folder / MODEL, signatures=module.serve)
    (folder / MODEL / EXTRA).mkdir()
    (folder / MODEL / EXTRA / f"{KEY}.json").write_text(metadata + "\n", encoding="utf-8")
    return None


def run(folder: Path, options: Mapping[str, str]) -> Run:
    """As `Writer` says."""
    del options
    import tensorflow as tf

    loaded = tf.saved_model.load(folder / MODEL)
    infer = loaded.signatures["serving_default"]

    def run_batch(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        (outputs,) = infer(tf.constant(batch)).values()
        return np.asarray(outputs.numpy(), np.float32)

    run_batch.loaded = loaded  # type: ignore[attr-defined]  # the weights go with it
    return run_batch
