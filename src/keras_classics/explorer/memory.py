"""What is kept for the next view: bounded in number and bytes, the least recently used goes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Memory(Generic[T]):
    """Values by key, which several threads may ask for."""

    def __init__(self, *, count: int, size: int, size_of: Callable[[T], int]) -> None:
        """An empty memory.

        Args:
            count: of values at most.
            size: of all values together at most, in bytes; a larger one is not kept.
            size_of: the bytes of a value.
        """
        self._count, self._size, self._size_of = count, size, size_of
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """The value, which becomes the most recently used one; None if it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: T) -> None:
        """Keep a value, at the cost of those that were not used for longest."""
        with self._lock:
            before = self._values.pop(key, None)
            if before is not None:
                self._bytes -= self._size_of(before)
            if self._size_of(value) > self._size:
                return  # all others would have to go, and it would not fit either
            self._values[key] = value
            self._bytes += self._size_of(value)
            while len(self._values) > self._count or self._bytes > self._size:
                _, gone = self._values.popitem(last=False)
                self._bytes -= self._size_of(gone)

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value that is kept, or else the one that is made now."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def values(self) -> list[T]:
        """All that is kept, the least recently used first."""
        with self._lock:
            return list(self._values.values())

    @property
    def bytes(self) -> int:
        """Of all values together."""
        with self._lock:
            return self._bytes
