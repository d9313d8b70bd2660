"""The log: JSON lines on standard error, one a request, without anything of the pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

Write = Callable[[str], object]


class Journal:
    """What happened, line by line."""

    def __init__(self, write: Write | None = None) -> None:
        """A journal.

        Args:
            write: Takes a line with its end; standard error by default.
        """
        self._write = write

    def note(self, event: str, **facts: Any) -> None:
        """One line; facts that are None are left out."""
        kept = {name: fact for name, fact in facts.items() if fact is not None}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **kept}) + "\n"
        if self._write is not None:
            self._write(line)
            return
        sys.stderr.write(line)
        sys.stderr.flush()
