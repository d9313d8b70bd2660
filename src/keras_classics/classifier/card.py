"""The card of an artefact: what `artefact.json` says about the network beside it.

It needs neither Keras nor a backend, as what is exported runs without them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from keras_classics.data.fit import CentralCrop, Fit, Interpolation
from keras_classics.errors import ArtefactError
from keras_classics.evaluation.temperature import Calibration
from keras_classics.host.files import write_text
from keras_classics.host.regular import read_regular
from keras_classics.weights.preprocess import Mode

CARD = "artefact.json"
MODEL = "model.keras"
MANIFEST = "split.csv"
FEATURES = "features.npy"  # of a run from trained weights: (images, d) float32, as in the manifest
RECORD = "run.json"  # of a run that is not finished
FORMAT = 1


@dataclass(frozen=True)
class Preprocessing:
    """From a file to the network's input, the same in training, evaluation and prediction."""

    size: tuple[int, int]  # height and width in pixels
    fit: Fit | CentralCrop
    mode: Mode
    channels: int = 3


@dataclass(frozen=True)
class Card:
    """What `artefact.json` holds."""

    network: str
    width: float
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    recipe: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    figures: dict[str, Any] | None = None  # on held-out images
    calibration: dict[str, Any] | None = None  # a `Calibration`; None where none was fitted
    completed: bool = True  # false where the run was interrupted
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def fitted(self) -> Calibration | None:
        """What is done to the network's probabilities; None where nothing was fitted."""
        return Calibration.from_dict(self.calibration) if self.calibration else None

    def write(self, folder: Path) -> None:
        """Write the card into an artefact's folder, atomically."""
        text = json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2, allow_nan=False)
        write_text(folder / CARD, text, "\n")

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Read the card of an artefact's folder.

        Raises:
            ArtefactError: If it is missing, torn, or of a later format.
        """
        path = folder / CARD
        try:
            values = json.loads(read_regular(path))
            number = values.pop("format")
            if isinstance(number, int) and number > FORMAT:
                raise ArtefactError(
                    f"{path}: format {number}, but this version reads {FORMAT}; upgrade "
                    "keras-classics."
                )
            card = cls.from_dict(values)
            if number != FORMAT:
                raise ValueError
            return card
        except ArtefactError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(
                f"{path}: not the description of an artefact, or corrupt."
            ) from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Card:
        """A card from the plain values of its fields, as `dataclasses.asdict` gives them.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: If they are not those of a card.
        """
        values = dict(values)
        shape = dict(values.pop("preprocessing"))
        shape["size"] = tuple(shape["size"])
        if isinstance(shape["fit"], dict):
            shape["fit"] = CentralCrop(**shape["fit"])
        values["class_names"] = tuple(values["class_names"])
        card = cls(preprocessing=Preprocessing(**shape), **values)
        _check(card)
        return card


def check_artefact(folder: Path) -> None:
    """Refuse what is not the folder of an artefact, before anything is loaded.

    Raises:
        ArtefactError: If there is no such folder, or it is another one's, or not finished.
    """
    if not folder.exists():
        raise ArtefactError(f"{folder}: no such artefact.")
    if not (folder / CARD).is_file() and (folder / RECORD).is_file():
        raise ArtefactError(
            f"{folder}: an unfinished run; resume with `classics train --resume {folder}`."
        )
    if not (folder / CARD).is_file() or not (folder / MODEL).is_file():
        raise ArtefactError(
            f"{folder}: not an artefact: a folder with {MODEL} and {CARD} is needed, such as "
            "`classics train` writes."
        )


def _check(card: Card) -> None:
    """Raise what `Card.read` takes for a torn card, where a value cannot be."""
    height, width = card.preprocessing.size
    if (
        not _can_fit(card.preprocessing)
        or card.preprocessing.mode not in get_args(Mode)
        or not all(isinstance(side, int) and side > 0 for side in (height, width))
        or not all(isinstance(name, str) for name in card.class_names)
    ):
        raise ValueError
    if card.calibration is not None:
        Calibration.from_dict(card.calibration)


def _can_fit(shape: Preprocessing) -> bool:
    if not isinstance(shape.fit, CentralCrop):
        return shape.fit in get_args(Fit)
    known = shape.fit.interpolation in get_args(Interpolation)
    return known and isinstance(shape.fit.resize, int) and shape.fit.resize >= max(shape.size)
