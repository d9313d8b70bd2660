"""Where the bytes of images come from: a folder on disk, or a zip archive that is read in place.

All that reads images of a listing reads them through its `Storage`, by their names there.
"""

from __future__ import annotations

import heapq
import io
import os
import stat
import struct
import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from keras_classics.data import decode
from keras_classics.errors import DataError, ImageError
from keras_classics.host.regular import mode_of, open_regular

RATIO_LIMIT = 200
"""Times that a file in an archive may be larger than packed, if it is larger than `RATIO_FROM`."""

RATIO_FROM = 16 * 1024**2
"""Bytes; a small picture of one colour is rightly packed a thousand times smaller."""

AT_A_TIME = 50_000
"""Names of one folder that are held at a time, where images are listed one by one."""

# What Windows says of a name with an asterisk: there can be no such file.
_INVALID_NAME = 123
_MACOS_FOLDER = "__MACOSX"
_MOVE_IT = "; change its permissions or move it away"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
_WINDOWS, _UNIX = 0, 3  # the systems on which an archive was made


class Storage(Protocol):
    """Files under names: relative paths with forward slashes."""

    @property
    def place(self) -> Path:
        """The folder or the archive, as it was named; files are told as `place / name`."""

    def files(self) -> tuple[list[str], list[str]]:
        """The visible images, by their ending, and the other visible files, both sorted.

        What is no regular file, such as a pipe or a broken link, is told by its ending, too:
        `read_bytes` refuses it by name.
        """

    def names(self) -> Iterator[str]:
        """All visible files one by one, in any order."""

    def images(self) -> Iterator[str]:
        """The visible images one by one, in the order of `files`."""

    def folders(self, parent: str) -> list[str]:
        """The visible folders that stand directly in a folder, sorted; "." is the root."""

    def size(self, name: str) -> int | None:
        """The bytes of a file, regular or not; None where there is none."""

    def head(self, name: str, count: int) -> bytes | None:
        """The first bytes of a file; None where there is no regular file that can be read."""

    def read_bytes(self, name: str) -> bytes:
        """All bytes of a file; ImageError says why there are none."""


@dataclass(frozen=True)
class Folder:
    """A folder on disk. Links to folders are followed; what is hidden is not visible."""

    place: Path

    def files(self) -> tuple[list[str], list[str]]:
        """As in `Storage`.

        Raises:
            DataError: a folder cannot be read.
        """
        return _sorted_out(self.names())

    def names(self) -> Iterator[str]:
        """As in `Storage`.

        Raises:
            DataError: a folder cannot be read.
        """
        return _walk(self.place, "", frozenset())

    def images(self) -> Iterator[str]:
        """As in `Storage`; a folder of any size takes the memory of `AT_A_TIME` names.

        Raises:
            DataError: a folder cannot be read.
        """
        return _in_order(self.place, "", frozenset())

    def shows(self, path: Path) -> bool:
        """Whether a file is one of the images, told without a list of them."""
        if not path.is_relative_to(self.place):
            return False
        parts = path.relative_to(self.place).parts
        if not parts or any(map(_hidden, parts)) or not is_image_name(path):
            return False
        above = [self.place.joinpath(*parts[:depth]) for depth in range(len(parts))]
        try:
            seen = {(status.st_dev, status.st_ino) for status in map(os.stat, above)}
            on_a_circle = len(seen) < len(above)
            return not on_a_circle and not stat.S_ISDIR(mode_of(path))
        except OSError:
            return False

    def folders(self, parent: str) -> list[str]:
        """As in `Storage`."""
        return sorted(name for name, is_folder in _visible(self.place / parent) if is_folder)

    def size(self, name: str) -> int | None:
        """As in `Storage`."""
        path = self.place / name
        try:
            return path.stat().st_size
        except OSError:
            # Of a broken link that of its own: decoding will report it, with the name of the file.
            return path.lstat().st_size if path.is_symlink() else None

    def head(self, name: str, count: int) -> bytes | None:
        """As in `Storage`."""
        try:
            with open_regular(self.place / name) as file:
                return file.read(count)
        except OSError:
            return None

    def read_bytes(self, name: str) -> bytes:
        """As in `Storage`."""
        return decode.read_bytes(self.place / name)


class Archive:
    """A zip archive, read in place by any number of threads; nothing is unpacked to disk.

    Only the directory of the archive is held, at some 200 bytes a file.

    Raises:
        DataError: it cannot be read, is no archive or a torn one, is encrypted, holds names that
            lead out of it, or files that share their bytes, as a bomb does.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        try:
            self._file = open_regular(place)
        except OSError as error:
            raise unreadable(place, error) from None
        weakref.finalize(self, self._file.close)
        self._turn = threading.Lock()
        try:
            with zipfile.ZipFile(place) as archive:
                infos = archive.infolist()
        except OSError as error:
            raise unreadable(place, error) from None
        except Exception as error:  # zipfile raises nearly any type on a damaged directory
            raise DataError(
                f"{place}: is not a zip archive, or is corrupt ({error}); create it again"
            ) from None
        self._made: set[str] = set()
        # The last of two files of one name is the one that unpacking would leave.
        self._row: dict[str, int] = {}
        self._links: set[str] = set()
        for row, info in enumerate(infos):
            name = self._checked(info)
            if info.is_dir():
                self._made.add(name)
                continue
            self._row[name] = row
            if info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16):
                self._links.add(name)
        self._members = np.array(
            [
                (i.header_offset, i.compress_size, i.file_size, i.CRC, i.compress_type)
                for i in infos
            ],
            np.int64,
        ).reshape(-1, 5)
        self._check_overlap()

    def files(self) -> tuple[list[str], list[str]]:
        """As in `Storage`."""
        return _sorted_out(self.names())

    def names(self) -> Iterator[str]:
        """As in `Storage`."""
        return (name for name in self._row if not any(map(_hidden, name.split("/"))))

    def images(self) -> Iterator[str]:
        """As in `Storage`; the names of an archive are held with its directory."""
        return iter(self.files()[0])

    def folders(self, parent: str) -> list[str]:
        """As in `Storage`."""
        above = PurePosixPath(parent)
        found: set[str] = set()
        for name in self._made | {str(PurePosixPath(name).parent) for name in self._row}:
            path = PurePosixPath(name)
            if path != above and path.is_relative_to(above):
                found.add(path.relative_to(above).parts[0])
        return sorted(name for name in found if not _hidden(name))

    def size(self, name: str) -> int | None:
        """As in `Storage`: unpacked, as the archive declares it."""
        row = self._row.get(name)
        return None if row is None else int(self._members[row, 2])

    def head(self, name: str, count: int) -> bytes | None:
        """As in `Storage`."""
        if name not in self._row or name in self._links:
            return None
        try:
            return self._unpacked(name, at_most=count)[:count]
        except ImageError:
            return None

    def read_bytes(self, name: str) -> bytes:
        """As in `Storage`."""
        path = self.place / name
        row = self._row.get(name)
        if row is None:
            raise ImageError(path, "no such file in the archive")
        if name in self._links:
            raise ImageError(path, "a symbolic link, which is not followed in an archive")
        _, packed, size, crc, _ = self._members[row].tolist()
        if size > decode.FILE_LIMIT:
            raise ImageError(path, f"{size:,} bytes, more than the limit of {decode.FILE_LIMIT:,}")
        if size > RATIO_FROM and size > RATIO_LIMIT * packed:
            raise ImageError(
                path, f"a bomb: {size:,} bytes packed into {packed:,}, more than {RATIO_LIMIT} to 1"
            )
        if not size:
            raise ImageError(path, "empty file")
        # One byte more than declared is enough to see that the declaration is wrong.
        data = self._unpacked(name, at_most=size + 1)
        if len(data) != size or zlib.crc32(data) != crc:
            raise ImageError(path, "damaged (its bytes are not those that the archive declares)")
        return data

    def _unpacked(self, name: str, *, at_most: int) -> bytes:
        """The first bytes of a file; never are more than so many unpacked."""
        path = self.place / name
        offset, packed, _, _, method = self._members[self._row[name]].tolist()
        try:
            mark, name_length, extra_length = _LOCAL_HEADER.unpack(
                self._read_at(offset, _LOCAL_HEADER.size)
            )
            if mark != b"PK\3\4":
                raise ImageError(path, "damaged (the archive is corrupt)")
            start = offset + _LOCAL_HEADER.size + name_length + extra_length
            if method == zipfile.ZIP_STORED:
                return self._read_at(start, min(packed, at_most))
            if method == zipfile.ZIP_DEFLATED:
                raw = self._read_at(start, packed)
                return zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw, at_most)
        except OSError as error:
            raise ImageError(path, f"cannot be read ({error.strerror or error})") from None
        except (struct.error, zlib.error):
            raise ImageError(path, "damaged (the archive is corrupt)") from None
        raise ImageError(
            path, "packed by a method other than deflate; create the archive again, or unpack it"
        )

    def _read_at(self, offset: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, offset)
        with self._turn:  # Windows has one position for all threads
            self._file.seek(offset, io.SEEK_SET)
            return self._file.read(count)

    def _checked(self, info: zipfile.ZipInfo) -> str:
        """The name of a member; a DataError where no one should have made such an archive."""
        name = info.filename
        if info.create_system == _WINDOWS:
            name = name.replace("\\", "/")
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or (len(name) > 1 and name[1] == ":"):
            raise DataError(
                f"{self.place}: holds the name {info.filename!r}, which leads out of the "
                "archive; create it again"
            )
        if info.flag_bits & _ENCRYPTED:
            raise DataError(
                f"{self.place}: {name} is encrypted; unpack the archive and name a folder"
            )
        return "/".join(part for part in parts if part not in ("", "."))

    def _check_overlap(self) -> None:
        """No honest archive uses bytes twice: a small file can unfold into millions that way."""
        by_place = self._members[np.argsort(self._members[:, 0], kind="stable")]
        ends = by_place[:, 0] + _LOCAL_HEADER.size + by_place[:, 1]
        if (ends[:-1] > by_place[1:, 0]).any():
            raise DataError(
                f"{self.place}: a bomb: files of the archive share their bytes; not read"
            )


def is_image_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file is an image by its ending, in any case."""
    return PurePosixPath(name).suffix.lower() in decode.IMAGE_SUFFIXES


def named(path: str | os.PathLike[str]) -> Path:
    """A path as a person gave it; a DataError where it is the empty string.

    That would stand for the current folder, which an unset shell variable does not mean.
    """
    if not os.fspath(path):
        raise DataError('an empty path names no file or folder; give "." for the current folder')
    return Path(path)


def file_mode(path: Path) -> int | None:
    """What stands at a path, as `regular.mode_of` tells; None where there is nothing.

    `Path.exists` and its like hide or raise what prevents a look, by the version of Python.

    Raises:
        DataError: there is no telling: the permissions or the name forbid it.
    """
    try:
        return mode_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # the latter for a null byte
        if getattr(error, "winerror", None) == _INVALID_NAME:
            return None
        raise unreadable(path, error) from None


def is_archive(path: Path) -> bool:
    """Whether something is a regular file and a zip archive, or says so by its ending."""
    try:
        if not stat.S_ISREG(file_mode(path) or 0):
            return False
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError | ValueError, advice: str = "") -> DataError:
    """What to raise where the system refuses to read."""
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return DataError(f"{path}: cannot be read ({reason}){advice}")


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == _MACOS_FOLDER


def _sorted_out(files: Iterator[str]) -> tuple[list[str], list[str]]:
    images: list[str] = []
    others: list[str] = []
    for name in files:
        (images if is_image_name(name) else others).append(name)
    return sorted(images), sorted(others)


def _walk(root: Path, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Visible files below a folder of the root."""
    # Links to folders are followed, as data sets are often made of them, but not in a circle.
    seen = _identity(root / folder)
    if seen in above:
        return
    for name, is_folder in list(_visible(root / folder)):
        if is_folder:
            yield from _walk(root, f"{folder}{name}/", above | {seen})
        else:
            yield f"{folder}{name}"


def _in_order(root: Path, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """The images below a folder of the root as they would stand if all of them were sorted."""
    here = root / folder
    seen = _identity(here)
    if seen in above:
        return
    last = ""
    while True:
        # "a-b" stands before "a/b": with the slash, what is in a folder stands where it belongs.
        names = heapq.nsmallest(
            AT_A_TIME,
            (
                name
                for name in (
                    f"{name}/" if is_folder else name
                    for name, is_folder in _visible(here)
                    if is_folder or is_image_name(name)
                )
                if name > last
            ),
        )
        for name in names:
            if name.endswith("/"):
                yield from _in_order(root, f"{folder}{name}", above | {seen})
            else:
                yield f"{folder}{name}"
        if len(names) < AT_A_TIME:
            return
        last = names[-1]


def _identity(folder: Path) -> tuple[int, int]:
    """What two paths to the same folder have in common."""
    try:
        status = folder.stat()
    except OSError as error:
        raise unreadable(folder, error, _MOVE_IT) from None
    return status.st_dev, status.st_ino


def _visible(folder: Path) -> Iterator[tuple[str, bool]]:
    """What stands in a folder: its name, and whether it is a folder itself."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _hidden(entry.name):
                    yield entry.name, _is_folder(entry)
    except OSError as error:
        raise unreadable(folder, error, _MOVE_IT) from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into what is closed: no fault of the folder it is in
        return False
