from __future__ import annotations

import base64
import hashlib
import re

import pytest

from keras_classics.serving.pages import drop_page
from serving.fakes import running


@pytest.fixture(scope="module")
def server(serving):
    with running(serving) as server:
        yield server


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_hold_all_that_they_need(server, path):
    answer = server.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.text
    assert re.findall(r"(?:src|href)=[\"'](?!data:|#|openapi.json|docs|\./)", text) == []
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"\son\w+=|javascript:|\sstyle=", text)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy


def test_the_policy_lets_only_their_own_scripts_run(server):
    answer = server.get("/")
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert f"script-src 'sha256-{digest}';" in policy
    assert "script-src" not in server.get("/docs").headers["content-security-policy"]


def test_the_field_for_a_key():
    assert b'id="key"' in drop_page(keyed=True).content
    assert b'id="key"' not in drop_page(keyed=False).content


def test_the_documentation_tells_of_all_addresses(server):
    document, text = server.get("/openapi.json").json(), server.get("/docs").text
    for path, methods in document["paths"].items():
        for method, facts in methods.items():
            assert f"<code>{method.upper()} {path}</code>" in text
            assert facts["summary"] in text
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in text
    targets = set(re.findall(r'href="#(\w+)"', text))
    assert targets
    assert targets <= set(document["components"]["schemas"])
