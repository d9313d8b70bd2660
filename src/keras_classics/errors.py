"""The errors that a user can mend; everything else is a bug.

Each message is one line that names the argument or file, what was received, and what to do. The
command line prints it and exits with code 2.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from pathlib import Path


def one_line(message: str) -> str:
    """A message with line breaks and other control characters escaped.

    Names of files may hold them, and bytes that are no text, which not every terminal can print.
    """
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
        else char
        for char in message
    )


class ClassicsError(ValueError):
    """Something that the user can mend: one line that says what and how."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class DataError(ClassicsError):
    """A folder of images from which nothing can be learned as it is."""


class ImageError(DataError):
    """One image file that cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ArtefactError(ClassicsError):
    """A folder that is not the artefact of a run, or is corrupt."""


class WeightsError(ClassicsError):
    """Weights that cannot be had, or do not belong to the network that should load them."""


class NothingLearntError(ClassicsError):
    """A run was interrupted before its first epoch was over."""


class DivergedError(ClassicsError):
    """A run whose loss was no number before its first epoch was over."""


class OutputError(ClassicsError):
    """A place where nothing can be written: permission, space, or something in the way."""


# What backends raise where memory is short, by name, as they need not be there.
OUT_OF_MEMORY = ("ResourceExhaustedError", "OutOfMemoryError", "XlaRuntimeError")


def out_of_memory(error: Exception) -> bool:
    """Whether an error, of Python or of a backend, says that memory is short."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in OUT_OF_MEMORY
        or "insufficient memory" in str(error).lower()
    )


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The end of a message about an unknown name: which one may have been meant, if any is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; {otherwise}." if otherwise else "."
