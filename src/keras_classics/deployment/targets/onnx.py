"""ONNX: `model.onnx`, run by ONNX Runtime and many others.

The opset is the highest that tf2onnx writes; see https://onnx.ai/onnx/repo-docs/Versioning.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from keras_classics import __version__
from keras_classics.deployment import runtimes
from keras_classics.deployment.engine import Precision
from keras_classics.deployment.exported import KEY
from keras_classics.deployment.targets import Run

if TYPE_CHECKING:
    import keras

    from keras_classics.deployment.quantise import Calibration

MODEL = "model.onnx"
OPSET = 18


def write(
    model: keras.Model,
    folder: Path,
    precision: Precision,
    metadata: str,
    calibration: Calibration | None = None,
) -> dict[str, Any] | None:
    """As `Writer` says; the metadata are in `metadata_props` under "keras_classics"."""
    del precision  # f32, or what the calibration makes of it
    proto = _converted(model)
    how = None
    if calibration is not None:
        from keras_classics.deployment.quantise import quantise

        proto, how = quantise(proto, calibration)
    proto.producer_name, proto.producer_version = KEY, __version__
    runtimes.load("onnx").helper.set_model_props(proto, {KEY: metadata})
    # By itself the order of the metadata of nodes, which NNCF writes, would change from run to run.
    (folder / MODEL).write_bytes(proto.SerializeToString(deterministic=True))
    return how


def _converted(model: keras.Model) -> Any:
    from keras_classics.deployment.targets.graph import frozen

    function = frozen(model)
    proto, _ = runtimes.load("tf2onnx").convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET
    )
    return proto


def run(folder: Path, options: Mapping[str, str]) -> Run:
    """As `Writer` says."""
    del options
    runtime = runtimes.load("onnxruntime")
    session = runtime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())

    def infer(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(session.run(None, {name: batch})[0], np.float32)

    return infer
