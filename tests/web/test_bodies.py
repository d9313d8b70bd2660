from __future__ import annotations

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from keras_classics.web.bodies import FullError, Room, body


def asked(parts, *, last=True, **headers):
    """A request whose body comes in parts; and then nothing more, or never."""
    left = list(parts)
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive():
        if not left:
            await asyncio.sleep(60)
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left) or not last}

    return Request({"type": "http", "headers": lines, "method": "POST"}, receive)


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


def test_a_length_that_is_declared_is_not_waited_for():
    with pytest.raises(HTTPException) as error:
        read([], content_length="101", last=False)
    assert error.value.status_code == 413
    with pytest.raises(FullError) as full, Room(50).share() as share:
        read([b"x" * 60], share=share, content_length="80")
    assert full.value.size == 80
    chunks = {"content_length": "101", "transfer_encoding": "chunked"}
    assert read([b"x" * 100], **chunks) == b"x" * 100


def test_too_slow():
    with pytest.raises(HTTPException) as error:
        read([b"ab"], last=False)
    assert error.value.status_code == 408
    assert error.value.headers == {"connection": "close"}


def test_a_room_is_shared():
    room = Room(100)
    with room.share() as one:
        assert read([b"x" * 40, b"x" * 20], share=one) == b"x" * 60
        assert room.taken == 60
        with pytest.raises(FullError), room.share() as other:
            read([b"y" * 30, b"y" * 30, b"y"], share=other)
        with pytest.raises(HTTPException), room.share() as other:
            read([b"y" * 30, b"y" * 90], share=other)
        assert room.taken == 60  # what was thrown away takes no room
        with room.share() as other:
            assert read([b"y" * 40], share=other) == b"y" * 40
            assert room.taken == 100
    assert room.taken == 0
