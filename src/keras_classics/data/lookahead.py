"""Batches made by threads before they are asked for."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

T = TypeVar("T")

CHUNK = 16
"""Images that a thread makes at a time: a task costs as much as a tenth of an image."""


class Work(Generic[T]):
    """Something that several threads make: first its parts, then, by the last of them, the whole.

    Args:
        parts: each writes its part somewhere.
        whole: makes the result of all of them.
    """

    def __init__(self, parts: Iterable[Callable[[], None]], whole: Callable[[], T]) -> None:
        self._parts = list(parts)
        self._left = len(self._parts)
        self._whole: Callable[[], T] | None = whole
        self._lock = threading.Lock()
        self._futures: list[Future[None]] = []
        self._made: list[T] = []

    def start(self, pool: ThreadPoolExecutor) -> None:
        """Hand all parts to threads."""
        self._futures = [pool.submit(self._do, part) for part in self._parts]
        self._parts = []

    def result(self) -> T:
        """Wait for it; the error of a part is raised here."""
        try:
            for future in self._futures:
                future.result()
        except BaseException:
            self.cancel()
            raise
        return self._made[0]

    def cancel(self) -> None:
        """Leave undone what no thread has begun."""
        for future in self._futures:
            future.cancel()

    def _do(self, part: Callable[[], None]) -> None:
        part()
        with self._lock:
            self._left -= 1
            last = not self._left
        if last and self._whole is not None:
            self._made.append(self._whole())
            # What made it may hold on to whoever holds on to this.
            self._whole = None


class LookAhead(Generic[T]):
    """Makes what will be asked for next, so that it is there when it is.

    Threads begin with the first request and end with `close` or with this object. Requests may come
    from several threads and in any order.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._ahead: dict[Hashable, Work[T]] = {}

    def get(
        self, key: Hashable, following: Iterable[Hashable], prepare: Callable[..., Work[T]]
    ) -> T:
        """What belongs to a key.

        Args:
            key: what is wanted now.
            following: the keys that will be wanted next, the nearest first. They are made ahead,
                and whatever else was, is given up.
            prepare: from a key to the work.

        Raises:
            Exception: whatever the work raised.
        """
        with self._lock:
            work = self._ahead.pop(key, None) or self._begin(prepare(key))
            wanted = list(following)
            keep = set(wanted)
            for other in [other for other in self._ahead if other not in keep]:
                # Nobody waits for it: who does has taken it out.
                self._ahead.pop(other).cancel()
            for other in wanted:
                if other not in self._ahead:
                    self._ahead[other] = self._begin(prepare(other))
        return work.result()

    def clear(self) -> None:
        """Give up what was made ahead."""
        with self._lock:
            while self._ahead:
                self._ahead.popitem()[1].cancel()

    def close(self) -> None:
        """End the threads; another request begins new ones."""
        self.clear()
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None

    def _begin(self, work: Work[T]) -> Work[T]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="batches")
        work.start(self._pool)
        return work
