from __future__ import annotations

import json

import jsonschema
import pytest

from keras_classics.explorer import schema


def test_it_is_a_schema_of_its_own_and_every_reference_leads_somewhere():
    published = schema.json_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    text = json.dumps(published)
    for name in published["$defs"]:
        assert "-Input" not in name
    for reference in text.split('"$ref": "#/$defs/')[1:]:
        assert reference.partition('"')[0] in published["$defs"]


def test_every_endpoint_names_messages_of_the_schema():
    published = schema.json_schema()
    assert len(published["endpoints"]) == len(schema.ENDPOINTS)
    for endpoint in published["endpoints"]:
        for name in (endpoint["request"], endpoint["response"], endpoint["error"]):
            assert name is None or "/" in name or name in published["$defs"]


def test_every_published_endpoint_is_one_of_the_application(server):
    served = {(e["method"], e["path"]) for e in server.endpoints}
    for method, path in served:
        filled = path.format(model="nowhere", block="x", picture="nowhere")
        answer = server.client.request(method, filled)
        assert answer.status_code != 405
        assert answer.status_code == 200 or "no such address" not in answer.text


def test_what_is_not_in_a_message_is_refused():
    with pytest.raises(ValueError, match="Extra inputs"):
        schema.PredictRequest.model_validate({"model": "a", "picture": "b", "cut": []})


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"model": "resnet50"}, "picture: Field required"),
        ({"model": 3, "picture": "flower"}, "model: Input should be a valid string"),
        ({"model": "resnet50", "picture": "flower", "x": 1}, "x: Extra inputs"),
        ({"model": "m" * 300, "picture": "flower"}, "model: String should have at most 200"),
        (
            {"model": "a", "picture": "b", "cuts": [{"layer": "a", "operand": -1}]},
            "cuts.0.operand: Input should be greater than or equal to 0",
        ),
    ],
)
def test_a_wrong_message_is_told_by_its_place(server, message, place):
    assert server.post("/api/predict", message, status=400).startswith(place)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"a": NaN}', b"[" * 5000])
def test_what_is_no_message(server, body):
    server("POST", "/api/predict", content=body, status=400)
