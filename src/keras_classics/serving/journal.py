"""The log: JSON lines on standard error, one a request, without anything of the pictures."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

Write = Callable[[str], object]

_LONGEST = 500  # characters of what a library says


class Journal:
    """What happened, line by line."""

    def __init__(self, write: Write | None = None) -> None:
        """A journal.

        Args:
            write: Takes a line with its end; standard error by default.
        """
        self._write = write

    def note(self, event: str, **facts: Any) -> None:
        """One line; facts that are None are left out, and a line that finds no place is lost."""
        kept = {name: fact for name, fact in facts.items() if fact is not None}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **kept}) + "\n"
        if self._write is not None:
            self._write(line)
            return
        # A full disk, or a reader of the log that is gone, must not cost anybody an answer; nor
        # may the line stay in a buffer, which fails whoever flushes it next.
        with suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), line.encode())


class _Heard(logging.Handler):
    """Writes what libraries log into a journal."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        words = " ".join(record.getMessage().split())[:_LONGEST]
        level = record.levelname.lower()
        self._journal.note("log", source=record.name, level=level, message=words)


@contextmanager
def libraries_heard(journal: Journal) -> Iterator[None]:
    """While it lasts, what libraries log or warn of are lines of a journal, too."""
    root, forms = logging.getLogger(), logging.getLogger("python_multipart")
    handler, before = _Heard(journal), forms.level
    root.addHandler(handler)
    logging.captureWarnings(True)
    forms.setLevel(logging.CRITICAL)  # a form that is torn is noted with its request
    try:
        yield
    finally:
        forms.setLevel(before)
        logging.captureWarnings(False)
        root.removeHandler(handler)
