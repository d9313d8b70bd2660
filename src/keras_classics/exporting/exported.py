"""The folder of an export: model files that run without this package, and what they are.

Neither Keras nor a backend is needed to read it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from keras_classics.classifier.card import Card
from keras_classics.errors import ClassicsError
from keras_classics.host.files import write_text

TargetName = Literal["openvino", "onnx", "litert", "saved_model", "torch_export"]
Precision = Literal["f32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Input = Literal["image", "fitted", "raw"]
"""What an exported model takes.

"image": uint8 (1, h, w, 3), a picture of any size; resize rule, scaling, channel order, network and
temperature are inside. "fitted": uint8 (n, H, W, 3), pictures of the network's size; all but the
resize rule is inside. "raw": float32, the network's own input, and its own output.
"""
INPUTS: tuple[Input, ...] = get_args(Input)
INSIDE: Mapping[Input, tuple[str, ...]] = {
    "image": ("resize", "scaling", "network", "temperature"),
    "fitted": ("scaling", "network", "temperature"),
    "raw": ("network",),
}
"""What an exported model does itself, so that who only has the file does not do it again."""

EXPORT = "export.json"
FORMAT = 1
KEY = "keras_classics"  # under which a model file holds its metadata


class ExportError(ClassicsError):
    """What cannot be exported, or a folder that is not an export, or is corrupt."""


@dataclass(frozen=True)
class Agreement:
    """An export beside the Keras model that it was made of, on real pictures."""

    pictures: int
    of: str  # which pictures, in words
    largest_difference: float  # of the probability of any class, of any picture
    top1_agreement: float  # share of pictures that both call the same
    tolerance: float | None  # the largest difference allowed; None where top-1 decides alone
    least_top1: float  # the least agreement allowed
    rounded: int = 0  # pictures of which the resize rule in the file rounds a grey level otherwise
    largest_rounded: float = 0.0  # difference that this makes, which the tolerance does not bound
    accepted: bool = False  # out of tolerance, and wanted all the same
    accuracy: float | None = None  # of the export, where the classes of the pictures are known
    keras_accuracy: float | None = None  # of the Keras model on the same pictures
    by_accuracy: bool = False  # whether it is near enough as well where that is kept

    @property
    def within(self) -> bool:
        """Whether the export is as near as it has to be."""
        if self.tolerance is not None and not self.largest_difference <= self.tolerance:  # nor NaN
            return False
        return self.top1_agreement >= self.least_top1 or (self.by_accuracy and self.is_as_accurate)

    @property
    def is_as_accurate(self) -> bool:
        """Whether no more of the known classes are missed than `least_top1` leaves open.

        A network of many classes is unsure of some pictures, and calls them otherwise after any
        rounding, wrongly before and after.
        """
        if self.accuracy is None or self.keras_accuracy is None:
            return False
        return self.keras_accuracy - self.accuracy <= 1 - self.least_top1 + 1e-9


@dataclass(frozen=True)
class Export:
    """What `export.json` says."""

    card: Card  # without what only concerns the training
    target: TargetName
    precision: Precision
    input: Input
    source: Mapping[str, str]  # file of the artefact -> SHA-256, or "weights" -> published name
    agreement: Agreement
    files: Mapping[str, str]  # path in the folder, with forward slashes -> SHA-256
    versions: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)  # that the runtime is to be given
    quantisation: Mapping[str, Any] | None = None  # how int8 came about

    def write(self, folder: Path) -> None:
        """Write `export.json` into a folder that holds the model files."""
        values = {"format": FORMAT, **dataclasses.asdict(self)}
        text = json.dumps(values, indent=2, allow_nan=False)
        write_text(folder / EXPORT, text, "\n")


def read_export(folder: str | Path, *, verify: bool = True) -> Export:
    """Read what an export is.

    Args:
        folder: That `classics export` wrote.
        verify: Compare the model files with their hashes, which takes a second for each gigabyte.

    Raises:
        ExportError: If it is no such folder, of a later version, or a file is missing or changed.
    """
    folder = Path(folder)
    path = folder / EXPORT
    if not path.is_file():
        raise ExportError(
            f"{folder}: not an export: a folder with {EXPORT} is needed, such as `classics export` "
            "writes."
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        number = values.pop("format")
        if isinstance(number, int) and number > FORMAT:
            raise ExportError(
                f"{path}: format {number}, but this version reads {FORMAT}; upgrade keras-classics."
            )
        export = Export(
            card=Card.from_dict(values.pop("card")),
            agreement=Agreement(**values.pop("agreement")),
            **values,
        )
        _check(export, number)
    except ExportError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{path}: not the description of an export, or corrupt.") from error
    for name, digest in export.files.items():
        if not (folder / name).is_file():
            raise ExportError(f"{folder / name}: missing; export again.")
        if verify and sha256(folder / name) != digest:
            raise ExportError(f"{folder / name}: changed since it was exported; export again.")
    return export


def _check(export: Export, number: object) -> None:
    if (
        number != FORMAT
        or export.target not in get_args(TargetName)
        or export.precision not in PRECISIONS
        or export.input not in INPUTS
        or not _are_texts(export.files)
        or not _are_texts(export.source)
        or not _are_texts(export.versions)
        or not _are_texts(export.options, least=0)
        or not all(isinstance(value, int | float) for value in _numbers(export.agreement))
        or any(Path(name).is_absolute() or ".." in Path(name).parts for name in export.files)
    ):
        raise ValueError


def _are_texts(values: object, least: int = 1) -> bool:
    """Whether a mapping is one from text to text, of so many at least."""
    return (
        isinstance(values, Mapping)
        and len(values) >= least
        and all(isinstance(each, str) for each in (*values, *values.values()))
    )


def _numbers(agreement: Agreement) -> list[object]:
    """What has to be numbers."""
    values = dataclasses.asdict(agreement)
    optional = [values.pop(name) for name in ("tolerance", "accuracy", "keras_accuracy")]
    del values["of"]
    return [*values.values(), *(value for value in optional if value is not None)]


def sha256(path: Path) -> str:
    """Of the bytes of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of all files in a folder, at any depth, by their paths there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def bare(card: Card) -> Card:
    """A card without what only concerns the training, such as where its pictures lay."""
    names = ("fingerprint", "contents", "images")
    kept = {name: card.data[name] for name in names if name in card.data}
    return dataclasses.replace(card, data=kept, history=[], recipe={})


def metadata(export: Mapping[str, Any], card: Card) -> str:
    """What a model file says of itself, as JSON.

    Args:
        export: Target, precision, input, source and versions.
        card: Of the network.
    """
    calibration = card.fitted
    shape = card.preprocessing
    values = {
        "network": card.network,
        "width": card.width,
        "class_names": list(card.class_names),
        "preprocessing": {
            "size": list(shape.size),
            "fit": dataclasses.asdict(shape)["fit"],
            "mode": shape.mode,
            "channels": "red, green, blue",
        },
        "temperature": calibration.temperature if calibration else 1.0,
        "threshold": calibration.threshold if calibration else 0.0,
        "fingerprint": card.data.get("fingerprint"),
        "inside": INSIDE[export["input"]],
        **export,
    }
    return json.dumps(values, ensure_ascii=True, sort_keys=True)
