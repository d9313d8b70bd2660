"""The first thing that a picture meets: whether there is a place for it at all.

Under more load than can be borne most requests are sent away, and what that costs is taken from
those that are answered. So it happens before anything else is done, and before the body is read.
"""

from __future__ import annotations

import json
import re

from starlette.types import ASGIApp, Receive, Scope, Send

from keras_classics.serving.batching import BusyError
from keras_classics.serving.recording import record_in
from keras_classics.serving.shelf import Served, Shelf, UnknownModelError

_PICTURES = re.compile(
    r"/(?:(classify)(?:/([^/]+))?|v2/models/([^/]+)(?:/versions/([^/]+))?/(infer))"
)


class Gate:
    """Sends away what comes while a model's queue is full."""

    def __init__(self, app: ASGIApp, shelf: Shelf) -> None:
        """Before an application."""
        self.app, self._shelf = app, shelf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        busy = self._busy(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if busy is None:
            await self.app(scope, receive, send)
            return
        body = json.dumps({"error": str(busy)}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % busy.seconds),
            (b"cache-control", b"no-store"),
            (b"content-security-policy", b"default-src 'none'"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _busy(self, scope: Scope) -> BusyError | None:
        found = _PICTURES.fullmatch(scope["path"])
        if found is None:
            return None
        classify, one, other, version, infer = found.groups()
        try:
            served = self._shelf.find(one or other, version)
        except UnknownModelError:
            return None  # it is told so further on
        try:
            served.batcher.check(1)
        except BusyError as error:
            _note(scope, classify or infer, served)
            return error
        return None


def _note(scope: Scope, endpoint: str, served: Served) -> None:
    record = record_in(scope)
    record.endpoint, record.reason = endpoint, "queue"
    record.model, record.version = served.place.name, served.place.version
