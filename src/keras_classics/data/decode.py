"""Image files to RGB arrays: every orientation, every mode, and an error that names the file.

Pillow's format classes are used directly in the place of `Image.open`, which warns of large
pictures and of unreadable metadata: Python's warning filters belong to the whole process and cannot
be changed for one thread. What could warn is therefore kept away from Pillow or checked beforehand.
"""

from __future__ import annotations

import re
import struct
import threading
import warnings
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from keras_classics.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff",
        ".ppm", ".pgm", ".pnm",
    }
)  # fmt: skip
"""Endings of files that count as images, in lower case."""

PIXEL_LIMIT = 178_956_970
"""More pixels than this are refused unread: a small file can claim a picture of many gigabytes."""

SCAN_LIMIT = 64
"""A progressive JPEG of more passes is refused: encoders write a dozen, and each costs the decoding
of all its pixels, so that a small file could take hours."""

_SIGNATURES: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"GIF87a", GifImageFile),
    (b"GIF89a", GifImageFile),
    (b"BM", BmpImageFile),
    (b"II*\x00", TiffImageFile),
    (b"MM\x00*", TiffImageFile),
    (b"II+\x00", TiffImageFile),
    (b"MM\x00+", TiffImageFile),
    *((b"P%d" % kind, PpmImageFile) for kind in range(1, 7)),
)

ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_ORIENTATION_TAG = 0x0112
_SHORT = 3

_SOS, _EOI = 0xDA, 0xD9
# But for those that have no length: fill bytes, stuffed ones, restarts.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_APP1 = 0xE1
# JFIF and Adobe segments decide the colours of a JPEG; the other application segments are metadata.
_COLOUR_SEGMENTS = frozenset({0xE0, 0xEE})
_APPLICATION_SEGMENTS = range(0xE0, 0xF0)

_TURBO_COLOURS = frozenset({"YCbCr", "Gray", "RGB"})  # of a JPEG; others are Pillow's

_WARNING_FILTERS = threading.Lock()


def read_image(path: Path | str, *, at_least: int | None = None) -> NDArray[np.uint8]:
    """Decode one image file, upright and in colour.

    The orientation of the EXIF data is applied, transparency is laid on white, 16-bit grey is
    scaled to 8 bits, and of an animation the first frame is taken. Nothing is printed or warned of.

    Args:
        path: a file in one of the formats of `IMAGE_SUFFIXES`; its contents decide the format.
        at_least: pixels of the shorter side that suffice: a large JPEG is then decoded at a half,
            a quarter or an eighth of its size, which is several times faster, but never smaller
            than this. Only for parts of pictures that a network learns from: what it says of a
            picture would be another thing. None decodes at full size.

    Returns:
        An array (height, width, 3) of red, green and blue, 0 to 255.

    Raises:
        ImageError: the file cannot be read, or is no image, truncated, damaged or too large.
    """
    path = Path(path)
    return decode_image(read_bytes(path), path, at_least=at_least)


def decode_image(data: bytes, path: Path, *, at_least: int | None = None) -> NDArray[np.uint8]:
    """Decode the bytes of an image file; the path only names it in errors. As `read_image`."""
    opener = opener_of(path, data)
    with guarded(path, data, opener):
        return decode_pixels(path, data, opener, at_least)


@contextmanager
def guarded(path: Path, data: bytes, opener: type[ImageFile]) -> Iterator[None]:
    """Pillow's work on a file: it warns of nothing, and every failure becomes an ImageError."""
    # Only these three can warn of what was not checked beforehand, and are rare: they take turns.
    may_warn = opener in {TiffImageFile, GifImageFile} or (
        opener is PngImageFile and b"acTL" in data
    )
    quiet: AbstractContextManager[None] = _without_warnings() if may_warn else nullcontext()
    try:
        with quiet:
            yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(path, "too large for the memory that is free") from None
    except Image.DecompressionBombError:  # Pillow has a limit, too, and may look first
        raise ImageError(path, f"more pixels than the limit of {PIXEL_LIMIT:,}") from None
    except Exception as error:  # Pillow raises nearly any type on a damaged file.
        raise ImageError(path, _reason(error)) from None


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; ImageError says why there are none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(path, "no such file") from None
    except IsADirectoryError:
        raise ImageError(path, "a folder, not an image") from None
    except PermissionError:
        raise ImageError(path, "permission denied") from None
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror or error})") from None
    if not data:
        raise ImageError(path, "empty file")
    return data


def opener_of(path: Path, data: bytes) -> type[ImageFile]:
    """Pillow's class for the format that the first bytes tell; ImageError for no image."""
    for signature, opener in _SIGNATURES:
        if data.startswith(signature):
            return opener
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    # Telephones write these; people rename them.
    if data[4:8] == b"ftyp":
        raise ImageError(path, "HEIC or AVIF, which is not supported; convert it to JPEG or PNG")
    raise ImageError(path, "not an image")


def decode_pixels(
    path: Path, data: bytes, opener: type[ImageFile], at_least: int | None
) -> NDArray[np.uint8]:
    """Decode with one of Pillow's classes, inside `guarded`; as `read_image` otherwise."""
    exif = b""
    if opener is JpegImageFile:
        data, exif = split_jpeg(data)
        if has_too_many_scans(data):
            raise ImageError(path, f"a JPEG of more than {SCAN_LIMIT} scans")
        pixels = _turbo_pixels(data, at_least)
        if pixels is not None:
            return np.ascontiguousarray(_upright(pixels, orientation_of(exif)))
    with opener(BytesIO(data), str(path)) as image:
        width, height = image.size
        if width * height > PIXEL_LIMIT:
            raise ImageError(
                path, f"{width}x{height} pixels, more than the limit of {PIXEL_LIMIT:,}"
            )
        if at_least is not None:
            # The shorter side stays the shorter one in every orientation, so a square does.
            image.draft(None, (at_least, at_least))
        image.load()
        # TIFF is turned by Pillow itself; a PNG may hold its EXIF data after the pixels.
        if opener in {PngImageFile, WebPImageFile}:
            exif = image.info.get("exif", b"")
        return np.ascontiguousarray(_upright(_to_rgb(image), orientation_of(exif)))


@cache
def _simplejpeg() -> ModuleType | None:
    """The package if it is installed."""
    try:
        import simplejpeg
    except ImportError:
        return None
    module: ModuleType = simplejpeg
    return module


def _turbo_pixels(data: bytes, at_least: int | None) -> NDArray[np.uint8] | None:
    """A sound JPEG in little time, the same pixels as Pillow's; None where Pillow must decide.

    simplejpeg refuses whatever Pillow refuses and more, as libjpeg-turbo then only warns.
    """
    turbo = _simplejpeg()
    if turbo is None:
        return None
    try:
        height, width, colours, _ = turbo.decode_jpeg_header(data)
        if colours not in _TURBO_COLOURS or width * height > PIXEL_LIMIT:
            return None
        # The scales of Pillow's draft; libjpeg-turbo has more of them.
        times = min(height, width) // at_least if at_least else 1
        scale = next((scale for scale in (8, 4, 2) if times >= scale), 1)
        pixels: NDArray[np.uint8] = turbo.decode_jpeg(
            data, min_height=-(-height // scale), min_width=-(-width // scale), min_factor=scale
        )
    except (ValueError, RuntimeError):
        return None
    return pixels


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Any mode of Pillow to (h, w, 3) uint8."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return np.repeat(_grey_to_8_bits(image)[..., None], 3, axis=2)
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(coloured, mask=coloured.getchannel("A"))
        return np.asarray(white)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _grey_to_8_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Grey of more than 8 bits to (h, w) uint8, by its nominal range and never by its contents.

    Stretching each picture to its own extremes would give two pictures of one scene different
    greys. Integers count from 0 to 65535; floats from 0 to 1, or to 255 if any exceeds 1.
    """
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        values = np.nan_to_num(values)
        scale = 1.0 if values.max() > 1.0 else 255.0
    else:
        scale = 1 / 257
    return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation, (h, w, 3) to (h, w, 3) or (w, h, 3)."""
    # 1 to 8 as in the standard: two mirrors and an exchange of the axes make all eight.
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels


def orientation_of(exif: bytes) -> int:
    """The orientation 1 to 8 of a block of EXIF data; 1 if it has none or is damaged."""
    exif = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, offset)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, offset + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:  # the picture is good, only its description is cut short
        return 1
    return 1


def split_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """A JPEG without its metadata, and its EXIF data (empty if it has none).

    Damaged metadata would make Pillow warn, and the second picture that telephones store in it
    would make it read another format.
    """
    kept = [data[:2]]
    exif = b""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != _SOS:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker not in _APPLICATION_SEGMENTS or marker in _COLOUR_SEGMENTS:
            kept.append(data[position:end])
        elif marker == _APP1 and not exif and data[position + 4 : position + 10] == b"Exif\0\0":
            exif = data[position + 4 : end]
        position = end
    kept.append(data[position:])
    return b"".join(kept), exif


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG would take more than `SCAN_LIMIT` passes over all its pixels.

    It is read as libjpeg reads it: what is no marker is skipped, and so is what a marker says is
    its own.
    """
    if data.count(bytes((0xFF, _SOS))) <= SCAN_LIMIT:
        return False
    scans, position = 0, 2
    while (found := _JPEG_MARKER.search(data, position)) and found[0][-1] != _EOI:
        scans += found[0][-1] == _SOS
        if scans > SCAN_LIMIT:
            return True
        length = data[found.end() : found.end() + 2]
        position = found.end() + max(2, int.from_bytes(length, "big"))
    return False


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Ignore warnings, one thread at a time: restoring the filters out of turn would lose some."""
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: Exception) -> str:
    """Pillow's words for what is wrong with a file, as one short line."""
    words = " ".join(str(error).split())
    if isinstance(error, EOFError) or "truncated" in words.lower():
        return "truncated"
    return f"damaged ({words[:80] or type(error).__name__})"
