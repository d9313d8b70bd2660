"""What one pass over the files of a folder learns: each is read once and decoded once."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from keras_classics.data import decode
from keras_classics.data.check.copies import perceptual_hash
from keras_classics.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.ImageFile import ImageFile

    from keras_classics.data.listing import Item
    from keras_classics.data.storage import Storage

Trait = Literal[
    "rotated", "greyscale", "palette", "cmyk", "transparent", "16-bit", "animated", "wrong-ending"
]

_ENDINGS: dict[type[ImageFile], tuple[str, ...]] = {
    JpegImageFile: (".jpg", ".jpeg", ".jpe", ".jfif"),
    PngImageFile: (".png",),
    GifImageFile: (".gif",),
    BmpImageFile: (".bmp",),
    TiffImageFile: (".tif", ".tiff"),
    PpmImageFile: (".ppm", ".pgm", ".pnm", ".pbm"),
    WebPImageFile: (".webp",),
}
HEAD = 16
"""Bytes of a file that tell its format."""

_PHONE_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"})
_PNG_DEPTH = 24  # the place of the byte that holds the bits of a sample
_BITS_PER_SAMPLE, _ORIENTATION = 258, 274  # tags of TIFF

# Files handed to the threads at a time: a future for each of a million would take gigabytes.
_WINDOW = 4096


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one file.

    Attributes:
        item: the image, as the folder lists it.
        error: why it cannot be read; the rest is then empty.
        width: in pixels, as stored in the file.
        height: in pixels.
        format: by the contents, such as "JPG".
        traits: what is special about it.
        pixels: digest of the decoded picture.
        hash: perceptual hash, where the picture has one and it was asked for.
        seconds: that reading and decoding took.
    """

    item: Item
    error: str | None = None
    width: int = 0
    height: int = 0
    format: str = ""
    traits: tuple[Trait, ...] = ()
    pixels: bytes = b""
    hash: bytes | None = None
    seconds: float = 0.0


def look_at_all(
    storage: Storage,
    items: Sequence[Item],
    *,
    near: bool,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Facts]:
    """The facts of all images, in their order, whatever the number of threads.

    Args:
        storage: gives the bytes of the images.
        items: the images.
        near: compute perceptual hashes.
        workers: number of threads.
        progress: called in this thread after each image, with how many are done and their number.
    """
    facts: list[Facts] = []
    pool = ThreadPoolExecutor(workers, thread_name_prefix="check")
    try:
        for start in range(0, len(items), _WINDOW):
            part = items[start : start + _WINDOW]
            for fact in pool.map(lambda item: _look_at(storage, item, near=near), part):
                facts.append(fact)
                if progress is not None:
                    progress(len(facts), len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    return facts


def format_of(path: Path, head: bytes) -> str | None:
    """The format that the first bytes of a file tell, such as "JPG"; None if it is no image.

    Args:
        path: of the file.
        head: `HEAD` bytes of it.
    """
    # Films begin alike, with other brands.
    if head[4:8] == b"ftyp":
        return "HEIC or AVIF" if head[8:12] in _PHONE_BRANDS else None
    try:
        return _format(decode.opener_of(path, head))
    except ImageError:
        return None


def _format(opener: type[ImageFile]) -> str:
    return _ENDINGS[opener][0].lstrip(".").upper()


def _look_at(storage: Storage, item: Item, *, near: bool) -> Facts:
    path = storage.place / item.name
    began = time.perf_counter()
    try:
        data = storage.read_bytes(item.name)
        opener = decode.opener_of(path, data)
        # The pass must fail where training does, and only there: these are the steps of read_image.
        with decode.guarded(path, data, opener):
            pixels = decode.decode_pixels(path, data, opener, None)
            seconds = time.perf_counter() - began
            width, height, traits = _header(path, data, opener)
    except ImageError as error:
        return Facts(item, error=error.reason)
    if path.suffix.lower() not in _ENDINGS[opener]:
        traits = (*traits, "wrong-ending")
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.data)
    return Facts(
        item,
        width=width,
        height=height,
        format=_format(opener),
        traits=traits,
        pixels=digest.digest(),
        hash=perceptual_hash(pixels) if near else None,
        seconds=seconds,
    )


def _header(path: Path, data: bytes, opener: type[ImageFile]) -> tuple[int, int, tuple[Trait, ...]]:
    """Width, height and what is special, from what stands before the pixels."""
    exif = b""
    deep = opener is PngImageFile and data[_PNG_DEPTH] == 16
    if opener is JpegImageFile:
        data, exif = decode.split_jpeg(data)
    elif opener is PngImageFile:  # it may stand behind the pixels
        exif = data.partition(b"eXIf")[2]
    with opener(BytesIO(data), str(path)) as image:
        mode = image.mode
        if opener is WebPImageFile:
            exif = image.info.get("exif", b"")
        orientation = decode.orientation_of(exif)
        if isinstance(image, TiffImageFile):
            orientation = image.tag_v2.get(_ORIENTATION, 1)
            deep = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) > 8
        traits: dict[Trait, bool] = {
            "rotated": orientation != 1,
            "greyscale": mode in {"1", "L", "LA", "La", "I", "F"} or mode.startswith("I;16"),
            "palette": mode in {"P", "PA"},
            "cmyk": mode == "CMYK",
            "transparent": mode in decode.ALPHA_MODES or "transparency" in image.info,
            "16-bit": deep or mode in {"I", "F"} or mode.startswith("I;16"),
            "animated": getattr(image, "is_animated", False),
        }
        width, height = image.size
    return width, height, tuple(trait for trait, true in traits.items() if true)
