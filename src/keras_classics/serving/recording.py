"""Around every request: its id, a line in the journal, and what Prometheus counts."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keras_classics.serving.journal import Journal
from keras_classics.serving.metrics import Metrics

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = "classics.record"
_LONGEST_PATH = 200
GONE = 499  # nobody waits for the answer any more


@dataclass
class Record:
    """What is known of a request by the end of it."""

    id: str
    since: float
    status: int = GONE
    model: str | None = None
    version: str | None = None
    images: int | None = None
    bytes: int | None = None  # of the body
    reason: str | None = None  # why it was refused
    error: str | None = None


def record_of(request: Request) -> Record:
    """What is known of a request so far."""
    found = request.scope[_KEY]
    assert isinstance(found, Record)
    return found


class Recorder:
    """Notes every request when it is over."""

    def __init__(self, app: ASGIApp, metrics: Metrics, journal: Journal) -> None:
        """Around an application."""
        self.app, self._metrics, self._journal = app, metrics, journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        record = Record(given if _ID.fullmatch(given) else uuid.uuid4().hex, time.monotonic())
        # HEAD is answered as GET, of which the server sends the head alone.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        asked = {**scope, "method": method, _KEY: record}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = record.id
            await send(message)

        try:
            await self.app(asked, receive, noting)
        except Exception as error:  # a bug, and answered as one, unless it is in the frame
            record.error = record.error or f"{type(error).__name__}: {error} (this is a bug)"
            if record.status == GONE:
                answer = JSONResponse({"error": "this is a bug; the log says more."}, 500)
                await answer(asked, receive, noting)
        finally:
            route = asked.get("route")
            self._end(record, scope, "other" if route is None else route.name)

    def _end(self, record: Record, scope: Scope, endpoint: str) -> None:
        seconds = time.monotonic() - record.since
        self._metrics.requests.labels(endpoint, str(record.status)).inc()
        self._metrics.seconds.labels(endpoint).observe(seconds)
        if record.reason is not None:
            self._metrics.refused.labels(record.reason).inc()
        client = scope.get("client")
        self._journal.note(
            "request",
            id=record.id,
            method=scope["method"],
            path=scope["path"][:_LONGEST_PATH],
            status=record.status,
            seconds=round(seconds, 6),
            client=client[0] if client else None,
            model=record.model,
            version=record.version,
            images=record.images,
            bytes=record.bytes,
            reason=record.reason,
            error=record.error,
        )
