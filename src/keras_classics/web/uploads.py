"""What somebody sent as a picture: refused before it is decoded where it is none, or too large."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from keras_classics.data.decode import opener_of, size_of
from keras_classics.errors import ClassicsError, ImageError

_LONGEST_NAME = 80


class UploadError(ClassicsError):
    """A picture that is not taken, and the status of HTTP that says so."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Upload:
    """A picture whose head has been looked at; its pixels may still be damaged."""

    data: bytes
    path: Path  # names it in errors


def check_upload(data: bytes, name: str, *, most_bytes: int, most_pixels: int) -> Upload:
    """What somebody sent, by its head alone.

    Raises:
        UploadError: If it is no picture (415), torn (422), empty (422), or of more bytes or pixels
            than are taken (413).
    """
    path = Path(clean_name(name))
    if not data:
        raise UploadError(f"{path}: empty; choose a picture.", 422)
    if len(data) > most_bytes:
        raise UploadError(too_many_bytes(most_bytes), 413)
    try:
        opener_of(path, data)
    except ImageError as error:
        raise UploadError(f"{error}.", 415) from None
    try:
        size = size_of(data, path)
    except ImageError as error:
        raise UploadError(f"{error}.", 422) from None
    if size[0] * size[1] > most_pixels:
        raise UploadError(
            f"{path}: {size[0]} x {size[1]} pixels; at most {most_pixels / 10**6:g} million are "
            "taken.",
            413,
        )
    return Upload(data, path)


def too_many_bytes(most: int) -> str:
    """What is said of a file that is too large."""
    return f"the file is larger than {most / 1024**2:g} MB; make the picture smaller."


def clean_name(name: str) -> str:
    """The last part of a file's name, without what a terminal or a page would stumble over."""
    last = name.replace("\\", "/").rpartition("/")[2]
    text = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip(". ")
    return text[:_LONGEST_NAME] or "picture"
