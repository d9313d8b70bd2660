from __future__ import annotations

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from keras_classics.web.bodies import FullError, Room, body


def asked(parts, *, last=True):
    """A request whose body comes in parts; and then nothing more, or never."""
    left = list(parts)

    async def receive():
        if not left:
            await asyncio.sleep(60)
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left) or not last}

    return Request({"type": "http", "headers": [], "method": "POST"}, receive)


def read(parts, limit=100, share=None, **options):
    request = asked(parts, **options)
    return asyncio.run(body(request, limit, too_large="too large.", seconds=0.2, share=share))


def test_all_of_it():
    assert read([b"ab", b"", b"cd"]) == b"abcd"
    assert read([b"x" * 100]) == b"x" * 100


def test_too_much():
    for parts in ([b"x" * 101], [b"x" * 60, b"x" * 60, b"x" * 60]):
        with pytest.raises(HTTPException) as error:
            read(parts)
        assert (error.value.status_code, error.value.detail) == (413, "too large.")


def test_too_slow():
    with pytest.raises(HTTPException) as error:
        read([b"ab"], last=False)
    assert error.value.status_code == 408
    assert error.value.headers == {"connection": "close"}


def test_a_room_is_shared():
    room = Room(100)
    with room.share() as one, room.share() as other:
        assert read([b"x" * 40, b"x" * 20], share=one) == b"x" * 60
        assert room.taken == 60
        with pytest.raises(FullError):
            read([b"y" * 30, b"y" * 30, b"y"], share=other)
        assert room.taken == 60  # what was thrown away takes no room
        assert read([b"y" * 40], share=other) == b"y" * 40
        assert room.taken == 100
    assert room.taken == 0


def test_what_is_too_large_takes_no_room():
    room = Room(1000)
    with room.share() as share:
        with pytest.raises(HTTPException):
            read([b"x" * 90, b"x" * 90], share=share)
        assert room.taken == 0
