"""Pictures to begin with: two photographs, drawings, digits, and those of an artefact itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from keras_classics.classifier.artefact import folder_id
from keras_classics.classifier.card import MANIFEST
from keras_classics.data.digits import load_digits_images
from keras_classics.data.manifest import read_manifest
from keras_classics.data.sources import Source, find_images
from keras_classics.data.storage import Archive, Folder, is_archive
from keras_classics.errors import ClassicsError
from keras_classics.explorer.models import Held
from keras_classics.explorer.pictures import UPLOAD_BYTES, Picture, Pixels, read_picture
from keras_classics.explorer.sprites import png

OF_AN_ARTEFACT = 12
_DIGITS = "the digits of scikit-learn"  # as an artefact names them
_GLYPHS = "Aag5"


def samples(models: Iterable[Held], data: str | os.PathLike[str] | None = None) -> list[Picture]:
    """The samples for some models: those of artefacts first.

    Args:
        models: Artefacts among them give held-out images of theirs, if these are still there.
        data: Further images: a file, a folder, an archive or a pattern.

    Raises:
        ClassicsError: If there is no image in `data`.
    """
    found: dict[str, Picture] = {}
    of_data = [] if data is None else list(_some(find_images(data)))
    if data is not None and not of_data:
        raise ClassicsError(f"{os.fspath(data)}: no image in it can be read.")
    for picture in (*of_data, *(own for held in models for own in _own(held)), *general()):
        found.setdefault(picture.id, picture)
    return list(found.values())


def general() -> Iterator[Picture]:
    """Photographs and drawings that every model gets."""
    photographs = resources.files("sklearn.datasets.images")
    for name in ("flower", "china"):
        data = photographs.joinpath(f"{name}.jpg").read_bytes()
        yield _sample(name, data, label=None)
    for name, draw in (("shapes", _shapes), ("rings", _rings), ("letters", _letters)):
        yield _sample(name, png(draw()), label=None)


def _sample(key: str, data: bytes, *, label: str | None, name: str | None = None) -> Picture:
    read = read_picture(data, name or key)
    return Picture(
        id=key,
        name=read.name,
        data=data,
        width=read.width,
        height=read.height,
        sample=True,
        animated=read.animated,
        label=label,
        note=read.note,
    )


def _shapes(side: int = 320) -> Pixels:
    """A disc, a square and a triangle in plain colours: (side, side, 3) uint8."""
    image = np.full((side, side, 3), (244, 241, 234), np.uint8)
    u = side // 16
    cv2.circle(image, (5 * u, 5 * u), 3 * u, (200, 55, 45), -1, cv2.LINE_AA)
    cv2.rectangle(image, (9 * u, 2 * u), (14 * u, 7 * u), (40, 90, 170), -1)
    corners = np.array([(8 * u, 9 * u), (12 * u, 15 * u), (4 * u, 15 * u)])
    cv2.fillPoly(image, [corners], (60, 140, 80), cv2.LINE_AA)
    return image


def _rings(side: int = 320) -> Pixels:
    """Rings ever finer towards the border: all directions, all frequencies; (side, side, 3)."""
    x = np.linspace(-1, 1, side)
    phase = (x[:, None] ** 2 + x[None] ** 2) * side * np.pi / 8
    gray = np.rint(127.5 + 127.5 * np.cos(phase)).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def _letters(side: int = 320) -> Pixels:
    """Letters on a slope of colours: (side, side, 3) uint8."""
    slope = np.linspace(0, 1, side)
    image = np.empty((side, side, 3), np.uint8)
    image[..., 0] = np.rint(255 - 90 * slope)[None]
    image[..., 1] = np.rint(225 - 60 * slope)[:, None]
    image[..., 2] = np.rint(190 + 60 * slope)[None]
    for i, glyph in enumerate(_GLYPHS):
        at = (side // 10 + side // 2 * (i % 2), side * 9 // 20 + side // 2 * (i // 2))
        cv2.putText(
            image, glyph, at, cv2.FONT_HERSHEY_DUPLEX, side / 80, (25, 25, 45), 6, cv2.LINE_AA
        )
    return image


def _own(held: Held) -> Iterator[Picture]:
    """Images of an artefact's own classes that it has not learnt from, if they are there."""
    source = held.card.data.get("source")
    if held.artefact is None or not isinstance(source, str):
        return
    rows = _held_out(held)
    if source == _DIGITS:
        images, labels, names = load_digits_images(32)
        for row in rows:
            number = int(row["path"])
            label = names[labels[number]]
            yield _sample(f"digit-{number}", png(images[number]), label=label)
        return
    place = Path(source)
    # A folder of the same name may be another one by now.
    if not place.exists() or held.card.data.get("folder") != folder_id(place):
        return
    if not (place.is_dir() or is_archive(place)):
        return
    storage = Folder(place) if place.is_dir() else Archive(place)
    labels_of = {row["path"]: row["label"] for row in rows}
    yield from _some([Source(storage, name) for name in labels_of], labels_of)


def _held_out(held: Held) -> list[dict[str, str]]:
    """Rows of the manifest: a few of each class in turn, of the test part or else of validation."""
    assert held.artefact is not None
    manifest = held.artefact / MANIFEST
    if not os.path.lexists(manifest):
        return []
    rows = read_manifest(manifest)
    for part in ("test", "val"):
        by_class: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            if row["split"] == part:
                by_class.setdefault(row["label"], []).append(row)
        if by_class:
            longest = max(map(len, by_class.values()))
            turns = (one[i] for i in range(longest) for one in by_class.values() if i < len(one))
            return [row for row, _ in zip(turns, range(OF_AN_ARTEFACT), strict=False)]
    return []


def _some(sources: list[Source], labels: dict[str, str] | None = None) -> Iterator[Picture]:
    """A few pictures from all over a list; those that cannot be read are passed by."""
    step = max(1, len(sources) // OF_AN_ARTEFACT)
    for number, source in enumerate(sources[::step][:OF_AN_ARTEFACT], start=1):
        size = source.storage.size(source.name)
        if size is None or size > UPLOAD_BYTES:
            continue
        label = (labels or {}).get(source.name)
        key = hashlib.sha256(str(source.path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        try:
            data = source.storage.read_bytes(source.name)
            yield _sample(f"own-{number}-{key}", data, label=label, name=source.name)
        except ClassicsError:
            continue
