"""Files that Keras writes: `.weights.h5`, `.keras` and the legacy `.h5`."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from keras_classics.errors import WeightsError
from keras_classics.weights.tensors import Array, Contents, FileLayer, FileTensor

KERAS_SUFFIXES = (".weights.h5", ".keras", ".h5", ".hdf5")

# What a layer computes, beside the shapes of its weights.
_BEHAVIOUR = ("strides", "padding", "dilation_rate", "groups", "epsilon", "activation")

# The first generation of Keras' ResNet50, which was published under the same file name.
_FIRST_GENERATION = re.compile(r"(res|bn)([2-5])([a-f])_branch(2a|2b|2c|1)")
_UNIT = {"1": 0, "2a": 1, "2b": 2, "2c": 3}
_FIRST_EPSILON, _EPSILON = 1e-3, 1.001e-5  # of batch norm, then and now

# The top in published files of 2018 to 2020: MobileNetV2's, ResNet's.
_TOP_THEN = ("Logits", "probs")


def read_keras(path: Path, targets: Mapping[str, Any]) -> Contents:
    """The layers of a file made by Keras, in the order of the network.

    Args:
        path: A `.weights.h5`, `.keras` or legacy `.h5` file.
        targets: The layers with weights that the network has, by their names without a prefix.

    Raises:
        WeightsError: If the file is torn or something else.
    """
    classes = [type(layer).__name__ for layer in targets.values()]
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
                    return Contents(_read_keras3(file, classes), _behaviour(config))
        with h5py.File(path) as file:
            if path.name.endswith(".weights.h5") or "layers" in file:
                return Contents(_read_keras3(file, classes))
            layers = _read_legacy(file.get("model_weights", file))
            config = json.loads(_text(file.attrs.get("model_config", "null")))
            behaviour = _behaviour(config) if config else {}
            if any(_FIRST_GENERATION.fullmatch(layer.name) for layer in layers):
                return Contents(_second_generation(layers, targets))
            return Contents(layers, behaviour)
    except Exception as error:  # odd bytes raise whatever the code that they lead to raises
        raise WeightsError(
            f"{path}: not a complete file of weights made by Keras "
            "(.weights.h5, .keras or .h5 is needed)."
        ) from error


def _read_legacy(file: Any) -> tuple[FileLayer, ...]:
    """Layers of a legacy file in its order, which is the order of `model.layers`."""
    read = []
    for name in map(_text, file.attrs["layer_names"]):
        group = file[name]
        tensors = tuple(_tensor(w, group[w]) for w in map(_text, group.attrs["weight_names"]))
        if tensors:
            read.append(FileLayer(name, tensors))
    if read and read[-1].name in _TOP_THEN:
        read[-1] = dataclasses.replace(read[-1], name="predictions")
    return tuple(read)


def _read_keras3(file: Any, classes: Sequence[str]) -> tuple[FileLayer, ...]:
    """Layers of a Keras 3 file, which counts them by class, in the order of the network."""
    stored = file["layers"]
    full = {key: stored[key] for key in stored if len(stored[key].get("vars", ()))}
    by_class: dict[str, list[str]] = {}
    for key in sorted(full, key=_class_and_count):
        by_class.setdefault(_class_and_count(key)[0], []).append(key)
    ordered = [by_class[name].pop(0) for name in map(_snake_case, classes) if by_class.get(name)]
    ordered += itertools.chain.from_iterable(by_class.values())
    layers = []
    for key in ordered:
        variables = full[key]["vars"]
        name = _text(variables.attrs.get("name", full[key].attrs.get("name", key)))
        tensors = (
            _tensor(f"layers/{key}/vars/{index}", variables[index])
            for index in sorted(variables, key=int)
        )
        layers.append(FileLayer(name, tuple(tensors)))
    return tuple(layers)


def _second_generation(
    layers: Sequence[FileLayer], targets: Mapping[str, Any]
) -> tuple[FileLayer, ...]:
    """The layers of a first ResNet50 under today's names, in the order of the network.

    Batch norm adds less to the variance today; the difference goes into the variance itself.
    """
    renamed = {}
    for layer in layers:
        name = _new_name(layer.name)
        tensors = list(layer.tensors)
        if name.endswith("_bn"):
            difference = _FIRST_EPSILON - _EPSILON
            tensors[-1] = tensors[-1].changed(
                (tensors[-1].value + difference).astype(tensors[-1].value.dtype),
                f"+ {difference:g}, the larger epsilon of then",
            )
        renamed[name] = dataclasses.replace(layer, name=name, tensors=tuple(tensors))
    known = [renamed.pop(name) for name in targets if name in renamed]
    return (*known, *renamed.values())


def _new_name(name: str) -> str:
    """`res3b_branch2a` -> `conv3_block2_1_conv`."""
    found = _FIRST_GENERATION.fullmatch(name)
    if not found:
        return {"conv1": "conv1_conv", "bn_conv1": "conv1_bn", "fc1000": "predictions"}.get(
            name, name
        )
    kind, stage, block, unit = found.groups()
    kind = "conv" if kind == "res" else "bn"
    return f"conv{stage}_block{'abcdef'.index(block) + 1}_{_UNIT[unit]}_{kind}"


def _tensor(name: str, dataset: Any) -> FileTensor:
    value = _array(dataset)
    return FileTensor(name, value.shape, value)


def _array(dataset: Any) -> Array:
    """A tensor of a file; HDF5 knows no bfloat16 and holds it as two bytes without a type."""
    tensor = np.asarray(dataset)
    if tensor.dtype.kind in "biuf":
        return tensor
    if tensor.dtype != np.dtype("V2"):
        raise TypeError(f"a dataset of type {tensor.dtype} holds no weights")
    # A bfloat16 is the upper half of a float32.
    return (tensor.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _class_and_count(key: str) -> tuple[str, int]:
    """`conv2d_7` is the eighth of its class, `conv2d` the first."""
    name, _, count = key.rpartition("_")
    return (name, int(count)) if name and count.isdigit() else (key, 0)


def _snake_case(name: str) -> str:
    """The class's name as Keras writes it into its files: BatchNormalization, Conv2D."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name).lower()


def _behaviour(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    layers = [layer for layer in config["config"]["layers"] if "name" in layer["config"]]
    paddings = {
        _text(layer["config"]["name"]): layer["config"]["padding"]
        for layer in layers
        if layer["class_name"] == "ZeroPadding2D"
    }
    found = {}
    for layer in layers:
        own = layer["config"]
        what = {key: own[key] for key in _BEHAVIOUR if key in own}
        before = json.dumps(layer.get("inbound_nodes", []))
        if any(
            f'"{name}"' in before and _as_same(padding, own["kernel_size"])
            for name, padding in paddings.items()
            if own.get("padding") == "valid" and "kernel_size" in own
        ):
            del what["padding"]  # keras.applications pads EfficientNet by layers of their own
        found[_text(own["name"])] = what
    return found


def _as_same(padding: Sequence[Sequence[int]], kernel: Sequence[int]) -> bool:
    """Whether a padding before a strided convolution is what "same" is for maps of some size."""
    return all(
        end == k // 2 and start in (k // 2 - 1, k // 2)
        for (start, end), k in zip(padding, kernel, strict=True)
    )


def _text(value: Any) -> str:
    """A name as HDF5 or JSON hold it; TypeError for what is none."""
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise TypeError(f"a name of type {type(value).__name__}")
    return value


def write_keras(model: keras.Model, path: Path) -> None:
    """Write a model as `.keras`, or its weights as `.weights.h5` or legacy `.h5`."""
    if path.suffix == ".keras":
        model.save(path)
    elif path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        _write_legacy(model, path)


def _write_legacy(model: keras.Model, path: Path) -> None:
    """Weights as keras.applications publishes them: groups by layer, in the order of the model."""
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = b"tensorflow"  # the order of the axes; the same on all backends
        file.attrs["keras_version"] = keras.__version__.encode()
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group.create_dataset(name, data=keras.ops.convert_to_numpy(weight))
