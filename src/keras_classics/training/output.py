"""The folder of a run: built aside, and in its place only when it is whole."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let a short piece of work finish: Ctrl-C in it is ignored, as its end is at hand."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Staging:
    """A folder beside the final one, on the same disk, that takes its place by a rename."""

    def __init__(self, out: Path, folder: Path) -> None:
        self.out = out
        self.folder = folder

    def publish(self) -> None:
        """Put the folder in its place.

        Raises:
            OutputError: If something stands there by now.
        """
        try:
            self.folder.replace(self.out)
        except OSError as error:
            raise OutputError(f"{self.out}: cannot be written ({_reason(error)}).") from error

    def move_to_safety(self) -> None:
        """Go on in the system's temporary folder, because this disk takes no more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix="keras-classics-"))
        self.out = self.folder / self.out.name
        self.folder = self.folder / "partial"
        self.folder.mkdir()


@contextmanager
def staging(out: Path) -> Iterator[Staging]:
    """Open the folder of a run before anything is computed, so that a bad place is told at once.

    Whatever has not been published when the context ends is removed.

    Raises:
        OutputError: If the place is taken, or nothing can be written there.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: exists; choose another --out, or remove it.")
    folder = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({_reason(error)}); choose another --out."
        ) from error
    stage = Staging(out, folder)
    try:
        yield stage
    finally:
        shutil.rmtree(stage.folder, ignore_errors=True)


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


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
