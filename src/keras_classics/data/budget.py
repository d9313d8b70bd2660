"""How much memory decoding may take at a time: a small file can claim a large picture."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from keras_classics.errors import ClassicsError
from keras_classics.host.memory import give_back, total_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARE = 1 / 8
"""Of the memory of the machine, or of the container, that decoding takes by default."""

_LARGE = 64 * 1024**2  # bytes, from which it is worth the time to give them back

VARIABLE = "KERAS_CLASSICS_DECODING_MB"
"""The variable of the environment that states another budget, in megabytes."""


def default_budget() -> int:
    """Bytes that decoding may take in all, by the environment or by the memory there is.

    Raises:
        ClassicsError: the variable is no number of megabytes.
    """
    stated = os.environ.get(VARIABLE, "")
    if not stated:
        return int(SHARE * total_memory())
    if not (stated.isascii() and stated.isdecimal() and int(stated)):
        raise ClassicsError(f"{VARIABLE}={stated[:20]!r}: a whole number of megabytes is needed.")
    return int(stated) * 1024**2


class Budget:
    """Bytes that threads share: each waits, in the order of asking, until there is room for it.

    What is larger than the whole budget has its turn when nothing else is in hand.

    Args:
        size: in bytes; None for `default_budget`.
        alone: held besides by what is larger than the budget, so that processes take turns, too.
    """

    def __init__(
        self, size: int | None = None, alone: AbstractContextManager[object] | None = None
    ) -> None:
        self._size = size
        self._alone = alone or nullcontext()
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def size(self) -> int:
        """In bytes.

        Raises:
            ClassicsError: as `default_budget`.
        """
        if self._size is None:
            self._size = default_budget()
        return self._size

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """So many bytes, for the length of a `with`.

        Raises:
            MemoryError: more than the machine has.
        """
        if size > self.size and size > total_memory():
            raise MemoryError
        me = object()
        with self._changed:
            self._waiting.append(me)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is me and self._fits(size))
                self._used += size
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
        try:
            with self._alone if size > self.size else nullcontext():
                yield
        finally:
            if size >= _LARGE:
                give_back()
            with self._changed:
                self._used -= size
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return not self._used or self._used + size <= self.size


_budget = Budget()


def set_budget(budget: Budget) -> None:
    """Let all pictures that this process decodes from now on share a budget."""
    global _budget  # noqa: PLW0603 (memory belongs to the process)
    _budget = budget


def room(size: int) -> AbstractContextManager[None]:
    """Wait for so many bytes of the process's budget: see `Budget.room`."""
    return _budget.room(size)
