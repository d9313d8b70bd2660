"""`POST /classify`: pictures in, class names out."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
from starlette.requests import Request
from starlette.responses import Response

from keras_classics.card import Card
from keras_classics.deployment.serving import messages
from keras_classics.deployment.serving.answering import Desk, Refused, within
from keras_classics.deployment.serving.intake import NAMELESS, pictures_of_form
from keras_classics.deployment.serving.protocol import answer as as_json
from keras_classics.deployment.serving.recording import record_of
from keras_classics.deployment.serving.shelf import Served
from keras_classics.errors import ClassicsError
from keras_classics.prediction import answer
from keras_classics.web.bodies import Share

TOP = 5
MOST_PARTS = 64
_RAW = ("image/", "application/octet-stream")


class Classify:
    """What the addresses below /classify do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def classify(self, request: Request) -> Response:
        """What pictures show."""
        desk, record = self._desk, record_of(request)
        deadline = record.since + desk.settings.timeout
        query = request.query_params
        top = _top(query.get("top", str(TOP)))
        found = desk.shelf.find(request.path_params.get("model"), query.get("version"))
        record.model, record.version = found.place.name, found.place.version
        with found.in_use() as served, desk.room.share() as share:
            files = await self._files(request, share)
            left = deadline - time.monotonic()
            rows = await within(request, left, desk.rows(request, served, files))
            names = [name for name, _ in files]
            return as_json(_classification(served, names, rows, top))

    async def _files(self, request: Request, share: Share) -> list[tuple[str, bytes]]:
        desk = self._desk
        kind = request.headers.get("content-type", "")
        plain = kind.partition(";")[0].strip().lower()
        if plain == "multipart/form-data":
            data = await desk.read(request, share, desk.settings.request_bytes)
            return await desk.in_thread(lambda: pictures_of_form(data, kind, MOST_PARTS))
        if not plain.startswith(_RAW):
            raise Refused(
                415,
                "type",
                f"Content-Type {plain[:40]!r}: send image/jpeg or the like, "
                "application/octet-stream, or multipart/form-data.",
            )
        data = await desk.read(request, share, desk.settings.file_bytes)
        return [(unquote(request.headers.get("x-name", NAMELESS), errors="replace"), data)]


def _top(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text)):
        raise ClassicsError(f"top={text[:20]!r}: a number of classes is needed, at least 1.")
    return int(text)


def _classification(
    served: Served, names: list[str], rows: npt.NDArray[np.float32], top: int
) -> messages.Classification:
    return messages.Classification(
        model=served.place.name,
        version=served.place.version,
        predictions=[
            _classified(name, row, served.card, top) for name, row in zip(names, rows, strict=True)
        ],
    )


def _classified(
    name: str, row: npt.NDArray[np.float32], card: Card, top: int
) -> messages.Classified:
    found = answer(Path(name), row, card, top)
    return messages.Classified(
        file=name,
        class_name=found.class_name,
        probability=found.confidence,
        accepted=found.accepted,
        top=[messages.ClassProbability(class_name=each, probability=p) for each, p in found.top],
    )
