"""What stands before the pixels of a JPEG, read as libjpeg reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCAN_LIMIT = 64
"""A progressive JPEG of more passes is refused: encoders write a dozen, and each costs the decoding
of all its pixels, so that a small file could take hours."""

_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# But for those that have no length: fill bytes, stuffed ones, restarts.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # tables and extensions
# JFIF and Adobe segments decide the colours of a JPEG; the other application segments are metadata.
_COLOUR_SEGMENTS = frozenset({0xE0, 0xEE})
_APPLICATION_SEGMENTS = range(0xE0, 0xF0)
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"

_PROGRESSIVE = 2
_HUFFMAN_DCT = frozenset({0, 1, 2})  # baseline, extended, progressive
_HIERARCHICAL = frozenset({5, 6, 7, 13, 14, 15})


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG without its metadata, and what its header says.

    Attributes:
        data: the file without metadata. Damaged metadata would make Pillow warn, and the second
            picture that telephones store in it would make it read another format.
        exif: EXIF data; empty if there is none.
        xmp: XMP data; empty if there is none.
        process: the number of the frame's kind: 0 for SOF0, baseline, to 15 for SOF15.
        bits: of a sample.
        width: in pixels, as stored.
        height: in pixels, as stored.
        components: 1 for grey, 3 for colours, 4 for CMYK.
    """

    data: bytes
    exif: bytes
    xmp: bytes
    process: int
    bits: int
    width: int
    height: int
    components: int

    @property
    def several_scans(self) -> bool:
        """Whether all coefficients are kept in memory until the last scan."""
        return self.process == _PROGRESSIVE or self.data.count(bytes((0xFF, _SOS))) > 1

    @property
    def scales(self) -> bool:
        """Whether decoders can be asked for a part of the size.

        Of other frames libjpeg writes all pixels nevertheless, into memory for fewer.
        """
        return self.process in _HUFFMAN_DCT and self.bits == 8

    @property
    def unsupported(self) -> str | None:
        """Which kind of JPEG this is, where no decoder reads it."""
        if self.bits != 8:
            return f"a JPEG of {self.bits} bits"
        if self.process in _HIERARCHICAL:
            return f"a hierarchical JPEG (SOF{self.process})"
        return None


def read_jpeg(data: bytes) -> Jpeg:
    """Read the header of a JPEG.

    As libjpeg does, it looks for the next marker where a segment does not end at one: Photoshop
    wrote lengths that are too short.

    Raises:
        EOFError: the file ends within its header.
        ValueError: it has no frame, or several.
    """
    kept = [data[:2]]
    exif, xmp = b"", b""
    frames: list[tuple[int, bytes]] = []
    position = 2
    while (found := _MARKER.search(data, position)) and found[0][1] not in {_SOS, _EOI}:
        start, position = found.span()
        marker = found[0][1]
        if marker == _SOI:
            kept.append(found[0])
            continue
        position += int.from_bytes(data[position : position + 2], "big")
        if position > len(data):
            raise EOFError("header is truncated")
        body = data[start + 4 : position]
        if marker not in _APPLICATION_SEGMENTS or marker in _COLOUR_SEGMENTS:
            kept.append(data[start:position])
        elif marker == _APP1 and body.startswith(_EXIF):
            exif = exif or body
        elif marker == _APP1 and body.startswith(_XMP):
            xmp = xmp or body
        if marker in _FRAMES:
            frames.append((marker - 0xC0, body))
    if found is None:
        raise EOFError("header is truncated")
    if len(frames) != 1 or len(frames[0][1]) < 6:
        raise ValueError("no frame" if not frames else "a wrong frame")
    kept.append(data[found.start() :])
    process, frame = frames[0]
    return Jpeg(
        data=b"".join(kept),
        exif=exif,
        xmp=xmp,
        process=process,
        bits=frame[0],
        height=int.from_bytes(frame[1:3], "big"),
        width=int.from_bytes(frame[3:5], "big"),
        components=frame[5],
    )


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG would take more than `SCAN_LIMIT` passes over all its pixels.

    It is read as libjpeg reads it: what is no marker is skipped, and so is what a marker says is
    its own.
    """
    if data.count(bytes((0xFF, _SOS))) <= SCAN_LIMIT:
        return False
    scans, position = 0, 2
    while (found := _MARKER.search(data, position)) and found[0][-1] != _EOI:
        scans += found[0][-1] == _SOS
        if scans > SCAN_LIMIT:
            return True
        length = data[found.end() : found.end() + 2]
        position = found.end() + max(2, int.from_bytes(length, "big"))
    return False
