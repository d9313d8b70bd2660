"""How much memory this machine, or this process's container, has."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


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


def _number(name: str) -> int | None:
    """What a file of the control group says; None without a container or a limit ("max")."""
    try:
        return int((CGROUP / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
