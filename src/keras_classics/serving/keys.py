"""API keys: who may ask where more than this machine can."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from keras_classics.errors import ClassicsError
from keras_classics.serving.recording import record_in

VARIABLE = "KERAS_CLASSICS_API_KEY"
LEAST = 16  # characters; fewer can be guessed
OPEN = frozenset({"/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
"""Addresses that need no key: they tell nothing of the models, and run none."""


def read_keys(file: Path | None) -> tuple[str, ...]:
    """The keys of a file, one a line, or that of the environment; none without either.

    Raises:
        ClassicsError: If the file cannot be read or holds none, or a key is too short.
    """
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror or str(error)) if isinstance(error, OSError) else "no text"
            raise ClassicsError(f"--api-key-file {file}: {why}.") from None
        keys = tuple(line.strip() for line in lines if line.strip())
        source = f"--api-key-file {file}"
        if not keys:
            raise ClassicsError(f"{source}: empty; write a key into it, or one a line.")
    else:
        value = os.environ.get(VARIABLE)
        keys, source = (() if value is None else (value.strip(),)), VARIABLE
    for key in keys:
        if len(key) < LEAST or not (key.isascii() and key.isprintable()):
            raise ClassicsError(
                f"{source}: a key of {len(key)} characters; at least {LEAST} of ASCII are needed, "
                "such as `openssl rand -hex 32` gives."
            )
    return keys


class Keys:
    """Lets only those in who know a key."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        """Before an application."""
        self.app = app
        self._digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in OPEN or self._knows(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        record_in(scope).reason = "key"
        problem = {"error": "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY."}
        answer = JSONResponse(problem, 401, {"www-authenticate": "Bearer"})
        await answer(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        digest = _digest(given)
        # All are compared, each in a time that does not tell how much of it was right.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", errors="replace")).digest()
