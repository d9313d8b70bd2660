from __future__ import annotations

import os

import pytest

from keras_classics.errors import ClassicsError
from keras_classics.serving.answering import Refused
from keras_classics.serving.keys import VARIABLE, Keys, read_keys
from serving.fakes import pictures, running

KEY, OTHER = "k" * 20, "an-older-key-that-still-works"


@pytest.fixture(scope="module")
def server(serving):
    with running(serving, keys=(KEY, OTHER)) as server:
        yield server


@pytest.mark.parametrize("path", ["/v2", "/v2/models/fake", "/v2/models/nobody", "/metrics"])
def test_without_a_key(server, path):
    answer = server.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "an API key is needed" in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/", "/page/drop.js", "/openapi.json", "/v2/health/live", "/v2/health/ready"]
)
def test_what_is_open(server, path):
    assert server.get(path).status_code == 200


@pytest.mark.parametrize(
    ("headers", "right"),
    [
        ({"Authorization": f"Bearer {KEY}"}, True),
        ({"Authorization": f"bearer  {OTHER}"}, True),
        ({"X-API-Key": KEY}, True),
        ({"Authorization": f"Basic {KEY}"}, False),
        ({"Authorization": KEY}, False),
        ({"Authorization": "Bearer"}, False),
        ({"X-API-Key": KEY[:-1]}, False),
        ({"X-API-Key": KEY + "k"}, False),
        ({"X-API-Key": ""}, False),
        ({"X-API-Key": "ключ".encode()}, False),
        ({"Authorization": f"Bearer {KEY[1:]}", "X-API-Key": KEY}, False),
    ],
)
def test_with_a_key(server, headers, right):
    assert server.get("/v2", headers=headers).status_code == (200 if right else 401)


def test_pictures_with_a_key(server):
    from serving.fakes import encoded

    content = encoded(pictures(1)[0])
    headers = {"content-type": "image/png"}
    assert server.post("/classify", content=content, headers=headers).status_code == 401
    headers["x-api-key"] = KEY
    assert server.post("/classify", content=content, headers=headers).status_code == 200


def test_the_log_and_the_metrics_hold_no_key(server):
    server.get("/v2", headers={"X-API-Key": KEY})
    server.get("/v2", headers={"X-API-Key": "wrong-but-not-to-be-logged"})
    text = str(server.log) + server.get("/metrics", headers={"X-API-Key": KEY}).text
    assert KEY not in text
    assert "wrong-but" not in text


def test_all_keys_are_compared_in_constant_time(monkeypatch):
    import asyncio
    import hmac

    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = Keys((KEY, OTHER))
    asyncio.run(keys(None, KEY))
    with pytest.raises(Refused):
        asyncio.run(keys(None, "x" * 10_000))
    assert compared == [(32, 32)] * 4


def test_reading_them(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_keys(None) == ()
    monkeypatch.setenv(VARIABLE, f" {KEY}\n")
    assert read_keys(None) == (KEY,)
    file = tmp_path / "keys"
    file.write_text(f"{OTHER}\n\n{KEY}  \n")
    assert read_keys(file) == (OTHER, KEY)  # the file goes before the environment


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"  \n\n", "empty"),
        (b"short\n", "a key of 5 characters; at least 16"),
        ("ключ-ключ-ключ-ключ".encode(), "ASCII"),
        (b"\xff\xfe\xff\xfe", "no text"),
    ],
)
def test_files_that_hold_none(tmp_path, content, words):
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(ClassicsError, match=words):
        read_keys(file)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ClassicsError, match="No such file"):
        read_keys(tmp_path / "nowhere")
    with pytest.raises(ClassicsError, match="Is a directory"):
        read_keys(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text(KEY)
    secret.chmod(0)
    if os.geteuid():
        with pytest.raises(ClassicsError, match="Permission denied"):
            read_keys(secret)


def test_an_environment_that_is_empty(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(ClassicsError, match=f"{VARIABLE}: a key of 0 characters"):
        read_keys(None)
