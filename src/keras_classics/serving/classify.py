"""`POST /classify`: pictures in, class names out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request, Response

from keras_classics.classifier.card import Card
from keras_classics.classifier.prediction import answer
from keras_classics.serving import messages
from keras_classics.serving.answering import FEW, AskedModel, Desk, Refused, desk_of, within
from keras_classics.serving.intake import NAMELESS, pictures_of_form
from keras_classics.serving.shelf import Served
from keras_classics.web.bodies import Share

MOST_PARTS = 64
_FORM = "multipart/form-data"
_RAW = ("image/", "application/octet-stream")
_PICTURE = {"type": "string", "contentMediaType": "image/*"}
_FILES = {
    "type": "object",
    "properties": {"file": {"type": "array", "items": _PICTURE, "minItems": 1}},
    "required": ["file"],
}
_TAKES = {
    "required": True,
    "content": {
        _FORM: {"schema": _FILES},
        "image/*": {"schema": _PICTURE},
        "application/octet-stream": {"schema": _PICTURE},
    },
}
_TOP = Query(ge=1, le=99_999, description="How many classes to name; all, if there are fewer.")

router = APIRouter()
_post = partial(
    router.post,
    response_model=messages.Classification,
    responses=messages.PROBLEMS,
    openapi_extra={"requestBody": _TAKES},
)


@_post("/classify", name="classify")
@_post("/classify/{model}", name="classify_model")
async def classify(request: Request, found: AskedModel, top: Annotated[int, _TOP] = 5) -> Response:
    """What pictures show."""
    found.batcher.check(1)  # before its body is read
    desk = desk_of(request)
    with found.in_use() as served, desk.room.share() as share:
        data = await _data(request, desk, share)
        work = _answer(request, desk, served, data, top)
        return await within(request, desk.deadline(request), work)


async def _data(request: Request, desk: Desk, share: Share) -> bytes:
    plain = _type(request)
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


async def _answer(request: Request, desk: Desk, served: Served, data: bytes, top: int) -> Response:
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


def _classification(
    served: Served, names: list[str], rows: npt.NDArray[np.float32], top: int
) -> Response:
    message = messages.Classification(
        model=served.place.name,
        version=served.place.version,
        predictions=[
            _classified(name, row, served.card, top) for name, row in zip(names, rows, strict=True)
        ],
    )
    return Response(message.model_dump_json(by_alias=True), media_type="application/json")


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
