from __future__ import annotations

import socket
import threading
import time
from xml.etree import ElementTree

import httpx
import pytest

from keras_classics.explorer import application as module
from keras_classics.explorer.application import application
from keras_classics.explorer.inference import Inference
from keras_classics.explorer.models import Models
from keras_classics.explorer.samples import general


@pytest.fixture(scope="module")
def photographs():
    return list(general())


def test_models(server, held):
    told = server.get("/api/models")
    assert [model["id"] for model in told["models"][:3]] == [
        "resnet50",
        "inception_v3",
        held[2].id,
    ]
    resnet, _, trained = told["models"][:3]
    assert (resnet["trained"], resnet["weights"], resnet["class_names"]) == (False, "random", None)
    assert resnet["input"] == [64, 64, 3]
    assert "'caffe'" in resnet["preprocessing"]  # as its published weights have it
    assert trained["trained"]
    assert trained["network"] == "vgg16"
    assert trained["class_names"] == list(held[2].card.class_names)
    assert {entry["name"] for entry in told["catalog"]} >= {"vgg16", "resnet50", "inception_v3"}
    assert told["limits"]["upload_bytes"] == 20 * 1024**2
    methods = {method["name"]: method for method in told["methods"]}
    assert methods["grad-cam"]["at_layers"]
    assert methods["occlusion"]["signed"]


def test_another_model_can_be_added_until_there_is_no_room(
    serving, asking, held, photographs, monkeypatch
):
    made = []

    def small(name):
        from keras_classics.explorer.models import random_network

        made.append(name)
        return random_network(name, width=0.02, size=32, classes=3)

    monkeypatch.setattr(module, "random_network", small)
    with serving(application(Models(held), photographs, warm=False)) as address:
        ask = asking(address)
        told = ask.post("/api/models", {"network": "resnet50"}, status=201)
        assert told["id"] == "resnet50-2"  # the first keeps its name
        assert [each["id"] for each in ask.get("/api/models")["models"]][-1] == "resnet50-2"
        assert ask.post("/api/predict", {"model": "resnet50-2", "picture": "china"})["top"]
        message = ask.post("/api/models", {"network": "vgg16"}, status=409)
        assert message == "4 models are held, which is all that fit."
        assert made == ["resnet50"]
        ask.client.close()


def test_an_unknown_network(serving, asking, held, photographs):
    with serving(application(Models(held[:1]), photographs, warm=False)) as address:
        ask = asking(address)
        message = ask.post("/api/models", {"network": "resnet51"}, status=400)
        assert "did you mean 'resnet50'?" in message
        assert "network: " in ask.post("/api/models", {"network": "x" * 101}, status=400)
        ask.client.close()


def test_drawings(server, held):
    for form, begins, kind in (
        ("svg", b"<svg", "image/svg+xml"),
        ("png", b"\x89PNG", "image/png"),
        ("pdf", b"%PDF", "application/pdf"),
    ):
        answer = server.client.get(f"/api/models/{held[0].id}/drawing.{form}?level=stages")
        assert answer.status_code == 200, answer.text[:200]
        assert begins in answer.content[:200]
        assert answer.headers["content-type"].startswith(kind)


def test_a_drawing_is_as_asked(server, held):
    def names(query):
        answer = server.client.get(f"/api/models/{held[0].id}/drawing.svg?{query}")
        assert answer.status_code == 200, answer.text[:200]
        root = ElementTree.fromstring(answer.text)
        return {node.get("data-name") for node in root.iter() if node.get("data-name")}

    assert "conv2_block1" not in names("opened=")
    assert "conv2_block1" in names("opened=conv2")
    assert "conv2_block1_1_conv" in names("opened=conv2,conv2_block1,conv2_block1_1")
    assert "conv3_block1_add" in names("block=conv3_block1&opened=")
    standalone = server.client.get(f"/api/models/{held[0].id}/drawing.svg?opened=")
    bare = server.client.get(f"/api/models/{held[0].id}/drawing.svg?opened=&standalone=0")
    assert "<style" in standalone.text
    assert "<style" not in bare.text
    beside = server.client.get(f"/api/models/{held[0].id}/drawing.svg?beside={held[2].id}")
    assert beside.status_code == 200
    assert "block5" in beside.text


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("drawing.svg?level=all", 400, "level='all'"),
        ("drawing.svg?block=conv9", 400, "conv9"),
        ("drawing.svg?opened=conv9", 400, "conv9"),
        ("drawing.svg?theme=pink", 400, "theme='pink'"),
        ("drawing.svg?beside=nowhere", 404, "'nowhere' is not held"),
        ("drawing.svg?colour=red", 400, "colour: no such option"),
        ("drawing.gif", 404, "drawing.gif: one of svg, png, pdf can be had."),
    ],
)
def test_drawings_that_cannot_be(server, held, path, status, message):
    assert message in server.get(f"/api/models/{held[0].id}/{path}", status=status)


def test_stylesheet_of_the_drawings(server):
    answer = server.client.get("/api/drawing.css?theme=dark")
    assert answer.headers["content-type"].startswith("text/css")
    assert "{" in answer.text
    assert "theme='x'" in server.get("/api/drawing.css?theme=x", status=400)


def test_the_page_is_served_from_the_package(serving, asking, held, photographs, monkeypatch):
    from keras_classics.explorer.page import File

    files = {"/": File(b"<html>", "text/html"), "/assets/a.js": File(b"1", "text/javascript")}
    monkeypatch.setattr(module, "page_files", lambda: files)
    with serving(application(Models(held[:1]), photographs, warm=False)) as address:
        ask = asking(address)
        answer = ask.client.get("/")
        assert answer.text == "<html>"
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cache-control"] == "no-cache"
        assert ask.client.get("/assets/a.js").headers["content-type"].startswith("text/javascript")
        assert "/assets/b.js: no such address" in ask.get("/assets/b.js", status=404)
        ask.client.close()


def test_a_page_that_is_not_built(serving, asking, held, photographs, monkeypatch):
    monkeypatch.setattr(module, "page_files", dict)
    with serving(application(Models(held[:1]), photographs, warm=False)) as address:
        ask = asking(address)
        answer = ask.client.get("/")
        assert answer.status_code == 503
        assert "npm run build" in answer.text
        ask.client.close()


def test_other_methods(server):
    server("PUT", "/api/models", status=405)
    server("DELETE", "/api/pictures", status=405)
    server("POST", "/api/nowhere", status=405)
    server("GET", "/api/nowhere", status=404)


def test_models_answer_one_at_a_time_and_the_rest_goes_on(
    serving, asking, held, photographs, monkeypatch
):
    at_work, most, release = [], [], threading.Event()

    def slow(*_):
        at_work.append(1)
        most.append(len(at_work))
        release.wait(60)
        at_work.pop()
        raise KeyError("done")

    monkeypatch.setattr(Inference, "predict", slow)
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    request = {"model": held[0].id, "picture": "flower"}
    with serving(application(Models(held[:1]), photographs, warm=False)) as address:
        answers = []

        def predict():
            answers.append(httpx.post(f"{address}api/predict", json=request, timeout=60))

        threads = [threading.Thread(target=predict) for _ in range(5)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while len(answers) < 2:  # three wait, one of them at work; two are sent away
            assert time.monotonic() < deadline
            time.sleep(0.02)
        ask = asking(address)
        assert ask.get("/api/pictures")["pictures"]
        assert ask.client.get("/api/pictures/china.png").status_code == 200
        ask.get(f"/api/models/{held[0].id}/graph")
        ask.client.close()
        assert len(answers) == 2
        release.set()
        for thread in threads:
            thread.join()
    assert max(most) == 1
    assert [answer.status_code for answer in answers] == [503, 503, 500, 500, 500]
    assert "too many questions" in answers[0].text


def test_a_bug_is_one_line_and_the_server_goes_on(serving, asking, held, photographs, monkeypatch):
    def broken(*_):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(Inference, "predict", broken)
    monkeypatch.setattr(Inference, "ledger", lambda *_: (_ for _ in ()).throw(MemoryError))
    request = {"model": held[0].id, "picture": "flower"}
    with serving(application(Models(held[:1]), photographs, warm=False)) as address:
        ask = asking(address)
        message = ask.post("/api/predict", request, status=500)
        assert message == "RuntimeError: first second (this is a bug)"
        assert ask.client.post("/api/predict", json=request).headers["x-frame-options"] == "DENY"
        assert "not enough memory" in ask.post("/api/ledger", request, status=507)
        assert ask.get("/api/models")
        ask.client.close()


def connected(address):
    _, _, host, port = address.rstrip("/").replace("//", "").replace("http:", "::").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def everything(connection):
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer


@pytest.mark.parametrize("path", ["/api/pictures", "/api/predict"])
def test_a_sender_that_takes_its_time(serving, held, photographs, path):
    with serving(
        application(Models(held[:1]), photographs, warm=False, body_seconds=0.4)
    ) as address:
        host = address.removeprefix("http://").rstrip("/")
        with connected(address) as connection:
            since = time.monotonic()
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n"
            connection.sendall(head.encode() + b"\x89PNG")
            answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"the request did not arrive in time." in answer
        assert time.monotonic() - since < 5


def test_a_sender_of_too_much_that_never_ends(serving, held, photographs, monkeypatch):
    monkeypatch.setattr("keras_classics.explorer.bodies.MESSAGE_BYTES", 1000)
    monkeypatch.setattr("keras_classics.web.server._Connection.head_seconds", 0.3)
    with serving(
        application(Models(held[:1]), photographs, warm=False, body_seconds=0.5)
    ) as address:
        host = address.removeprefix("http://").rstrip("/")
        with connected(address) as connection:
            head = f"POST /api/predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999\r\n\r\n"
            connection.sendall(head.encode() + b"x" * 5000)
            answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 413")


def test_the_first_view_is_warm(serving, asking, held, photographs, monkeypatch):
    warmed = []
    monkeypatch.setattr(Inference, "warm", lambda _, one: warmed.append(one.id))
    with serving(application(Models(held), photographs)) as address:
        ask = asking(address)
        deadline = time.monotonic() + 5
        while len(warmed) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        ask.client.close()
    assert warmed == [one.id for one in held]
