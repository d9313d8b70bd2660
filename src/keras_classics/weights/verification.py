"""Verification of weights: what a file is, whether it is sound, and what it computes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures.frame import Architecture
from keras_classics.architectures.layers import channel_axis
from keras_classics.architectures.precision import numbers
from keras_classics.errors import WeightsError
from keras_classics.host.regular import why_none
from keras_classics.weights import records
from keras_classics.weights.conversion import model_of
from keras_classics.weights.golden import (
    TOLERANCE,
    computed_outputs,
    golden_outputs,
    outputs_of,
    picture,
)
from keras_classics.weights.preprocess import preprocess
from keras_classics.weights.records import PublishedWeights


@dataclass(frozen=True)
class TensorStatistics:
    """One tensor of a network in four numbers."""

    name: str  # layer/weight
    shape: tuple[int, ...]
    mean: float
    deviation: float
    least: float
    largest: float
    remark: str = ""  # what looks odd about it


@dataclass(frozen=True)
class Verification:
    """What is known about a file of weights after it was looked at from all sides."""

    path: str
    md5: str
    sha256: str
    record: str | None  # the published set that it is, by its hash
    network: str
    variant: str  # how sure it is that the weights are this variant's, in words
    width: float
    outputs: int | None  # classes of the top, if any
    tensors: tuple[TensorStatistics, ...]
    backend: str
    golden_difference: float | None  # of this installation from the golden outputs; None: not tried
    picture_outputs: tuple[float, ...]  # logits or features, for the package's own picture

    @property
    def odd(self) -> tuple[TensorStatistics, ...]:
        """The tensors that look odd."""
        return tuple(tensor for tensor in self.tensors if tensor.remark)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


@numbers()
def verify(
    path: str | Path,
    *,
    architecture: Architecture,
    width: float = 1.0,
    expected: str | Path | None = None,
) -> Verification:
    """Look at a file of weights from all sides, without a network.

    The file must hold the network's tensors, all of them and no others, finite, of the right
    shapes. The installation must give the network's golden outputs. What the weights make of a
    picture that the package makes itself can be compared with a report from another machine,
    backend or format.

    Args:
        path: A file of any format that can be loaded.
        architecture: The network whose weights it should hold.
        width: Of the network.
        expected: An earlier report as JSON, whose outputs must come out again.

    Raises:
        WeightsError: If anything of this does not hold.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: {why_none(path)}.")
    digests = records.digests_of(path)
    record = records.recognise(path, digests)
    if record and record.network != architecture.name:
        raise WeightsError(
            f"{path}: is {record.name}, by its hash: weights of {record.network}, not "
            f"{architecture.name}."
        )
    model, _ = model_of(path, architecture, width=width)
    golden_difference = _check_installation(architecture)
    outputs = _on_picture(model, architecture)
    if not np.isfinite(outputs).all():
        raise WeightsError(f"{path}: the outputs for a picture are not finite.")
    if expected is not None:
        _compare(path, outputs, Path(expected))
    return Verification(
        path=str(path),
        md5=digests["md5"],
        sha256=digests["sha256"],
        record=record.name if record else None,
        network=architecture.name,
        variant=_variant(path, record),
        width=width,
        outputs=model.get_layer("predictions").units if _has_top(model) else None,
        tensors=tuple(
            _statistics(f"{layer.name}/{weight.name}", keras.ops.convert_to_numpy(weight))
            for layer in model.layers
            for weight in layer.weights
        ),
        backend=keras.backend.backend(),
        golden_difference=golden_difference,
        picture_outputs=tuple(float(value) for value in outputs),
    )


def _check_installation(architecture: Architecture) -> float | None:
    """How far this installation is from the golden outputs, relative to the largest of them.

    Raises:
        WeightsError: If it is further than rounding explains.
    """
    golden = golden_outputs(architecture)
    if golden is None:
        return None  # nothing on record
    difference = _difference(computed_outputs(architecture), golden)
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"this installation (Keras {keras.__version__} on {keras.backend.backend()}) gives "
            f"wrong results for {architecture.name}: its outputs are {difference:.1e} off."
        )
    return difference


def _on_picture(model: keras.Model, architecture: Architecture) -> npt.NDArray[np.float32]:
    """The logits for the package's own picture, without the top the averages of feature maps.

    Nothing goes in that only some formats tell: neither the record, which is known by a hash, nor
    the activation of the top.
    """
    if _has_top(model):
        model.get_layer("predictions").activation = keras.activations.linear
    own = (r.preprocessing for r in records.RECORDS.values() if r.network == architecture.name)
    side, channels = model.input_shape[2], model.input_shape[channel_axis()]
    inputs = preprocess(picture(side or architecture.default_size), next(own, "tf"))
    outputs = outputs_of(model, inputs[None, ..., np.arange(channels) % 3])[0]
    if outputs.ndim > 1:
        axes = (1, 2) if keras.config.image_data_format() == "channels_first" else (0, 1)
        outputs = outputs.mean(axis=axes)
    return np.asarray(outputs)


def _compare(path: Path, outputs: npt.NDArray[np.float32], report: Path) -> None:
    """Compare outputs with those of an earlier report.

    Raises:
        WeightsError: If they differ by more than rounding explains.
    """
    try:
        expected = np.array(json.loads(report.read_text("utf-8"))["picture_outputs"], np.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{report}: not a report of an earlier verification (`classics verify --json`)."
        ) from error
    if expected.shape != outputs.shape:
        raise WeightsError(
            f"{path}: has {len(outputs)} outputs, {report} has {expected.size}: other weights."
        )
    difference = _difference(outputs, expected)
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"{path}: its outputs for the picture are {difference:.1e} off those in {report}."
        )


def _difference(outputs: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    return float(np.abs(outputs - expected).max() / (np.abs(expected).max() or 1))


def _has_top(model: keras.Model) -> bool:
    return any(layer.name == "predictions" for layer in model.layers)


def _variant(path: Path, record: PublishedWeights | None) -> str:
    """What the variant was told by."""
    if record:
        return "by its hash"
    if path.suffix == ".keras":
        return "by names, shapes and what the layers compute"
    return "by names and shapes"


def _statistics(name: str, value: npt.NDArray[Any]) -> TensorStatistics:
    # In double precision: the squares of a large float32 are beyond its range.
    mean, deviation = float(value.mean(dtype=np.float64)), float(value.std(dtype=np.float64))
    least, largest = float(value.min()), float(value.max())
    remark = ""
    if name.endswith("/kernel") and value.size > 1 and deviation == 0:
        remark = "constant"
    elif name.endswith("/kernel") and (filters := _dead(value)):
        remark = f"{filters} of {value.shape[-1]} filters are zero"
    elif max(abs(least), abs(largest)) > 1e4:
        remark = "very large"
    return TensorStatistics(name, value.shape, mean, deviation, least, largest, remark)


def _dead(kernel: npt.NDArray[Any]) -> int:
    """How many outputs a kernel gives nothing to."""
    return int((~kernel.reshape(-1, kernel.shape[-1]).any(axis=0)).sum())
