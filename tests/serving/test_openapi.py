"""The document says what the server does: schemathesis asks it all sorts of things."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks as ready_made
from schemathesis.specs.openapi import checks

from serving.fakes import FakeEngine, opened, pictures, running

KEY = "a-key-of-more-than-16"


@pytest.fixture(scope="module")
def server(serving):
    with running(serving, opened("fake"), opened("fake", "2", FakeEngine(seed=2))) as server:
        yield server


@pytest.fixture(scope="module")
def document(server):
    return server.get("/openapi.json").json()


def test_every_address_is_in_it(document):
    told = {path: set(methods) for path, methods in document["paths"].items()}
    model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    read = ["/", "/metrics", "/v2", "/v2/", "/v2/health/live", "/v2/health/ready"]
    read += [f"{base}{part}" for base in (model, version) for part in ("", "/ready", "/config")]
    sent = ["/classify", "/classify/{model}", "/v2/repository/index"]
    sent += [f"{base}/infer" for base in (model, version)]
    assert told == {path: {"get"} for path in read} | {path: {"post"} for path in sent}
    names = [facts["operationId"] for m in document["paths"].values() for facts in m.values()]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere(document):
    names = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(names) <= set(document["components"]["schemas"])
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_keys_are_told_where_they_are_needed(serving):
    with running(serving, keys=(KEY,)) as server:
        document = server.get("/openapi.json").json()
        assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
        assert "security" not in document["paths"]["/v2/health/live"]["get"]
        asked = document["paths"]["/classify"]["post"]
        assert asked["security"] == [{"bearer": []}, {"key": []}]
        assert "401" in asked["responses"]


def told(document, answer, path, method="post"):
    """Check an answer against the document."""
    facts = document["paths"][path][method]["responses"][str(answer.status_code)]
    kind = answer.headers["content-type"].split(";")[0]
    schema = facts["content"][kind].get("schema")
    if schema is not None:
        whole = {**schema, "components": document["components"]}
        jsonschema.validate(answer.json(), whole)


def test_real_answers_are_as_it_says(server, document):
    image = pictures(1)[0]
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        told(document, server.get(path), path, "get")
    for part in ("", "/ready", "/config"):
        for version in ("", "/versions/{version}"):
            path = f"/v2/models/{{model}}{version}{part}"
            real = path.format(model="fake", version="2")
            told(document, server.get(real), path, "get")
    told(document, server.post("/v2/repository/index"), "/v2/repository/index")
    told(document, server.classify(image), "/classify")
    told(document, server.infer(image[None]), "/v2/models/{model}/infer")
    bad = server.post("/classify", content=b"x", headers={"content-type": "image/png"})
    told(document, bad, "/classify")


# Generated requests. What says 4xx where the schema would say 2xx cannot be told by a schema: that
# an image must be an image, and a tensor as large as its shape.
CHECKS = (
    ready_made.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
)


def asked_of_all(server, examples, headers):
    schema = schemathesis.openapi.from_url(f"{server.address}openapi.json")
    count = 0

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            case=st.one_of(
                operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode
            )
        )
        def ask(case):
            nonlocal count
            count += 1
            case.call_and_validate(headers=headers, checks=CHECKS)

        ask()
    return count


def test_generated_requests(server):
    assert asked_of_all(server, 8, {}) > 80
    assert server.classify(pictures(1)[0]).status_code == 200


@pytest.mark.slow
def test_many_generated_requests(serving):
    with running(serving, keys=(KEY,)) as server:
        assert asked_of_all(server, 400, {"X-API-Key": KEY}) > 3000
