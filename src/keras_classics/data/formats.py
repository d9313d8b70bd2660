"""Formats of pictures that are not read, by the endings and the first bytes of their files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

_ENDINGS: dict[str, str] = {
    **dict.fromkeys((".heic", ".heif", ".hif", ".avif"), "HEIC or AVIF"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"), "JPEG 2000"),
    ".jxl": "JPEG XL",
    **dict.fromkeys((".jxr", ".wdp", ".hdp"), "JPEG XR"),
    **dict.fromkeys((".tga", ".icb", ".vda", ".vst"), "Targa"),
    **dict.fromkeys((".psd", ".psb"), "Photoshop"),
    **dict.fromkeys((".svg", ".svgz"), "SVG"),
    **dict.fromkeys((".ico", ".cur", ".icns"), "an icon"),
    **dict.fromkeys((".exr", ".hdr"), "a picture of high dynamic range"),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM"),
    ".pcx": "PCX",
    ".qoi": "QOI",
    ".dds": "DDS",
    ".xcf": "GIMP",
}
_RAW = "camera raw"
_RAW_ENDINGS = frozenset(
    {
        ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2",
        ".raf", ".pef", ".srw", ".x3f", ".erf", ".kdc", ".mrw", ".3fr", ".iiq",
    }
)  # fmt: skip

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"8BPS", "Photoshop"),
    (0, b"<svg", "SVG"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"icns", "an icon"),
    (0, b"v/1\1", "a picture of high dynamic range"),
    (0, b"#?R", "a picture of high dynamic range"),
    (128, b"DICM", "DICOM"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"gimp xcf", "GIMP"),
    (8, b"CR\2\0", _RAW),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"FOVb", _RAW),
)
# Films begin like these, with other brands.
_BRANDS: dict[bytes, str] = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"), "HEIC or AVIF"),
    **dict.fromkeys((b"mif1", b"mif2", b"msf1", b"avif", b"avis"), "HEIC or AVIF"),
    b"crx ": _RAW,
}
# Formats whose first bytes say little; those of camera raw are often those of TIFF, whose first
# picture is then a thumbnail.
_BY_ENDING = frozenset({"Targa", "DICOM", "PCX", "SVG", _RAW})
_SURELY_OTHERS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF")  # whatever the ending


def by_ending(name: str | os.PathLike[str]) -> str | None:
    """The format that is not read which a file is in by its ending; None for another."""
    suffix = PurePath(name).suffix.lower()
    return _RAW if suffix in _RAW_ENDINGS else _ENDINGS.get(suffix)


def foreign(name: str | os.PathLike[str], head: bytes) -> str | None:
    """The format that is not read which a file is in by its first bytes, or else its ending.

    Args:
        name: of the file.
        head: its first bytes, at least 16.
    """
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    for place, signature, form in _SIGNATURES:
        if head.startswith(signature, place):
            return form
    own = by_ending(name)
    return own if own in _BY_ENDING and not head.startswith(_SURELY_OTHERS) else None


def not_read(names: Iterable[str | os.PathLike[str]]) -> str | None:
    """In words, how many files are in formats that are not read, by their endings; None for none.

    Args:
        names: of files, among which there may be others.
    """
    counts = Counter(form for form in map(by_ending, names) if form is not None)
    if not counts:
        return None
    number = sum(counts.values())
    images, them = ("image", "it") if number == 1 else ("images", "them")
    forms = ", ".join(sorted(counts))
    return f"{number:,} {images} in unsupported formats ({forms}); convert {them} to JPEG or PNG"
