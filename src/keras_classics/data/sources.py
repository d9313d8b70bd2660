"""The images that a person names: files, folders, archives and patterns."""

from __future__ import annotations

import glob
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from keras_classics.data.formats import not_read
from keras_classics.data.storage import (
    Archive,
    Folder,
    Storage,
    file_mode,
    is_image_name,
    named,
)
from keras_classics.errors import DataError


@dataclass(frozen=True, slots=True)
class Source:
    """One image: where its bytes come from, and under which name."""

    storage: Storage
    name: str

    @property
    def path(self) -> Path:
        """What it is called; inside an archive, as if that were a folder."""
        return self.storage.place / self.name


Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def find_images(paths: Paths) -> list[Source]:
    """All images that files, folders, archives and patterns name, each once, in the order given.

    A folder, or a zip archive of one, stands for the images in it at any depth, those that
    `folder.scan` sees, in the order of their paths; a pattern such as `photos/**/*.jpg` for the
    visible files that match. A file that is named is taken whatever its ending, hidden or not.
    What is no regular file, such as a pipe or a broken link, is taken too: reading refuses it.

    Raises:
        DataError: If something named is empty, does not exist, cannot be read, or names no image.
    """
    return list(each_image(paths))


def each_image(paths: Paths) -> Iterator[Source]:
    """The images of `find_images` one by one: a folder of millions takes little memory.

    Of a pattern all names that match are held, as they are sorted, and so are files named alone.
    What is wrong with the second of two names is found when the first has been gone through.

    Raises:
        DataError: As `find_images`.
    """
    seen = _Seen()
    for name in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        given = _given(named(name), os.fspath(name))
        some = False
        for source in given.sources():
            some = True
            if source not in seen:
                yield source
        if not some:
            raise given.empty
        seen.add(given)
    if not seen.anything:
        raise DataError("no images named: give files, folders or patterns.")


def left_out(paths: Paths) -> str | None:
    """In words, how many images `find_images` leaves out, as their format is not read.

    None where it leaves out none, or they cannot be listed any more.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    try:
        all_of_them = (_given(named(name), os.fspath(name)).names() for name in given)
        return not_read(itertools.chain.from_iterable(all_of_them))
    except DataError:
        return None


@dataclass(frozen=True)
class _Given:
    """What one name stands for: all images of a storage, or some files."""

    name: str
    whole: Folder | Archive | None
    files: tuple[Path, ...]
    matched: tuple[str, ...]  # by a pattern, images or not
    problem: str  # where there is no image
    refused: DataError | None = None  # why there is no telling what stands there

    @property
    def empty(self) -> DataError:
        """What to raise where there is no image."""
        unread = not_read(self.names())
        problem = f"{self.problem} but {unread}" if unread else self.problem
        return self.refused or DataError(f"{self.name}: {problem}.")

    def names(self) -> Iterator[str]:
        """All files of a storage, or that a pattern matches, images or not."""
        return iter(self.matched) if self.whole is None else self.whole.names()

    def sources(self) -> Iterator[Source]:
        """The images, in order."""
        if self.whole is not None:
            return (Source(self.whole, image) for image in self.whole.images())
        return (Source(Folder(path.parent), path.name) for path in self.files)


class _Seen:
    """The images of the names so far, without a list of those in folders."""

    def __init__(self) -> None:
        self.anything = False
        self._files: set[Path] = set()
        self._folders: list[Folder] = []
        self._archives: set[Path] = set()

    def add(self, given: _Given) -> None:
        self.anything = True
        self._files.update(given.files)
        if isinstance(given.whole, Folder):
            self._folders.append(given.whole)
        elif given.whole is not None:
            self._archives.add(given.whole.place)

    def __contains__(self, source: Source) -> bool:
        if isinstance(source.storage, Archive):
            return source.storage.place in self._archives
        path = source.path
        return path in self._files or any(folder.shows(path) for folder in self._folders)


def _given(path: Path, name: str) -> _Given:
    pattern = glob.has_magic(name)
    refused: DataError | None = None
    try:
        mode = file_mode(path)
    except DataError as error:
        # What is too long for a name need not be too long for a pattern.
        if not pattern:
            raise
        mode, refused = None, error
    regular = mode is not None and stat.S_ISREG(mode)
    whole: Folder | Archive | None = None
    files: tuple[Path, ...] = ()
    matched: tuple[str, ...] = ()
    if mode is not None and (stat.S_ISDIR(mode) or (regular and path.suffix.lower() == ".zip")):
        whole = Archive(path) if regular else Folder(path)
        problem = "contains no images"
    elif mode is not None:
        files = (path,)
        problem = ""
    elif pattern:
        matched = _matched(name)
        files = tuple(_images(matched))
        problem = "matches no image"
    else:
        problem = "no such file or folder"
    return _Given(name, whole, files, matched, problem, refused)


def _matched(pattern: str) -> tuple[str, ...]:
    try:
        return tuple(glob.iglob(pattern, recursive=True))  # noqa: PTH207
    except ValueError:  # a null byte, which no name holds
        return ()


def _images(matched: Iterable[str]) -> list[Path]:
    images = set(filter(is_image_name, map(Path, matched)))
    return sorted(path for path in images if not stat.S_ISDIR(file_mode(path) or stat.S_IFDIR))
