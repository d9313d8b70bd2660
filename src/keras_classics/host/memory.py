"""How much memory this machine, or this process's container, has, and what a process keeps of it.

By itself the GNU C library gives large pieces back to the system, and keeps some sixty megabytes
for each thread that had a lot.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

CGROUP = Path("/sys/fs/cgroup")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4

_keeping = 0  # contexts of `kept` that are open


def free_memory() -> int:
    """Bytes that are free on this machine, or within the limit of this process's container."""
    free = int(psutil.virtual_memory().available)
    limit, used = _number("memory.max"), _number("memory.current")
    return free if limit is None or used is None else min(free, limit - used)


def total_memory() -> int:
    """Bytes that this machine has, or that this process's container may use."""
    total = int(psutil.virtual_memory().total)
    limits = (_number("memory.max"), _number("memory/memory.limit_in_bytes"))  # versions 2 and 1
    return min([total, *(limit for limit in limits if limit is not None)])


@contextmanager
def kept() -> Iterator[None]:
    """Keep free memory in this process until it is needed again; what was kept goes afterwards.

    Only where the GNU C library is.
    """
    global _keeping  # noqa: PLW0603 (memory belongs to the process)
    set_option = getattr(_library(), "mallopt", None)
    if set_option is None:
        yield
        return
    set_option(M_MMAP_MAX, 0)
    set_option(M_TRIM_THRESHOLD, -1)  # never
    _keeping += 1
    try:
        yield
    finally:
        _keeping -= 1
        # The highest values to which the library itself goes.
        set_option(M_MMAP_MAX, 65536)
        set_option(M_MMAP_THRESHOLD, 2**25)
        set_option(M_TRIM_THRESHOLD, 2**26)
        give_back()


def give_back() -> None:
    """Give free memory back to the system, unless it is being `kept`."""
    trim = getattr(_library(), "malloc_trim", None)
    if trim is not None and not _keeping:
        trim(0)


def _library() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def _number(name: str) -> int | None:
    """What a file of the control group says; None without a container or a limit ("max")."""
    try:
        return int((CGROUP / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
