"""What is done of a long job, beside the file that it will be: `FILE.partial`, an SQLite database.

It holds the job, the list of its images, and the rows so far, a batch at a time. Whatever moment
the process is killed at, another one of the same job goes on behind the last batch that was
committed. SQLite's lock keeps other processes out, and ends with this one.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from keras_classics.data.image_list import ImageList
from keras_classics.engines.engine import EngineName
from keras_classics.errors import OutputError
from keras_classics.exporting.exported import Precision

COMMIT_EVERY = 1.0  # seconds of work that a kill costs

APPLICATION = 0x4B434C41  # SQLite's mark for whose a database is
FORMAT = 2

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE job (asked, engine, precision, top, overwrite, finished);
CREATE TABLE batches (number INTEGER PRIMARY KEY, images, unreadable, rows)
"""


class Asked(NamedTuple):
    """What makes two jobs the same: with these the same rows come out."""

    model: str  # its fingerprint
    engine: str
    precision: str | None
    paths: str  # a hash of them, as they were given
    top: int

    def differs(self, other: Asked) -> str:
        """What of another job is not as here, in words."""
        pairs = zip(self._fields, self, other, strict=True)
        return ", ".join(name for name, one, two in pairs if one != two)


class Job(NamedTuple):
    """A job that has begun."""

    asked: Asked
    engine: EngineName  # that was chosen
    precision: Precision
    top: int  # classes named, of as many as there are
    overwrite: bool  # whether the file may replace another
    finished: str | None = None  # the identity of the whole file, which it keeps in its place


class Journal:
    """The database of a job, while this process has it.

    Attributes:
        out: the file, as it was named.
        place: where that leads.
        job: that the database holds; None where none has begun.
        images: of the job, or for one.
        part: where the file is made.
        certain: images that are done for good.
    """

    def __init__(self, out: Path, asked: Asked) -> None:
        """Open the database of a job, an empty one where there is none.

        Raises:
            _UselessError: If it is torn, of another version or of another job.
            OutputError: If another process has it, it cannot be written, or is something else.
        """
        self.out = out
        self.place = out.resolve()  # a link is followed
        self._file = partial_of(self.place)
        self.part = self._file.with_name(f"{self._file.name}-whole")
        self._name = partial_of(out)
        self.job: Job | None = None
        try:
            if self._file.exists() and not self._file.is_file():
                raise self._in_the_way()
            self._file.touch()  # in the system's words, where it refuses
        except OSError as error:
            raise OutputError(f"{out}: cannot be written ({error.strerror or error}).") from None
        self._database = sqlite3.connect(self._file, timeout=0)
        try:
            self._read(asked)
        except BaseException as error:
            self._database.close()
            if isinstance(error, sqlite3.Error):
                raise self._unreadable(error) from None
            raise
        self.images = ImageList(self._database)
        self._appended = self.certain = self.done[0]
        self._committed = time.monotonic()
        self._open = True

    def _read(self, asked: Asked) -> None:
        """Lock the database, and read the job that it holds, if any."""
        ask = self._database.execute
        ask("PRAGMA locking_mode = EXCLUSIVE")
        ask("BEGIN EXCLUSIVE")
        if ask("SELECT 1 FROM sqlite_master").fetchone() is None:
            for statement in _SCHEMA.split(";"):
                ask(statement)
            return
        if ask("PRAGMA application_id").fetchone() != (APPLICATION,):
            raise self._in_the_way()
        if ask("PRAGMA user_version").fetchone() != (FORMAT,):
            raise self._torn("of another version")
        if ask("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise self._torn("corrupt")
        of_job, *chosen = ask("SELECT * FROM job").fetchone()
        self.job = Job(Asked(*json.loads(of_job)), *chosen)
        if differs := self.job.asked.differs(asked):
            raise _UselessError(
                f"{self._name}: is another unfinished job (not the same {differs}); run its own "
                "command again to finish it, or discard it with --overwrite."
            )

    def _unreadable(self, error: sqlite3.Error) -> OutputError:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return OutputError(f"{self.out}: another process is writing it.")
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            return self._in_the_way()
        if error.sqlite_errorcode == sqlite3.SQLITE_CORRUPT:
            return self._torn("corrupt")
        return OutputError(f"{self.out}: cannot be written ({error}).")

    def _torn(self, what: str) -> OutputError:
        return _UselessError(
            f"{self._name}: {what}, so the job cannot be resumed; start again with --overwrite."
        )

    def _in_the_way(self) -> OutputError:
        return OutputError(
            f"{self._name}: is in the way and was not written by `classics predict`; remove it, or "
            "choose another -o."
        )

    @property
    def done(self) -> tuple[int, int]:
        """Images that have a row, and how many of them cannot be read."""
        counts = "SELECT coalesce(sum(images), 0), coalesce(sum(unreadable), 0) FROM batches"
        images, unreadable = self._database.execute(counts).fetchone()
        return images, unreadable

    @property
    def is_over(self) -> bool:
        """Whether the process was killed when all was done but removing this database."""
        try:
            return self.job is not None and self.job.finished == _identity(self.place)
        except OSError:
            return False

    def begin(self, job: Job) -> None:
        """Begin a job, whose images are listed."""
        values = (json.dumps(job.asked), *job[1:])
        self._database.execute("INSERT INTO job VALUES (?, ?, ?, ?, ?, ?)", values)
        self.commit()
        self.job = job

    def append(self, rows: bytes, images: int, unreadable: int) -> None:
        """Append the rows of a batch, so many of whose images cannot be read."""
        self._database.execute(
            "INSERT INTO batches (images, unreadable, rows) VALUES (?, ?, ?)",
            (images, unreadable, rows),
        )
        self._appended += images
        if time.monotonic() - self._committed >= COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        """Make certain what was appended."""
        self._database.commit()
        self.certain = self._appended
        self._committed = time.monotonic()

    def rows(self) -> Iterator[bytes]:
        """All rows, in order, a batch at a time."""
        for (rows,) in self._database.execute("SELECT rows FROM batches ORDER BY number"):
            yield rows

    def finish(self, whole: Path) -> None:
        """Have it known that all is done when a file is in its place."""
        self._database.execute("UPDATE job SET finished = ?", (_identity(whole),))
        self.commit()

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Where the disk refuses, say so, and how to go on."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            kept = (
                f"{self.certain:,} images are done; run the same command to resume."
                if self.job
                else "nothing is done yet."
            )
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{self.out}: cannot be written ({reason}); {kept}") from error

    def close(self) -> None:
        """Leave the database to another process; remove it where it holds no job."""
        if not self._open:  # it may be another process's by now
            return
        self._open = False
        self._database.close()
        if self.job is None:
            _remove(self._file)

    def discard(self) -> None:
        """Give up what is here."""
        self.job = None
        self.close()


class _UselessError(OutputError):
    """What is half done cannot be gone on with, but may be given up."""


def partial_of(out: Path) -> Path:
    """The database of a job, beside its file."""
    return out.with_name(f"{out.name}.partial")


@contextmanager
def journal(out: Path, asked: Asked, *, overwrite: bool) -> Iterator[Journal]:
    """The database of the job of a file as this process's alone.

    Args:
        out: The file.
        asked: The job.
        overwrite: Whether an existing file, and what another job has half done, may be given up.

    Raises:
        OutputError: If the file is there, half done by another job or process, or cannot be
            written.
    """
    try:
        here = Journal(out, asked)
    except _UselessError:
        if not overwrite:
            raise
        _remove(partial_of(out.resolve()))
        here = Journal(out, asked)
    try:
        may = overwrite or here.is_over or (here.job is not None and here.job.overwrite)
        if here.place.exists() and not may:
            raise OutputError(f"{out}: exists; choose another -o, or --overwrite it.")
        with here.explaining():
            yield here
    finally:
        here.close()


def _remove(database: Path) -> None:
    """Remove a database, but SQLite's own journal first: it would be taken for the next one's."""
    for file in (database.with_name(f"{database.name}-journal"), database):
        file.unlink(missing_ok=True)


def _identity(file: Path) -> str:
    """What a file keeps when it is put in its place, and no other has."""
    found = file.stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"
