"""Several processes behind one socket, and the parent that starts them again when they die.

The parent holds the socket, so that nothing that connects is lost while a worker is missing. It
ends its workers by a signal of its own: a terminal, or a service manager, sends SIGINT and SIGTERM
to all processes of a group, and whoever connected before the parent had closed the socket would
wait at it for nobody.

Not uvicorn's supervisor: it pings its workers and kills those that are still importing, ends all
when one cannot open its models again, starts others again without a pause, and neither ends at a
second signal, nor in time when a worker hangs; its workers outlive it when it is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from filelock import FileLock
from prometheus_client.multiprocess import mark_process_dead

from keras_classics.data.budget import Budget, default_budget, set_budget
from keras_classics.errors import ClassicsError
from keras_classics.serving.journal import Journal
from keras_classics.serving.metrics import MULTIPLE
from keras_classics.serving.process import (
    ENDING,
    Job,
    go,
    hangups_ignored,
    longest_end,
    run,
    server_for,
    signals_of,
)

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_END = "SIGUSR1"  # ends a worker: in order, or at once while it opens its models
_TICK = 0.2  # seconds
_SHORT_LIFE = 10.0  # seconds; in the place of one that lived no longer another waits for a while
_LONGEST_PAUSE = 30.0
_GRACE = 5.0  # seconds that workers may be late at the end, before they are killed
_SPAWN = multiprocessing.get_context("spawn")  # threads and engines do not outlive a fork


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    since: float
    ready: bool = False
    failure: str | None = None

    def tell(self, name: str) -> None:
        """Send it a signal, if it still runs."""
        for number in signals_of((name,)):
            with suppress(ProcessLookupError):
                os.kill(self.process.pid or 0, number)

    def hear(self) -> None:
        """Hear whether it is ready, or why it is not."""
        with suppress(EOFError, OSError):
            while self.pipe.poll():
                self.failure = self.pipe.recv()
                self.ready = self.failure is None


def serve_with_workers(
    job: Job,
    listening: socket.socket,
    count: int,
    started: Callable[[], None],
    *,
    journal: Journal | None = None,
) -> None:
    """Serve with several processes until a signal ends them.

    Args:
        job: Of each of them.
        listening: Where.
        count: How many.
        started: Called once all are ready.
        journal: Where it is noted that one died.

    Raises:
        ClassicsError: If they cannot start.
    """
    with _common_metrics() as folder:
        _Supervisor(job, listening, count, journal or Journal(), folder).run(started)


class _Supervisor:
    def __init__(
        self, job: Job, listening: socket.socket, count: int, journal: Journal, folder: str
    ) -> None:
        self._job, self._listening = job, listening
        self._journal, self._folder = journal, folder
        self._decoding = _Share(default_budget() // count, str(Path(folder) / "decoding.lock"))
        self._pause = 0.0
        self._ending = False
        self._workers = [self._start() for _ in range(count)]

    def run(self, started: Callable[[], None]) -> None:
        """Until a signal comes and all have ended."""
        told = False
        before = {
            number: signal.signal(number, self._obey) for number in signals_of((*ENDING, "SIGHUP"))
        }
        try:
            while not self._ending:
                wait([worker.process.sentinel for worker in self._workers], _TICK)
                for worker in self._workers:
                    worker.hear()
                self._replace_dead(begun=told)
                if not told and all(worker.ready for worker in self._workers):
                    told = True
                    started()
            # The workers listen at sockets of their own. This one would take in, while they answer
            # what they have, whom nobody will answer.
            self._listening.close()
            self._tell(_END)
            end = time.monotonic() + longest_end(self._job.settings) + _GRACE
            for worker in self._workers:
                worker.process.join(max(0.0, end - time.monotonic()))
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _obey(self, number: int, _: FrameType | None) -> None:
        if signal.Signals(number).name == "SIGHUP":
            self._tell("SIGHUP")
        elif self._ending:  # the second one: at once
            for worker in self._workers:
                worker.process.kill()
            os._exit(128 + number)
        else:
            self._ending = True

    def _tell(self, name: str) -> None:
        for worker in self._workers:
            worker.tell(name)

    def _start(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(
            target=work, args=(self._job, self._listening, theirs, self._decoding, self._pause)
        )
        with hangups_ignored():  # a worker inherits that
            process.start()
        theirs.close()
        return _Worker(process, ours, time.monotonic() + self._pause)

    def _replace_dead(self, *, begun: bool) -> None:
        for worker in [each for each in self._workers if each.process.exitcode is not None]:
            worker.hear()
            if not begun:
                raise ClassicsError(worker.failure or f"it died with {worker.process.exitcode}")
            worker.pipe.close()
            mark_process_dead(worker.process.pid, self._folder)  # type: ignore[no-untyped-call]
            short = not worker.ready or time.monotonic() - worker.since < _SHORT_LIFE
            self._pause = min(_LONGEST_PAUSE, max(1.0, 2 * self._pause)) if short else 0.0
            self._journal.note(
                "worker",
                result="died",
                pid=worker.process.pid,
                code=worker.process.exitcode,
                error=worker.failure,
                restart_after=self._pause,
            )
            self._workers[self._workers.index(worker)] = self._start()


@dataclass(frozen=True)
class _Share:
    """A worker's part of the memory for decoding; of larger pictures all decode one at a time."""

    size: int  # bytes
    lock: str

    def take(self) -> None:
        set_budget(Budget(self.size, alone=FileLock(self.lock)))


def work(
    job: Job, listening: socket.socket, pipe: Connection, decoding: _Share, pause: float
) -> None:
    """What a worker does, after a pause in seconds."""
    for number in signals_of((*ENDING, "SIGHUP")):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    time.sleep(pause)
    decoding.take()
    try:
        server = server_for(job)
    except ClassicsError as error:
        pipe.send(str(error))
        sys.exit(2)
    with listening:
        run(server, listening, lambda: pipe.send(None), ending=(_END,))
    go()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    signal.raise_signal(signal.Signals[_END])


@contextmanager
def _common_metrics() -> Iterator[str]:
    """A folder in which all workers count."""
    with tempfile.TemporaryDirectory(prefix="classics-metrics-") as folder:
        os.environ[MULTIPLE] = folder
        try:
            yield folder
        finally:
            del os.environ[MULTIPLE]
