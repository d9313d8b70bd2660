"""From the bytes of a request to pictures of the network's size."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from email.message import Message
from email.utils import collapse_rfc2231_value

import numpy as np
import numpy.typing as npt
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from keras_classics.classifier.card import Preprocessing
from keras_classics.data.fit import fit_bytes
from keras_classics.errors import ClassicsError, ImageError
from keras_classics.serving.settings import Settings
from keras_classics.web.uploads import UploadError, check_upload

Images = npt.NDArray[np.uint8]

_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's bits for each
_MOST_PART_HEADERS = 8 * 1024  # bytes
NAMELESS = "picture"


def decompress(body: bytes, encoding: str | None, limit: int) -> bytes:
    """A body as it was before `Content-Encoding`, of which no more than the limit is ever made.

    Raises:
        ClassicsError: If it is torn, too large, or compressed otherwise.
    """
    name = (encoding or "identity").strip().lower()
    if name == "identity":
        return body
    if name not in _WINDOW:
        words = f"Content-Encoding {name[:20]!r} is not known; gzip and deflate are."
        raise UploadError(words, 415)
    stream = zlib.decompressobj(_WINDOW[name])
    try:
        whole = stream.decompress(body, limit + 1)
    except zlib.error:
        raise ClassicsError(f"the body is not what {name} makes, or is corrupt.") from None
    if len(whole) > limit:
        raise UploadError(f"the request has more than {limit:,} bytes when decompressed.", 413)
    if not stream.eof or stream.unused_data:
        raise ClassicsError(f"the body is not what {name} makes, or is corrupt.")
    return whole


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)


def pictures_of_form(body: bytes, content_type: str, most: int) -> list[tuple[str, bytes]]:
    """Names and bytes of the files of a multipart form; fields of text are left out.

    Args:
        body: Of the request.
        content_type: Its header, which holds the boundary.
        most: Parts that are taken.

    Raises:
        ClassicsError: If it is torn, has no file or too many parts.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046
        raise ClassicsError("multipart/form-data without a boundary, or with none that can be one.")
    parts: list[_Part] = []
    name, value, size = bytearray(), bytearray(), 0

    def begin() -> None:
        nonlocal size
        if len(parts) == most:
            raise UploadError(f"more than {most} parts in a form.", 413)
        parts.append(_Part())
        size = 0

    def collect(into: bytearray, data: bytes, start: int, end: int) -> None:
        nonlocal size
        size += end - start
        if size > _MOST_PART_HEADERS:
            raise ClassicsError("the headers of a part of the form are too long.")
        into += data[start:end]

    def header_ends() -> None:
        parts[-1].headers[bytes(name).lower()] = bytes(value)
        name.clear()
        value.clear()

    def add(data: bytes, start: int, end: int) -> None:
        parts[-1].data += data[start:end]

    ended: list[bool] = []
    callbacks = {
        "on_part_begin": begin,
        "on_part_data": add,
        "on_header_field": lambda data, start, end: collect(name, data, start, end),
        "on_header_value": lambda data, start, end: collect(value, data, start, end),
        "on_header_end": header_ends,
        "on_end": lambda: ended.append(True),
    }
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise ClassicsError("the form is corrupt, or does not match its boundary.") from None
    if not ended:
        raise ClassicsError("the form is corrupt: it ends before its last boundary.")
    files = [found for part in parts if (found := _file(part)) is not None]
    if not files:
        raise ClassicsError("the form holds no file; send some (curl: -F file=@photo.jpg).")
    return files


def _file(part: _Part) -> tuple[str, bytes] | None:
    """Name and bytes of a file; None of a field, which is text without a file name."""
    header = Message()  # which knows `filename*`, too; python_multipart leaves that out
    disposition = part.headers.get(b"content-disposition", b"").decode("utf-8", errors="replace")
    header["Content-Disposition"] = disposition
    try:
        name = header.get_filename()
        field_name = header.get_param("name", "", header="content-disposition")
    except ValueError:  # a number of thousands of digits in it
        name, field_name = "", ""
    if name is None:
        if _is_text(part.data):
            return None
        name = collapse_rfc2231_value(field_name)
    return name or NAMELESS, bytes(part.data)


def _is_text(data: bytearray) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def fitted(data: bytes, name: str, shape: Preprocessing, settings: Settings) -> Images:
    """(height, width, 3) uint8 of an image file, as the network takes it.

    Raises:
        UploadError: If it is no picture, damaged or too large.
    """
    upload = check_upload(data, name, most_bytes=settings.file_bytes, most_pixels=settings.pixels)
    try:
        return fit_bytes(data, upload.path, shape.size, shape.fit)
    except ImageError as error:
        raise UploadError(f"{error}.", 422) from None
