"""What arrives with a request, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.requests import Request


class Room:
    """The memory for what arrives: all bodies together, whoever sends them."""

    def __init__(self, size: int) -> None:
        """Room of a size in bytes."""
        self.size = size
        self.taken = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """What one request takes of it, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give_back()


class Share:
    """What one request takes of a room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def take(self, size: int) -> bool:
        """Take some bytes more; false, and nothing is taken, where there is no room for them."""
        if self._room.taken + size > self._room.size:
            return False
        self._room.taken += size
        self._taken += size
        return True

    def give_back(self) -> None:
        """Give all of it back."""
        self._room.taken -= self._taken
        self._taken = 0


class FullError(Exception):
    """All the room for bodies is taken.

    Attributes:
        size: of the body that found none, in bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


async def body(
    request: Request, limit: int, *, too_large: str, seconds: float, share: Share | None = None
) -> bytes:
    """The bytes of the body, of which no more than the limit is ever kept.

    Args:
        request: Whose.
        limit: In bytes.
        too_large: What is said if there are more.
        seconds: For all of it to arrive.
        share: Of the room for all bodies.

    Raises:
        HTTPException: 413 as soon as it is known to be larger, 408 if it does not arrive in time.
        FullError: If there is no room for it beside the others.
    """
    headers = request.headers
    # Chunks count, where there are some (RFC 9112, 6.3).
    declared = 0 if "transfer-encoding" in headers else int(headers.get("content-length", 0))
    # Who asked before sending (`Expect: 100-continue`) need not send it. Of the others the server
    # drops what is still to come: a browser that is cut off would not show the answer.
    if declared > limit:
        raise HTTPException(413, too_large)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise HTTPException(413, too_large)
                if share is not None and not share.take(len(part)):
                    raise FullError(max(size, declared))
                parts.append(part)
    except TimeoutError:
        words = "the request did not arrive in time."
        raise HTTPException(408, words, headers={"connection": "close"}) from None
    return b"".join(parts)
