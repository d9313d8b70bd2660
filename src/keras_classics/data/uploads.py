"""What somebody sent as a picture: refused before it is decoded where it is none, or too large."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from keras_classics.data.decode import guarded, opener_of, split_jpeg
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
    several: str | None  # "frames" or "pages" where there are several


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
        opener = opener_of(path, data)
    except ImageError as error:
        raise UploadError(f"{error}.", 415) from None
    try:
        with guarded(path, data, opener):
            size, several = _claims(data, opener, most_pixels)
    except ImageError as error:
        raise UploadError(f"{error}.", 422) from None
    if size[0] * size[1] > most_pixels:
        raise UploadError(
            f"{path}: {size[0]} x {size[1]} pixels; at most {most_pixels / 10**6:g} million are "
            "taken.",
            413,
        )
    return Upload(data, path, several)


def too_many_bytes(most: int) -> str:
    """What is said of a file that is too large."""
    return f"the file is larger than {most / 1024**2:g} MB; make the picture smaller."


def clean_name(name: str) -> str:
    """The last part of a file's name, without what a terminal or a page would stumble over."""
    last = name.replace("\\", "/").rpartition("/")[2]
    text = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip(". ")
    return text[:_LONGEST_NAME] or "picture"


def _claims(data: bytes, opener: type[ImageFile], most: int) -> tuple[tuple[int, int], str | None]:
    """Width and height, and of what there are several, as the head of a file says."""
    if opener is WebPImageFile:
        # Pillow makes room for the canvas of a WebP before it says how large that is.
        size = _webp_size(data)
        if size[0] * size[1] > most:
            return size, None
    if opener is JpegImageFile:
        with opener(BytesIO(split_jpeg(data)[0])) as image:
            return image.size, None
    with opener(BytesIO(data)) as image:
        several = "pages" if opener is TiffImageFile else "frames"
        return image.size, several if getattr(image, "is_animated", False) else None


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height that the first chunk of a WebP claims; (1, 1) where it is torn."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 1, 1
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    sides = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
    return sides[0] & 0x3FFF, sides[1] & 0x3FFF
