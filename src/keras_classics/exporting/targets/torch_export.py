"""torch.export: `model.pt2`, an ExportedProgram for `torch.export.load` and torch.compile.

It holds ATen operations and no code of Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from keras_classics.data.fit import CentralCrop
from keras_classics.exporting.exported import KEY, ExportError, Precision
from keras_classics.exporting.quantise import Calibration
from keras_classics.exporting.targets import Run

if TYPE_CHECKING:
    import keras

MODEL = "model.pt2"


def write(
    model: keras.Model,
    folder: Path,
    precision: Precision,
    metadata: str,
    calibration: Calibration | None = None,
) -> dict[str, Any] | None:
    """As `Writer` says; the metadata are the extra file "keras_classics.json"."""
    del precision, calibration  # the model is in its precision already
    import torch

    if any(isinstance(getattr(layer, "fit", None), CentralCrop) for layer in model.layers):
        raise ExportError(
            "torch_export: a resize rule of published weights computes with the sides of a picture "
            "in a way that torch.export does not follow; take --fitted or --raw."
        )
    # A length of 1 or 2 would be taken for a constant.
    shape = [3 if side is None else side for side in model.input_shape]
    dynamic = {
        axis: torch.export.Dim.DYNAMIC
        for axis, side in enumerate(model.input_shape)
        if side is None
    }
    dtype = getattr(torch, model.input.dtype)
    with torch.no_grad():
        program = torch.export.export(
            _inference(model), (torch.zeros(shape, dtype=dtype),), dynamic_shapes=[dynamic]
        )
    torch.export.save(program, folder / MODEL, extra_files={f"{KEY}.json": metadata})
    return None


def _inference(model: keras.Model) -> Any:
    """The model as a module of torch with one plain argument."""
    import torch

    class Inference(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            return self.model(image, training=False)

    return Inference().eval()


def run(folder: Path, options: Mapping[str, str]) -> Run:
    """As `Writer` says."""
    del options
    import torch

    module = torch.export.load(folder / MODEL).module()

    def infer(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            outputs = module(torch.from_numpy(np.ascontiguousarray(batch)))
        return np.asarray(outputs.float().numpy(), np.float32)

    return infer
