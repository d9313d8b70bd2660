"""The images that a person names: files, folders and patterns."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from keras_classics.data.folder import file_mode, image_files, is_image_name, named, one_line
from keras_classics.errors import DataError


def find_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """All images that files, folders and patterns name, each once, in the order given.

    A folder stands for the images in it at any depth, those that `folder.scan` sees, in the order
    of their paths; a pattern such as `photos/**/*.jpg` for the visible files that match. A file
    that is named is taken whatever its ending, hidden or not.

    Raises:
        DataError: If something named is empty, does not exist, cannot be read, or names no image.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: dict[Path, None] = {}
    for name in given:
        found.update(dict.fromkeys(_found(named(name), os.fspath(name))))
    if not found:
        raise DataError("no images named: give files, folders or patterns.")
    return list(found)


def _found(path: Path, name: str) -> list[Path]:
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
    if mode is not None and not stat.S_ISDIR(mode):
        return [path]
    if mode is not None:
        images = [path / image for image in image_files(path)[0]]
        problem = "contains no images."
    elif pattern:
        images = _matches(name)
        problem = "matches no image."
    else:
        images = []
        problem = "no such file or folder."
    if not images:
        raise refused or DataError(one_line(f"{name}: {problem}"))
    return images


def _matches(pattern: str) -> list[Path]:
    try:
        matches = [Path(match) for match in glob.iglob(pattern, recursive=True)]  # noqa: PTH207
    except ValueError:  # a null byte, which no name holds
        return []
    images = filter(is_image_name, matches)
    return sorted(path for path in images if stat.S_ISREG(file_mode(path) or 0))
