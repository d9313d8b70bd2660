"""Dynamic batching: pictures of several requests go through the network together.

A row of the answer belongs to the picture that it was computed of by construction: each batch keeps
beside its images whose they are, and nothing else ever looks at the rows.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]

_SMOOTHING = 0.2  # how much a new batch counts in the measured rate
_LONGEST_RETRY = 60
_ROUNDING = 1e-3  # an engine in bf16 or int8 may be so far below 0 or above 1


class BusyError(Exception):
    """There is no place for more pictures at the moment."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many pictures are waiting; try again in {seconds} s.")
        self.seconds = seconds


class EngineError(Exception):
    """The engine failed on a picture, or answered with what cannot be probabilities."""


@dataclass(eq=False)
class _Asked:
    """The pictures of one request."""

    images: Images
    rows: Rows
    answer: asyncio.Future[Rows]
    since: float
    taken: int = 0  # of the images that are or were in a batch
    known: int = 0  # of the rows


@dataclass(frozen=True)
class _Slice:
    """Some pictures of a request, within a batch."""

    asked: _Asked
    start: int
    stop: int

    @property
    def images(self) -> Images:
        return self.asked.images[self.start : self.stop]


class Batcher:
    """A queue before a network, in the event loop; the network runs in a thread of its own."""

    def __init__(
        self,
        compute: Callable[[Images], Rows],
        *,
        classes: int,
        batch_size: int,
        delay: float,
        places: int,
        at_a_time: int = 1,
        patience: float = math.inf,
        batched: Callable[[int, float], None] | None = None,
        counted: Callable[[int], None] | None = None,
    ) -> None:
        """A queue.

        Args:
            compute: (n, h, w, 3) uint8 to (n, classes) float32; called in threads.
            classes: Of the answers.
            batch_size: Images at a time, at most.
            delay: Seconds that an image waits at most for others.
            places: Images that are on their way at a time, from `place` on.
            at_a_time: Batches that are computed at a time.
            patience: Seconds after which nobody waits any more: what would take longer is refused.
            batched: Told of every batch, how many images and seconds.
            counted: Told how many places are taken, whenever that changes.
        """
        self._compute = compute
        self._classes = classes
        self._batch_size = batch_size
        self._delay = delay
        self._places = places
        self._patience = patience
        self._batched = batched
        self._counted = counted
        self._at_a_time = at_a_time
        self._pool = ThreadPoolExecutor(at_a_time, thread_name_prefix="engine")
        self._free = asyncio.Semaphore(at_a_time)
        self._running: set[asyncio.Task[None]] = set()
        self._queue: deque[_Asked] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._rate: float | None = None  # images a second of one batch
        self.taken = 0  # places

    @property
    def waiting(self) -> int:
        """Images in the queue, decoded and in no batch yet."""
        return sum(len(asked.images) - asked.taken for asked in self._queue)

    @contextmanager
    def place(self, count: int) -> Iterator[None]:
        """Places for some images, from before they are decoded until they are answered.

        Raises:
            BusyError: If there are not so many free, or it would take too long.
        """
        self.check(count)
        self._count(count)
        try:
            yield
        finally:
            self._count(-count)

    def check(self, count: int) -> None:
        """Whether there are places for some images.

        Raises:
            BusyError: As `place` does.
        """
        wait = 0.0 if self._rate is None else self.taken / (self._rate * self._at_a_time)
        if self.taken + count > self._places or wait > self._patience:
            raise BusyError(min(_LONGEST_RETRY, max(1, math.ceil(wait))))

    async def ask(self, images: Images) -> Rows:
        """The rows of some images; whoever stops waiting takes them out of the queue.

        Args:
            images: (n, h, w, 3) uint8, at least one.

        Returns:
            (n, classes) float32.

        Raises:
            EngineError: If the network failed on one of them.
        """
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._work())
        rows = np.empty((len(images), self._classes), np.float32)
        asked = _Asked(images, rows, loop.create_future(), time.monotonic())
        self._queue.append(asked)
        self._arrived.set()
        try:
            return await asked.answer
        finally:
            if asked in self._queue:  # given up
                self._queue.remove(asked)

    async def close(self) -> None:
        """Answer what was asked, and end."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._pool.shutdown(wait=False)

    def _count(self, change: int) -> None:
        self.taken += change
        if self._counted is not None:
            self._counted(self.taken)

    async def _work(self) -> None:
        while await self._asked():
            # A batch is made as late as may be: what comes meanwhile still finds a place in it.
            await self._free.acquire()
            await self._fill()
            task = asyncio.create_task(self._steadily(self._take()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await asyncio.gather(*self._running)

    async def _asked(self) -> bool:
        """Wait until something is asked; false at the end."""
        while not self._queue:
            if self._closing:
                return False
            await self._more(None)
        return True

    async def _steadily(self, batch: list[_Slice]) -> None:
        """A batch, where even a bug leaves nobody without an answer."""
        try:
            await self._run(batch)
        except Exception as error:
            for each in batch:
                _fail(each.asked, EngineError(f"{type(error).__name__}: {error} (this is a bug)"))
        finally:
            self._free.release()

    async def _more(self, seconds: float | None) -> None:
        """Wait until something is asked, but no longer than some seconds."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return

    async def _fill(self) -> None:
        """Wait for a full batch, as long as the oldest picture may wait."""
        while self._queue and self.waiting < self._batch_size and not self._closing:
            left = self._queue[0].since + self._delay - time.monotonic()
            if left <= 0:
                return
            await self._more(left)

    def _take(self) -> list[_Slice]:
        batch: list[_Slice] = []
        room = self._batch_size
        while room and self._queue:
            asked = self._queue[0]
            stop = min(len(asked.images), asked.taken + room)
            if not asked.answer.done():  # else it failed in an earlier batch
                batch.append(_Slice(asked, asked.taken, stop))
                room -= stop - asked.taken
            asked.taken = stop
            if stop == len(asked.images) or asked.answer.done():
                self._queue.popleft()
        return batch

    async def _run(self, batch: list[_Slice]) -> None:
        if not batch:
            return
        since = time.monotonic()
        try:
            rows = await self._in_thread(batch)
        except EngineError as error:
            if len(batch) == 1:
                _fail(batch[0].asked, error)
                return
            # One picture that the network cannot take must not cost the others their answers.
            for each in batch:
                if not each.asked.answer.done():
                    await self._run([each])
            return
        self._measure(len(rows), time.monotonic() - since)
        start = 0
        for each in batch:
            count = each.stop - each.start
            _give(each, rows[start : start + count])
            start += count

    async def _in_thread(self, batch: list[_Slice]) -> Rows:
        loop = asyncio.get_running_loop()
        images = [each.images for each in batch]
        return await loop.run_in_executor(self._pool, self._checked, images)

    def _checked(self, images: list[Images]) -> Rows:
        stacked = images[0] if len(images) == 1 else np.concatenate(images)
        try:
            rows = self._compute(stacked)
        except Exception as error:
            words = " ".join(str(error).split())[:200]
            raise EngineError(f"{type(error).__name__}: {words}") from error
        if not are_probabilities(rows, (len(stacked), self._classes)):
            raise EngineError(f"the network answered {rows.shape} that are no probabilities")
        return np.clip(rows, 0, 1)

    def _measure(self, images: int, seconds: float) -> None:
        rate = images / max(seconds, 1e-6)
        old = self._rate
        self._rate = rate if old is None else old + _SMOOTHING * (rate - old)
        if self._batched is not None:
            self._batched(images, seconds)


def are_probabilities(rows: Rows, shape: tuple[int, int]) -> bool:
    """Whether an engine's answer is one, but for what rounding does at 0 and 1."""
    # What is not a number compares as false.
    return rows.shape == shape and bool(((rows >= -_ROUNDING) & (rows <= 1 + _ROUNDING)).all())


def _give(part: _Slice, rows: Rows) -> None:
    asked = part.asked
    asked.rows[part.start : part.stop] = rows
    asked.known += len(rows)
    if asked.known == len(asked.images) and not asked.answer.done():
        asked.answer.set_result(asked.rows)


def _fail(asked: _Asked, error: EngineError) -> None:
    if not asked.answer.done():
        asked.answer.set_exception(error)
