"""What is to be served: names, versions and folders, as they are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from keras_classics.errors import ClassicsError

DEFAULT_VERSION = "1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Place:
    """One version of a model, and the folder that it is read from."""

    name: str
    version: str
    path: Path

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def parse_places(arguments: Iterable[str]) -> tuple[Place, ...]:
    """Places from `PATH`, `NAME=PATH` or `NAME:VERSION=PATH`.

    Raises:
        ClassicsError: If a name or version cannot be one, a folder is missing, or two are called
            the same.
    """
    found: dict[tuple[str, str], Place] = {}
    for argument in arguments:
        place = _parse(argument)
        key = (place.name, place.version)
        if key in found:
            raise ClassicsError(
                f"{place}: {found[key].path} and {place.path} would have the same name; write "
                f"{place.name}:VERSION=FOLDER or NAME=FOLDER."
            )
        found[key] = place
    return tuple(found.values())


def newest_first(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key to sort versions by: 10 is newer than 9, and 2026-10 than 2026-9."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def _parse(argument: str) -> Place:
    named, equals, rest = argument.partition("=")
    if not equals or Path(argument).is_dir():
        path = Path(argument)
        name, version = _name_of(path), DEFAULT_VERSION
        if not path.is_dir():
            raise ClassicsError(f"{path}: no such artefact or export.")
        if not _NAME.fullmatch(name):
            raise ClassicsError(f"{path}: {name!r} cannot be a model's name; write NAME={path}.")
        return Place(name, version, path)
    name, colon, version = named.partition(":")
    for what, word in (("name", name), ("version", version if colon else DEFAULT_VERSION)):
        if not _NAME.fullmatch(word):
            raise ClassicsError(
                f"{argument}: {word!r} cannot be a model's {what}; letters, digits, '.', '_' and "
                "'-' can, at most 64."
            )
    if not rest or not Path(rest).is_dir():
        raise ClassicsError(f"{argument}: {rest or 'nothing'} is no artefact or export.")
    return Place(name, version or DEFAULT_VERSION, Path(rest))


def _name_of(path: Path) -> str:
    """The folder's own name; of an export at its usual place, RUN/exports/TARGET, the run's."""
    whole = path.resolve()
    return whole.parent.parent.name if whole.parent.name == "exports" else whole.name
