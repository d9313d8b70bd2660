"""The pictures of a report that is written anew, from where the images of the run are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_classics.classifier.card import Card
from keras_classics.data.fit import CentralCrop
from keras_classics.data.folder import scan
from keras_classics.data.pixels import decode_all
from keras_classics.errors import DataError
from keras_classics.evaluation import report


def thumbnails(content: Mapping[str, Any], card: Card, data: Path) -> report.Thumbnails:
    """The pictures that a report shows, cut as the network sees them, from the folder of the run.

    They are read as large as they are shown, whatever the network's size.

    Raises:
        DataError: If the folder is not one of images.
    """
    wanted = report.paths_of(content)
    listing = scan(data, classes=card.class_names)
    items = [item for item in listing.items if item.name in wanted]
    found: dict[str, npt.NDArray[np.uint8]] = {}
    if items:
        size, fit = card.preprocessing.size, card.preprocessing.fit
        scale = report.HEAT_MAP / max(size)
        size = round(size[0] * scale), round(size[1] * scale)
        if isinstance(fit, CentralCrop):
            fit = dataclasses.replace(fit, resize=round(fit.resize * scale))
        decoded = decode_all(listing.storage, items, size, fit)
        found = {
            item.name: image for item, image in zip(decoded.items, decoded.images, strict=True)
        }
    return found.get


def at_hand(content: Mapping[str, Any], card: Card) -> report.Thumbnails | None:
    """The same from where the images of the run were; None where they are not any more."""
    source = source_of(card)
    with suppress(DataError):
        return thumbnails(content, card, source) if source else None
    return None


def source_of(card: Card) -> Path | None:
    """Where the images of a run were, if something still is."""
    source = Path(str(card.data.get("source") or ""))
    return source if source.name and source.exists() else None
