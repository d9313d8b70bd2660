"""Where the pictures of a data set come from: memory, or files that are read when needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from keras_classics.data.decode import decode_image, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from keras_classics.data.storage import Storage


class Pictures(Protocol):
    """Pictures by number; several threads ask for them at a time."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def picture(self, index: int, at_least: int | None) -> NDArray[np.uint8]:
        """One picture, upright, in red, green and blue.

        Args:
            index: from 0.
            at_least: pixels of the shorter side that suffice, as in `read_image`.

        Returns:
            (h, w, 3) uint8, which the caller does not change.

        Raises:
            ImageError: it cannot be read.
        """
        ...


@dataclass(frozen=True)
class ArrayPictures:
    """Decoded pictures of one size, in memory or mapped from a file."""

    images: NDArray[np.uint8]  # (n, h, w, 3)

    def __len__(self) -> int:
        return len(self.images)

    def picture(self, index: int, at_least: int | None) -> NDArray[np.uint8]:  # noqa: ARG002
        """One of them, as it is: see `Pictures`."""
        one: NDArray[np.uint8] = self.images[index]
        return one


@dataclass(frozen=True)
class FilePictures:
    """Image files, each read anew whenever it is wanted: memory does not grow with their number."""

    paths: Sequence[Path | str]

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, index: int, at_least: int | None) -> NDArray[np.uint8]:
        """One of them, decoded: see `Pictures`."""
        return read_image(self.paths[index], at_least=at_least)


@dataclass(frozen=True)
class StoredPictures:
    """Images of a folder or an archive, each read anew whenever it is wanted."""

    storage: Storage
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, index: int, at_least: int | None) -> NDArray[np.uint8]:
        """One of them, decoded: see `Pictures`."""
        name = self.names[index]
        data = self.storage.read_bytes(name)
        return decode_image(data, self.storage.place / name, at_least=at_least)
