"""The application: every address, what it takes, and what becomes of errors.

The event loop only passes bytes on; whatever computes does so in a thread, and the models one
question at a time, as each takes all cores.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from keras_classics.architectures.catalog import CATALOG
from keras_classics.drawing import Drawing, draw, stylesheet
from keras_classics.errors import ClassicsError, out_of_memory
from keras_classics.explorer import schema
from keras_classics.explorer.bodies import message
from keras_classics.explorer.graph import code, graph
from keras_classics.explorer.inference import Inference, methods
from keras_classics.explorer.memory import Memory
from keras_classics.explorer.models import MOST_MODELS, Held, Models, random_network
from keras_classics.explorer.page import page_files
from keras_classics.explorer.pictures import (
    MOST_UPLOADS,
    UPLOAD_BYTES,
    UPLOAD_PIXELS,
    Picture,
    Pictures,
    read_picture,
)
from keras_classics.explorer.sprites import png
from keras_classics.web.bodies import body
from keras_classics.web.security import DRAWING_POLICY, Guard
from keras_classics.web.uploads import UploadError, too_many_bytes

BODY_SECONDS = 20.0  # for a body to arrive
MOST_WAITING = 16  # questions in line; more are sent away
_REVALIDATED = {"cache-control": "no-cache"}

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class Application:
    """What the addresses do."""

    def __init__(self, models: Models, pictures: Pictures, *, body_seconds: float) -> None:
        self.models, self.pictures = models, pictures
        self.inference = Inference()
        self._body_seconds = body_seconds
        self._drawings: Memory[bytes] = Memory(count=64, size=64 * 1024**2, size_of=len)
        self._graphs: Memory[bytes] = Memory(count=MOST_MODELS, size=64 * 1024**2, size_of=len)
        self._page = page_files()
        self._models_at_work = anyio.Semaphore(1)
        self._others_at_work = anyio.Semaphore(2)
        self._waiting = 0

    def routes(self) -> list[Route]:
        """All addresses."""
        api: list[tuple[str, str, Endpoint]] = [
            ("GET", "/api/schema", self._get_schema),
            ("GET", "/api/models", self._get_models),
            ("POST", "/api/models", self._post_models),
            ("GET", "/api/models/{model}/graph", self._get_graph),
            ("GET", "/api/models/{model}/code/{block}", self._get_code),
            ("GET", "/api/models/{model}/drawing.{form}", self._get_drawing),
            ("GET", "/api/drawing.css", self._get_stylesheet),
            ("GET", "/api/pictures", self._get_pictures),
            ("POST", "/api/pictures", self._post_pictures),
            ("GET", "/api/pictures/{picture}.png", self._get_picture),
            ("POST", "/api/predict", self._asks(schema.PredictRequest, self.inference.predict)),
            ("POST", "/api/maps", self._asks(schema.MapsRequest, self.inference.maps)),
            ("POST", "/api/cam", self._asks(schema.CamRequest, self.inference.cam)),
            ("POST", "/api/curves", self._asks(schema.CurvesRequest, self.inference.curves)),
            ("POST", "/api/ledger", self._asks(schema.LedgerRequest, self.inference.ledger)),
            ("POST", "/api/filters", self._post_filters),
            ("GET", "/{path:path}", self._get_page),
        ]
        return [Route(path, _steady(endpoint), methods=[method]) for method, path, endpoint in api]

    async def warm(self) -> None:
        """Run every model once, one after the other."""
        for held in self.models:
            async with self._models_at_work:
                await anyio.to_thread.run_sync(self.inference.warm, held, abandon_on_cancel=True)

    # What needs no model to run.

    async def _get_schema(self, _: Request) -> Response:
        return Response(json.dumps(schema.json_schema()), media_type="application/json")

    async def _get_models(self, _: Request) -> Response:
        return _answer(
            schema.Models(
                models=[held.message() for held in self.models],
                catalog=[
                    schema.CatalogEntry(name=a.name, title=a.title, paper=a.paper, year=a.year)
                    for a in CATALOG.values()
                ],
                methods=methods(),
                limits=schema.Limits(
                    models=MOST_MODELS,
                    pictures=MOST_UPLOADS,
                    upload_bytes=UPLOAD_BYTES,
                    upload_pixels=UPLOAD_PIXELS,
                ),
            )
        )

    async def _get_graph(self, request: Request) -> Response:
        held = self._model(request)

        def make() -> bytes:
            return graph(held).model_dump_json().encode()

        content = await self._in_thread(lambda: self._graphs.of(held.id, make))
        return Response(content, media_type="application/json")

    async def _get_code(self, request: Request) -> Response:
        held = self._model(request)
        name = request.path_params["block"]
        block = next((b for b in held.analysis.tree.walk() if b.name == name), None)
        if block is None:
            raise HTTPException(404, f"block {name!r} is not in {held.id}.")
        return _answer(await self._in_thread(partial(code, held, block)))

    async def _get_drawing(self, request: Request) -> Response:
        held, form, query = self._model(request), request.path_params["form"], request.query_params
        known = {"level", "block", "opened", "unfolded", "theme", "standalone", "beside"}
        if unknown := sorted(set(query) - known):
            raise ClassicsError(f"{unknown[0]}: no such option; {', '.join(sorted(known))} are.")
        if form not in _FORMS:
            raise HTTPException(404, f"drawing.{form}: one of {', '.join(_FORMS)} can be had.")
        beside = self._held(query["beside"]) if query.get("beside") else None
        opened = query.get("opened")

        def make() -> bytes:
            drawing = draw(
                held.model,
                level=query.get("level", "blocks"),  # type: ignore[arg-type]
                block=query.get("block") or None,
                opened=None if opened is None else [name for name in opened.split(",") if name],
                unfolded=query.get("unfolded") == "1",
                theme=query.get("theme", "auto"),  # type: ignore[arg-type]
                size=held.open_size,
                beside=None if beside is None else beside.model,
            )
            return _FORMS[form][1](drawing, query.get("standalone", "1") == "1")

        key = (held.id, beside.id if beside else None, form, tuple(sorted(query.items())))
        content = await self._in_thread(lambda: self._drawings.of(key, make))
        headers = {"content-security-policy": DRAWING_POLICY}
        return Response(content, media_type=_FORMS[form][0], headers=headers)

    async def _get_stylesheet(self, request: Request) -> Response:
        theme = request.query_params.get("theme", "auto")
        if theme not in ("auto", "light", "dark"):
            raise ClassicsError(f"theme={theme!r}: one of auto, light, dark is needed.")
        return Response(stylesheet(theme), media_type="text/css")  # type: ignore[arg-type]

    async def _get_pictures(self, _: Request) -> Response:
        return _answer(schema.Pictures(pictures=[each.message() for each in self.pictures]))

    async def _post_pictures(self, request: Request) -> Response:
        name = unquote(request.headers.get("x-name", "picture"), errors="replace")
        data = await body(
            request,
            UPLOAD_BYTES,
            too_large=too_many_bytes(UPLOAD_BYTES),
            seconds=self._body_seconds,
        )
        picture = await self._in_thread(partial(read_picture, data, name))
        self.pictures.add(picture)
        return _answer(picture.message(), 201)

    async def _get_picture(self, request: Request) -> Response:
        picture = self._picture(request.path_params["picture"])
        name = request.query_params.get("model")
        held = None if name is None else self._held(name)

        def make() -> bytes:
            pixels = picture.whole() if held is None else self.inference.fitted(held, picture)
            return png(pixels)

        return Response(await self._in_thread(make), media_type="image/png")

    async def _get_page(self, request: Request) -> Response:
        path = request.scope["path"]
        file = self._page.get(path)
        if file is None and path == "/":
            return PlainTextResponse(
                "The page is not built: run `npm ci && npm run build` in page/. "
                "The server itself works: see /api/schema.\n",
                503,
            )
        if file is None:
            raise HTTPException(404, f"{path[:200]}: no such address.")
        return Response(file.content, media_type=file.media_type, headers=_REVALIDATED)

    # What runs a model.

    async def _post_models(self, request: Request) -> Response:
        asked = await message(request, schema.AddModel, seconds=self._body_seconds)
        if self.models.full:
            raise HTTPException(409, f"{MOST_MODELS} models are held, which is all that fit.")
        held = await self._with_models(request, partial(random_network, asked.network))
        if self.models.full:  # by now
            raise HTTPException(409, f"{MOST_MODELS} models are held, which is all that fit.")
        return _answer(self.models.add(held).message(), 201)

    async def _post_filters(self, request: Request) -> Response:
        asked = await message(request, schema.FiltersRequest, seconds=self._body_seconds)
        held = self._held(asked.model)
        return _answer(await self._in_thread(partial(self.inference.filters, held, asked)))

    def _asks(
        self, kind: type[Any], answer: Callable[[Held, Picture, Any], schema.Message]
    ) -> Endpoint:
        """The endpoint of a question about a model and a picture."""

        async def endpoint(request: Request) -> Response:
            asked = await message(request, kind, seconds=self._body_seconds)
            held, picture = self._held(asked.model), self._picture(asked.picture)
            return _answer(await self._with_models(request, partial(answer, held, picture, asked)))

        return endpoint

    async def _with_models(self, request: Request, work: Callable[[], T]) -> T:
        """Do some work in a thread when it is its turn, if somebody still waits for it."""
        if self._waiting >= MOST_WAITING:
            raise HTTPException(503, "too many questions at a time; ask again in a moment.")
        self._waiting += 1
        try:
            async with self._models_at_work:
                if await request.is_disconnected():
                    raise ClientDisconnect
                return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        finally:
            self._waiting -= 1

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._others_at_work:
            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)

    # What is asked.

    def _model(self, request: Request) -> Held:
        return self._held(request.path_params["model"])

    def _held(self, key: str) -> Held:
        try:
            return self.models[key]
        except KeyError:
            known = ", ".join(held.id for held in self.models)
            raise HTTPException(404, f"model {key[:100]!r} is not held; {known} are.") from None

    def _picture(self, key: str) -> Picture:
        try:
            return self.pictures[key]
        except KeyError:
            raise HTTPException(
                404, f"picture {key[:100]!r} is not held, or not any more; upload it again."
            ) from None


_FORMS: dict[str, tuple[str, Callable[[Drawing, bool], bytes]]] = {
    "svg": ("image/svg+xml", lambda drawing, alone: drawing.svg(standalone=alone).encode()),
    "png": ("image/png", lambda drawing, _: drawing.png()),
    "pdf": ("application/pdf", lambda drawing, _: drawing.pdf()),
}


def application(
    models: Models,
    pictures: Sequence[Picture],
    *,
    host: str = "127.0.0.1",
    warm: bool = True,
    body_seconds: float = BODY_SECONDS,
) -> ASGIApp:
    """The application over some models.

    Args:
        models: To be looked at.
        pictures: The samples.
        host: Where the server listens, which decides what it may be called.
        warm: Whether every model is run once in the background, before it is asked.
        body_seconds: For the body of a request to arrive.
    """
    app = Application(models, Pictures(pictures), body_seconds=body_seconds)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(app.warm()) if warm else None
        yield
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    answering = Starlette(
        routes=app.routes(),
        exception_handlers={
            HTTPException: _refused,
            ClassicsError: _mendable,
            ClientDisconnect: _gone,
        },
        lifespan=lifespan,
    )
    return Guard(answering, host=host)


def _answer(message: schema.Message, status: int = 200) -> Response:
    return Response(message.model_dump_json(), status, media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _answer(schema.Problem(error=error.detail), error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _mendable(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, UploadError) else 400
    return _answer(schema.Problem(error=str(error)), status)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


def _steady(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose bugs, too, are answered in one line: the server goes on."""

    async def steady(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (HTTPException, ClassicsError, ClientDisconnect):
            raise
        except Exception as error:
            if out_of_memory(error):
                return _answer(schema.Problem(error="not enough memory; choose less."), 507)
            line = f"{type(error).__name__}: {' '.join(str(error).split())[:200]} (this is a bug)"
            log = logging.getLogger(__name__)
            log.error("%s", line)
            log.debug("where it happened", exc_info=error)
            return _answer(schema.Problem(error=line), 500)

    return steady
