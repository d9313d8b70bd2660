"""The folder of a run: built aside until training begins; nothing in it is ever half written."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from keras_classics.errors import OutputError

LOCK = ".lock"  # in the folder of a run, while a process trains it
_LONGEST_STEM = 160  # bytes; with what is added before and behind, most file systems take 255


def file_stem(name: str) -> str:
    """A name that is derived from another, without what not every system or terminal takes."""
    plain = "".join(char for char in name if char.isprintable())
    return plain.encode()[:_LONGEST_STEM].decode(errors="ignore").strip(". ") or "unnamed"


def free_name(parent: Path, name: str) -> Path:
    """The first of `name`, `name-2`, `name-3`... in the parent that does not exist there."""
    stem = file_stem(name)
    names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
    return next(parent / each for each in names if not os.path.lexists(parent / each))


def check_outside(out: Path, data: Path) -> None:
    """Refuse to write into the folder of the images.

    Raises:
        OutputError: If the one lies in the other.
    """
    if out.resolve().is_relative_to(data.resolve()):
        raise OutputError(
            f"{out}: lies in the folder of the images, where nothing is written; choose --out."
        )


def check_file(out: Path | None, stem: str, ending: str, *, data: Path | None) -> Path:
    """The place of a file, or a free name in the current folder where none is given.

    Raises:
        OutputError: If it cannot be written there, or lies in the folder of the images.
    """
    if out is None:
        names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
        out = next(Path(name + ending) for name in names if not Path(name + ending).exists())
    if data is not None:
        check_outside(out, data)
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise OutputError(f"{out}: cannot be written; name a file in a folder that exists.")
    return out


class Staging:
    """The folder of a run: beside its place until training begins, then in it.

    Attributes:
        out: the place, as the user named it.
        folder: where the run writes.
        kept: whether there is something in it that must not be removed when the run ends.
    """

    def __init__(self, out: Path, folder: Path, *, kept: bool = False) -> None:
        self.out = out
        self.folder = folder
        self.kept = kept

    def publish(self) -> None:
        """Put the folder in its place.

        Raises:
            OutputError: If something stands there by now.
        """
        place = self.out.resolve()
        try:
            if place.is_dir():
                place.rmdir()  # only an empty folder may be replaced, and not on every system
            self.folder.replace(place)
        except OSError as error:
            raise OutputError(f"{self.out}: cannot be written ({_reason(error)}).") from error
        self.folder = place

    @contextmanager
    def whole(self, last: str) -> Iterator[Path]:
        """A folder whose files take their places in the run's when all of them are written.

        Args:
            last: The file that comes last, which says that the others are there.
        """
        part = self.folder / ".part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield part
            for path in sorted(part.iterdir(), key=lambda path: path.name == last):
                path.replace(self.folder / path.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def move_to_safety(self) -> None:
        """Go on in the system's temporary folder, because this disk takes no more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        safe = Path(tempfile.mkdtemp(prefix="keras-classics-"))
        self.out = safe / self.out.name
        self.folder = self.out
        self.folder.mkdir()


@contextmanager
def staging(out: Path) -> Iterator[Staging]:
    """Open the folder of a run before anything is computed, so that a bad place is told at once.

    What is not kept is removed when the context ends, folders made on the way too.

    Raises:
        OutputError: If the place is taken, or nothing can be written there.
    """
    made: list[Path] = []
    try:
        place = out.resolve()  # a link is followed
        if place == Path.cwd():
            raise OutputError(f"{out}: is the current folder; name a new one as --out.")
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise OutputError(f"{out}: exists; choose another --out, or remove it.")
        for parent in reversed(place.parents):
            if not parent.exists():
                parent.mkdir()
                made.append(parent)
        _remove_left_over(place)
        folder = place.with_name(f".{place.name}.partial-{os.getpid()}")
        folder.mkdir()
    except (OSError, ValueError) as error:
        _remove(made)
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{out}: cannot be written ({_reason(error)}); choose another --out."
        ) from error
    stage = Staging(out, folder)
    try:
        yield stage
    finally:
        if not stage.kept:
            shutil.rmtree(stage.folder, ignore_errors=True)
        _remove(made)


@contextmanager
def taken(folder: Path) -> Iterator[None]:
    """The folder of a run as this process's alone; the system gives it back however it ends.

    Raises:
        OutputError: If another process has it.
    """
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(f"{folder}: another process is training this run.") from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({_reason(error)}).") from error
    try:
        yield
    finally:
        lock.release()
        (folder / LOCK).unlink(missing_ok=True)


def _remove_left_over(place: Path) -> None:
    """Remove what processes left beside the place that were killed before training began."""
    for path in place.parent.glob(f".{glob.escape(place.name)}.partial-*"):
        number = path.name.rpartition("-")[2]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        OutputError: If fewer than `needed` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder.parent}: the run needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are "
            "free; free some space or choose another --out."
        )


def _remove(made: list[Path]) -> None:
    """Remove the folders that were made and hold nothing."""
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
