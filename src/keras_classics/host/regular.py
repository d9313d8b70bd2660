"""Regular files alone are opened: a pipe may wait for ever, and a device need not end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

BROKEN_LINK = "a symbolic link that leads to no file"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: BROKEN_LINK,
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class IrregularFileError(OSError):
    """What is no regular file, nor leads to one; `strerror` says what it is."""


def check_regular(path: Path, most: int | None = None) -> None:
    """Refuse what is no regular file before it is opened.

    Args:
        path: The file; links are followed.
        most: Bytes of it; None for any number.

    Raises:
        IrregularFileError: If it is a folder, pipe, socket or device, or a link that leads nowhere
            or back to itself.
        OSError: If there is no file, or it holds more bytes than `most` (EFBIG).
    """
    status = _status(path)
    if not stat.S_ISREG(status.st_mode):
        raise IrregularFileError(
            errno.EINVAL, f"{kind_of(status.st_mode)}, not a regular file", os.fspath(path)
        )
    if most is not None and status.st_size > most:
        reason = f"{status.st_size:,} bytes, more than the limit of {most:,}"
        raise OSError(errno.EFBIG, reason, os.fspath(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; OSError as `check_regular` and `open` raise it."""
    check_regular(path)
    return path.open("rb")


def read_regular(path: Path, most: int | None = None) -> bytes:
    """All bytes of a file; OSError as `check_regular` and `open` raise it."""
    check_regular(path, most)
    return path.read_bytes()


def why_none(path: Path) -> str:
    """Why there is no regular file at a path, in words."""
    try:
        mode = mode_of(path)
    except (OSError, ValueError):
        return "no such file"
    return f"{kind_of(mode)}, not a regular file"


def mode_of(path: Path) -> int:
    """What stands at a path, in the terms of `stat`: of a link what it leads to, if anything.

    Raises:
        OSError: If nothing stands there, or there is no telling.
    """
    try:
        return _status(path).st_mode
    except IrregularFileError:
        return stat.S_IFLNK


def kind_of(mode: int) -> str:
    """What stands at a path, in words."""
    return _KINDS.get(stat.S_IFMT(mode), "a file")


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        # The system says that there is no such file, or too many links, and not which of them.
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP} and path.is_symlink():
            raise IrregularFileError(error.errno, BROKEN_LINK, os.fspath(path)) from None
        raise
