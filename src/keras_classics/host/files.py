"""Files that appear whole, or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_classics.errors import OutputError


@contextmanager
def write_atomically(
    path: Path, *, durable: bool = False, part: Path | None = None
) -> Iterator[Path]:
    """A temporary place beside a file's own; what is written there takes its place at the end.

    After an error, the file is as it was. The temporary name has the ending of the file's own, as
    some writers choose a format by it.

    Args:
        path: Of the file; what stands there is replaced.
        durable: Whether the file survives a power cut as soon as it is in its place.
        part: The temporary place; what a killed process left there is written over.

    Raises:
        OutputError: If it cannot be written.
    """
    part = part or path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        yield part
        if durable:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.replace(path)
        if durable and os.name != "nt":  # its name, too, where the system can be asked for it
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file; OutputError as in `write_atomically`."""
    with write_atomically(path) as part:
        part.write_bytes(content)


def write_text(path: Path, *chunks: str, durable: bool = False) -> None:
    """Write a whole file of text; OutputError as in `write_atomically`."""
    with write_atomically(path, durable=durable) as part:
        _write(part, chunks)


def write_table(path: Path, fields: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file with a line of names and then the rows, one at a time.

    Raises:
        OutputError: As in `write_atomically`.
    """
    plain = csv.writer(_Echo(), lineterminator="\n")
    # csv ends a line at a carriage return that it reads, but need not quote one it writes.
    quoted = csv.writer(_Echo(), lineterminator="\n", quoting=csv.QUOTE_ALL)

    def line(row: Sequence[object]) -> str:
        writer = quoted if any("\r" in str(value) for value in row) else plain
        return str(writer.writerow(row))

    with write_atomically(path) as part:
        _write(part, (line(row) for row in (fields, *rows)))


def _write(path: Path, chunks: Iterable[str]) -> None:
    # Names of files need not be Unicode everywhere; this keeps their bytes.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(chunks)


class _Echo:
    """A file for the csv module that hands every line back."""

    def write(self, line: str) -> str:
        return line
