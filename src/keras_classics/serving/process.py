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
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import uvicorn

from keras_classics.host.streams import forget
from keras_classics.serving.application import Server
from keras_classics.serving.journal import libraries_heard
from keras_classics.serving.places import Place
from keras_classics.serving.reload import engine_facts
from keras_classics.serving.settings import THREADS, Settings
from keras_classics.serving.shelf import Open, open_place
from keras_classics.web import server as web

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


class Control:
    """Tells a server what to do, from any thread or signal, even before it runs."""

    def __init__(self, *, signals: bool = True) -> None:
        """Of a server that is going to run.

        Args:
            signals: Whether it obeys SIGTERM, SIGINT and SIGHUP; else it ignores them.
        """
        self._signals = signals
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again = False  # whether it is to look at the folders once it runs
        self._deadline: threading.Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def run(
        self, server: Server, listening: socket.socket, started: Callable[[], None] | None = None
    ) -> None:
        """Serve until it is ended."""
        self._server = server
        journal, settings = server.journal, server.settings

        def begun() -> None:
            self._loop = asyncio.get_running_loop()
            if self._again:
                self._reload()
            journal.note("start", models=[engine_facts(served) for served in server.shelf])
            if started is not None:
                started()

        with libraries_heard(journal):
            web.serve(
                server,
                listening,
                started=begun,
                server_of=self._made,
                connections=settings.connections,
                ending_seconds=math.ceil(settings.timeout) + _ENDING_SECONDS,
            )
        if self._deadline is not None:
            self._deadline.cancel()
        journal.note("end")

    def end(self) -> None:
        """Answer what was taken in, and end; readiness says no from now on."""
        if self._loop is None:  # not even begun
            os._exit(0)
        self._loop.call_soon_threadsafe(self._end)

    def reload(self) -> None:
        """Look at the folders of the models now, unless they were opened this moment."""
        if self._loop is None:
            self._again = True
        else:
            self._loop.call_soon_threadsafe(self._reload)

    def _end(self) -> None:
        if self._server.desk.draining:
            return
        self._server.desk.draining = self._web.leaving = True
        settings = self._server.settings
        self._server.journal.note("drain", linger=settings.linger)
        # An engine that hangs, and a model that is being opened, cannot be told to stop.
        self._deadline = threading.Timer(longest_end(settings), self._give_up)
        self._deadline.daemon = True
        self._deadline.start()
        asyncio.get_running_loop().call_later(settings.linger, self._exit)

    def _give_up(self) -> None:
        self._server.journal.note("end", error="something did not end, and was left behind.")
        go()

    def _exit(self) -> None:
        self._web.should_exit = True

    def _reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self._server.reloader.look(again=True))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _made(self, config: uvicorn.Config, begun: Callable[[], None] | None) -> web.Server:
        self._web = _Quiet(config, begun, self._handlers)
        return self._web

    @contextmanager
    def _handlers(self) -> Generator[None, None, None]:
        """While the server runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self._obey if self._signals else signal.SIG_IGN)
            for number in signals_of(("SIGINT", "SIGTERM", "SIGHUP"))
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _obey(self, number: int, _: FrameType | None) -> None:
        if signal.Signals(number).name == "SIGHUP":
            self.reload()
        elif self._server.desk.draining:  # the second one: at once
            os._exit(128 + number)
        else:
            self.end()


def signals_of(names: Sequence[str]) -> list[signal.Signals]:
    """The signals of some names that this system has."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class _Quiet(web.Server):
    """uvicorn would send itself the signal again at the end, and not end with 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        begun: Callable[[], None] | None,
        handlers: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__(config, begun)
        self._handlers = handlers

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        with self._handlers():
            yield
