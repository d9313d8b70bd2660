"""The pictures on the server: samples, and what was uploaded, in memory only and bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from keras_classics.classifier.card import Preprocessing
from keras_classics.data.decode import decode_image, decoded, several
from keras_classics.data.fit import fit_bytes
from keras_classics.errors import ImageError
from keras_classics.explorer import schema
from keras_classics.explorer.memory import Memory
from keras_classics.web.uploads import UploadError, check_upload

UPLOAD_BYTES = 20 * 1024**2
UPLOAD_PIXELS = 50_000_000
MOST_UPLOADS = 32
ALL_UPLOADS = 128 * 1024**2  # bytes
_LONGEST_SIDE = 1024  # of a picture that is shown as a whole

Pixels = npt.NDArray[np.uint8]


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
        pixels = decode_image(self.data, Path(self.name))
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
    upload = check_upload(data, name, most_bytes=UPLOAD_BYTES, most_pixels=UPLOAD_PIXELS)
    try:
        with decoded(data, upload.path) as picture:
            height, width = picture.pixels.shape[:2]
    except ImageError as error:
        raise UploadError(f"{error}.", 422) from None
    more = several(data, upload.path)
    return Picture(
        id=f"u-{hashlib.sha256(data).hexdigest()[:16]}",
        name=upload.path.name,
        data=data,
        width=width,
        height=height,
        animated=more is not None,
        note=None if more is None else f"it has several {more}; the first one is used",
    )


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
