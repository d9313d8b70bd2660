"""LiteRT, formerly TensorFlow Lite: `model.tflite`, for phones and small computers.

int8 is LiteRT's own: weights and activations are rounded, a channel or a tensor at a time, while
input and output stay what they are. The metadata are a buffer of the file, in the list that the
format has for them: `tensorflow/compiler/mlir/lite/schema` of https://github.com/tensorflow/tensorflow.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from keras_classics.exporting.exported import KEY, Precision
from keras_classics.exporting.quantise import Calibration
from keras_classics.exporting.targets import Run
from keras_classics.exporting.targets.graph import INPUT, OUTPUT, frozen

if TYPE_CHECKING:
    import keras

MODEL = "model.tflite"
_FILE_IDENTIFIER = b"TFL3"


def write(
    model: keras.Model,
    folder: Path,
    precision: Precision,
    metadata: str,
    calibration: Calibration | None = None,
) -> dict[str, Any] | None:
    """As `Writer` says; the metadata are the buffer of the file's entry "keras_classics"."""
    del precision  # f32, or what the calibration makes of it
    import tensorflow as tf

    module = tf.Module()
    module.serve = frozen(model)
    # With the module, the file has a signature of the names of `graph`.
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.serve.get_concrete_function()], module
    )
    how = None
    if calibration is not None:
        batches = calibration.batches
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([batch] for batch in batches)
        how = {**calibration.record, "by": "LiteRT's converter"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the input keeps its numbers
        content = converter.convert()
    (folder / MODEL).write_bytes(described(content, metadata))
    return how


def described(content: bytes, metadata: str) -> bytes:
    """A model file with one more entry in its list of metadata, and names in place of paths."""
    import flatbuffers  # noqa: PLC0415  comes with TensorFlow
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(bytearray(content))
    (graph,) = model.subgraphs
    (taken,), (given,) = graph.inputs, graph.outputs
    graph.tensors[taken].name, graph.tensors[given].name = INPUT, OUTPUT
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(metadata.encode(), np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name = KEY
    entry.buffer = len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(content) + len(metadata))
    builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
    return bytes(builder.Output())


def run(folder: Path, options: Mapping[str, str]) -> Run:
    """As `Writer` says."""
    del options
    interpreter = _interpreter(folder / MODEL)
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shape: list[tuple[int, ...]] = []  # that room was made for last

    def infer(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if shape != [batch.shape]:
            interpreter.resize_tensor_input(taken["index"], batch.shape)
            interpreter.allocate_tensors()
            shape[:] = [batch.shape]
        interpreter.set_tensor(taken["index"], batch)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(given["index"]), np.float32)

    return infer


def _interpreter(path: Path) -> Any:
    """LiteRT's own package where it is there, else the one inside TensorFlow, while that is."""
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  optional
    except ImportError:
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it will go
            return tf.lite.Interpreter(str(path))
    return Interpreter(str(path))
