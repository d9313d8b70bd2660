"""The images that a person names: files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from keras_classics.data.decode import IMAGE_SUFFIXES
from keras_classics.errors import DataError


def find_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """All images that files, folders and patterns name, each once, in the order given.

    A folder stands for the images in it at any depth, in the order of their names; a pattern such
    as `photos/**/*.jpg` for the files that match. A file that is named is taken whatever its
    ending.

    Raises:
        DataError: If something named does not exist, or names no image.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: dict[Path, None] = {}
    for name in given:
        path = Path(name)
        if path.is_dir():
            inside = _images(path.rglob("*"))
            if not inside:
                raise DataError(f"{path}: contains no images.")
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        elif glob.has_magic(os.fspath(name)):
            matches = _images(Path(match) for match in glob.iglob(os.fspath(name), recursive=True))  # noqa: PTH207
            if not matches:
                raise DataError(f"{name}: matches no image.")
            found.update(dict.fromkeys(matches))
        else:
            raise DataError(f"{path}: no such file or folder.")
    if not found:
        raise DataError("no images named: give files, folders or patterns.")
    return list(found)


def _images(paths: Iterable[Path]) -> list[Path]:
    return sorted(
        path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
