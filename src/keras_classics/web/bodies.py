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
        HTTPException: 413 if it is larger, 408 if it does not arrive in time.
        FullError: If there is no room for it beside the others.
    """
    parts: list[bytes] = []
    size = 0
    full = False
    try:
        async with asyncio.timeout(seconds):
            # What is too much is read and dropped: a browser that is cut off while it still sends
            # would not show the answer.
            async for part in request.stream():
                size += len(part)
                kept = size <= limit and not full
                if kept and share is not None:
                    kept = share.take(len(part))
                    full = not kept
                if kept:
                    parts.append(part)
                else:
                    parts.clear()
                    if share is not None:
                        share.give_back()
    except TimeoutError:
        late = (408, "the request did not arrive in time.")
        status, words = (413, too_large) if size > limit else late
        raise HTTPException(status, words, headers={"connection": "close"}) from None
    if size > limit:
        raise HTTPException(413, too_large)
    if full:
        raise FullError(size)
    return b"".join(parts)
