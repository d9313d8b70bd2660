"""The folder of a run: built aside, and in its place only when it is whole."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_classics.errors import OutputError


def free_name(parent: Path, stem: str) -> Path:
    """The first of `stem`, `stem-2`, `stem-3`... that does not exist in the parent."""
    names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
    return next(parent / name for name in names if not (parent / name).exists())


def check_outside(out: Path, data: Path) -> None:
    """Refuse to write into the folder of the images.

    Raises:
        OutputError: If the one lies in the other.
    """
    if out.resolve().is_relative_to(data.resolve()):
        raise OutputError(
            f"{out}: lies in the folder of the images, where nothing is written; choose --out."
        )


class Staging:
    """A folder beside the final one, on the same disk, that takes its place by a rename."""

    def __init__(self, out: Path, folder: Path) -> None:
        self.out = out  # as the user named it
        self.folder = folder

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

    def move_to_safety(self) -> None:
        """Go on in the system's temporary folder, because this disk takes no more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        safe = Path(tempfile.mkdtemp(prefix="keras-classics-"))
        self.out = safe / self.out.name
        self.folder = safe / "partial"
        self.folder.mkdir()


@contextmanager
def staging(out: Path) -> Iterator[Staging]:
    """Open the folder of a run before anything is computed, so that a bad place is told at once.

    Whatever has not been published when the context ends is removed, folders made on the way too.

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
        shutil.rmtree(stage.folder, ignore_errors=True)
        _remove(made)


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        OutputError: If fewer than `needed` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder.parent}: the artefact needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are "
            "free; free some space or choose another --out."
        )


def _remove(made: list[Path]) -> None:
    """Remove the folders that were made and hold nothing."""
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
