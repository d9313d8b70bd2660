"""ONNX: `model.onnx`, run by ONNX Runtime and many others.

The opset is the highest that tf2onnx writes; see https://onnx.ai/onnx/repo-docs/Versioning.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from keras_classics import __version__
from keras_classics.exporting import runtimes
from keras_classics.exporting.exported import KEY, Precision
from keras_classics.exporting.quantise import Calibration, quantise
from keras_classics.exporting.targets import Run
from keras_classics.exporting.targets.graph import DIMENSIONS, frozen

if TYPE_CHECKING:
    import keras

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
        proto, how = quantise(proto, calibration)
    _name_dimensions(proto.graph)
    proto.producer_name, proto.producer_version = KEY, __version__
    runtimes.load("onnx").helper.set_model_props(proto, {KEY: metadata})
    (folder / MODEL).write_bytes(proto.SerializeToString())
    return how


def _converted(model: keras.Model) -> Any:
    function = frozen(model)
    proto, _ = runtimes.load("tf2onnx").convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET
    )
    _mend_biases(proto)
    return proto


def _name_dimensions(graph: Any) -> None:
    """Call axes of no fixed length what they are, in the place of `unk__389`."""
    del graph.value_info[:]  # of what lies between, where these names would stay
    for value in (*graph.input, *graph.output):
        for name, axis in zip(DIMENSIONS, value.type.tensor_type.shape.dim, strict=False):
            if not axis.HasField("dim_value"):
                axis.dim_param = name


def _mend_biases(proto: Any) -> None:
    """Make additions again of what tf2onnx takes for the bias of a convolution.

    With one picture at a time and one pixel left, the shortcut of a residual block looks like one.
    """
    helper = runtimes.load("onnx").helper
    constants = {each.name for each in proto.graph.initializer}
    made_by = {name: node for node in proto.graph.node for name in node.output}

    def is_constant(name: str) -> bool:
        node = made_by.get(name)
        if node is None:
            return name in constants
        return bool(node.input) and all(map(is_constant, node.input))

    nodes = []
    for node in proto.graph.node:
        additions: list[Any] = []
        while node.op_type == "Conv" and _has_addend(node, is_constant):
            addend, output = node.input.pop(), node.output.pop()
            before, shape = f"{output}/before", f"{output}/shape"
            node.output.append(before)
            of_channels = helper.make_tensor(shape, 7, (4,), (1, -1, 1, 1))  # 7: int64
            proto.graph.initializer.append(of_channels)
            additions = [
                # NNCF knows a node by its name alone.
                helper.make_node("Reshape", [addend, shape], [f"{output}/addend"], f"{output}/r"),
                helper.make_node("Add", [before, f"{output}/addend"], [output], f"{output}/add"),
                *additions,
            ]
        nodes += [node, *additions]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _has_addend(convolution: Any, is_constant: Callable[[str], bool]) -> bool:
    """Whether the last input is no bias: there are two, or it is computed."""
    inputs = convolution.input
    return len(inputs) > 3 or (len(inputs) == 3 and not is_constant(inputs[2]))


def run(folder: Path, options: Mapping[str, str]) -> Run:
    """As `Writer` says."""
    del options
    runtime = runtimes.load("onnxruntime")
    session = runtime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())

    def infer(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(session.run(None, {name: batch})[0], np.float32)

    return infer
