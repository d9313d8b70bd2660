"""The OpenAPI 3.1 document, made of the table of addresses and the messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from keras_classics import __version__
from keras_classics.serving import messages
from keras_classics.serving.classify import TOP
from keras_classics.serving.keys import OPEN
from keras_classics.serving.operations import Operation
from keras_classics.serving.tensors import HEADER

_WHY = {
    400: "The request is not one.",
    401: "An API key is needed.",
    403: "Another site's page asked, or the host is not this server's.",
    404: "No such model or version.",
    408: "The body did not arrive in time.",
    413: "Too many bytes, pixels or pictures.",
    415: "Not an image, or a content type that is not taken.",
    422: "An image that is damaged.",
    429: "Too many pictures are waiting; Retry-After says when to try again.",
    500: "A bug, or the network failed; the log says more.",
    503: "The server ends.",
    504: "Not answered in time.",
    507: "Not enough memory.",
}
_REF = "#/components/schemas/{model}"
_PICTURE = {"type": "string", "contentMediaType": "image/*"}
_ABOUT = (
    "Image classifiers. POST a picture to /classify for names, or tensors to /v2 by the Open "
    "Inference Protocol."
)


def openapi(operations: Sequence[Operation], *, keyed: bool) -> dict[str, Any]:
    """The document.

    Args:
        operations: All addresses.
        keyed: Whether an API key is needed.
    """
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, keyed=keyed)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "keras-classics", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": _schemas(operations)},
    }
    if keyed:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    return document


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    answers: list[type[BaseModel]] = [messages.Problem]
    answers += [each.answer for each in operations if not isinstance(each.answer, str)]
    used = sorted(set(answers), key=lambda kind: kind.__name__)
    kinds: list[tuple[type[BaseModel], Any]] = [(kind, "serialization") for kind in used]
    kinds.append((messages.InferRequest, "validation"))
    _, found = models_json_schema(kinds, by_alias=True, ref_template=_REF)
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _operation(each: Operation, *, keyed: bool) -> dict[str, Any]:
    open_to_all = each.path in OPEN
    found: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "responses": _responses(each, keyed=keyed and not open_to_all),
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 64},
        }
        for name in re.findall(r"{(\w+)}", each.path)
    ]
    if each.takes == "pictures":
        parameters += [
            {
                "name": "top",
                "in": "query",
                "description": "How many classes to name; all, if there are fewer.",
                "schema": {"type": "integer", "minimum": 1, "maximum": 99999, "default": TOP},
            },
            {
                "name": "version",
                "in": "query",
                "description": "Of the model; the newest by default.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 64},
            },
        ]
        found["requestBody"] = _pictures()
    if each.takes == "tensors":
        found["requestBody"] = _tensors()
        found["description"] = (
            "With binary data the body is the JSON, as long as the header "
            f"{HEADER} says, and the data of the tensors behind it."
        )
    if parameters:
        found["parameters"] = parameters
    if keyed and not open_to_all:
        found["security"] = [{"bearer": []}, {"key": []}]
    return found


def _pictures() -> dict[str, Any]:
    files = {"type": "array", "items": _PICTURE, "minItems": 1}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": files}, "required": ["file"]}
            },
            "image/*": {"schema": _PICTURE},
            "application/octet-stream": {"schema": _PICTURE},
        },
    }


def _tensors() -> dict[str, Any]:
    request = {"$ref": _REF.format(model="InferRequest")}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": request},
            "application/octet-stream": {"schema": {"type": "string"}},
        },
    }


def _responses(each: Operation, *, keyed: bool) -> dict[str, Any]:
    if isinstance(each.answer, str):
        usual: dict[str, Any] = {each.answer: {}}
    else:
        usual = {"application/json": {"schema": {"$ref": _REF.format(model=each.answer.__name__)}}}
        if each.takes == "tensors":
            usual["application/octet-stream"] = {"schema": {"type": "string"}}
    problem = {"application/json": {"schema": {"$ref": _REF.format(model="Problem")}}}
    found = {"200": {"description": "The answer.", "content": usual}}
    for status in each.otherwise:
        found[str(status)] = {"description": _WHY[status], "content": usual}
    for status in sorted({*each.problems, 403, *((401,) if keyed else ())}):
        found[str(status)] = {"description": _WHY[status], "content": problem}
        if status == 429:
            found["429"]["headers"] = {
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
            }
    return found
