"""ONNX Runtime as an engine: one session, which any number of threads may run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from keras_classics.engines.engine import Engine, Hint
from keras_classics.exporting import runtimes
from keras_classics.exporting.exported import Export

MODEL = "model.onnx"  # as `targets.onnx` writes it, which needs Keras
PIECE = 8  # images of a run at most: its memory grows with them


class OnnxRuntimeEngine(Engine):
    """An export to ONNX, on the processor."""

    name = "onnxruntime"

    def __init__(
        self,
        folder: Path,
        export: Export,
        *,
        hint: Hint = "throughput",
        threads: int | None = None,
    ) -> None:
        """Load the model.

        Args:
            folder: Of the export.
            export: What it says of itself.
            hint: Makes no difference: every run uses all threads, and that measured best.
            threads: Of a run; None for one a processor.

        Raises:
            ClassicsError: If ONNX Runtime is not installed.
        """
        del hint
        self.card = export.card
        self.precision = export.precision
        runtime = runtimes.load("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = threads or 0
        self._session = runtime.InferenceSession(
            folder / MODEL, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._most = 1 if export.input == "image" else PIECE

    def _answers(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `Engine` says."""
        rows = [np.empty((0, len(self.card.class_names)), np.float32)]
        for start in range(0, len(images), self._most):
            piece = np.ascontiguousarray(images[start : start + self._most])
            rows += self._session.run(None, {self._input: piece})
        return np.concatenate(rows)
