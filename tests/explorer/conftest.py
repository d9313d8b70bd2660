from __future__ import annotations

import base64

import cv2
import httpx
import numpy as np
import pytest

from served import serving


class Asking:
    """Asks the server and checks every answer against the schema that it publishes."""

    def __init__(self, address):
        import jsonschema

        self.client = httpx.Client(base_url=address, timeout=60)
        published = self.client.get("/api/schema").json()
        self.endpoints = published.pop("endpoints")
        self.validators = {
            name: jsonschema.Draft202012Validator({**published, "$ref": f"#/$defs/{name}"})
            for name in published["$defs"]
        }

    def __call__(self, method, path, *, status=200, **options):
        answer = self.client.request(method, path, **options)
        assert answer.status_code == status, answer.text[:300]
        told = answer.json()
        name = "Problem" if status >= 400 else self.response(method, answer.request.url.path)
        self.validators[name].validate(told)
        if name == "Problem":
            (message,) = told.values()
            assert message
            assert "\n" not in message
            return message
        return told

    def response(self, method, path):
        """The name of the message that an address answers with."""
        for endpoint in self.endpoints:
            pattern, parts = endpoint["path"].split("/"), path.split("/")
            alike = len(pattern) == len(parts) and all(
                p.startswith("{") or p == part for p, part in zip(pattern, parts, strict=True)
            )
            if alike and endpoint["method"] == method:
                return endpoint["response"]
        raise LookupError(path)

    def get(self, path, **options):
        return self("GET", path, **options)

    def post(self, path, message=None, **options):
        return self("POST", path, **({"json": message} if message is not None else {}), **options)


@pytest.fixture(scope="session")
def asking():
    return Asking


@pytest.fixture(scope="session")
def held(artefact):
    """Small models, as the server holds them: three networks and an artefact."""
    from keras_classics.explorer.models import open_model

    return [
        open_model("resnet50", width=0.0625, size=64, classes=12),
        open_model("inception_v3", width=0.125, size=107, classes=10),
        open_model(str(artefact)),
    ]


@pytest.fixture(scope="session")
def server(held):
    """A client of one server that all tests share."""
    from keras_classics.explorer.application import application
    from keras_classics.explorer.models import Models
    from keras_classics.explorer.samples import samples

    with serving(application(Models(held), samples(held))) as address:
        asking = Asking(address)
        yield asking
        asking.client.close()


@pytest.fixture(scope="session")
def numbers():
    """Arrays from the base64 of a message."""

    def numbers(text, dtype, *shape):
        return np.frombuffer(base64.urlsafe_b64decode(text), dtype).reshape(shape)

    return numbers


@pytest.fixture(scope="session")
def pixels():
    """A picture from the base64 of a message, or from the bytes of a PNG."""

    def pixels(data):
        raw = base64.urlsafe_b64decode(data) if isinstance(data, str) else data
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
        return image if image.ndim == 2 else image[..., ::-1]

    return pixels


@pytest.fixture(scope="session")
def picture_of(held):
    """A picture as a model reads it, (1, h, w, 3), computed without the server."""
    from keras_classics.data.fit import fit_bytes
    from keras_classics.explorer.samples import samples
    from keras_classics.weights.preprocess import preprocess

    known = {sample.id: sample for sample in samples(held)}

    def picture_of(model, name):
        from pathlib import Path

        shape = model.card.preprocessing
        fitted = fit_bytes(known[name].data, Path(name), shape.size, shape.fit)
        return preprocess(fitted[None], shape.mode)

    return picture_of
