"""What arrives with a request: bounded in bytes and in time, and checked against the schema."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from starlette.requests import Request

from keras_classics.errors import ClassicsError
from keras_classics.explorer import schema
from keras_classics.web.bodies import body

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
