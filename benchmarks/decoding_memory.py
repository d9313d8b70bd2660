"""Bytes of memory that a pixel takes at most while it is decoded, beside what the budget reckons.

    python benchmarks/decoding_memory.py [MEGAPIXELS]

Every format in a process of its own, as memory that was had once is not always given back. Linux.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from keras_classics.data import decode

Write = Callable[[Image.Image, io.BytesIO], None]


def saved(form: str, mode: str = "RGB", *, turned: bool = False, **options: object) -> Write:
    """What writes a picture in a format and mode of Pillow."""

    def write(image: Image.Image, file: io.BytesIO) -> None:
        exif = Image.Exif()
        if turned:
            exif[0x0112] = 6
        image.convert(mode).save(file, form, exif=exif, **options)

    return write


def deep(form: str) -> Write:
    """What writes grey of 16 bits."""
    return lambda image, file: Image.fromarray(
        np.asarray(image.convert("L")).astype(np.uint16) * 257
    ).save(file, form)


FORMATS: dict[str, Write] = {
    "JPEG": saved("JPEG"),
    "JPEG, turned": saved("JPEG", turned=True),
    "JPEG, progressive": saved("JPEG", progressive=True, subsampling=0),
    "JPEG, CMYK": saved("JPEG", "CMYK"),
    "PNG": saved("PNG", compress_level=1),
    "PNG, grey": saved("PNG", "L", compress_level=1),
    "PNG, 16-bit grey": deep("PNG"),
    "PNG, transparent": saved("PNG", "RGBA", compress_level=1),
    "GIF": saved("GIF", "P"),
    "BMP": saved("BMP"),
    "PPM": saved("PPM"),
    "PGM, 16-bit": deep("PPM"),
    "WebP": saved("WEBP", method=0),
    "WebP, lossless": saved("WEBP", lossless=True, quality=0, method=0),
    "TIFF": saved("TIFF"),
    "TIFF, LZW, one strip": saved("TIFF", compression="tiff_lzw", strip_size=2**31),
    "TIFF, JPEG, one strip": saved("TIFF", compression="jpeg", strip_size=2**31),
}


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def in_memory(line: str) -> int:
    """Bytes, by a line of the process's status."""
    with Path("/proc/self/status").open() as status:
        return next(int(each.split()[1]) for each in status if each.startswith(line)) * 1024


def measure(path: Path) -> tuple[float, float]:
    """Bytes a pixel: measured, and reckoned."""
    reckoned: list[int] = []
    room = decode.room
    decode.room = lambda size: reckoned.append(size) or room(size)
    small = path.with_name("small.png")
    Image.new("RGB", (40, 40)).save(small)
    decode.read_image(small)  # imports on the way
    data = path.read_bytes()
    before = in_memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    height, width = decode.decode_image(data, path).shape[:2]
    return (in_memory("VmHWM") - before) / height / width, reckoned[-1] / height / width


def main() -> None:
    """Print the table, or the row of one file."""
    if sys.argv[1:2] == ["--one"]:
        say("| {:.1f} | {:.0f} |".format(*measure(Path(sys.argv[2]))))
        return
    side = round(1000 * float(sys.argv[1] if len(sys.argv) > 1 else 16) ** 0.5)
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    colours = np.stack([*np.meshgrid(ramp, ramp), np.zeros((side, side), np.uint8)], axis=2)
    image = Image.fromarray(colours)
    say(f"| {side} x {side} pixels | bytes a pixel | reckoned |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large"
        for name, write in FORMATS.items():
            file = io.BytesIO()
            write(image, file)
            path.write_bytes(file.getvalue())
            row = subprocess.run(
                [sys.executable, __file__, "--one", str(path)], stdout=subprocess.PIPE, check=True
            )
            say(f"| {name} {row.stdout.decode().strip()}")


if __name__ == "__main__":
    main()
