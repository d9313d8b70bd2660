"""A stop under load: nothing that was taken in is lost, and it comes in time."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time

import pytest

from serving.fakes import encoded, pictures, until
from serving.test_process import folder, program
from serving.test_workers import workers as workers_of

__all__ = ["folder"]

IN_TIME = 5  # seconds beyond the linger


class Load:
    """People who ask again and again, each on a connection that is kept as long as may be."""

    def __init__(self, address, people, *, keep=True):
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        self._address, self._keep = (host, int(port)), keep
        self._data = encoded(pictures(1)[0])
        self.answered, self.told, self.lost = [], 0, []
        self._lock = threading.Lock()
        self._people = [threading.Thread(target=self._ask) for _ in range(people)]
        for each in self._people:
            each.start()

    def _ask(self):
        headers = {"content-type": "image/png"} | ({} if self._keep else {"connection": "close"})
        while True:
            connection = http.client.HTTPConnection(*self._address, timeout=30)
            try:
                connection.connect()
            except ConnectionRefusedError:  # all that may happen to one at the end
                return
            try:
                while connection.sock is not None:
                    connection.request("POST", "/classify", self._data, headers)
                    answer = connection.getresponse()
                    answer.read()
                    with self._lock:
                        self.answered.append(answer.status)
                        self.told += answer.will_close
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.lost.append(repr(error))
            finally:
                connection.close()

    def join(self):
        for each in self._people:
            each.join(60)
            assert not each.is_alive()


def stops(folder, *options, linger=0.0, people=16, keep=True, opening=False):
    """Whether it ends as it should while people ask, and one of its workers opens its models."""
    with program(folder, "--timeout", 30, "--linger", linger, *options) as found:
        if opening:
            (folder / "opening").unlink()
            (folder / "wait").touch()
            os.kill(workers_of(found)[0].pid, signal.SIGKILL)
            until((folder / "opening").exists)
        load = Load(found.address, people, keep=keep)
        until(lambda: len(load.answered) > 2 * people or load.lost)
        since = time.monotonic()
        found.process.terminate()
        assert found.ends(60) == (0, "ended.\n")
        seconds = time.monotonic() - since
        load.join()
        found.read()
        assert load.lost == []
        assert set(load.answered) <= {200, 429}
        assert load.told >= people
        assert len(found.of("request")) == len(load.answered)
        assert seconds < linger + IN_TIME
        assert [line for line in found.of("end") if "error" in line] == []


def test_a_stop_under_load(folder):
    stops(folder, "--seconds", 0.01, linger=0.5)


def test_a_stop_of_workers_under_load(folder):
    """One that opens its models shares their socket; who waited at it would not be answered."""
    stops(folder, "--seconds", 0.01, "--workers", 2, linger=0.5, opening=True)


@pytest.mark.slow
@pytest.mark.parametrize("linger", [0.0, 2.0])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_many_stops_under_load(folder, workers, keep, linger):
    for people in (1, 40, 100) * 2:
        options = ("--seconds", 0.01, "--workers", workers)
        stops(folder, *options, linger=linger, people=people, keep=keep)
