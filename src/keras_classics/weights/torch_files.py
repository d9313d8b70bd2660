"""Files of tensors as torchvision and timm name them: `.pth` and `.safetensors`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import numpy as safetensors

from keras_classics.architectures.frame import Architecture
from keras_classics.errors import WeightsError
from keras_classics.weights.layouts import Layout, layouts_of
from keras_classics.weights.pth import Tensor, open_pth, write_pth
from keras_classics.weights.records import digests_of
from keras_classics.weights.tensors import Array, Contents, FileLayer, FileTensor, Placement

TORCH_SUFFIXES = (".pth", ".pt", ".safetensors")

# The names of a layer's weights there, by their names here.
_CONVOLUTION = {"kernel": "weight", "bias": "bias"}
_BATCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_COUNTER = "num_batches_tracked"  # of batch norm; nothing reads it while momentum is a number
_WRAPPERS = ("state_dict", "model")  # under which training programs keep the tensors


def read_torch(
    path: Path,
    targets: Mapping[str, Any],
    architecture: Architecture,
    unneeded: Collection[str] = (),
) -> Contents:
    """The layers of a torch file, by the names and in the order of the network's layers.

    Args:
        path: A `.pth`, `.pt` or `.safetensors` file.
        targets: The layers with weights that the network has, by their names without a prefix.
        architecture: Its record.
        unneeded: Layers that may stand in the file and are none of the targets.

    Raises:
        WeightsError: If the file is incomplete, holds more than tensors, or the network has no
            counterpart in torch.
    """
    tensors = read_state_dict(path)
    layout = _layout(tensors, targets, architecture, path)
    if layout.strangers and digests_of(path)["sha256"][:8] in layout.strangers:
        raise WeightsError(
            f"{path}: by its hash, the weights of a network of {layout.name} that has the names of "
            f"{architecture.name} and computes otherwise (padding, epsilon or normalisation)."
        )
    layers: list[FileLayer] = []
    missing: list[str] = []
    left = dict(tensors)
    channels = 0  # of the last convolution, which a flattening layer reads
    for here, layer in targets.items():
        found = []
        for weight, name in zip(layer.weights, _names(here, layer, layout), strict=True):
            if name not in left:
                missing.append(f"{name} is missing")
                continue
            value = left.pop(name)
            flat = channels if here in layout.flattened else None
            found.append(_to_keras(name, value, weight.shape, flat, depthwise=_depthwise(layer)))
            channels = _channels(layer) or channels
        if found:
            layers.append(FileLayer(here, tuple(found)))

    modules = {layout.module(name) for name in unneeded}
    surplus = [
        name
        for name in left
        if name.rpartition(".")[0] not in modules and not name.endswith(f".{_COUNTER}")
    ]
    return Contents(
        tuple(layers),
        problems=(*missing, *(f"{name} is left over" for name in surplus)),
        left_out=tuple(FileTensor(name, value.shape, value) for name, value in left.items()),
    )


def _layout(
    tensors: Mapping[str, Array],
    targets: Mapping[str, Any],
    architecture: Architecture,
    path: Path,
) -> Layout:
    """The layout of which a file has the most names, those of a top that is not wanted included.

    Raises:
        WeightsError: If torch has no such network.
    """
    layouts = layouts_of(architecture.name)
    if not layouts:
        raise WeightsError(f"{path}: holds tensors as torch names them, but {_none(architecture)}")
    names = {*targets, *architecture.top_layers}
    return max(
        layouts,
        key=lambda layout: sum(f"{layout.module(name)}.weight" in tensors for name in names),
    )


def _none(architecture: Architecture) -> str:
    """That torch does not have a network, and which one it has in its place."""
    sibling = architecture.sibling
    instead = f"; its weights are for {sibling}, which computes otherwise" if sibling else ""
    return f"torch has no {architecture.name}{instead}."


def _names(here: str, layer: Any, layout: Layout) -> list[str]:
    """The names of a layer's weights in torch, in Keras' order."""
    words = _BATCH_NORM if hasattr(layer, "moving_mean") else _CONVOLUTION
    return [f"{layout.module(here)}.{words[weight.name]}" for weight in layer.weights]


def _depthwise(layer: Any) -> bool:
    """Whether a layer has one kernel a channel; torch has a convolution in groups for it."""
    return isinstance(layer, keras.layers.DepthwiseConv2D)


def _channels(layer: Any) -> int | None:
    """The channels that a convolution gives."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None or len(kernel.shape) != 4:
        return None
    return int(math.prod(kernel.shape[2:]) if _depthwise(layer) else kernel.shape[-1])


def _to_keras(
    name: str,
    value: Array,
    wanted: tuple[int, ...],
    channels: int | None,
    *,
    depthwise: bool = False,
) -> FileTensor:
    """One tensor in Keras' arrangement: o outputs, i inputs, h rows, w columns of a kernel.

    `channels`: of the feature maps, where the layer reads them flattened.
    """
    there = FileTensor(name, value.shape, value)
    if value.ndim == 4 and depthwise:
        return there.changed(value.transpose(2, 3, 0, 1), "o1hw -> hwo1")
    if value.ndim == 4 and len(wanted) == 4:
        return there.changed(value.transpose(2, 3, 1, 0), "oihw -> hwio")
    if value.ndim == 4 and len(wanted) == 2:
        dense = value.transpose(2, 3, 1, 0).reshape(-1, len(value))
        return there.changed(dense, "oihw -> (hwi)o")
    if value.ndim == 2 and channels and value.shape[1] % channels == 0:
        dense = value.reshape(len(value), channels, -1).transpose(2, 1, 0).reshape(-1, len(value))
        return there.changed(dense, "o(ihw) -> (hwi)o")
    if value.ndim == 2:
        return there.changed(value.T, "oi -> io")
    return there


def _to_torch(layer: Any, value: Array, layout: Layout, channels: int) -> tuple[Array, str]:
    """One tensor in torch's arrangement, the inverse of `_to_keras`, and what was done."""
    flat = layer.name in layout.flattened
    if value.ndim == 4 and _depthwise(layer):
        return value.transpose(2, 3, 0, 1), "hwo1 -> o1hw"
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1), "hwio -> oihw"
    if value.ndim == 2 and layer.name in layout.convolved:
        inputs = channels if flat else len(value)
        side = math.isqrt(len(value) // inputs)
        if side * side * inputs != len(value):
            raise WeightsError(
                f"{layer.name} reads feature maps that are not square, which {layout.name} has no "
                "convolution for; choose the layout torchvision."
            )
        kernel = value.reshape(side, side, inputs, -1).transpose(3, 2, 0, 1)
        return kernel, "(hwi)o -> oihw"
    if value.ndim == 2 and flat:
        unflat = value.reshape(-1, channels, value.shape[1]).transpose(2, 1, 0)
        return unflat.reshape(value.shape[1], -1), "(hwi)o -> o(ihw)"
    if value.ndim == 2:
        return value.T, "io -> oi"
    return value, ""


def state_dict(
    model: keras.Model, architecture: Architecture, layout_name: str | None = None
) -> tuple[dict[str, Array], tuple[Placement, ...]]:
    """A model's weights as torch names and arranges them, and the report on it.

    Args:
        model: A network of this package.
        architecture: Its record.
        layout_name: "torchvision", "timm" or "google"; default: the first that has the network.

    Raises:
        WeightsError: If torch has no such network, or this library of torch does not.
    """
    layouts = layouts_of(architecture.name)
    if not layouts:
        raise WeightsError(_none(architecture))
    layout = next((each for each in layouts if layout_name in (None, each.name)), None)
    if layout is None:
        known = " or ".join(each.name for each in layouts)
        raise WeightsError(f"layout={layout_name!r}: {architecture.name} is in {known} only.")
    tensors: dict[str, Array] = {}
    report: list[Placement] = []
    channels = 0
    for layer in (layer for layer in model.layers if layer.weights):
        names = _names(layer.name, layer, layout)
        for weight, name in zip(layer.weights, names, strict=True):
            value = keras.ops.convert_to_numpy(weight)
            channels = _channels(layer) or channels
            turned, change = _to_torch(layer, value, layout, channels)
            tensors[name] = np.ascontiguousarray(turned)
            here = f"{layer.name}/{weight.name}"
            report.append(Placement(name, here, turned.shape, value.shape, change))
        if hasattr(layer, "moving_mean"):
            tensors[f"{names[0].rpartition('.')[0]}.{_COUNTER}"] = np.zeros((), np.int64)
    return tensors, tuple(report)


def read_state_dict(path: Path) -> dict[str, Array]:
    """The tensors of a `.pth`, `.pt` or `.safetensors` file; no code in it is ever run.

    Raises:
        WeightsError: If the file is incomplete, or holds more than tensors and plain containers.
    """
    try:
        tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
        if odd := {value.dtype for value in tensors.values() if value.dtype.kind not in "biuf"}:
            raise TypeError(f"tensors of type {odd} are no weights")
        if all(name.startswith("module.") for name in tensors):  # as training in parallel saves
            tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:  # odd bytes raise whatever they lead to
        raise WeightsError(f"{path}: not a complete file of tensors ({path.suffix}).") from error
    return tensors


def _read_safetensors(path: Path) -> dict[str, Array]:
    return {name: _plain(value) for name, value in safetensors.load_file(path).items()}


def _read_pth(path: Path) -> dict[str, Array]:
    with open_pth(path) as content:
        items = content
        for wrapper in _WRAPPERS:
            if isinstance(items.get(wrapper), dict):
                items = items[wrapper]
        return {name: value.array() for name, value in items.items() if isinstance(value, Tensor)}


def _plain(value: Array) -> Array:
    """NumPy's own types only."""
    return value.astype(np.float32) if value.dtype.kind == "V" else value


def write_torch(tensors: Mapping[str, Array], path: Path) -> None:
    """Write a state dict as `.pth`, `.pt` or `.safetensors`."""
    if path.suffix == ".safetensors":
        safetensors.save_file(dict(tensors), path, metadata={"format": "pt"})
    else:
        write_pth(tensors, path)
