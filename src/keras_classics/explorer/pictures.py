"""The pictures on the server: samples, and what was uploaded, in memory only and bounded."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from keras_classics.card import Preprocessing
from keras_classics.data.decode import decode_image, guarded, opener_of, split_jpeg
from keras_classics.data.fit import fit_bytes
from keras_classics.errors import ClassicsError, ImageError
from keras_classics.explorer import schema
from keras_classics.explorer.memory import Memory

UPLOAD_BYTES = 20 * 1024**2
UPLOAD_PIXELS = 50_000_000
MOST_UPLOADS = 32
ALL_UPLOADS = 128 * 1024**2  # bytes
_LONGEST_NAME = 80
_LONGEST_SIDE = 1024  # of a picture that is shown as a whole

Pixels = npt.NDArray[np.uint8]


class UploadError(ClassicsError):
    """A picture that is not taken, and the status of HTTP that says so."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Picture:
    """A picture as the bytes of its file, so that a network sees it as from the file itself."""

    id: str
    name: str
    data: bytes
    width: int
    height: int
    sample: bool = False
    animated: bool = False
    label: str | None = None
    note: str | None = None

    def message(self) -> schema.Picture:
        """The entry in the list of pictures."""
        return schema.Picture(
            id=self.id,
            name=self.name,
            sample=self.sample,
            width=self.width,
            height=self.height,
            animated=self.animated,
            label=self.label,
            note=self.note,
        )

    def fitted(self, shape: Preprocessing) -> Pixels:
        """(height, width, 3) uint8 as a network sees it, before the arithmetic."""
        return fit_bytes(self.data, Path(self.name), shape.size, shape.fit)

    def whole(self) -> Pixels:
        """(h, w, 3) uint8, made smaller where it is large."""
        pixels = decode_image(self.data, Path(self.name), at_least=_LONGEST_SIDE)
        height, width = pixels.shape[:2]
        scale = _LONGEST_SIDE / max(height, width)
        if scale >= 1:
            return pixels
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        smaller: Pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        return smaller


def read_picture(data: bytes, name: str) -> Picture:
    """A picture from what was uploaded, which is decoded once to see that it is sound.

    Raises:
        UploadError: If it is none, damaged or too large.
    """
    path = Path(clean_name(name))
    if not data:
        raise UploadError(f"{path}: empty; choose a picture.", 422)
    if len(data) > UPLOAD_BYTES:
        raise UploadError(too_many_bytes(), 413)
    try:
        opener = opener_of(path, data)
    except ImageError as error:
        raise UploadError(f"{error}.", 415) from None
    try:
        with guarded(path, data, opener):
            size, several = _claims(data, opener)
        if size[0] * size[1] > UPLOAD_PIXELS:
            raise UploadError(
                f"{path}: {size[0]} x {size[1]} pixels; at most {UPLOAD_PIXELS // 10**6} million "
                "are taken.",
                413,
            )
        pixels = decode_image(data, path)
    except ImageError as error:
        raise UploadError(f"{error}.", 422) from None
    return Picture(
        id=f"u-{hashlib.sha256(data).hexdigest()[:16]}",
        name=path.name,
        data=data,
        width=pixels.shape[1],
        height=pixels.shape[0],
        animated=several is not None,
        note=None if several is None else f"it has several {several}; the first one is used",
    )


def too_many_bytes() -> str:
    """What is said of a file that is too large."""
    return f"the file is larger than {UPLOAD_BYTES // 1024**2} MB; make the picture smaller."


def clean_name(name: str) -> str:
    """The last part of a file's name, without what a terminal or a page would stumble over."""
    last = name.replace("\\", "/").rpartition("/")[2]
    text = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip(". ")
    return text[:_LONGEST_NAME] or "picture"


def _claims(data: bytes, opener: type[ImageFile]) -> tuple[tuple[int, int], str | None]:
    """Width and height, and of what there are several, as the head of a file says."""
    if opener is WebPImageFile:
        # Pillow makes room for the canvas of a WebP before it says how large that is.
        size = _webp_size(data)
        if size[0] * size[1] > UPLOAD_PIXELS:
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


class Pictures:
    """All pictures by their names: samples for good, uploads as long as there is room."""

    def __init__(self, samples: Iterable[Picture]) -> None:
        """A collection with its samples, in order."""
        self._samples = {picture.id: picture for picture in samples}
        self._uploads: Memory[Picture] = Memory(
            count=MOST_UPLOADS, size=ALL_UPLOADS, size_of=lambda picture: len(picture.data)
        )

    def __iter__(self) -> Iterator[Picture]:
        return iter([*self._samples.values(), *self._uploads.values()])

    def __getitem__(self, key: str) -> Picture:
        """The picture of a name.

        Raises:
            KeyError: If there is none, or none any more.
        """
        found = self._samples.get(key) or self._uploads.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def add(self, picture: Picture) -> None:
        """Take an upload in; the same file twice is one picture."""
        self._uploads.put(picture.id, picture)
