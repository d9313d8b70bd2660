"""The images of a job, listed once in a table of SQLite: any number of them in little memory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from keras_classics.data.sources import Source
from keras_classics.data.storage import Archive, Folder, Storage

_TELL = 1000  # images between two reports


class ImageList:
    """A list of images in a database; by default in one that is on the disk only where it is long.

    To be closed where it made its own database.
    """

    def __init__(self, database: sqlite3.Connection | None = None) -> None:
        """The list that a database holds, empty where it holds none."""
        self._database = database or sqlite3.connect("", check_same_thread=False)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS images "
            "(number INTEGER PRIMARY KEY, archive INTEGER, place BLOB, name BLOB)"
        )
        self.close = self._database.close

    def add(
        self, sources: Iterable[Source], progress: Callable[[int, None], None] | None = None
    ) -> None:
        """Add images.

        Args:
            sources: The images.
            progress: Told how many have been added, and None, as there may be more.

        Raises:
            DataError: As `sources`.
            OSError: If there is no room for them.
        """

        def rows() -> Iterator[tuple[bool, bytes, bytes]]:
            for count, source in enumerate(sources, 1):
                storage = source.storage
                # Bytes, as names need not be text.
                yield (
                    isinstance(storage, Archive),
                    os.fsencode(storage.place),
                    os.fsencode(source.name),
                )
                if progress and count % _TELL == 0:
                    progress(count, None)

        try:
            self._database.executemany(
                "INSERT INTO images (archive, place, name) VALUES (?, ?, ?)", rows()
            )
        except sqlite3.Error as error:
            raise OSError(str(error)) from None

    def __len__(self) -> int:
        (last,) = self._database.execute("SELECT max(number) FROM images").fetchone()
        return last or 0

    def sources(self, first: int = 0) -> Iterator[Source]:
        """The images from one of them on, in order.

        Raises:
            DataError: If an archive cannot be read any more.
        """
        before: tuple[bool, bytes] | None = None
        storage: Storage
        for archive, place, name in self._database.execute(
            "SELECT archive, place, name FROM images WHERE number > ? ORDER BY number", (first,)
        ):
            if (archive, place) != before:
                where = Path(os.fsdecode(place))
                storage = Archive(where) if archive else Folder(where)
                before = archive, place
            yield Source(storage, os.fsdecode(name))
