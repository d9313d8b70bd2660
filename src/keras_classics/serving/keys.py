"""API keys: who may ask where more than this machine can."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from keras_classics.errors import ClassicsError
from keras_classics.serving.answering import Refused

VARIABLE = "KERAS_CLASSICS_API_KEY"
LEAST = 16  # characters; fewer can be guessed

_BEARER = HTTPBearer(scheme_name="bearer", auto_error=False)
_HEADER = APIKeyHeader(name="X-API-Key", scheme_name="key", auto_error=False)


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
    """Lets only those in who know a key; a dependency of the addresses that need one."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        """Of which each lets in."""
        self._digests = [_digest(key) for key in keys]

    async def __call__(
        self,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        key: Annotated[str | None, Security(_HEADER)],
    ) -> None:
        """Refuse a request without one."""
        given = key or "" if bearer is None else bearer.credentials.strip()
        digest = _digest(given)
        # All are compared, each in a time that does not tell how much of it was right.
        if not sum(hmac.compare_digest(digest, known) for known in self._digests):
            words = "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY."
            raise Refused(401, "key", words, {"www-authenticate": "Bearer"})


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", errors="replace")).digest()
