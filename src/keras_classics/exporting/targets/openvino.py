"""OpenVINO's intermediate representation: `model.xml` and `model.bin`, run on a CPU by its engine.

bf16 is no file of its own: weights stay in f32, and the engine is told to compute in bf16. That is
exact where it has to be (the sums are f32), and a processor without bf16 runs the file in f32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from keras_classics.exporting import runtimes
from keras_classics.exporting.exported import KEY, Precision
from keras_classics.exporting.quantise import Calibration, quantise
from keras_classics.exporting.targets import TARGETS, Run
from keras_classics.exporting.targets.graph import frozen

if TYPE_CHECKING:
    import keras

MODEL = "model.xml"


def write(
    model: keras.Model,
    folder: Path,
    precision: Precision,
    metadata: str,
    calibration: Calibration | None = None,
) -> dict[str, Any] | None:
    """As `Writer` says; the metadata are in `rt_info` under "keras_classics"."""
    openvino = runtimes.load("openvino")
    converted = openvino.convert_model(frozen(model).get_concrete_function())
    how = None
    if calibration is not None:
        converted, how = quantise(converted, calibration)
    converted.set_rt_info(metadata, KEY)
    for name, value in TARGETS["openvino"].options[precision].items():
        converted.set_rt_info(value, ["runtime_options", name])
    # At its own call a file is written in f16 otherwise.
    openvino.save_model(converted, folder / MODEL, compress_to_fp16=False)
    return how


def run(folder: Path, options: Mapping[str, str]) -> Run:
    """As `Writer` says."""
    compiled = runtimes.openvino_core().compile_model(folder / MODEL, "CPU", dict(options))

    def infer(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.array(compiled(batch)[0], np.float32)

    return infer
