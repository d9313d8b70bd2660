"""The manifest of a run: which image has which class and split, in a table that `scan` reads."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from keras_classics.data.listing import Listing
from keras_classics.data.storage import unreadable
from keras_classics.errors import DataError
from keras_classics.host.files import write_table
from keras_classics.host.regular import open_regular

_FIELDS = ("path", "label", "split")
_GROUP = "group"


def write_manifest(listing: Listing, path: Path | str) -> None:
    """Record which image has which class and split, as a CSV file with `path,label,split`.

    Where the images have groups, these are a fourth column.

    Args:
        listing: its labels are written as names of classes.
        path: the file to write; it appears complete or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    groups = any(item.group for item in listing.items)
    rows = (
        (item.name, listing.classes[item.label], item.split or "", item.group or "")
        for item in listing.items
    )
    columns = 4 if groups else 3
    fields = (*_FIELDS, _GROUP)[:columns]
    write_table(Path(path), fields, (row[:columns] for row in rows))


def read_manifest(path: Path | str) -> tuple[dict[str, str], ...]:
    """The rows of a manifest: path, label (a class name), split and, where there is one, group.

    Raises:
        DataError: there is no such file, or it is not a manifest.
    """
    path = Path(path)
    try:
        with io.TextIOWrapper(
            open_regular(path), newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            reader = csv.DictReader(file, strict=True)
            rows = tuple(reader)
            fields = tuple(reader.fieldnames or ())
    except OSError as error:
        raise unreadable(path, error) from None
    except csv.Error as error:
        raise DataError(f"{path}: is not a manifest ({error})") from None
    if fields not in (_FIELDS, (*_FIELDS, _GROUP)):
        fields_text = ",".join(_FIELDS)
        raise DataError(f"{path}: is not a manifest; its first line must be {fields_text}")
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f"{path}: row {line} does not have {len(fields)} fields")
    return rows
