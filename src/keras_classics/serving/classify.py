"""`POST /classify`: pictures in, class names out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
from starlette.requests import Request
from starlette.responses import Response

from keras_classics.classifier.card import Card
from keras_classics.classifier.prediction import answer
from keras_classics.errors import ClassicsError
from keras_classics.serving import messages
from keras_classics.serving.answering import FEW, Desk, Refused, within
from keras_classics.serving.intake import NAMELESS, pictures_of_form
from keras_classics.serving.protocol import answer as as_json
from keras_classics.serving.recording import record_of
from keras_classics.serving.shelf import Served
from keras_classics.web.bodies import Share

TOP = 5
MOST_PARTS = 64
_FORM = "multipart/form-data"
_RAW = ("image/", "application/octet-stream")


class Classify:
    """What the addresses below /classify do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def classify(self, request: Request) -> Response:
        """What pictures show."""
        desk, record = self._desk, record_of(request)
        query = request.query_params
        top = _top(query.get("top", str(TOP)))
        found = desk.shelf.find(request.path_params.get("model"), query.get("version"))
        record.model, record.version = found.place.name, found.place.version
        with found.in_use() as served, desk.room.share() as share:
            data = await self._data(request, share)
            work = self._answer(request, served, data, top)
            return await within(request, desk.deadline(request), work)

    async def _data(self, request: Request, share: Share) -> bytes:
        desk, plain = self._desk, _type(request)
        if plain == _FORM:
            return await desk.read(request, share, desk.settings.request_bytes)
        if not plain.startswith(_RAW):
            raise Refused(
                415,
                "type",
                f"Content-Type {plain[:40]!r}: send image/jpeg or the like, "
                "application/octet-stream, or multipart/form-data.",
            )
        return await desk.read(request, share, desk.settings.file_bytes)

    async def _answer(self, request: Request, served: Served, data: bytes, top: int) -> Response:
        desk = self._desk
        if _type(request) == _FORM:
            kind = request.headers["content-type"]
            files = await desk.in_thread(lambda: pictures_of_form(data, kind, MOST_PARTS))
        else:
            files = [(unquote(request.headers.get("x-name", NAMELESS), errors="replace"), data)]
        rows = await desk.rows(request, served, files)
        work = partial(_classification, served, [name for name, _ in files], rows, top)
        return work() if rows.size <= FEW else await desk.in_thread(work)


def _type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _top(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text)):
        raise ClassicsError(f"top={text[:20]!r}: a number of classes is needed, at least 1.")
    return int(text)


def _classification(
    served: Served, names: list[str], rows: npt.NDArray[np.float32], top: int
) -> Response:
    return as_json(
        messages.Classification(
            model=served.place.name,
            version=served.place.version,
            predictions=[
                _classified(name, row, served.card, top)
                for name, row in zip(names, rows, strict=True)
            ],
        )
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
