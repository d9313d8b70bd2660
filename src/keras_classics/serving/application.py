"""The application: the addresses, and what becomes of errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from keras_classics import __version__
from keras_classics.errors import ClassicsError, out_of_memory
from keras_classics.serving import classify, messages, protocol
from keras_classics.serving.answering import Desk, Refused
from keras_classics.serving.batching import BusyError, EngineError
from keras_classics.serving.journal import Journal
from keras_classics.serving.keys import Keys
from keras_classics.serving.metrics import MEDIA_TYPE, Metrics
from keras_classics.serving.recording import GONE, Recorder, record_of
from keras_classics.serving.reload import Reloader
from keras_classics.serving.settings import Settings
from keras_classics.serving.shelf import Open, Opened, Shelf, UnknownModelError
from keras_classics.web.security import Guard, is_loopback
from keras_classics.web.uploads import UploadError

OWN_USE = ("/v2", "/classify", "/metrics")
_PAGE = Path(__file__).with_name("page")
_ABOUT = (
    "Image classifiers. POST a picture to /classify for names, or tensors to /v2 by the Open "
    "Inference Protocol."
)
_REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": messages.Problem, "description": "Refused; one line says why."}
}
_KEYLESS: dict[int | str, dict[str, Any]] = {
    401: {"model": messages.Problem, "description": "An API key is needed."}
}


class Server:
    """A whole server: an ASGI application over some models."""

    def __init__(
        self,
        opened: Sequence[Opened],
        open_engine: Open,
        *,
        settings: Settings | None = None,
        host: str = "127.0.0.1",
        keys: tuple[str, ...] = (),
        journal: Journal | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """A server.

        Args:
            opened: The models, at least one.
            open_engine: Opens them again when their folders change.
            settings: Its bounds.
            host: Where it listens, which decides what it may be called.
            keys: API keys, one of which a request needs; none needed without any.
            journal: Where it writes its log.
            metrics: What it counts in.
        """
        self.settings = settings or Settings()
        self.metrics = metrics or Metrics()
        self.journal = journal or Journal()
        self.shelf = Shelf(opened, self.settings, self.metrics)
        self.desk = Desk(self.shelf, self.settings)
        self.reloader = Reloader(self.shelf, open_engine, self.metrics, self.journal)
        app = self._application(keys)
        guarded = Guard(app, host=host, own_use=OWN_USE, any_name=not is_loopback(host))
        self._app = Recorder(guarded, self.metrics, self.journal)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        await self._app(scope, receive, send)

    def _application(self, keys: tuple[str, ...]) -> FastAPI:
        app = FastAPI(
            title="keras-classics",
            version=__version__,
            description=_ABOUT,
            docs_url=None,  # its pages load their scripts from other hosts
            redoc_url=None,
            redirect_slashes=False,
            lifespan=self._lifespan,
            responses=_REFUSED,
            generate_unique_id_function=lambda route: route.name,
            exception_handlers=dict.fromkeys(
                (
                    HTTPException,
                    RequestValidationError,
                    ClientDisconnect,
                    BusyError,
                    UnknownModelError,
                    ClassicsError,
                    EngineError,
                    Exception,
                ),
                _refused,
            ),
        )
        app.state.desk = self.desk
        keyed: dict[str, Any] = {}
        if keys:
            keyed = {"dependencies": [Depends(Keys(keys))], "responses": _KEYLESS}
        app.include_router(protocol.health)
        app.include_router(classify.router, **keyed)
        app.include_router(protocol.router, **keyed)

        @app.get("/metrics", response_class=PlainTextResponse, **keyed)
        async def metrics() -> Response:
            """What Prometheus collects."""
            # Not in the threads that decode: when those are busy, it matters most.
            return Response(await asyncio.to_thread(self.metrics.text), media_type=MEDIA_TYPE)

        @app.get("/", response_class=HTMLResponse)
        async def page() -> FileResponse:
            """A page to drop an image on."""
            return FileResponse(_PAGE / "drop.html")

        app.mount("/page", StaticFiles(directory=_PAGE))
        # This request is read here, as it may be followed by binary data.
        _, found = models_json_schema(
            [(messages.InferRequest, "validation")], ref_template="#/components/schemas/{model}"
        )
        app.openapi()["components"]["schemas"].update(found["$defs"])
        return app

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        seconds = self.settings.watch
        watching = asyncio.create_task(self.reloader.watch(seconds)) if seconds else None
        try:
            yield
        finally:
            if watching is not None:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
            await self.shelf.close()
            self.desk.close()


async def _refused(request: Request, error: Exception) -> Response:
    """An error as one line for who asked, and for the log."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=GONE)  # nobody reads it
    record = record_of(request)
    status, record.reason, words = _told(error)
    record.error = str(error) if status == 500 else words
    headers: dict[str, Any] = {}
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
    if isinstance(error, BusyError):
        headers = {"retry-after": str(error.seconds)}
    return JSONResponse({"error": words}, status, headers)


def _told(error: Exception) -> tuple[int, str | None, str]:
    """The status of an error, a word for the metrics, and what the asker is told."""
    failed = isinstance(error, EngineError)
    reason: str | None = "engine" if failed else "request"
    cause = error.__cause__ if failed else error
    match error:
        case HTTPException():
            reason = error.reason if isinstance(error, Refused) else "bounds"
            if error.status_code in {404, 405}:  # nothing was asked
                reason = None
            told = error.status_code, error.detail
        case BusyError():
            told, reason = (429, str(error)), "queue"
        case RequestValidationError():
            told = 400, messages.problem_of(error.errors())
        case UploadError():
            told = error.status, str(error)
        case UnknownModelError():
            told = 404, str(error)
        case ClassicsError():
            told = 400, str(error)
        case _ if isinstance(cause, Exception) and out_of_memory(cause):
            told = 507, "not enough memory."
        case EngineError():
            told = 500, "the network failed on this request; the log says more."
        case _:
            told = 500, f"{type(error).__name__} (this is a bug; the log says more)."
    return told[0], reason, told[1]
