"""What arrives with a request: bounded in bytes and in time, and checked against the schema."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from keras_classics.errors import ClassicsError
from keras_classics.explorer import schema

MESSAGE_BYTES = 256 * 1024  # of a request that is no picture

M = TypeVar("M", bound=schema.Message)


async def message(request: Request, kind: type[M], *, seconds: float) -> M:
    """The body as a message of the schema.

    Raises:
        ClassicsError: If it is none; the message names the place.
        HTTPException: As `body`.
    """
    too_large = f"the request is larger than {MESSAGE_BYTES:,} bytes."
    data = await body(request, MESSAGE_BYTES, too_large=too_large, seconds=seconds)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ClassicsError(f"{place + ': ' if place else ''}{first['msg']}.") from None


async def body(request: Request, limit: int, *, too_large: str, seconds: float) -> bytes:
    """The bytes of the body, of which no more than the limit is ever kept.

    Args:
        request: Whose.
        limit: In bytes.
        too_large: What is said if there are more.
        seconds: For all of it to arrive.

    Raises:
        HTTPException: 413 if it is larger, 408 if it does not arrive in time.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            # What is too much is read and dropped: a browser that is cut off while it still sends
            # would not show the answer.
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    parts.clear()
                else:
                    parts.append(part)
    except TimeoutError:
        late = (408, "the request did not arrive in time.")
        status, words = (413, too_large) if size > limit else late
        raise HTTPException(status, words, headers={"connection": "close"}) from None
    if size > limit:
        raise HTTPException(413, too_large)
    return b"".join(parts)
