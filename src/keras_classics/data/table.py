"""Tables of images: CSV or TSV files with columns for path and label."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from keras_classics.data.groups import by_pattern, check_several
from keras_classics.data.listing import (
    SPLIT_NAMES,
    Item,
    Listing,
    check_classes,
    check_known,
    check_trained,
    natural,
    normal,
    quoted,
)
from keras_classics.data.storage import Archive, Folder, unreadable
from keras_classics.errors import DataError
from keras_classics.host.regular import read_regular

TABLE_SUFFIXES: frozenset[str] = frozenset({".csv", ".tsv"})
"""Endings of tables, in lower case."""

_PATH = ("path", "filename", "file", "image")
_LABEL = ("label", "class", "target")
_SPLIT = ("split",)
_SEPARATORS = ",;\t"


@dataclass(frozen=True, slots=True)
class _Row:
    """What a line says of an image."""

    line: int
    label: str
    split: str
    group: str | None


def list_table(
    path: Path, storage: Folder | Archive, classes: Sequence[str] | None, *, group_by: str | None
) -> Listing:
    """List the images of a table; as in `folder.scan`.

    The first line names the columns, in any case and order: path, filename, file or image; label,
    class or target; and split, if there is one. Fields are separated by commas, semicolons or tabs,
    by what the first line has most of. A line that is there twice counts once.

    Args:
        path: the table.
        storage: what the paths are relative to.
        classes: as for `folder.scan`.
        group_by: as for `folder.scan`; a column comes before a pattern.

    Raises:
        DataError: the table cannot be read or lacks a column, a field is empty or contradicts
            another, a split is unknown, or files are missing; and as in `folder.scan`.
    """
    columns, lines = _read(path)
    column_of = {
        what: _column(path, columns, names) for what, names in (("path", _PATH), ("label", _LABEL))
    }
    split = next((name for name in columns if name.strip().casefold() in _SPLIT), None)
    group = group_by if group_by in columns else None
    rows: dict[str, _Row] = {}
    shared: dict[str, str] = {}  # one text for all rows of a class or a group
    for line, fields in lines:
        what = column_of["path"]
        name = _name(_filled(path, line, fields, what), fields[what], storage)
        label = normal(_filled(path, line, fields, column_of["label"]))
        key = _filled(path, line, fields, group) if group else None
        row = _Row(
            line,
            shared.setdefault(label, label),
            _split_of(path, line, fields[split].strip()) if split else "",
            shared.setdefault(key, key) if key else None,
        )
        _check_same(path, name, row, rows.setdefault(name, row))
    if not rows:
        raise DataError(f"{path}: has no rows below the names of the columns; add some")
    _check_there(path, storage, rows)
    listing = _listing(path, storage, rows, classes)
    if group_by is None:
        return listing
    if group is None:
        return by_pattern(listing, group_by, columns=columns)
    check_several(listing, group_by)
    return listing


def _read(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The names of the columns, and line number and fields of each row."""
    try:
        # Excel begins its files with a mark; names of files need not be Unicode everywhere.
        text = read_regular(path).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise unreadable(path, error) from None
    first = text.partition("\n")[0]
    reader = csv.reader(
        io.StringIO("" if "\0" in text else text, newline=""),
        delimiter=max(_SEPARATORS, key=first.count),
        strict=True,
    )
    try:
        columns = next(reader, [])
    except csv.Error as error:
        raise DataError(f"{path}: is not a table ({error}); correct line 1") from None
    if not any(name.strip() for name in columns):
        raise DataError(f"{path}: is empty, or no text; its first line must name the columns")
    return columns, _rows(path, reader, columns)


def _rows(
    path: Path, reader: Iterator[list[str]], columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    line = 1
    try:
        for line, fields in enumerate(reader, start=2):
            if not fields:  # an empty line
                continue
            if len(fields) != len(columns):
                raise DataError(
                    f"{path}: row {line} has {len(fields)} fields, but the first line names "
                    f"{len(columns)} columns; correct it"
                )
            yield line, dict(zip(columns, fields, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: is not a table ({error}); correct row {line + 1}") from None


def _column(path: Path, columns: Sequence[str], names: Sequence[str]) -> str:
    """The column of the first of some names that there is."""
    plain = {column.strip().casefold(): column for column in columns}
    for name in names:
        if name in plain:
            return plain[name]
    raise DataError(
        f"{path}: has no column {', '.join(names[:-1])} or {names[-1]}, but "
        f"{quoted(list(columns), most=10)}; rename one"
    )


def _filled(path: Path, line: int, fields: Mapping[str, str], column: str) -> str:
    value = fields[column].strip()
    if not value:
        raise DataError(f"{path}: row {line} has nothing in the column {column!r}; fill it in")
    return value


def _name(field: str, whole: str, storage: Folder | Archive) -> str:
    """A path of a table as the name of an item."""
    if field != whole and storage.size(whole) is not None:  # a name that ends in a space
        field = whole
    # Written on Windows, and read elsewhere.
    if "\\" in field and storage.size(field) is None:
        field = field.replace("\\", "/")
    return PurePosixPath(field).as_posix()


def _split_of(path: Path, line: int, field: str) -> str:
    if field and field.casefold() not in SPLIT_NAMES:
        raise DataError(
            f"{path}: row {line} has the split {field!r}; one of train, val, test is needed, "
            "or nothing in all rows"
        )
    return field.casefold()


def _check_same(path: Path, name: str, row: _Row, before: _Row) -> None:
    """A file may be named twice, but not in two ways."""
    for what, one, two in (
        ("labels", before.label, row.label),
        ("splits", before.split, row.split),
        ("groups", before.group, row.group),
    ):
        if one != two:
            raise DataError(
                f"{path}: rows {before.line} and {row.line} give {name} two {what}, {one!r} "
                f"and {two!r}; remove one"
            )


def _check_there(path: Path, storage: Folder | Archive, rows: Mapping[str, _Row]) -> None:
    missing = [name for name in rows if storage.size(name) is None]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(rows)} files are not in {storage.place}, first "
            f"{missing[0]} of row {rows[missing[0]].line}; paths are relative to the folder of "
            "the table, or to that which --root names"
        )


def _listing(
    path: Path,
    storage: Folder | Archive,
    rows: Mapping[str, _Row],
    classes: Sequence[str] | None,
) -> Listing:
    names = {row.label for row in rows.values()}
    if classes is None:
        check_classes(path, set(names))
        _check_splits(path, rows)
        known = tuple(sorted(names, key=natural))
    else:
        known = tuple(classes)
        check_known(path, names, known)
    labels = {normal(name): label for label, name in enumerate(known)}
    listing = Listing(
        root=storage.place,
        classes=known,
        items=tuple(
            Item(name, labels[row.label], SPLIT_NAMES.get(row.split), row.group)
            for name, row in sorted(rows.items())
        ),
        archive=storage if isinstance(storage, Archive) else None,
        table=path,
    )
    if classes is None:
        check_trained(listing)
    return listing


def _check_splits(path: Path, rows: Mapping[str, _Row]) -> None:
    """Either no row or every row has a split."""
    split = [row.line for row in rows.values() if row.split]
    unsplit = [row.line for row in rows.values() if not row.split]
    if split and unsplit:
        raise DataError(
            f"{path}: row {split[0]} has a split but row {unsplit[0]} has none; fill in all or none"
        )
