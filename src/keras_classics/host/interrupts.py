"""Ctrl-C that loses nothing: it stops a run at once, or at the next place where that is safe."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupts:
    """What Ctrl-C does at the moment.

    While `at_once`, the first one raises KeyboardInterrupt wherever the program is; further ones,
    which would disturb the tidying up, and those at other times, are remembered only.
    """

    def __init__(self) -> None:
        self.at_once = True
        self.asked = False
        self.signal: int = signal.SIGINT  # the first that came

    def check(self) -> None:
        """A place where stopping is safe.

        Raises:
            KeyboardInterrupt: If Ctrl-C was pressed.
        """
        if self.asked:
            raise KeyboardInterrupt

    def handle(self, number: int, *_: Any) -> None:
        """The signal's handler."""
        if not self.asked:
            self.signal = number
        self.asked = True
        if self.at_once:
            self.at_once = False
            raise KeyboardInterrupt

    @contextmanager
    def allowed(self, *, again: bool = False) -> Iterator[None]:
        """Work that may be broken off anywhere; `again`: by the next Ctrl-C, not by one before."""
        self.asked = self.asked and not again
        self.check()
        self.at_once = True
        try:
            yield
        finally:
            self.at_once = False


@contextmanager
def handled(*others: int) -> Iterator[Interrupts]:
    """Handle Ctrl-C for the length of a run; outside the main thread there is none to handle.

    Args:
        others: Signals that are handled like it, such as SIGTERM.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    numbers = (signal.SIGINT, *others)
    before = [signal.signal(number, interrupts.handle) for number in numbers]
    try:
        yield interrupts
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
