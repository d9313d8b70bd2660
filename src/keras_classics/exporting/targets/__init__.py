"""Formats that a network is exported to: one module each, with `write` and `run`.

What can be told of a target without the packages that it needs stands here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from keras_classics.exporting.exported import Precision, TargetName

if TYPE_CHECKING:
    import keras

    from keras_classics.exporting.quantise import Calibration

Outputs = npt.NDArray[np.float32]
Run = Callable[[npt.NDArray[Any]], Outputs]
"""From a batch of what the exported model takes to its outputs (n, classes)."""


class Writer(Protocol):
    """A module of this package."""

    def write(
        self,
        model: keras.Model,
        folder: Path,
        precision: Precision,
        metadata: str,
        calibration: Calibration | None,
    ) -> dict[str, Any] | None:
        """Write the model file or files.

        Args:
            model: From `portable`.
            folder: An empty one.
            precision: One that the target supports.
            metadata: JSON, to be held inside the file.
            calibration: Pictures to quantise by; for int8 alone.

        Returns:
            How int8 came about; None for other precisions.
        """

    def run(self, folder: Path, options: Mapping[str, str]) -> Run:
        """Load what `write` wrote with the plain runtime.

        Args:
            folder: Of the export.
            options: That the runtime is given, as `export.json` says.
        """


@dataclass(frozen=True)
class Target:
    """What is known of a target."""

    title: str
    backend: str  # of Keras, that the conversion needs
    packages: tuple[str, ...]  # needed, besides the backend
    engine: str | None = None  # that runs it for `classics predict` and `classics serve`
    quantiser: tuple[str, ...] = ()  # needed for int8, besides
    refused: Mapping[Precision, str] = field(default_factory=dict)  # precision -> why
    fitted_only: Mapping[Precision, str] = field(default_factory=dict)  # precision -> why
    converted: tuple[Precision, ...] = ()  # the file itself holds numbers of these
    options: Mapping[Precision, Mapping[str, str]] = field(default_factory=dict)  # of the runtime


# The faster engine stands first.
TARGETS: Mapping[TargetName, Target] = {
    "openvino": Target(
        "OpenVINO",
        backend="tensorflow",
        packages=("openvino",),
        engine="openvino",
        quantiser=("nncf",),
        fitted_only={"bf16": "its engine would compute the resize rule in bf16, too"},
        # The plugin of the CPU takes bf16 by itself where the processor has it, so each says its
        # own; what cannot compute in bf16 computes in f32.
        options={
            "f32": {"INFERENCE_PRECISION_HINT": "f32"},
            "bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
            "int8": {"INFERENCE_PRECISION_HINT": "f32"},
        },
    ),
    "onnx": Target(
        "ONNX",
        backend="tensorflow",
        packages=("onnx", "onnxruntime", "tf2onnx"),
        engine="onnxruntime",
        quantiser=("nncf",),
        refused={"bf16": "ONNX Runtime has no bf16 convolutions on a CPU"},
    ),
    "litert": Target(
        "LiteRT",
        backend="tensorflow",
        packages=(),
        refused={"bf16": "LiteRT has no bf16 kernels on a CPU"},
        fitted_only={"int8": "its converter would round the resize rule to 8 bits, too"},
    ),
    "saved_model": Target(
        "TensorFlow SavedModel",
        backend="tensorflow",
        packages=(),
        refused={"int8": "TensorFlow runs int8 graphs no faster"},
        converted=("bf16",),
    ),
    "torch_export": Target(
        "torch.export",
        backend="torch",
        packages=(),
        refused={"int8": "an int8 graph of torch runs only after torch.compile, on its own"},
        converted=("bf16",),
    ),
}


def writer(target: TargetName) -> Writer:
    """The module of a target."""
    return cast(Writer, importlib.import_module(f"{__name__}.{target}"))
