"""The manifest of a run: which image has which class and split, in a table that `scan` reads."""

from __future__ import annotations

import csv
import io
import os
from contextlib import suppress
from pathlib import Path

from keras_classics.data.listing import Listing
from keras_classics.data.storage import one_line, unreadable
from keras_classics.errors import DataError, OutputError
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
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # Names of files need not be Unicode everywhere; this keeps their bytes.
        with part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.writer(file, lineterminator="\n")
            # csv ends a line at a carriage return that it reads, but need not quote one it writes.
            quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            groups = any(item.group for item in listing.items)
            rows.writerow((*_FIELDS, _GROUP) if groups else _FIELDS)
            for item in listing.items:
                row = [item.name, listing.classes[item.label], item.split or ""]
                if groups:
                    row.append(item.group or "")
                (quoted if any("\r" in field for field in row) else rows).writerow(row)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(
            one_line(f"{path}: cannot be written ({error.strerror or error})")
        ) from None


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
        raise DataError(one_line(f"{path}: is not a manifest ({error})")) from None
    if fields not in (_FIELDS, (*_FIELDS, _GROUP)):
        fields_text = ",".join(_FIELDS)
        raise DataError(
            one_line(f"{path}: is not a manifest; its first line must be {fields_text}")
        )
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(one_line(f"{path}: row {line} does not have {len(fields)} fields"))
    return rows
