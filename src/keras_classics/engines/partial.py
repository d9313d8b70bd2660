"""What is done of a long job, beside the file that it will be: `FILE.partial`.

The folder holds the list of the images, the rows so far, how many of them are certain, and the job
that they belong to. Whatever moment the process is killed at, another one of the same job goes on
behind the last certain row. The file itself appears when it is whole.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from keras_classics.data.image_list import ImageList
from keras_classics.engines.engine import EngineName
from keras_classics.errors import OutputError, one_line
from keras_classics.exporting.exported import Precision

FORMAT = 1

JOB, LIST, ROWS, DONE, TABLE, LOCK = "job.json", "images", "rows", "done.json", "table", ".lock"
_NEW = ".new"  # a file on its way


@dataclass(frozen=True)
class Asked:
    """What makes two jobs the same: with these the same rows come out."""

    model: str  # its fingerprint
    engine: str
    precision: str | None
    paths: str  # a hash of them, as they were given
    top: int

    def differs(self, other: Asked) -> str:
        """What of another job is not as here, in words."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        fields = (field.name for field in dataclasses.fields(self))
        return ", ".join(name for name, (one, two) in zip(fields, pairs, strict=True) if one != two)


@dataclass(frozen=True)
class Job:
    """A job that has begun."""

    asked: Asked
    engine: EngineName  # that was chosen
    precision: Precision
    top: int  # classes named, of as many as there are
    images: int
    list_size: int  # bytes of the file of the list
    overwrite: bool  # whether the file may replace another


@dataclass(frozen=True)
class Done:
    """How many rows are certain."""

    images: int = 0
    unreadable: int = 0  # among them
    size: int = 0  # bytes of the file of the rows
    inode: int | None = None  # of the finished file, which it keeps when it is put in its place


class Partial:
    """The folder of a job, while this process has it.

    Attributes:
        out: the file, as it was named.
        job: that the folder holds; None where none has begun.
        done: what of it is.
        certain: what of it is on the disk, too.
    """

    def __init__(self, out: Path, place: Path) -> None:
        self.out = out
        self._place = place
        self._folder = folder_of(place)
        self._rows: int | None = None
        self._empty = False  # known to hold no job
        self.job: Job | None = None
        self.done = Done()
        self.certain = Done()

    def read(self) -> None:
        """Read the job that the folder holds, if any.

        Raises:
            OutputError: If it is torn, or of a later version.
        """
        values = self._json(JOB)
        if values is None:
            self._empty = True
            return
        try:
            if values.pop("format") != FORMAT:
                raise self._torn("of another version")
            self.job = Job(asked=Asked(**values.pop("asked")), **values)
            self.done = self.certain = Done(**(self._json(DONE) or {}))
        except (KeyError, TypeError, AttributeError):
            raise self._torn("corrupt") from None
        size = self.rows.stat().st_size if self.rows.exists() else 0
        whole = self.images(self.job).is_whole() and size >= self.done.size
        if not (whole or self.is_over):
            raise self._torn("corrupt")

    @property
    def is_over(self) -> bool:
        """Whether the process was killed when all was done but removing this folder."""
        try:
            return self.done.inode is not None and self._place.stat().st_ino == self.done.inode
        except OSError:
            return False

    def images(self, job: Job) -> ImageList:
        """The images of a job."""
        return ImageList(self._folder / LIST, job.images, job.list_size)

    @property
    def list_file(self) -> Path:
        """Where the list of a new job is to be written."""
        return self._folder / LIST

    def begin(self, job: Job, head: bytes) -> None:
        """Begin a job, whose list is written; or go on with it, behind the last certain row."""
        if self.job is None:
            # As a killed `discard` leaves it: it would count for the new job.
            (self._folder / DONE).unlink(missing_ok=True)
            synced(self._folder)
            self._write(JOB, {"format": FORMAT, **dataclasses.asdict(job)})
            self.job = job
        self._rows = os.open(self._folder / ROWS, os.O_RDWR | os.O_CREAT | _BINARY, 0o666)
        os.ftruncate(self._rows, self.done.size)
        os.lseek(self._rows, 0, os.SEEK_END)
        if not self.done.size:
            self.append(head, 0, 0)
        synced(self._folder)

    def append(self, rows: bytes, images: int, unreadable: int) -> None:
        """Append rows of images, so many of which cannot be read; they are not yet certain."""
        assert self._rows is not None
        left = memoryview(rows)
        while left:
            left = left[os.write(self._rows, left) :]
        # One assignment, as Ctrl-C may come between two.
        self.done = Done(
            self.done.images + images,
            self.done.unreadable + unreadable,
            self.done.size + len(rows),
        )

    def commit(self) -> None:
        """Make certain what was appended."""
        if self._rows is not None and self.certain != self.done:
            os.fsync(self._rows)
            self._write(DONE, dataclasses.asdict(self.done))
            self.certain = self.done

    def publish(self, whole: Path) -> None:
        """Put the finished file in its place.

        Args:
            whole: The file, in this folder.
        """
        self._close_rows()  # Windows renames no open file
        with whole.open("r+b") as file:  # and flushes none that is only read
            os.fsync(file.fileno())
            inode = os.fstat(file.fileno()).st_ino
        self._write(DONE, dataclasses.asdict(dataclasses.replace(self.done, inode=inode)))
        whole.replace(self._place)
        synced(self._place.parent)
        synced(self._folder)

    def close(self) -> None:
        """Leave the folder to another process, or to nobody where it holds no job."""
        self._close_rows()
        if self.is_empty:
            self.discard()

    def _close_rows(self) -> None:
        if self._rows is not None:
            os.close(self._rows)
            self._rows = None

    @property
    def is_empty(self) -> bool:
        """Whether no job is here; what cannot be understood may be one."""
        return self._empty and self.job is None

    def discard(self) -> None:
        """Remove all that is here."""
        self._close_rows()
        # The last two say, as long as there is a job, that it was over.
        for name in (ROWS, TABLE, LIST, JOB, DONE):
            (self._folder / name).unlink(missing_ok=True)
            (self._folder / (name + _NEW)).unlink(missing_ok=True)
        self.job, self.done, self.certain, self._empty = None, Done(), Done(), True

    @property
    def rows(self) -> Path:
        """The file of the rows."""
        return self._folder / ROWS

    @property
    def table(self) -> Path:
        """Where a finished file is made that is not that of the rows."""
        return self._folder / TABLE

    def _json(self, name: str) -> dict[str, Any] | None:
        try:
            values = json.loads((self._folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise self._torn("corrupt") from None
        if not isinstance(values, dict):
            raise self._torn("corrupt")
        return values

    def _write(self, name: str, values: dict[str, Any]) -> None:
        new = self._folder / (name + _NEW)
        with new.open("w", encoding="utf-8") as file:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / name)

    def _torn(self, what: str) -> OutputError:
        return OutputError(
            one_line(
                f"{folder_of(self.out)}: {what}, so the job cannot be resumed; start again with "
            )
            + "--overwrite."
        )


_BINARY = getattr(os, "O_BINARY", 0)  # on Windows, where line ends would be changed


def folder_of(out: Path) -> Path:
    """The folder of a job, beside its file."""
    return out.with_name(f"{out.name}.partial")


@contextmanager
def partial(out: Path) -> Iterator[Partial]:
    """The folder of the job of a file as this process's alone.

    Raises:
        OutputError: If another process has it, or it cannot be written, or is something else.
    """
    place = out.resolve()  # a link is followed
    folder = folder_of(place)
    known = {LOCK} | {name + end for name in (ROWS, TABLE, LIST, DONE, JOB) for end in ("", _NEW)}
    try:
        if folder.exists() and not (
            folder.is_dir() and known.issuperset(path.name for path in folder.iterdir())
        ):
            raise OutputError(
                one_line(f"{folder_of(out)}: is in the way, and is not of `classics predict`; ")
                + "remove it, or choose another -o."
            )
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / LOCK, blocking=False)
        lock.acquire()
    except Timeout:
        raise OutputError(one_line(f"{out}: another process is writing it.")) from None
    except OSError as error:
        raise OutputError(
            one_line(f"{out}: cannot be written ({error.strerror or error}).")
        ) from None
    here = Partial(out, place)
    try:
        yield here
    finally:
        here.close()
        if here.is_empty:
            with suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # where it holds a job
            folder.rmdir()


def synced(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can be asked for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
