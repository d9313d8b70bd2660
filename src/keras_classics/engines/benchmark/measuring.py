"""Contenders in processes of their own, which run in turns.

What else the machine does hits all of them alike, and each is compared with the reference of its
own round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from keras_classics.engines.benchmark.contenders import Contender, Task
from keras_classics.errors import ClassicsError

CALL = 4  # batches in a call, over which the cost of a call is spread
PATIENCE = 600.0  # seconds for one answer
LEAST_CALLS, LEAST_SINGLE = 2, 20  # in each round

Tell = Callable[[str, int, int], None]
"""Called with what is done now, the number of steps done, and of all."""


@dataclass
class Measured:
    """What came of one contender."""

    contender: Contender
    why_not: str | None = None  # it did not run
    built_s: float = 0.0
    memory: int = 0  # bytes that the process held at most
    latencies: list[list[float]] = field(default_factory=list)  # s for one image, by round
    rates: list[float] = field(default_factory=list)  # images/s, one a round


class _Process:
    """A contender at work."""

    def __init__(self, contender: Contender, task: Task, most: int) -> None:
        values = {"contender": asdict(contender), "task": asdict(task), "most": most}
        backend = {"KERAS_BACKEND": "tensorflow"} if contender.library.startswith("keras") else {}
        threads = {"OMP_NUM_THREADS": str(task.threads)} if task.threads else {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", json.dumps(values)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "PYTHONWARNINGS": "ignore",
                **backend,
                **threads,
            },
        )

    def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order and wait for what comes of it."""
        _open(self._process.stdin).write(json.dumps(order) + "\n")
        _open(self._process.stdin).flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line that it says.

        Raises:
            ClassicsError: If it fails, or says nothing any more.
        """
        line = _open(self._process.stdout).readline()
        if not line:
            code = self._process.wait()
            raise ClassicsError("not enough memory" if code == -9 else f"ended with {code}")
        values: dict[str, Any] = json.loads(line)
        if "error" in values:
            raise ClassicsError(str(values["error"]))
        return values

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            _open(pipe).close()


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def measure(
    contenders: Sequence[Contender],
    task: Task,
    *,
    batch: int,
    rounds: int,
    seconds: float,
    tell: Tell,
) -> list[Measured]:
    """Let contenders run a network in turns.

    Args:
        contenders: Who runs; those that fail say why.
        task: What they run.
        batch: Batch size of the throughput measurement.
        rounds: How often each has its turn.
        seconds: Of a turn, at least; half as long for single images.
        tell: Told how it goes on.
    """
    steps = len(contenders) * (1 + rounds)
    results = [Measured(contender) for contender in contenders]
    with ExitStack() as stack:
        running: list[tuple[Measured, _Process]] = []
        for i, result in enumerate(results):
            tell(f"building {result.contender.name}", i, steps)
            process = stack.enter_context(_started(result.contender, task, batch * CALL))
            with _failing(result):
                result.built_s = process.answer()["built"]
                for images in (1, batch):  # what is compiled, or allocated, at the first run
                    process.ask(images=images, batch=batch, seconds=0.5, least=3)
                running.append((result, process))
        for turn in range(rounds):
            for k in range(len(running)):  # another one begins each round
                result, process = running[(k + turn) % len(running)]
                if result.why_not is None:
                    tell(result.contender.name, len(contenders) + turn * len(running) + k, steps)
                    with _failing(result):
                        _turn(result, process, batch, seconds)
        tell("done", steps, steps)
    return results


def _turn(result: Measured, process: _Process, batch: int, seconds: float) -> None:
    alone = process.ask(images=1, batch=1, seconds=seconds / 2, least=LEAST_SINGLE)
    result.latencies.append(alone["seconds"])
    images = batch * CALL
    many = process.ask(images=images, batch=batch, seconds=seconds, least=LEAST_CALLS)
    result.rates.append(images * len(many["seconds"]) / sum(many["seconds"]))
    result.memory = max(result.memory, alone["memory"], many["memory"])


@contextmanager
def _started(contender: Contender, task: Task, most: int) -> Iterator[_Process]:
    process = _Process(contender, task, most)
    try:
        yield process
    finally:
        process.end()


@contextmanager
def _failing(result: Measured) -> Iterator[None]:
    """What fails is told in the table; the others go on."""
    try:
        yield
    except (ClassicsError, OSError) as error:
        result.why_not = str(error).rstrip(".")
