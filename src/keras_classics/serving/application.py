"""The application: the addresses, and what becomes of errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from keras_classics.errors import ClassicsError, out_of_memory
from keras_classics.serving.answering import Desk, Refused
from keras_classics.serving.batching import EngineError
from keras_classics.serving.classify import Classify
from keras_classics.serving.gate import Gate
from keras_classics.serving.intake import EncodingError, TooLargeError
from keras_classics.serving.journal import Journal
from keras_classics.serving.keys import Keys
from keras_classics.serving.metrics import MEDIA_TYPE, Metrics
from keras_classics.serving.openapi import openapi
from keras_classics.serving.operations import Endpoint, Operation, operations
from keras_classics.serving.pages import Page, docs_page, drop_page
from keras_classics.serving.protocol import Protocol
from keras_classics.serving.recording import GONE, Recorder, record_of
from keras_classics.serving.reload import Reloader
from keras_classics.serving.settings import Settings
from keras_classics.serving.shelf import Open, Opened, Shelf, UnknownModelError
from keras_classics.web.security import Guard, is_loopback
from keras_classics.web.uploads import UploadError

OWN_USE = ("/v2", "/classify", "/metrics")


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
        table = operations(
            protocol=Protocol(self.desk),
            classify=Classify(self.desk),
            metrics=self._get_metrics,
            document=self._get_document,
            docs=self._get_docs,
            page=self._get_page,
        )
        self._document = openapi(table, keyed=bool(keys))
        self._docs, self._page = docs_page(self._document), drop_page(keyed=bool(keys))
        answering = Starlette(
            routes=[self._route(each) for each in table],
            middleware=[
                Middleware(Guard, host=host, own_use=OWN_USE, any_name=not is_loopback(host)),
                *([Middleware(Keys, keys)] if keys else []),
            ],
            exception_handlers={HTTPException: _refused},
            lifespan=self._lifespan,
        )
        answering.router.redirect_slashes = False
        self.routes = answering.routes
        self._app = Recorder(Gate(answering, self.shelf), self.metrics, self.journal)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
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

    def _route(self, operation: Operation) -> Route:
        steady = self._steady(operation.name, operation.endpoint)
        return Route(operation.path, steady, methods=[operation.method])

    def _steady(self, name: str, endpoint: Endpoint) -> Endpoint:
        """An endpoint whose errors are answered in one line."""

        async def steady(request: Request) -> Response:
            record = record_of(request)
            record.endpoint = name
            try:
                return await endpoint(request)
            except ClientDisconnect:
                return Response(status_code=GONE)  # nobody reads it
            except HTTPException as error:
                record.reason = error.reason if isinstance(error, Refused) else "bounds"
                record.error = error.detail
                raise
            except Exception as error:
                status, words = _told(error)
                record.reason = "engine" if isinstance(error, EngineError) else "request"
                record.error = str(error) if status == 500 else words
                return JSONResponse({"error": words}, status)

        return steady

    async def _get_metrics(self, _: Request) -> Response:
        # Not in the threads that decode: when those are busy, it matters most.
        return Response(await asyncio.to_thread(self.metrics.text), media_type=MEDIA_TYPE)

    async def _get_document(self, _: Request) -> Response:
        return Response(json.dumps(self._document), media_type="application/json")

    async def _get_docs(self, _: Request) -> Response:
        return _html(self._docs)

    async def _get_page(self, _: Request) -> Response:
        return _html(self._page)


def _html(page: Page) -> Response:
    headers = {"content-security-policy": page.policy}
    return Response(page.content, headers=headers, media_type="text/html")


def _told(error: Exception) -> tuple[int, str]:
    """The status of an error, and what the asker is told of it."""
    kinds: tuple[tuple[type[Exception], int], ...] = (
        (UnknownModelError, 404),
        (EncodingError, 415),
        (TooLargeError, 413),
        (ClassicsError, 400),
    )
    if isinstance(error, UploadError):
        return error.status, str(error)
    cause = error.__cause__ if isinstance(error, EngineError) else error
    if isinstance(cause, Exception) and out_of_memory(cause):
        return 507, "not enough memory."
    if isinstance(error, EngineError):
        return 500, "the network failed on this request; the log says more."
    for kind, status in kinds:
        if isinstance(error, kind):
            return status, str(error)
    return 500, f"{type(error).__name__} (this is a bug; the log says more)."


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, dict(error.headers or {}))
