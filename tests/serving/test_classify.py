"""`POST /classify`: what people send."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from serving.fakes import (
    NAMES,
    SIZE,
    FakeEngine,
    encoded,
    expected,
    opened,
    pictures,
    running,
    until,
)


@pytest.fixture(scope="module")
def server(serving):
    models = (
        opened("first"),
        opened("second", "1", FakeEngine(seed=5, calibration=None)),
        opened("second", "2", FakeEngine(seed=6, calibration=None)),
    )
    with running(serving, *models) as server:
        yield server


def sure_and_unsure():
    """A picture above the threshold, and one below."""
    found = pictures(500, seed=3)
    best = expected(found).max(axis=1)
    return found[best.argmax()], found[best.argmin()]


def test_a_raw_picture(server):
    image = pictures(1)[0]
    answer = server.classify(image)
    assert answer.status_code == 200
    row = expected(image[None])[0]
    order = np.argsort(-row)
    (found,) = answer.json()["predictions"]
    assert answer.json()["model"] == "first"
    assert answer.json()["version"] == "1"
    assert [each["class"] for each in found["top"]] == [NAMES[i] for i in order]
    assert [each["probability"] for each in found["top"]] == [float(row[i]) for i in order]
    assert found["class"] == NAMES[order[0]]
    assert found["probability"] == float(row.max())


def test_whether_it_is_sure_enough(server):
    for image, sure in zip(sure_and_unsure(), (True, False), strict=True):
        (found,) = server.classify(image).json()["predictions"]
        assert found["accepted"] is sure
        assert (found["probability"] >= 0.5) is sure
    (found,) = server.classify(image, "/classify/second").json()["predictions"]
    assert found["accepted"] is None


def test_models_and_versions(server):
    image = pictures(1)[0]
    for path, model, version, seed in (
        ("/classify/first", "first", "1", 0),
        ("/classify/second", "second", "2", 6),
        ("/classify/second?version=1", "second", "1", 5),
        ("/classify?version=1", "first", "1", 0),
    ):
        answer = server.classify(image, path).json()
        assert (answer["model"], answer["version"]) == (model, version)
        assert answer["predictions"][0]["probability"] == float(expected(image[None], seed).max())


def test_a_form_of_several_pictures(server):
    images = pictures(3)
    files = [("file", (f"{i}.png", encoded(image))) for i, image in enumerate(images)]
    answer = server.post("/classify", files=files, data={"comment": "not a picture"})
    found = answer.json()["predictions"]
    assert [each["file"] for each in found] == ["0.png", "1.png", "2.png"]
    best = expected(images).max(axis=1)
    assert [each["probability"] for each in found] == [float(p) for p in best]


def test_top(server):
    image = pictures(1)[0]
    for asked, given in ((1, 1), (3, 3), (1000, len(NAMES))):
        (found,) = server.classify(image, f"/classify?top={asked}").json()["predictions"]
        assert len(found["top"]) == given
    for asked in ("0", "-1", "two", "1.5", "", "٣", "9" * 5000):
        answer = server.classify(image, f"/classify?top={asked}")
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("top: ")
        assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("kind", ["image/jpeg", "image/whatever", "application/octet-stream"])
def test_content_types_that_are_taken(server, kind):
    """What the bytes are decides, not what they are called."""
    content = encoded(pictures(1)[0])
    answer = server.post("/classify", content=content, headers={"content-type": kind})
    assert answer.status_code == 200


def test_a_jpeg_of_another_size(server):
    from pathlib import Path

    from keras_classics.data.fit import fit_bytes

    rng = np.random.default_rng(0)
    data = encoded(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8), "JPEG")
    answer = server.post("/classify", content=data, headers={"content-type": "image/jpeg"})
    fitted = fit_bytes(data, Path("a"), SIZE, "stretch")
    (found,) = answer.json()["predictions"]
    assert found["probability"] == float(expected(fitted[None]).max())


def test_the_id_of_a_request_comes_back(server):
    answer = server.classify(pictures(1)[0])
    assert len(answer.headers["x-request-id"]) == 32
    for given, back in (("mine.7", True), ("a" * 65, False), ("a b", False), ("<x>", False)):
        answer = server.get("/v2", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is back


def test_too_many_at_a_time(serving):
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with running(serving, opened(engine=engine), queue=3, batch_size=1) as server:
        images = pictures(4)
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(server.classify, image) for image in images[:3]]
            until(lambda: server.server.shelf.find("fake").batcher.taken == 3)
            answer = server.classify(images[3])
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert "too many pictures are waiting" in answer.json()["error"]
            assert server.metric("classics_queue_images", model="fake") == 3
            gate.set()
            for image, future in zip(images, waiting, strict=False):
                (found,) = future.result().json()["predictions"]
                assert found["probability"] == float(expected(image[None]).max())
        assert server.classify(images[3]).status_code == 200
        assert server.metric("classics_refused_total", reason="queue") == 1
        assert server.metric("classics_queue_images", model="fake") == 0


def test_what_takes_too_long(serving):
    engine = FakeEngine(seconds=0.6)
    with running(serving, opened(engine=engine), timeout=0.2, batch_size=1) as server:
        answer = server.classify(pictures(1)[0])
        assert answer.status_code == 504
        assert "not answered within" in answer.json()["error"]


def test_who_goes_away_is_taken_out_of_the_queue(serving):
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    with running(serving, opened(engine=engine), batch_size=1) as server:
        batcher = server.server.shelf.find("fake").batcher
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(server.classify, pictures(1)[0])
            until(lambda: len(engine.batches) == 1)
            for _ in range(5):
                with pytest.raises(httpx.ReadTimeout):
                    httpx.post(
                        f"{server.address}classify",
                        content=encoded(pictures(1)[0]),
                        headers={"content-type": "image/png"},
                        timeout=0.2,
                    )
            until(lambda: batcher.taken == 1)
            gate.set()
            assert first.result().status_code == 200
        assert len(engine.batches) == 1
        until(lambda: [line["status"] for line in server.log.of("request")].count(499) == 5)


def test_a_network_that_fails(serving):
    engine = FakeEngine(poison=7)
    with running(serving, opened(engine=engine)) as server:
        answer = server.classify(np.full((*SIZE, 3), 7, np.uint8))
        assert answer.status_code == 500
        assert answer.json() == {"error": "the network failed on this request; the log says more."}
        until(lambda: server.log.of("request"))  # written after the answer
        (line,) = server.log.of("request")
        assert "a picture that the network cannot take" in line["error"]
        assert server.classify(pictures(1)[0]).status_code == 200


def test_no_memory(serving):
    class Greedy(FakeEngine):
        def probabilities(self, images):
            raise MemoryError(f"{len(images)} pictures")

    with running(serving, opened(engine=Greedy())) as server:
        assert server.classify(pictures(1)[0]).status_code == 507


def test_no_request_gets_another_s_answer_over_http(serving):
    """Mixed sizes, broken pictures and people who hang up, all at the same time."""
    engine = FakeEngine(seconds=0.002, poison=7)
    with running(serving, opened(engine=engine), queue=1000) as server:

        def ask(index):
            images = pictures(1 + index % 7, seed=index)
            if index % 11 == 0:  # who hangs up
                data = encoded(images[0])
                with socket.create_connection((server.host, server.port)) as connection:
                    head = (
                        f"POST /classify HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
                        f"Content-Type: image/png\r\nContent-Length: {len(data)}\r\n\r\n"
                    )
                    connection.sendall(head.encode() + data)
            if index % 13 == 0:
                images[0] = 7
                assert server.infer(images).status_code == 500
                return 0
            if index % 2:
                files = [("file", (f"{i}", encoded(image))) for i, image in enumerate(images)]
                answer = server.post("/classify", files=files).json()["predictions"]
                found = [each["probability"] for each in answer]
                wanted = [float(p) for p in expected(images).max(axis=1)]
            else:
                found = server.infer(images).json()["outputs"][0]["data"]
                wanted = [float(p) for p in expected(images).ravel()]
            assert found == pytest.approx(wanted, rel=1e-6)
            return len(images)

        with ThreadPoolExecutor(24) as pool:
            assert sum(pool.map(ask, range(150))) > 500
        assert len(set(engine.batches)) > 3
