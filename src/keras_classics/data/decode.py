"""Image files to RGB arrays: every orientation, every mode, and an error that names the file.

Whatever reads a picture comes through `decoded`, so that one file has one verdict: to check a
folder, to train on it, to predict and to serve is to decode in the same way.

Pillow's format classes are used directly in the place of `Image.open`, which warns of large
pictures and of unreadable metadata: Python's warning filters belong to the whole process and cannot
be changed for one thread. What could warn is therefore kept away from Pillow or checked beforehand.
"""

from __future__ import annotations

import ctypes
import logging
import re
import struct
import threading
import warnings
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, _imaging
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from keras_classics.data.budget import room
from keras_classics.data.depth import is_deep, strips, to_8_bits
from keras_classics.data.formats import foreign
from keras_classics.data.jpeg import SCAN_LIMIT, Jpeg, has_too_many_scans, read_jpeg
from keras_classics.errors import ImageError
from keras_classics.host.regular import IrregularFileError, read_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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

FILE_LIMIT = 4 * PIXEL_LIMIT
"""Files of more bytes are refused unread: the largest picture, not compressed."""

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

_OF_SEVERAL: dict[type[ImageFile], str] = {
    GifImageFile: "frames",
    PngImageFile: "frames",
    TiffImageFile: "pages",
    WebPImageFile: "frames",
}

_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')

_WARNING_FILTERS = threading.Lock()

# Bytes that a pixel takes at most while it is decoded, as `benchmarks/decoding_memory.py` measures
# them: in Pillow, by its mode; and as colours, which turning upright holds twice.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
_STORED_OTHERWISE = 4
_DECODED = 6
_COEFFICIENT = 2  # of a JPEG with several scans, which are kept until the last one
_BESIDES = {WebPImageFile: 10, TiffImageFile: 2, PpmImageFile: 4}  # in the format's decoder

# What Pillow says where it knows what a file is, and does not read that kind.
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|cannot handle|unknown (pixel mode|data organization|compression)"
    r"|not available|unable to (handle|read)|not yet supported",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image, and what its file says of it.

    Attributes:
        pixels: (h, w, 3) uint8, upright, red, green and blue.
        width: in pixels, as stored.
        height: in pixels, as stored.
        mode: Pillow's name for what a pixel is, such as "CMYK".
        orientation: 1 to 8, as in EXIF; the pixels are turned already.
        deep: more than 8 bits a sample.
        transparent: laid on white.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    mode: str
    orientation: int
    deep: bool
    transparent: bool


def read_image(path: Path | str, *, at_least: int | None = None) -> NDArray[np.uint8]:
    """Decode one image file, upright and in colour.

    The orientation that EXIF or XMP states is applied, transparency is laid on white, deep grey is
    scaled to 8 bits as `depth.to_8_bits` says, and of an animation the first frame is taken. Colour
    profiles are not applied. Nothing is printed or warned of.

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
    with decoded(data, path, at_least=at_least) as picture:
        return picture.pixels


@contextmanager
def decoded(data: bytes, path: Path, *, at_least: int | None = None) -> Iterator[Picture]:
    """A decoded image, for the length of a `with`: so long it counts against the memory budget.

    Args and errors as `decode_image`.
    """
    opener = opener_of(path, data)
    # One after the other: who waits for memory must not hold what others wait for.
    with guarded(path, data, opener):
        head = _head(path, data, opener)
    width, height = head.size
    if width * height > PIXEL_LIMIT:
        raise ImageError(path, f"{width}x{height} pixels, more than the limit of {PIXEL_LIMIT:,}")
    with ExitStack() as held:
        try:
            held.enter_context(room(head.each * width * height))
        except MemoryError:
            reason = f"{width}x{height} pixels, too large for the memory of this machine"
            raise ImageError(path, reason) from None
        with guarded(path, data, opener):
            picture = head.decode(at_least)
        yield picture


def size_of(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height that the head of an image file states, before anything is decoded.

    Raises:
        ImageError: no image, one of an unsupported kind, or a damaged head.
    """
    opener = opener_of(path, data)
    with guarded(path, data, opener):
        return _head(path, data, opener).size


def several(data: bytes, path: Path) -> str | None:
    """What an image file holds besides its first picture: "frames", "pages" or None.

    They are never decoded, and may be damaged.
    """
    opener = opener_of(path, data)
    if opener not in _OF_SEVERAL:
        return None
    try:
        with guarded(path, data, opener), opener(BytesIO(data)) as image:
            more = getattr(image, "is_animated", False)
    except ImageError:
        more = True
    return _OF_SEVERAL[opener] if more else None


@contextmanager
def guarded(path: Path, data: bytes, opener: type[ImageFile]) -> Iterator[None]:
    """Pillow's work on a file: it warns of nothing, and every failure becomes an ImageError."""
    # Only these three can warn of what was not checked beforehand, and are rare: they take turns.
    may_warn = opener in {TiffImageFile, GifImageFile} or (
        opener is PngImageFile and b"acTL" in data
    )
    if opener is TiffImageFile:
        _silence()
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
        raise ImageError(path, _reason(error, opener)) from None


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; ImageError says why there are none."""
    try:
        data = read_regular(path, FILE_LIMIT)
    except IrregularFileError as error:
        raise ImageError(path, str(error.strerror)) from None
    except FileNotFoundError:
        raise ImageError(path, "no such file") from None
    except PermissionError:
        raise ImageError(path, "permission denied") from None
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror or error})") from None
    if not data:
        raise ImageError(path, "empty file")
    return data


def opener_of(path: Path, data: bytes) -> type[ImageFile]:
    """Pillow's class for the format that the first bytes tell; ImageError for no image."""
    if form := foreign(path, data):
        raise ImageError(path, _not_supported(form))
    for signature, opener in _SIGNATURES:
        if data.startswith(signature):
            return opener
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    raise ImageError(path, "not an image")


@dataclass(frozen=True, slots=True)
class _Head:
    """What the head of a file states, and how to go on from there."""

    size: tuple[int, int]  # width and height, as stored
    each: int  # bytes of memory that decoding a pixel takes
    decode: Callable[[int | None], Picture]


def _head(path: Path, data: bytes, opener: type[ImageFile]) -> _Head:
    if opener is JpegImageFile:
        jpeg = read_jpeg(data)
        if jpeg.unsupported is not None:
            raise ImageError(path, _not_supported(jpeg.unsupported))
        if has_too_many_scans(jpeg.data):
            raise ImageError(path, f"a JPEG of more than {SCAN_LIMIT} scans")
        each = _STORED_OTHERWISE + _DECODED
        if jpeg.several_scans:
            each += _COEFFICIENT * jpeg.components
        return _Head((jpeg.width, jpeg.height), each, partial(_decode_jpeg, jpeg))
    if opener is WebPImageFile:
        # Pillow makes room for the canvas of a WebP before it says how large that is.
        each = _BESIDES[opener] + _STORED_OTHERWISE + _DECODED
        return _Head(_webp_size(data), each, lambda _: _decode(opener(BytesIO(data))))
    image = opener(BytesIO(data), str(path))
    each = _BESIDES.get(opener, 0) + _STORED.get(image.mode, _STORED_OTHERWISE) + _DECODED
    return _Head(image.size, each, lambda _: _decode(image))


def _decode_jpeg(jpeg: Jpeg, at_least: int | None) -> Picture:
    pixels = _turbo_pixels(jpeg, at_least)
    mode = "L" if jpeg.components == 1 else "RGB"
    if pixels is None:
        with JpegImageFile(BytesIO(jpeg.data)) as image:
            if at_least is not None and jpeg.scales:
                # The shorter side stays the shorter one in every orientation, so a square does.
                image.draft(None, (at_least, at_least))
            image.load()
            pixels, mode = _to_rgb(image), image.mode
    orientation = orientation_of(jpeg.exif, jpeg.xmp)
    return Picture(
        pixels=_upright(pixels, orientation),
        width=jpeg.width,
        height=jpeg.height,
        mode=mode,
        orientation=orientation,
        deep=False,
        transparent=False,
    )


def _decode(image: ImageFile) -> Picture:
    with image:
        mode, (width, height) = image.mode, image.size
        deep = is_deep(mode) or _has_deep_colours(image)
        if isinstance(image, TiffImageFile):
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        image.load()
        pixels = _to_rgb(image)
        if not isinstance(image, TiffImageFile):  # which Pillow has turned
            # A PNG may hold its EXIF data after the pixels.
            orientation = orientation_of(*_metadata(image))
            pixels = _upright(pixels, orientation)
        return Picture(
            pixels=pixels,
            width=width,
            height=height,
            mode=mode,
            orientation=orientation,
            deep=deep,
            transparent=_is_transparent(image),
        )


def _has_deep_colours(image: ImageFile) -> bool:
    """Whether Pillow is about to read colours of 16 bits each, of which it keeps the high byte."""
    if not isinstance(image, (PngImageFile, TiffImageFile)) or not image.tile:
        return False
    args = image.tile[0].args
    return ";16" in str(args[0] if isinstance(args, tuple) else args)


def _metadata(image: Image.Image) -> tuple[bytes, bytes]:
    """EXIF and XMP data of a loaded image; empty where it has none."""
    exif, xmp = image.info.get("exif", b""), image.info.get("xmp", b"")
    if not exif:  # as ImageMagick writes it into a PNG
        digits = "".join(str(image.info.get("Raw profile type exif", "")).split("\n")[3:])
        with suppress(ValueError):
            exif = bytes.fromhex(digits)
    return exif, str(image.info.get("XML:com.adobe.xmp", "")).encode() or xmp


@cache
def _simplejpeg() -> ModuleType | None:
    """The package if it is installed."""
    try:
        import simplejpeg
    except ImportError:
        return None
    module: ModuleType = simplejpeg
    return module


def _turbo_pixels(jpeg: Jpeg, at_least: int | None) -> NDArray[np.uint8] | None:
    """A sound JPEG in little time, the same pixels as Pillow's; None where Pillow must decide.

    simplejpeg refuses whatever Pillow refuses and more, as libjpeg-turbo then only warns.
    """
    turbo = _simplejpeg()
    # It makes room for what it is asked for, and not for what is written where a frame has no
    # scales; and CMYK is Pillow's.
    if turbo is None or not jpeg.scales or jpeg.components not in {1, 3}:
        return None
    height, width = jpeg.height, jpeg.width
    # The scales of Pillow's draft; libjpeg-turbo has more of them.
    times = min(height, width) // at_least if at_least else 1
    scale = next((scale for scale in (8, 4, 2) if times >= scale), 1)
    wanted = -(-height // scale), -(-width // scale)
    try:
        pixels: NDArray[np.uint8] = turbo.decode_jpeg(
            jpeg.data, min_height=wanted[0], min_width=wanted[1], min_factor=scale
        )
    except (ValueError, RuntimeError, KeyError):
        return None
    return pixels


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in _ALPHA_MODES or "transparency" in image.info


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """A loaded image of any mode of Pillow to (h, w, 3) uint8."""
    if is_deep(image.mode):
        return np.repeat(to_8_bits(image)[..., None], 3, axis=2)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    transparent = _is_transparent(image)
    for top, strip in strips(image):
        if transparent:
            coloured = strip.convert("RGBA")
            white = Image.new("RGB", strip.size, (255, 255, 255))
            white.paste(coloured, mask=coloured.getchannel("A"))
            strip = white  # noqa: PLW2901
        rgb = strip if strip.mode == "RGB" else strip.convert("RGB")
        pixels[top : top + strip.height] = np.asarray(rgb)
    return pixels


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation, (h, w, 3) to (h, w, 3) or (w, h, 3)."""
    # 1 to 8 as in the standard: two mirrors and an exchange of the axes make all eight.
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """The orientation 1 to 8 that EXIF data state, or else XMP data; 1 if neither does."""
    stated = _exif_orientation(exif.removeprefix(b"Exif\x00\x00"))
    if stated is None:
        found = _XMP_ORIENTATION.search(xmp)
        stated = int(found[1]) if found else 1
    return stated if 1 <= stated <= 8 else 1


def _exif_orientation(exif: bytes) -> int | None:
    """What EXIF data state, which may be no orientation; None where they say nothing of it."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, offset)
        for entry in range(count):
            place = offset + 2 + 12 * entry
            tag, kind = struct.unpack_from(f"{order}HH", exif, place)
            if tag == _ORIENTATION_TAG:
                layout = {_SHORT: "H", _LONG: "I"}.get(kind)
                if layout is None:
                    return 1
                (value,) = struct.unpack_from(f"{order}{layout}", exif, place + 8)
                return int(value)
    except struct.error:  # the picture is good, only its description is cut short
        pass
    return None


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height that the first chunk of a WebP states; (1, 1) where it is cut short."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 1, 1
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    sides = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
    return sides[0] & 0x3FFF, sides[1] & 0x3FFF


@cache
def _silence() -> None:
    """Let libtiff, and what Pillow logs of a TIFF, print nothing: the errors say what matters."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        # Where Pillow's libtiff cannot be reached, it goes on printing.
        with suppress(OSError, AttributeError):
            handler = getattr(ctypes.CDLL(_imaging.__file__), name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Ignore warnings, one thread at a time: restoring the filters out of turn would lose some."""
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: Exception, opener: type[ImageFile]) -> str:
    """Pillow's words for what is wrong with a file, as one short line."""
    cause = error.__cause__
    if isinstance(cause, Exception) and str(cause) == str(error):
        error = cause  # of which Pillow made a SyntaxError
    words = " ".join(str(error).split())[:80] or type(error).__name__
    if opener is TiffImageFile and isinstance(error, KeyError):  # of Pillow's compressions
        return _not_supported(f"a TIFF of compression {words}")
    if _UNSUPPORTED.search(words):
        return _not_supported(f"a kind of {opener.format} ({words})")
    if isinstance(error, (EOFError, struct.error)) or "truncated" in words.lower():
        return "truncated"
    return f"damaged ({words})"


def _not_supported(kind: str) -> str:
    return f"{kind}, which is not supported; convert it to JPEG or PNG"
