"""Loading of weights that refuses whatever is not the network's own.

Keras loads by position and looks at shapes alone. Here the names of the layers must agree too, no
tensor may be missing, left over or not finite, and a file that says what its layers compute must
say what the network's do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_classics.architectures.frame import Architecture
from keras_classics.architectures.surgery import adapt_stem
from keras_classics.errors import WeightsError
from keras_classics.host.regular import why_none
from keras_classics.weights.keras_files import read_keras
from keras_classics.weights.tensors import Array, Contents, FileLayer, Placement
from keras_classics.weights.torch_files import TORCH_SUFFIXES, read_torch

# Keras numbers layers without a name of their own; such a name says nothing.
_AUTOMATIC = re.compile(r"(conv2d|batch_normalization|dense|depthwise_conv2d)(_\d+)?")
_LARGEST = np.finfo(np.float32).max  # a larger number of double precision becomes infinite
OWN = "the network's own, as asked for"
LEFT_OUT = "left out: no layer here takes it"
COUNTER = "left out: a counter that nothing reads"
CONSTANT = "left out: a constant of the network here"
_NUMBER = re.compile(r"_\d+$")


def load_weights(
    model: keras.Model,
    path: str | Path,
    *,
    architecture: Architecture,
    prefix: str = "",
    keep: Collection[str] = (),
) -> tuple[Placement, ...]:
    """Put the weights of a file into a model, all or none.

    Args:
        model: A network of this package, or any model with the same layers.
        path: A file made by Keras (`.weights.h5`, `.keras`, or the legacy `.h5`), or tensors as
            torchvision or timm name them (`.pth`, `.pt`, `.safetensors`).
        architecture: The model's record. Its top and its side classifier may stand in the file and
            not in the model.
        prefix: What was put before the names of the model's layers.
        keep: Names of layers that keep the weights they have, whatever the file holds.

    Returns:
        What became of each tensor, in the order of the network.

    Raises:
        WeightsError: If the file is none of these, is torn, or is not this network's: the message
            names the first three culprits, and the model is as it was.
    """
    path = Path(path)
    own = [layer for layer in model.layers if layer.weights]
    targets = {layer.name.removeprefix(prefix): layer for layer in own if layer.name not in keep}
    side = architecture.side.layers if architecture.side else ()
    kept = (name.removeprefix(prefix) for name in keep)
    optional = {*architecture.top_layers, *side, *kept} - targets.keys()
    contents = read_contents(path, targets, architecture, optional)
    constant = architecture.unneeded
    sources: list[FileLayer] = []
    unneeded: list[FileLayer] = []
    constants: list[FileLayer] = []
    for source in contents.layers:
        # The file of a network with the same prefix is as good as one without.
        name = source.name.removeprefix(prefix)
        if _NUMBER.sub("", name) in constant:  # without a name of its own, Keras numbers it
            constants.append(FileLayer(_NUMBER.sub("", name), source.tensors))
        else:
            (unneeded if name in optional else sources).append(FileLayer(name, source.tensors))
    by_name = {source.name: source for source in sources}
    if by_name.keys() == targets.keys():  # what is left out may have stood between the others
        sources = [by_name[name] for name in targets]
    behaviour = {name.removeprefix(prefix): what for name, what in contents.behaviour.items()}

    fixed = {layer.name.removeprefix(prefix): layer for layer in model.layers}
    culprits = [
        *contents.problems,
        *_culprits(sources, behaviour, targets),
        *(c for source in constants for c in _differences(source, fixed.get(source.name))),
    ]
    if culprits:
        raise WeightsError(
            f"{path}: not the weights of this {architecture.name}: {_first_three(culprits)}."
            + _hint(culprits)
        )
    placements = []
    for source, (name, layer) in zip(sources, targets.items(), strict=True):
        tensors = [
            tensor.changed(
                adapt_stem(tensor.value, weight.shape[-2]), f"3 channels to {weight.shape[-2]}"
            )
            if _is_stem(tensor.value, weight)
            else tensor
            for tensor, weight in zip(source.tensors, layer.weights, strict=True)
        ]
        layer.set_weights([tensor.value for tensor in tensors])
        placements += [
            Placement(t.name, f"{name}/{w.name}", t.shape, tuple(w.shape), t.change)
            for t, w in zip(tensors, layer.weights, strict=True)
        ]
    placements += [
        Placement("", f"{layer.name}/{w.name}", (), tuple(w.shape), OWN)
        for layer in own
        if layer.name in keep
        for w in layer.weights
    ]
    placements += [
        Placement(t.name, "", t.shape, (), LEFT_OUT) for layer in unneeded for t in layer.tensors
    ]
    placements += [
        Placement(t.name, "", t.shape, (), CONSTANT) for layer in constants for t in layer.tensors
    ]
    placements += [
        Placement(t.name, "", t.shape, (), LEFT_OUT if t.shape else COUNTER)
        for t in contents.left_out
    ]
    return tuple(placements)


def read_contents(
    path: Path,
    targets: Mapping[str, Any],
    architecture: Architecture,
    unneeded: Collection[str] = (),
) -> Contents:
    """The layers of a file of any kind, under the network's names and in its order.

    Raises:
        WeightsError: If there is no such file, or it is torn, or of no kind that is known.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: {why_none(path)}.")
    if path.suffix in TORCH_SUFFIXES:
        return read_torch(path, targets, architecture, unneeded)
    return read_keras(path, targets)


def _is_stem(tensor: Array, weight: Any) -> bool:
    """Whether a kernel reads three colours where the network reads another number of channels."""
    shape = tuple(weight.shape)
    return (
        tensor.ndim == 4
        and tensor.shape[-2] == 3
        and shape[-2] in (1, 4)
        and (tensor.shape[:-2], tensor.shape[-1]) == (shape[:-2], shape[-1])
    )


def _culprits(
    sources: Collection[FileLayer],
    behaviour: Mapping[str, Mapping[str, Any]],
    targets: Mapping[str, Any],
) -> Iterable[str]:
    """All that speaks against loading, a phrase each."""
    if all(not _AUTOMATIC.fullmatch(source.name) for source in sources):
        there = {source.name for source in sources}
        yield from (f"{name} is missing" for name in targets if name not in there)
        yield from (f"{s.name} is left over" for s in sources if s.name not in targets)
    if len(sources) != len(targets):
        yield f"{len(sources)} layers with weights in the file, {len(targets)} in the network"
        return
    for source, (name, layer) in zip(sources, targets.items(), strict=True):
        if source.name != name and not (
            _AUTOMATIC.fullmatch(source.name) or _AUTOMATIC.fullmatch(name)
        ):
            yield f"{source.name} stands where {name} should"
        if len(source.tensors) != len(layer.weights):
            yield f"{name} has {len(source.tensors)} tensors, needs {len(layer.weights)}"
            continue
        for tensor, weight in zip(source.tensors, layer.weights, strict=True):
            value, shape = tensor.value, tuple(weight.shape)
            if value.shape != shape and not _is_stem(value, weight):
                yield f"{name}/{weight.name} has shape {value.shape}, needs {shape}"
            elif not (np.abs(value) <= _LARGEST).all():
                yield f"{name}/{weight.name} has values that are not finite"
            elif weight.name == "moving_variance" and (value < 0).any():
                yield f"{name}/{weight.name} has negative values, which no variance has"
        config = layer.get_config()
        for key, value in behaviour.get(source.name, {}).items():
            if key == "padding" and set(config.get("kernel_size", ())) == {1}:
                continue  # a window of one pixel needs no padding, whatever its name
            if key in config and _plain(config[key]) != _plain(value):
                yield f"{name} has {key}={_plain(value)}, needs {_plain(config[key])}"


def _differences(source: FileLayer, layer: Any) -> Iterable[str]:
    """What in a file's normalisation is not as in the network, which has it as constants.

    `layer` is None where the network has been folded, and tells nothing.
    """
    if layer is None:
        return
    mean, variance = np.ravel(layer.input_mean), np.ravel(layer.input_variance)
    there = [np.ravel(tensor.value) for tensor in source.tensors[:2]]
    # Keras publishes the deviation in the place of the variance, and corrects that in its graph.
    for what, found, needed in (
        ("mean", there[0], [mean]),
        ("variance", there[-1], [variance, np.sqrt(variance)]),
    ):
        if found.shape == mean.shape and not any(np.allclose(found, n, 1e-3) for n in needed):
            here, wanted = (
                tuple(np.round(n.astype(float), 4).tolist()) for n in (found, needed[0])
            )
            yield f"{source.name} has the {what} {here}, needs {wanted}"


def _first_three(culprits: list[str]) -> str:
    more = f" and {len(culprits) - 3} more" if len(culprits) > 3 else ""
    return "; ".join(culprits[:3]) + more


def _hint(culprits: list[str]) -> str:
    """What to do where only the classes differ."""
    if all(culprit.startswith(("predictions/", "auxiliary_predictions/")) for culprit in culprits):
        return (
            " Only the classes differ: build with the file's number of classes and give the "
            "model to with_classes(), or build with include_top=False."
        )
    if all(" has shape " in culprit for culprit in culprits):
        return " Is the width another one?"
    return ""


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
