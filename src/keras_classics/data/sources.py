"""The images that a person names: files, folders, archives and patterns."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from keras_classics.data.storage import (
    Archive,
    Folder,
    Storage,
    file_mode,
    is_image_name,
    named,
    one_line,
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


def find_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Source]:
    """All images that files, folders, archives and patterns name, each once, in the order given.

    A folder, or a zip archive of one, stands for the images in it at any depth, those that
    `folder.scan` sees, in the order of their paths; a pattern such as `photos/**/*.jpg` for the
    visible files that match. A file that is named is taken whatever its ending, hidden or not.

    Raises:
        DataError: If something named is empty, does not exist, cannot be read, or names no image.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: dict[Path, Source] = {}
    for name in given:
        for source in _found(named(name), os.fspath(name)):
            found.setdefault(source.path, source)
    if not found:
        raise DataError("no images named: give files, folders or patterns.")
    return list(found.values())


def _found(path: Path, name: str) -> list[Source]:
    """The images that one name stands for, in order."""
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
    if mode is not None and (stat.S_ISDIR(mode) or (regular and path.suffix.lower() == ".zip")):
        storage = Archive(path) if regular else Folder(path)
        images = [Source(storage, image) for image in storage.files()[0]]
        problem = "contains no images."
    elif mode is not None:
        return [_single(path)]
    elif pattern:
        images = [_single(match) for match in _matches(name)]
        problem = "matches no image."
    else:
        images = []
        problem = "no such file or folder."
    if not images:
        raise refused or DataError(one_line(f"{name}: {problem}"))
    return images


def _single(path: Path) -> Source:
    return Source(Folder(path.parent), path.name)


def _matches(pattern: str) -> list[Path]:
    try:
        matches = [Path(match) for match in glob.iglob(pattern, recursive=True)]  # noqa: PTH207
    except ValueError:  # a null byte, which no name holds
        return []
    images = filter(is_image_name, matches)
    return sorted(path for path in images if stat.S_ISREG(file_mode(path) or 0))
