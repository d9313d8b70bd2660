"""The whole server: who may ask, what is counted and noted, and errors of the frame."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keras_classics.serving.application import Server
from keras_classics.serving.journal import Journal
from serving.fakes import (
    FakeEngine,
    Running,
    busy,
    encoded,
    opened,
    pictures,
    running,
    until,
)


@pytest.fixture(scope="module")
def server(serving):
    with running(serving) as server:
        yield server


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80"])
def test_names_of_other_sites_lead_nowhere(server, host):
    for path in ("/", "/v2/health/live", "/metrics"):
        answer = server.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert "is not this server's" in answer.json()["error"]


def test_other_sites_may_not_ask(server):
    host = f"{server.host}:{server.port}"
    content = encoded(pictures(1)[0])
    for origin, status in (
        ("http://evil.example", 403), ("null", 403), (f"https://{host}", 403),
        (f"http://{host}", 200), (f"http://LOCALHOST:{server.port}", 403),
    ):  # fmt: skip
        headers = {"origin": origin, "content-type": "image/png"}
        assert server.post("/classify", content=content, headers=headers).status_code == status
    for path in ("/v2", "/metrics"):
        assert server.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_where_it_listens_elsewhere_any_name_is_its_own(serving):
    server = Server([opened()], lambda _: FakeEngine(), host="0.0.0.0", journal=Journal(len))
    with serving(server) as address:
        found = Running(address, server, None)
        with found.client:
            assert found.get("/v2", headers={"host": "classifier.internal"}).status_code == 200
            headers = {"host": "classifier.internal", "origin": "https://classifier.internal"}
            assert found.post("/v2/repository/index", headers=headers).status_code == 200
            headers["origin"] = "https://evil.example"
            assert found.post("/v2/repository/index", headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/", "/page/drop.js", "/v2", "/nowhere", "/metrics"])
def test_every_answer_has_its_headers(server, path):
    headers = server.get(path).headers
    assert "default-src" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-request-id"]
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/classify", "POST"), ("POST", "/v2", "GET"), ("DELETE", "/v2/models/fake", "GET")],
)
def test_methods(server, method, path, allowed):
    answer = server.client.request(method, path)
    assert answer.status_code == 405
    assert allowed in answer.headers["allow"]
    assert list(answer.json()) == ["error"]


def test_the_page_holds_all_that_it_needs(server):
    text = "".join(server.get(path).text for path in ("/", "/page/drop.css", "/page/drop.js"))
    assert not re.search(r"https?://|javascript:|\sstyle=|\son\w+=[\"']", text)
    assert set(re.findall(r'(?:src|href)="([^"]+)"', text)) == {
        "data:,", "page/drop.css", "page/drop.js", "openapi.json",
    }  # fmt: skip


def test_head(server):
    answer = server.client.head("/v2/health/ready")
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_metrics(serving):
    with running(serving, opened(), opened("other", "3", FakeEngine(requests=2))) as server:
        server.infer(pictures(3))
        server.infer(pictures(3))
        server.classify(pictures(1)[0], "/classify/other")
        server.get("/nowhere")
        server.post("/classify", content=b"x", headers={"content-type": "image/png"})
        metric = server.metric
        assert metric("classics_requests_total", endpoint="infer", code="200") == 2
        assert metric("classics_requests_total", endpoint="classify_model", code="200") == 1
        assert metric("classics_requests_total", endpoint="classify", code="415") == 1
        assert metric("classics_requests_total", endpoint="other", code="404") == 1
        assert metric("classics_request_seconds_count", endpoint="infer") == 2
        assert metric("classics_batch_images_sum", model="fake", version="1") == 6
        assert metric("classics_batch_images_count", model="other", version="3") == 1
        assert metric("classics_batch_seconds_count", model="fake") == 2
        assert metric("classics_queue_images", model="fake") == 0
        labels = {"network": "vgg16", "engine": "keras", "precision": "f32", "version": "3"}
        assert metric("classics_model_info", model="other", **labels) == 1
        assert metric("classics_refused_total", reason="request") == 1
        assert metric("classics_refused_total", reason="bounds") == 0


def test_the_metrics_do_not_wait_for_decoders(serving):
    with running(serving, decoders=2) as server, busy(server):
        assert server.get("/metrics", timeout=5).status_code == 200


def test_paths_that_are_made_up_make_no_metrics(server):
    for i in range(30):
        server.get(f"/made-up/{i}")
    text = server.get("/metrics").text
    assert "made-up" not in text
    assert server.metric("classics_requests_total", endpoint="other", code="404") >= 30


def test_the_log(serving):
    with running(serving) as server:
        image = pictures(1)[0]
        headers = {"content-type": "image/png", "x-request-id": "mine"}
        server.post("/classify?top=1", content=encoded(image), headers=headers)
        server.get("/v2/models/nobody%0A%1B[31m")
        until(lambda: len(server.log.of("request")) == 2)  # written after the answer
        first, second = server.log.of("request")
        assert first["time"].endswith("+00:00")
        expected = {
            "id": "mine", "method": "POST", "path": "/classify", "status": 200, "model": "fake",
            "version": "1", "images": 1, "bytes": len(encoded(image)), "client": "127.0.0.1",
        }  # fmt: skip
        assert expected.items() <= first.items()
        assert first["seconds"] > 0
        assert "error" not in first
        assert second["status"] == 404
        assert second["path"] == "/v2/models/nobody\n\x1b[31m"
        assert "not served" in second["error"]


def test_a_line_of_the_log_is_one_line():
    lines = []
    Journal(lines.append).note("request", path="a\nb\x1b", error=None)
    assert lines[0].count("\n") == 1
    assert "\x1b" not in lines[0]
    assert json.loads(lines[0])["path"] == "a\nb\x1b"
    assert "error" not in json.loads(lines[0])


def test_the_log_is_on_standard_error(capfd):
    Journal().note("start")
    captured = capfd.readouterr()
    assert json.loads(captured.err)["event"] == "start"
    assert captured.out == ""


def test_a_bug_is_answered_in_one_line(serving, monkeypatch):
    with running(serving) as server:
        monkeypatch.setattr(server.server.metrics, "text", lambda: {}["bug"])
        answer = server.get("/metrics")
        assert answer.status_code == 500
        assert answer.json()["error"] == "KeyError (this is a bug; the log says more)."
        until(lambda: server.log.of("request"))
        assert server.log.of("request")[0]["error"] == "'bug'"
        assert server.get("/v2").status_code == 200


def test_readiness_says_no_while_it_ends(serving):
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with running(serving, opened(engine=engine)) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.classify, pictures(1)[0])
        until(lambda: len(engine.batches) == 1)
        server.server.desk.draining = True
        for path in ("/v2/health/ready", "/v2/models/fake/ready"):
            answer = server.get(path)
            assert answer.status_code == 503
            assert answer.json()["ready"] is False
        assert server.get("/v2/health/live").status_code == 200
        gate.set()
        assert waiting.result().status_code == 200
    assert engine.closed.is_set()
