"""A process and its signals."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from keras_classics.serving.journal import Journal, libraries_heard
from keras_classics.serving.process import signals_of
from serving.fakes import Log, encoded, expected, pictures, until

PROGRAM = Path(__file__).with_name("program.py")


class Program:
    """The program, its address, and what it writes."""

    def __init__(self, process):
        self.process = process
        self.lines = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self.address = process.stdout.readline().strip()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(json.loads(line) if line.startswith("{") else line)

    def of(self, event):
        return [line for line in list(self.lines) if line["event"] == event]

    def ask(self, image, post=httpx.post, **options):
        headers = {"content-type": "image/png"}
        return post(
            f"{self.address}classify?top=1", content=encoded(image), headers=headers,
            timeout=30, **options,
        )  # fmt: skip

    def answered(self, image, seed):
        (found,) = self.ask(image).json()["predictions"]
        return found["probability"] == float(expected(image[None], seed).max())

    def ends(self, seconds=20):
        """How it ends."""
        code = self.process.wait(seconds)
        return code, self.process.stdout.read()

    def read(self):
        """Read all that it has written until its end."""
        self._reading.join()

    def close(self):
        self.read()
        self.process.stdout.close()
        self.process.stderr.close()


@contextmanager
def program(folder, *options):
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    found = Program(process)
    try:
        assert found.address.startswith("http://127.0.0.1:"), found.lines
        yield found
    finally:
        process.kill()
        process.wait()
        found.close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.seed").write_text("1")
    return tmp_path / "model"


def test_it_ends_in_order(folder):
    with (
        program(folder, "--seconds", 0.5) as found,
        ThreadPoolExecutor(6) as pool,
        httpx.Client() as client,  # which is made once, as that takes long
    ):
        images = pictures(6)
        asked = [pool.submit(found.ask, image, client.post) for image in images]
        time.sleep(0.4)
        found.process.terminate()
        for image, future in zip(images, asked, strict=True):
            (answer,) = future.result().json()["predictions"]
            assert answer["probability"] == float(expected(image[None], 1).max())
        assert found.ends() == (0, "ended.\n")
        events = [line["event"] for line in found.lines]
        assert events == ["start", "drain", *["request"] * 6, "end"]
        # The first one says what the models run on.
        (model,) = found.of("start")[0]["models"]
        assert model == {
            "model": "fake", "version": "1", "engine": "keras", "precision": "f32",
            "why": "it is a fake",
        }  # fmt: skip
        with pytest.raises(httpx.ConnectError):
            httpx.get(found.address)


def test_a_second_signal_ends_it_at_once(folder):
    with program(folder, "--seconds", 20) as found, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(found.ask, pictures(1)[0])
        time.sleep(0.3)
        found.process.terminate()
        until(lambda: found.of("drain"))
        found.process.terminate()
        assert found.ends()[0] == 128 + signal.SIGTERM
        assert isinstance(asked.exception(), httpx.HTTPError)


def test_it_lingers_while_readiness_says_no(folder):
    """And nobody who has sent half a request holds it up."""
    with program(folder, "--linger", 1.0) as found:
        assert httpx.get(f"{found.address}v2/health/ready").status_code == 200
        host, port = found.address.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port))) as idle:
            idle.sendall(b"GET /v2 HT")
            since = time.monotonic()
            found.process.send_signal(signal.SIGINT)
            until(lambda: found.of("drain"))
            answer = httpx.get(f"{found.address}v2/health/ready")
            assert (answer.status_code, answer.json()) == (503, {"ready": False})
            assert found.answered(pictures(1)[0], 1)  # whoever still comes is answered
            assert found.ends()[0] == 0
            assert time.monotonic() - since < 8


def test_a_signal_reloads(folder):
    image = pictures(1)[0]
    with program(folder) as found:
        assert found.answered(image, 1)
        (folder / "model.seed").write_text("2")
        found.process.send_signal(signal.SIGHUP)
        until(lambda: found.of("reload"))
        assert found.answered(image, 2)
        (folder / "model.seed").write_text("torn")
        found.process.send_signal(signal.SIGHUP)
        until(lambda: len(found.of("reload")) == 2)
        assert found.of("reload")[1]["result"] == "refused"
        assert found.answered(image, 2)


def test_a_decoder_that_is_stuck_does_not_hold_it_up(folder):
    """Its request is answered in time, and its thread is left behind."""
    with program(folder, "--stuck", 60, "--timeout", 0.5) as found:
        assert found.ask(pictures(1)[0]).status_code == 504
        assert httpx.get(f"{found.address}metrics", timeout=2).status_code == 200
        since = time.monotonic()
        found.process.terminate()
        assert found.ends() == (0, "ended.\n")
        assert time.monotonic() - since < 8
        assert found.of("end")


def test_what_cannot_be_stopped_does_not_hold_it_up(folder):
    """An engine that hangs, and a model that is being opened."""
    with program(folder, "--seconds", 60, "--timeout", 0.5, "--ending", 0) as found:
        assert found.ask(pictures(1)[0]).status_code == 504
        (folder / "opening").unlink()
        (folder / "wait").touch()
        (folder / "model.seed").write_text("2")
        found.process.send_signal(signal.SIGHUP)
        until((folder / "opening").exists)
        found.process.terminate()
        assert found.ends()[0] == 0
        assert "left behind" in found.of("end")[0]["error"]


def test_a_hangup_while_the_models_are_opened(folder):
    (folder / "wait").touch()
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until((folder / "opening").exists)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        (folder / "wait").unlink()
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_nobody_reads_the_log(folder):
    """It answers, reloads, starts workers again and ends as if somebody did."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), "--workers", "2", "--watch", "0.1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = process.stdout.readline().strip()
        process.stderr.close()
        image = pictures(1)

        def answers(seed):
            answer = httpx.post(
                f"{address}classify", content=encoded(image[0]),
                headers={"content-type": "image/png"},
            )  # fmt: skip
            wanted = float(expected(image, seed).max())
            return answer.json()["predictions"][0]["probability"] == wanted

        assert answers(1)
        for seed in (2, 3):
            (folder / "model.seed").write_text(str(seed))
            until(lambda seed=seed: all(answers(seed) for _ in range(8)))

        def children():
            found = psutil.Process(process.pid).children()
            return [each for each in found if "spawn_main" in " ".join(each.cmdline())]

        first = children()[0]
        first.kill()
        first.wait(20)
        until(lambda: len(children()) == 2)
        assert answers(3)
        assert process.poll() is None
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_libraries_say_is_lines_of_the_log_too():
    log = Log()
    with libraries_heard(Journal(log)):
        logging.getLogger("some.library").warning("one\nthing")
        logging.getLogger("python_multipart").warning("noted with its request")
    logging.getLogger("some.library").warning("nobody listens")
    (line,) = log
    assert line["source"] == "some.library"
    assert line["message"] == "one thing"


def test_signals_of_this_system():
    assert signals_of(("SIGINT", "SIGNOTHING")) == [signal.SIGINT]
