"""Small picture files of every kind, sound, odd and broken, by the names that they should have."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

GRAPHIC_CONTROL = b"!\xf9\x04"  # begins each frame of a GIF
SOF0 = b"\xff\xc0"


def noise(height=40, width=56, seed=0):
    """Soft noise: a picture that compresses, and whose every part differs."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    return Image.fromarray(small.astype(np.uint8)).resize((width, height), 2)


def encoded(image, form, **options):
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def animation(form, **options):
    frames = [noise(seed=seed) for seed in range(3)]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)


def chunk(kind, data):
    """One of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_grey_png(*more):
    """16 bits of grey, with further chunks before the pixels."""
    rows = b"".join(b"\0" + (np.arange(56, dtype=">u2") * 1000 + y).tobytes() for y in range(40))
    head = struct.pack(">IIBBBBB", 56, 40, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


def sampled(byte):
    """A JPEG whose frame says that its luminance is sampled so, `0x22` for 4:2:0."""
    own = {0x11: "4:4:4", 0x21: "4:2:2", 0x22: "4:2:0", 0x41: "4:1:1"}
    name = own.get(byte) or {0x12: "4:2:2", 0x14: "4:1:1"}[byte]
    data = bytearray(encoded(noise(64, 64), "JPEG", subsampling=name))
    # Turned on its side, the same number of blocks makes a square picture.
    data[data.index(SOF0) + 11] = byte
    return bytes(data)


def framed(marker, precision=8):
    """A JPEG whose frame claims to be of another kind."""
    data = bytearray(encoded(noise(), "JPEG"))
    place = data.index(SOF0)
    data[place + 1], data[place + 4] = marker, precision
    return bytes(data)


def lossless(width=227, height=149):
    """A lossless JPEG, of one grey."""
    sof = b"\xff\xc3" + struct.pack(">HBHHB", 17, 8, height, width, 3)
    sof += bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
    dht = b"\xff\xc4" + struct.pack(">HB", 20, 0) + bytes([1] + [0] * 15) + b"\0"
    sos = b"\xff\xda" + struct.pack(">HB", 12, 3) + bytes([1, 0, 2, 0, 3, 0, 1, 0, 0])
    return b"\xff\xd8" + sof + dht + sos + bytes(width * height * 3 // 8 + 1) + b"\xff\xd9"


def photoshop(short):
    """A JPEG with Photoshop's segment, whose length is so many bytes too short."""
    data = encoded(noise(), "JPEG")
    body = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\0\0\x02\0\x04\0"
    segment = b"\xff\xed" + struct.pack(">H", len(body) + 2 - short) + body
    return data[:20] + segment + data[20:]


def tiff(mode, values, **options):
    return encoded(Image.fromarray(values, mode) if mode else Image.fromarray(values), "TIFF",
                   **options)  # fmt: skip


def sound():
    """Files that every command reads."""
    picture = noise()
    grey, palette = picture.convert("L"), picture.quantize(16)
    clear = picture.convert("RGBA")
    clear.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    ramp = np.arange(40 * 56).reshape(40, 56)
    files = {
        "plain.jpg": encoded(picture, "JPEG"),
        "large.jpg": encoded(noise(200, 300), "JPEG"),
        "grey.jpeg": encoded(grey, "JPEG"),
        "large-grey.jpe": encoded(noise(200, 300).convert("L"), "JPEG"),
        "progressive.jpg": encoded(noise(120, 130), "JPEG", progressive=True),
        "restarts.jpg": encoded(picture, "JPEG", restart_marker_blocks=1),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "rgb.jpg": encoded(picture, "JPEG", keep_rgb=True),
        "turned.jfif": encoded(picture, "JPEG", exif=exif),
        "telephone.jpg": encoded(picture, "MPO", save_all=True, append_images=[noise(seed=1)]),
        "behind.jpg": encoded(picture, "JPEG") + b"something behind it",
        "photoshop.jpg": photoshop(0),
        **{f"photoshop-short-{short}.jpg": photoshop(short) for short in (1, 2, 9)},
        "extended.jpg": framed(0xC1),
        **{f"sampled-{byte:x}.jpg": sampled(byte) for byte in (0x11, 0x21, 0x22, 0x41, 0x12, 0x14)},
        "plain.png": encoded(picture, "PNG"),
        "grey.png": encoded(grey, "PNG"),
        "one-bit.png": encoded(grey.convert("1"), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette-clear.png": encoded(palette, "PNG", transparency=3),
        "palette-alpha.png": encoded(palette, "PNG", transparency=bytes(range(0, 160, 10))),
        "grey-clear.png": encoded(grey, "PNG", transparency=17),
        "colour-clear.png": encoded(picture, "PNG", transparency=(1, 2, 3)),
        "alpha.png": encoded(clear, "PNG"),
        "grey-alpha.png": encoded(clear.convert("LA"), "PNG"),
        "deep.png": deep_grey_png(),
        "deep-clear.png": deep_grey_png(chunk(b"tRNS", b"\0\x11")),
        "turned.png": encoded(picture, "PNG", exif=exif),
        "animated.png": animation("PNG"),
        "plain.gif": encoded(picture, "GIF"),
        "clear.gif": encoded(palette, "GIF", transparency=2),
        "animated.gif": animation("GIF", duration=50),
        "plain.webp": encoded(picture, "WEBP"),
        "lossless.webp": encoded(clear, "WEBP", lossless=True),
        "animated.webp": animation("WEBP"),
        "plain.bmp": encoded(picture, "BMP"),
        "one-bit.bmp": encoded(grey.convert("1"), "BMP"),
        "palette.bmp": encoded(palette, "BMP"),
        "plain.ppm": encoded(picture, "PPM"),
        "plain.pgm": encoded(grey, "PPM"),
        "bits.pnm": encoded(grey.convert("1"), "PPM"),
        "text.pnm": b"P2 3 2 255\n0 10 20\n30 40 50\n",
        "plain.tif": encoded(picture, "TIFF"),
        "lzw.tiff": encoded(picture, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encoded(clear, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encoded(picture, "TIFF", compression="jpeg"),
        "fax.tif": encoded(grey.convert("1"), "TIFF", compression="group4"),
        "cmyk.tif": encoded(picture.convert("CMYK"), "TIFF"),
        "deep.tif": tiff(None, ramp.astype(np.uint16)),
        "deeper.tif": tiff(None, ramp.astype(np.int32)),
        "float.tif": tiff(None, (ramp / ramp.max()).astype(np.float32)),
        "pages.tif": animation("TIFF"),
        "a-png.jpg": encoded(picture, "PNG"),
        "a-jpeg.tif": encoded(picture, "JPEG"),
    }  # fmt: skip
    for form, ending in (("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("WEBP", "webp"),
                         ("BMP", "bmp"), ("TIFF", "tif"), ("PPM", "ppm")):  # fmt: skip
        files[f"tiny.{ending}"] = encoded(picture.resize((1, 1)), form)
        files[f"flat.{ending}"] = encoded(picture.resize((90, 1)), form)
    whole = files["animated.gif"]
    second = whole.index(GRAPHIC_CONTROL, whole.index(GRAPHIC_CONTROL) + 1)
    for count in (0, 1, 2, 4, 9, 12, 18, 20, 60):
        files[f"second-frame-{count}.gif"] = whole[: second + count]
    return files


def broken():
    """Files that no command reads."""
    picture = noise()
    png, jpeg = encoded(picture, "PNG"), encoded(picture, "JPEG")
    return {
        "nothing.png": b"",
        "one-byte.jpg": b"\xff",
        "text.jpg": b"no picture at all\n",
        "zeros.png": bytes(300),
        "page.gif": b"<html><body>GIF89a</body></html>",
        "signature.jpg": jpeg[:3],
        "signature.png": png[:8],
        "signature.gif": b"GIF89a",
        "signature.webp": b"RIFF\xff\0\0\0WEBP",
        "signature.bmp": b"BM",
        "signature.tif": b"II*\0",
        "signature.ppm": b"P6",
        "checksum.png": png[:40] + bytes([png[40] ^ 1]) + png[41:],
        "no-width.png": png[:16] + bytes(4) + png[20:],
        "twelve-bits.jpg": framed(0xC1, precision=12),
        "telephone.heic.jpg": b"\0\0\0\x18ftypheic" + bytes(40),
        "archive.png": b"PK\x03\x04" + bytes(60),
        "float-colours.tif": _float_colours(),
    }


def _float_colours():
    """A sound TIFF of three floats a pixel, a mode that Pillow does not have."""
    pixels = np.full((4, 4, 3), 0.5, "<f4").tobytes()
    rows = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 3, 8 + 2 + 9 * 12 + 4), (259, 3, 1, 1),
            (262, 3, 1, 2), (273, 4, 1, 200), (277, 3, 1, 3), (279, 4, 1, len(pixels)),
            (339, 3, 3, 8 + 2 + 9 * 12 + 4 + 6)]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *row) for row in rows)
    head = b"II*\0" + struct.pack("<IH", 8, len(rows)) + table + bytes(4)
    return (head + struct.pack("<6H", 32, 32, 32, 3, 3, 3)).ljust(200, b"\0") + pixels


def doubtful():
    """Files that are read or not, but by all alike: cut short, or of a rare kind of JPEG."""
    files = {"lossless.jpg": lossless()}
    for marker in (0xC2, *range(0xC3, 0xD0)):
        if marker not in {0xC4, 0xC8, 0xCC}:  # which are no frames
            files[f"frame-{marker:x}.jpg"] = framed(marker)
            files[f"frame-{marker:x}-12-bits.jpg"] = framed(marker, precision=12)
    whole = sound()
    for name in ("plain.jpg", "progressive.jpg", "large.jpg", "plain.png", "animated.png",
                 "plain.gif", "animated.gif", "plain.webp", "animated.webp", "plain.bmp",
                 "plain.ppm", "text.pnm", "lzw.tiff", "plain.tif", "pages.tif"):  # fmt: skip
        data, (stem, ending) = whole[name], name.rsplit(".")
        for part in (0.02, 0.3, 0.9):
            files[f"{stem}-{part:.0%}.{ending}"] = data[: round(part * len(data))]
        files[f"{stem}-end.{ending}"] = data[:-1]
    return files
