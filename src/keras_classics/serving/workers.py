"""Several processes behind one socket, and the parent that starts them again when they die.

The parent holds the socket, so that nothing that connects is lost while a worker is missing. It
tells its workers what to do through pipes and not by signals: a terminal, or a service manager,
sends its signals to all processes of a group, and a worker would take the second for "at once".
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
from dataclasses import dataclass, field
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
    Control,
    Job,
    go,
    longest_end,
    server_for,
    signals_of,
)

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

END, RELOAD, READY = "end", "reload", "ready"
_TICK = 0.2  # seconds
_SHORT_LIFE = 10.0  # seconds; a worker that lived no longer is started again only after a while
_LONGEST_PAUSE = 30.0
_GRACE = 5.0  # seconds that workers may be late at the end, before they are killed
_SPAWN = multiprocessing.get_context("spawn")  # threads and engines do not outlive a fork


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    since: float = field(default_factory=time.monotonic)
    ready: bool = False
    failure: str | None = None

    def tell(self, word: str) -> None:
        """Tell it, if it still listens."""
        with suppress(OSError):
            self.pipe.send(word)

    def hear(self) -> None:
        """Hear whether it is ready, or why it is not."""
        with suppress(EOFError, OSError):
            while self.pipe.poll():
                word = self.pipe.recv()
                self.ready, self.failure = word == READY, None if word == READY else word


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
        self._workers = [self._start() for _ in range(count)]
        self._missing: list[float] = []  # when each is to be started
        self._pause = 0.0
        self._asked: list[int] = []  # signals

    def run(self, started: Callable[[], None]) -> None:
        """Until a signal comes and all have ended."""
        told = False
        before = {
            number: signal.signal(number, self._note)
            for number in signals_of(("SIGINT", "SIGTERM", "SIGHUP"))
        }
        try:
            while not self._ending:
                wait([worker.process.sentinel for worker in self._workers], _TICK)
                self._hear()
                self._bury(begun=told)
                self._revive()
                self._pass_on_reload()
                if not told and all(worker.ready for worker in self._workers):
                    told = True
                    started()
            self._end()
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def _ending(self) -> bool:
        return any(signal.Signals(number).name != "SIGHUP" for number in self._asked)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._ending and signal.Signals(number).name != "SIGHUP":  # the second one: at once
            for worker in self._workers:
                worker.process.kill()
            os._exit(128 + number)
        self._asked.append(number)

    def _pass_on_reload(self) -> None:
        if self._asked and not self._ending:
            self._asked.clear()
            for worker in self._workers:
                worker.tell(RELOAD)

    def _start(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=work, args=(self._job, self._listening, theirs, self._decoding), daemon=False
        )
        process.start()
        theirs.close()  # so that it hears when we are gone
        return _Worker(process, ours)

    def _hear(self) -> None:
        for worker in self._workers:
            worker.hear()

    def _bury(self, *, begun: bool) -> None:
        """Take note of those that died, and plan others in their places."""
        for worker in [each for each in self._workers if each.process.exitcode is not None]:
            worker.hear()
            if not begun:
                words = worker.failure or f"it died with {worker.process.exitcode}"
                raise ClassicsError(words)
            self._workers.remove(worker)
            worker.pipe.close()
            mark_process_dead(worker.process.pid, self._folder)  # type: ignore[no-untyped-call]
            lived = time.monotonic() - worker.since
            short = not worker.ready or lived < _SHORT_LIFE
            self._pause = min(_LONGEST_PAUSE, max(1.0, 2 * self._pause)) if short else 0.0
            self._missing.append(time.monotonic() + self._pause)
            self._journal.note(
                "worker",
                result="died",
                pid=worker.process.pid,
                code=worker.process.exitcode,
                error=worker.failure,
                restart_after=self._pause,
            )

    def _revive(self) -> None:
        now = time.monotonic()
        for when in [when for when in self._missing if when <= now]:
            self._missing.remove(when)
            self._workers.append(self._start())

    def _end(self) -> None:
        # The workers listen at sockets of their own. This one would take in, while they answer
        # what they have, whom nobody will answer.
        self._listening.close()
        for worker in self._workers:
            worker.tell(END)
        end = time.monotonic() + longest_end(self._job.settings) + _GRACE
        for worker in self._workers:
            worker.process.join(max(0.0, end - time.monotonic()))


@dataclass(frozen=True)
class _Share:
    """A worker's part of the memory for decoding; of larger pictures all decode one at a time."""

    size: int  # bytes
    lock: str

    def take(self) -> None:
        set_budget(Budget(self.size, alone=FileLock(self.lock)))


def work(job: Job, listening: socket.socket, pipe: Connection, decoding: _Share) -> None:
    """What a worker does."""
    decoding.take()
    for number in signals_of(("SIGINT", "SIGTERM", "SIGHUP")):
        signal.signal(number, signal.SIG_IGN)
    control = Control(signals=False)
    # It is told to end while it opens its models, too: it would take in whom nobody else does.
    threading.Thread(target=_obey, args=(pipe, control), daemon=True).start()
    try:
        server = server_for(job)
    except ClassicsError as error:
        pipe.send(str(error))
        sys.exit(2)
    with listening:
        control.run(server, listening, lambda: pipe.send(READY))
    go()


def _obey(pipe: Connection, control: Control) -> None:
    """What the parent says."""
    while True:
        try:
            word = pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            word = END
        if word == END:
            control.end()
            return
        control.reload()


@contextmanager
def _common_metrics() -> Iterator[str]:
    """A folder in which all workers count."""
    before = os.environ.get(MULTIPLE)
    with tempfile.TemporaryDirectory(prefix="classics-metrics-") as folder:
        os.environ[MULTIPLE] = folder
        try:
            yield folder
        finally:
            if before is None:
                del os.environ[MULTIPLE]
            else:
                os.environ[MULTIPLE] = before
