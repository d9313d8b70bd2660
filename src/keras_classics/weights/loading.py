"""Loading of weights that refuses whatever is not the network's own.

Keras loads by position and looks at shapes alone. Here the names of the layers must agree too, no
tensor may be missing, left over or not finite, and a `.keras` file must hold the same convolutions.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures.frame import Activation, Architecture
from keras_classics.errors import WeightsError
from keras_classics.weights import records

Array = npt.NDArray[Any]

# Keras numbers layers without a name of their own; such a name says nothing.
_AUTOMATIC = re.compile(r"(conv2d|batch_normalization|dense|depthwise_conv2d)(_\d+)?")
# What a layer computes, beside the shapes of its weights.
_BEHAVIOUR = ("strides", "padding", "dilation_rate", "groups", "epsilon", "activation")


@dataclass(frozen=True)
class FileLayer:
    """A layer with weights as a file holds it."""

    name: str
    tensors: tuple[Array, ...]

    @property
    def named(self) -> bool:
        """Whether the name was given, not counted."""
        return not _AUTOMATIC.fullmatch(self.name)


def check_request(
    architecture: Architecture,
    weights: str | Path | None,
    *,
    include_top: bool,
    classes: int,
    activation: Activation,
    width: float,
) -> None:
    """Refuse, before anything is built, a `weights` argument that cannot be served.

    Raises:
        WeightsError: With the argument, the value and what is possible.
    """
    if weights is None:
        return
    if include_top and keras.activations.get(activation).__name__ not in ("linear", "softmax"):
        raise WeightsError(
            f"classifier_activation={activation!r}: loaded weights need None or 'softmax'."
        )
    if weights != "imagenet":
        if not Path(weights).is_file():
            raise WeightsError(
                f"weights={str(weights)!r}: no such file; use None, 'imagenet' or a path."
            )
        return
    record = records.imagenet(architecture.name, include_top=include_top)
    if width != 1.0:
        raise WeightsError(f'width={width}: weights="imagenet" fit width=1.0 only.')
    if include_top and classes != record.classes:
        raise WeightsError(
            f'classes={classes}: weights="imagenet" with the top have {record.classes} classes; '
            "use include_top=False for classes of your own."
        )


def load_requested(
    model: keras.Model,
    architecture: Architecture,
    weights: str | Path,
    *,
    include_top: bool,
    prefix: str = "",
    upstream: Collection[str] = (),
) -> None:
    """Load what the `weights` argument of a constructor asks for.

    Raises:
        WeightsError: If the file cannot be had, or is not the network's.
    """
    path = Path(weights)
    if weights == "imagenet":
        path = fetch(records.imagenet(architecture.name, include_top=include_top))
    load_weights(model, path, architecture=architecture, prefix=prefix, upstream=upstream)


def fetch(record: records.PublishedWeights) -> Path:
    """The published file from Keras' cache, downloaded and checked by its hash if need be.

    Raises:
        WeightsError: If it is neither there nor to be had.
    """
    place = Path(keras.config.keras_home()) / "models" / record.file_name
    try:
        return Path(
            keras.utils.get_file(
                record.file_name, record.url, cache_subdir="models", file_hash=record.md5
            )
        )
    except Exception as error:  # get_file raises bare Exception for network and hash alike
        raise WeightsError(
            f"cannot download {record.url}; with a copy of it (md5 {record.md5}) at {place} "
            "no download is needed."
        ) from error


def load_weights(
    model: keras.Model,
    path: str | Path,
    *,
    architecture: Architecture,
    prefix: str = "",
    skip_top: bool = False,
    upstream: Collection[str] = (),
) -> None:
    """Put the weights of a file into a model, all or none.

    Args:
        model: A network of this package, or any model with the same layers.
        path: A file made by Keras: `.weights.h5`, `.keras`, or the legacy `.h5`.
        architecture: The model's record; its top may stand in the file and not in the model.
        prefix: What was put before the names of the model's layers.
        skip_top: Leave the top as it is, because the file's has other classes.
        upstream: Names of layers before the network, which the file does not hold.

    Raises:
        WeightsError: If the file is none of these, is torn, or is not this network's: the message
            names the first three culprits, and the model is as it was.
    """
    path = Path(path)
    targets = [layer for layer in model.layers if layer.weights and layer.name not in upstream]
    tops = {prefix + name for name in architecture.top_layers}
    if skip_top:
        targets = [layer for layer in targets if layer.name not in tops]
    sources, behaviour = _read(path, [type(layer).__name__ for layer in targets])
    if prefix:  # the file of a network with the same prefix is as good as one without
        sources = [FileLayer(s.name.removeprefix(prefix), s.tensors) for s in sources]
        behaviour = {name.removeprefix(prefix): layer for name, layer in behaviour.items()}
    if not tops & {layer.name for layer in targets}:
        sources = [s for s in sources if s.name not in architecture.top_layers]

    culprits = list(_culprits(sources, behaviour, targets, prefix))
    if culprits:
        more = f" and {len(culprits) - 3} more" if len(culprits) > 3 else ""
        raise WeightsError(
            f"{path}: not the weights of this {architecture.name}: {'; '.join(culprits[:3])}{more}."
        )
    for source, layer in zip(sources, targets, strict=True):
        layer.set_weights(
            [
                adapt_stem(tensor, weight.shape[-2]) if _is_stem(tensor, weight) else tensor
                for tensor, weight in zip(source.tensors, layer.weights, strict=True)
            ]
        )


def adapt_stem(kernel: Array, channels: int) -> Array:
    """The first convolution's kernel for other channels: (h, w, 3, f) -> (h, w, channels, f).

    One channel gets the sum of the three, so that a grey image gives what its three equal channels
    gave; a fourth gets zeros, so that an image's first three channels give what they gave.

    Raises:
        WeightsError: If channels is not 1, 3 or 4.
    """
    if channels == 1:
        return np.asarray(kernel.sum(axis=-2, keepdims=True))
    if channels == 3:
        return kernel
    if channels == 4:
        return np.concatenate([kernel, np.zeros_like(kernel[..., :1, :])], axis=-2)
    raise WeightsError(f"{channels} channels: weights for 3 can be adapted to 1 or 4 only.")


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
    sources: Sequence[FileLayer],
    behaviour: Mapping[str, Mapping[str, Any]],
    targets: Sequence[Any],
    prefix: str,
) -> Iterable[str]:
    """All that speaks against loading, a phrase each."""
    names = [layer.name.removeprefix(prefix) for layer in targets]
    if all(source.named for source in sources):
        there = {source.name for source in sources}
        yield from (f"{name} is missing" for name in names if name not in there)
        yield from (f"{s.name} is left over" for s in sources if s.name not in set(names))
    if len(sources) != len(targets):
        yield f"{len(sources)} layers with weights in the file, {len(targets)} in the network"
        return
    for source, layer, name in zip(sources, targets, names, strict=True):
        if source.named and source.name != name and not _AUTOMATIC.fullmatch(name):
            yield f"{source.name} stands where {name} should"
        if len(source.tensors) != len(layer.weights):
            yield f"{name} has {len(source.tensors)} tensors, needs {len(layer.weights)}"
            continue
        for tensor, weight in zip(source.tensors, layer.weights, strict=True):
            shape = tuple(weight.shape)
            if tensor.shape != shape and not _is_stem(tensor, weight):
                yield f"{name}/{weight.name} has shape {tensor.shape}, needs {shape}"
            elif not np.isfinite(tensor).all():
                yield f"{name}/{weight.name} has values that are not finite"
        config = layer.get_config()
        for key, value in behaviour.get(source.name, {}).items():
            if key == "padding" and set(config.get("kernel_size", ())) == {1}:
                continue  # a window of one pixel needs no padding, whatever its name
            if key in config and _plain(config[key]) != _plain(value):
                yield f"{name} has {key}={_plain(value)}, needs {_plain(config[key])}"


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read(
    path: Path, classes: Sequence[str]
) -> tuple[list[FileLayer], Mapping[str, Mapping[str, Any]]]:
    """The layers of a file, and for a `.keras` file what they compute."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
                    return _read_keras3(file, classes), _behaviour(config)
        with h5py.File(path) as file:
            if path.name.endswith(".weights.h5") or "layers" in file:
                return _read_keras3(file, classes), {}
            return _read_legacy(file.get("model_weights", file)), {}
    except Exception as error:  # odd bytes raise whatever the code that they lead to raises
        raise WeightsError(
            f"{path}: not a complete file of weights made by Keras "
            "(.weights.h5, .keras or .h5 is needed)."
        ) from error


def _read_legacy(file: Any) -> list[FileLayer]:
    """Layers of a legacy file in its order, which is the order of `model.layers`."""
    read = []
    for name in file.attrs["layer_names"]:
        group = file[_text(name)]
        tensors = tuple(_array(group[_text(w)]) for w in group.attrs["weight_names"])
        if tensors:
            read.append(FileLayer(_text(name), tensors))
    return read


def _read_keras3(file: Any, classes: Sequence[str]) -> list[FileLayer]:
    """Layers of a Keras 3 file, which counts them by class, in the order of the network."""
    stored = file["layers"]
    full = {key: stored[key] for key in stored if len(stored[key].get("vars", ()))}
    by_class: dict[str, list[str]] = {}
    for key in sorted(full, key=_class_and_count):
        by_class.setdefault(_class_and_count(key)[0], []).append(key)
    ordered = [by_class[name].pop(0) for name in map(_snake_case, classes) if by_class.get(name)]
    ordered += itertools.chain.from_iterable(by_class.values())
    return [
        FileLayer(
            _text(full[key]["vars"].attrs.get("name", full[key].attrs.get("name", key))),
            tuple(_array(full[key]["vars"][index]) for index in sorted(full[key]["vars"], key=int)),
        )
        for key in ordered
    ]


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
    return {
        _text(layer["config"]["name"]): {
            k: layer["config"][k] for k in _BEHAVIOUR if k in layer["config"]
        }
        for layer in config["config"]["layers"]
        if "name" in layer["config"]
    }


def _text(value: Any) -> str:
    """A name as HDF5 or JSON hold it; TypeError for what is none."""
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise TypeError(f"a name of type {type(value).__name__}")
    return value
