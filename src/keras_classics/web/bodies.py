"""What arrives with a request, bounded in bytes and in time."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request


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
