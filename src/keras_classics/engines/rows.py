"""Predictions as rows of a file: CSV, JSON lines or Parquet.

While a job runs its rows are kept as bytes, and the file is made of them at the end. CSV and JSON
lines are those bytes; the rows of a Parquet file are kept as JSON lines.
"""

from __future__ import annotations

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

from keras_classics.classifier.prediction import Prediction
from keras_classics.errors import ClassicsError, ImageError
from keras_classics.exporting import runtimes

ROW_GROUP = 2**14  # rows of a Parquet file that are held at a time

ACCEPTED = {None: "", True: "yes", False: "no"}


class Rows(ABC):
    """A format."""

    def __init__(self, top: int) -> None:
        """Rows that name so many classes."""
        self.top = top

    def head(self) -> bytes:
        """What stands before the first row."""
        return b""

    @abstractmethod
    def row(self, found: Prediction | ImageError) -> bytes:
        """One row, as it is kept."""

    def write(self, file: Path, rows: Iterable[bytes]) -> None:
        """Make the file of all rows, which come in pieces of whole ones."""
        with file.open("wb") as stream:
            stream.write(self.head())
            stream.writelines(rows)


class CsvRows(Rows):
    """A row an image: path, classes with their probabilities, accepted, error."""

    def head(self) -> bytes:
        """The names of the columns."""
        return csv_line([*csv_columns(self.top), "error"])

    def row(self, found: Prediction | ImageError) -> bytes:
        """As `Rows` says."""
        if isinstance(found, ImageError):
            return csv_line([str(found.path), *[""] * (2 * self.top + 1), found.reason])
        return csv_line([*csv_row(found), ""])


class JsonRows(Rows):
    """An object an image, as `plain` makes it, and its error."""

    def row(self, found: Prediction | ImageError) -> bytes:
        """As `Rows` says."""
        if isinstance(found, ImageError):
            values: dict[str, Any] = {"path": str(found.path), "error": found.reason}
        else:
            values = {**plain(found), "error": None}
        return json.dumps(values, allow_nan=False).encode() + b"\n"


class ParquetRows(Rows):
    """The columns of the CSV; probabilities in 32 bits, errors and what else is missing null."""

    def __init__(self, top: int) -> None:
        """As `Rows`.

        Raises:
            ClassicsError: If pyarrow is not installed.
        """
        super().__init__(top)
        runtimes.check_installed("pyarrow")

    def row(self, found: Prediction | ImageError) -> bytes:
        """The columns' values as a list in JSON."""
        if isinstance(found, ImageError):
            values: list[Any] = [str(found.path), *[None] * (2 * self.top + 1), found.reason]
        else:
            values = [str(found.path), *_flat(found), found.accepted, None]
        return json.dumps(values, allow_nan=False).encode() + b"\n"

    def write(self, file: Path, rows: Iterable[bytes]) -> None:
        """As `Rows` says."""
        import pyarrow as pa  # noqa: PLC0415 - optional
        import pyarrow.parquet as pq  # noqa: PLC0415

        kinds = [pa.string(), *[pa.string(), pa.float32()] * self.top, pa.bool_(), pa.string()]
        names = [*csv_columns(self.top), "error"]
        schema = pa.schema(list(zip(names, kinds, strict=True)))
        lines = chain.from_iterable(map(bytes.splitlines, rows))
        with pq.ParquetWriter(file, schema) as writer:
            while group := list(map(_values, islice(lines, ROW_GROUP))):
                columns = [
                    pa.array(column, kind)
                    for column, kind in zip(zip(*group, strict=True), kinds, strict=True)
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))


FORMATS: dict[str, type[Rows]] = {".csv": CsvRows, ".jsonl": JsonRows, ".parquet": ParquetRows}


def rows_for(out: Path, top: int) -> Rows:
    """The format that the ending of a file names.

    Raises:
        ClassicsError: If it names none, or what it needs is not installed.
    """
    if out.suffix.lower() not in FORMATS:
        raise ClassicsError(f"-o {out}: ends with none of {', '.join(FORMATS)}.")
    return FORMATS[out.suffix.lower()](top)


def csv_columns(top: int) -> list[str]:
    """The names of the columns of predictions that name so many classes."""
    headings = [heading for k in range(1, top + 1) for heading in (f"class_{k}", f"p_{k}")]
    return ["path", *headings, "accepted"]


def csv_row(prediction: Prediction) -> list[str]:
    """The values of these columns."""
    values = (f"{value:.6f}" if isinstance(value, float) else value for value in _flat(prediction))
    return [str(prediction.path), *values, ACCEPTED[prediction.accepted]]


def plain(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain values for JSON."""
    return {
        "path": str(prediction.path),
        "class": prediction.class_name,
        "confidence": prediction.confidence,
        "accepted": prediction.accepted,
        "top": [{"class": name, "probability": p} for name, p in prediction.top],
    }


def _flat(prediction: Prediction) -> list[Any]:
    return [value for pair in prediction.top for value in pair]


def csv_line(values: list[str]) -> bytes:
    """A row of CSV in UTF-8."""
    text = io.StringIO()
    # Fields are quoted that hold a part of the line's end; a lone "\r" would end a row, too.
    csv.writer(text, lineterminator="\r\n").writerow(values)
    line = text.getvalue().removesuffix("\r\n") + "\n"
    # A name of bytes that are no text stands there as it is on the disk.
    return line.encode("utf-8", "surrogateescape" if os.name != "nt" else "replace")


def _values(line: bytes) -> list[Any]:
    # Parquet holds text only, but names of files and of classes may be bytes that are none.
    return [
        value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for value in json.loads(line)
    ]
