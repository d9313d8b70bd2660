"""One process that serves: its socket, its signals, its end in order."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import NoReturn

import uvicorn

from keras_classics.host.streams import forget
from keras_classics.serving.application import Server
from keras_classics.serving.journal import Journal, libraries_heard
from keras_classics.serving.places import Place
from keras_classics.serving.reload import engine_facts
from keras_classics.serving.settings import THREADS, Settings
from keras_classics.serving.shelf import Open, open_place
from keras_classics.web import server as web

ENDING = ("SIGINT", "SIGTERM")
_ENDING_SECONDS = 5  # that requests may take beyond their timeout
_LEAVING_SECONDS = 2.0  # for threads and models to end, when all requests are answered


@dataclass(frozen=True)
class Job:
    """What a process is to serve, and how."""

    places: tuple[Place, ...]
    open: Open  # what opens them; a worker is sent it, so that it must be picklable
    settings: Settings
    host: str
    keys: tuple[str, ...] = ()


def server_for(job: Job) -> Server:
    """Open the models of a job.

    Raises:
        ClassicsError: If one of them cannot be opened.
    """
    opened = [open_place(place, job.open) for place in job.places]
    return Server(opened, job.open, settings=job.settings, host=job.host, keys=job.keys)


def longest_end(settings: Settings) -> float:
    """Seconds from being told to end to the end, whatever is stuck."""
    return settings.linger + math.ceil(settings.timeout) + _ENDING_SECONDS + _LEAVING_SECONDS


def leave(seconds: float = _LEAVING_SECONDS) -> None:
    """See to it that the process can end well.

    It is ended here if a thread is stuck, for which the interpreter would wait for ever. And what
    nobody reads any more is forgotten.
    """
    end = time.monotonic() + seconds
    for thread in threading.enumerate():
        if thread.name.startswith(THREADS):
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                go()
    _flush()


def go() -> NoReturn:
    """End the process now, with 0; taking the interpreter apart would last a second or more."""
    _flush()
    os._exit(0)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            forget(stream)
        except ValueError:  # closed, with nothing in it
            continue


@contextmanager
def hangups_ignored() -> Iterator[None]:
    """Until a server listens to SIGHUP, it would end the process that opens the models."""
    numbers = signals_of(("SIGHUP",))
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def signals_of(names: Sequence[str]) -> list[signal.Signals]:
    """The signals of some names that this system has."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def run(
    server: Server,
    listening: socket.socket,
    started: Callable[[], None] | None = None,
    *,
    ending: Sequence[str] = ENDING,
) -> None:
    """Serve until a signal ends it.

    Args:
        server: What answers.
        listening: Where.
        started: Called when requests will be answered.
        ending: Names of the signals that end it: the first in order, the second at once. SIGHUP
            has it look at the folders of the models.
    """
    journal, settings = server.journal, server.settings

    def begun() -> None:
        journal.note("start", models=[engine_facts(served) for served in server.shelf])
        if started is not None:
            started()

    # An engine that hangs, and a model that is being opened, cannot be told to stop.
    deadline = threading.Timer(longest_end(settings), _give_up, (journal,))
    deadline.daemon = True
    with libraries_heard(journal):
        web.serve(
            server,
            listening,
            started=begun,
            server_of=partial(_Obedient, server, ending, deadline),
            connections=settings.connections,
            ending_seconds=math.ceil(settings.timeout) + _ENDING_SECONDS,
        )
    deadline.cancel()
    journal.note("end")


def _give_up(journal: Journal) -> NoReturn:
    journal.note("end", error="something did not end, and was left behind.")
    go()


class _Obedient(web.Server):
    """Ends in order, with 0; uvicorn would send itself the signal again."""

    def __init__(
        self,
        server: Server,
        ending: Sequence[str],
        deadline: threading.Timer,
        config: uvicorn.Config,
        begun: Callable[[], None] | None,
    ) -> None:
        super().__init__(config, begun)
        self._server, self._ending, self._deadline = server, ending, deadline
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        self._loop = asyncio.get_running_loop()
        numbers = signals_of((*self._ending, "SIGHUP"))
        before = {number: signal.signal(number, self._obey) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _obey(self, number: int, _: FrameType | None) -> None:
        if signal.Signals(number).name == "SIGHUP":
            self._loop.call_soon_threadsafe(self._reload)
        elif self._server.desk.draining:  # the second one: at once
            os._exit(128 + number)
        else:
            self._loop.call_soon_threadsafe(self._end)

    def _reload(self) -> None:
        task = self._loop.create_task(self._server.reloader.look(again=True))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self) -> None:
        """Answer what was taken in, and end; readiness says no from now on."""
        if self._server.desk.draining:
            return
        self._server.desk.draining = self.leaving = True
        linger = self._server.settings.linger
        self._server.journal.note("drain", linger=linger)
        self._deadline.start()
        self._loop.call_later(linger, self._exit)

    def _exit(self) -> None:
        self.should_exit = True
