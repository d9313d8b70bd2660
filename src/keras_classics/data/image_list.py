"""The images of a long job, listed once in a file: a list of any length in little memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from keras_classics.data.sources import Paths, Source, each_image
from keras_classics.data.storage import Archive, Folder, Storage
from keras_classics.errors import DataError

_BLOCK = 2**16  # bytes read or written at a time
_TELL = 1000  # images between two reports
# Before the place of a storage. "=" is the storage of the image before.
_FOLDER, _ARCHIVE, _SAME = b"f", b"a", b"="


@dataclass(frozen=True)
class ImageList:
    """A file with the names of images.

    Two fields an image, each ended by a null byte, which no name holds: where it lies, and its
    name there.
    """

    file: Path
    images: int
    size: int  # bytes of the file

    @classmethod
    def write(
        cls, file: Path, paths: Paths, progress: Callable[[int], None] | None = None
    ) -> ImageList:
        """List all images that paths name, as `find_images` does; the file is on the disk then.

        Args:
            file: Where to write.
            paths: As in `find_images`.
            progress: Told how many have been found.

        Raises:
            DataError: As `find_images`.
            OSError: If the file cannot be written.
        """
        count = 0
        with file.open("wb", buffering=_BLOCK) as stream:
            before: Storage | None = None
            for source in each_image(paths):
                storage = source.storage
                stream.write(_SAME if storage == before else _named(storage))
                stream.write(b"\0" + os.fsencode(source.name) + b"\0")
                before = storage
                count += 1
                if progress and count % _TELL == 0:
                    progress(count)
            stream.flush()
            os.fsync(stream.fileno())
            return cls(file, count, stream.tell())

    def is_whole(self) -> bool:
        """Whether the file is there with all its bytes."""
        try:
            return self.file.stat().st_size == self.size
        except OSError:
            return False

    def sources(self, first: int = 0) -> Iterator[Source]:
        """The images from one of them on, in order.

        Raises:
            DataError: If an archive cannot be read any more.
        """
        storage: Storage | None = None
        fields = _fields(self.file)
        for index, (place, name) in enumerate(zip(fields, fields, strict=True)):
            if place != _SAME:
                kind, storage = place[:1], None
                where = Path(os.fsdecode(place[1:]))
            if index < first:
                continue
            if storage is None:
                storage = Archive(where) if kind == _ARCHIVE else Folder(where)
            yield Source(storage, os.fsdecode(name))


def _named(storage: Storage) -> bytes:
    kind = _ARCHIVE if isinstance(storage, Archive) else _FOLDER
    return kind + os.fsencode(storage.place)


def _fields(file: Path) -> Iterator[bytes]:
    rest = b""
    try:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                *whole, rest = (rest + block).split(b"\0")
                yield from whole
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error}).") from None
