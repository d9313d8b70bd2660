from __future__ import annotations

import io
import os
import re
import struct
import threading
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from keras_classics.data import decode
from keras_classics.data.decode import IMAGE_SUFFIXES, read_image
from keras_classics.data.jpeg import read_jpeg
from keras_classics.errors import ImageError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

# How an upright picture must be stored so that each orientation shows it upright again.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def corners(width: int = 48, height: int = 32) -> Image.Image:
    """A picture that looks different in each of the eight orientations."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def reason(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert caught.value.path == path
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value.reason


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_upright(tmp_path, suffix, orientation):
    upright = corners()
    turn = STORED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x{suffix}"
    stored.save(path, exif=exif, quality=95)
    pixels = read_image(path)
    assert pixels.shape == (32, 48, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[8::16, 12::24].astype(int) - np.asarray(upright)[8::16, 12::24]).max() < 12
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_in_both_byte_orders(order):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHIHH", 0x0100, 3, 1, 7, 0)
    entries += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 2) + entries
    assert decode.orientation_of(exif) == 6
    assert decode.orientation_of(exif[:-8]) == 1
    assert decode.orientation_of(exif.replace(b"\x06", b"\x09")) == 1


def test_plain_colours_are_exact(tmp_path):
    corners().save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), np.asarray(corners()))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".gif", ".webp", ".tiff", ".ppm"])
def test_every_format(tmp_path, suffix):
    path = tmp_path / f"x{suffix.upper()}"
    corners().save(path)
    assert suffix in IMAGE_SUFFIXES
    difference = np.abs(
        read_image(path)[4::24, 4::40].astype(int) - np.asarray(corners())[4::24, 4::40]
    )
    assert difference.max() < 12


def test_contents_decide_the_format(tmp_path):
    corners().save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), np.asarray(corners()))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, WHITE),
        ("L", 90, (90, 90, 90)),
        ("LA", (0, 127), (128, 128, 128)),
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
    ],
)
def test_modes(tmp_path, mode, colour, expected):
    Image.new(mode, (5, 4), colour).save(tmp_path / "x.png")
    pixels = read_image(tmp_path / "x.png")
    assert pixels.shape == (4, 5, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [list(expected)]


@pytest.mark.parametrize("alpha", [0, bytes([0, 255, 128])])
def test_palette_with_transparency_is_laid_on_white(tmp_path, alpha):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "x.png", transparency=alpha)
    half = (127, 127, 255) if isinstance(alpha, bytes) else BLUE
    assert read_image(tmp_path / "x.png")[0].tolist() == [list(WHITE), list(GREEN), list(half)]


def test_transparent_colour_of_an_rgb_image(tmp_path):
    corners().save(tmp_path / "x.png", transparency=RED)
    assert read_image(tmp_path / "x.png")[0, 0].tolist() == list(WHITE)


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 16), (255, 0, 255, 0)).save(tmp_path / "x.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "x.jpg")[8, 8].astype(int)
    assert green - max(red, blue) > 200


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_first_frame_of_an_animation(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 10), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:], **options)
    pixels = read_image(tmp_path / f"x{suffix}")
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [list(RED)]


@pytest.mark.parametrize(
    ("at_least", "side"), [(None, 800), (800, 800), (401, 800), (400, 400), (150, 200), (10, 100)]
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpegs_are_decoded_smaller_but_large_enough(tmp_path, at_least, side, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    corners(1600, 800).save(tmp_path / "x.jpg", exif=exif)
    shape = read_image(tmp_path / "x.jpg", at_least=at_least).shape
    assert shape == ((side, 2 * side, 3) if orientation == 1 else (2 * side, side, 3))


@pytest.fixture
def by_pillow(monkeypatch):
    """Decodes without simplejpeg."""

    def by_pillow(path: Path, at_least: int | None = None) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(decode, "_simplejpeg", lambda: None)
            return read_image(path, at_least=at_least)

    return by_pillow


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(("subsampling", "progressive"), [(0, False), (1, True), (2, False)])
@pytest.mark.parametrize("at_least", [None, 10, 30, 99])
def test_simplejpeg_gives_the_pixels_of_pillow(
    tmp_path, by_pillow, mode, subsampling, progressive, at_least
):
    rng = np.random.default_rng(0)
    path = tmp_path / "x.jpg"
    for size in ((7, 9), (121, 83), (310, 400)):
        noise = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize(size)
        noise.convert(mode).save(path, subsampling=subsampling, progressive=progressive, quality=90)
        np.testing.assert_array_equal(
            read_image(path, at_least=at_least), by_pillow(path, at_least)
        )
    jpeg = read_jpeg(path.read_bytes())
    assert (decode._turbo_pixels(jpeg, at_least) is None) == (mode == "CMYK")


def test_what_simplejpeg_refuses_is_left_to_pillow(tmp_path, by_pillow):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
    path = tmp_path / "x.jpg"
    noise.save(path)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[-900:-400] = bytes(500)
    path.write_bytes(damaged)
    assert decode._turbo_pixels(read_jpeg(bytes(damaged)), None) is None
    # libjpeg only warns of it.
    np.testing.assert_array_equal(read_image(path), by_pillow(path))
    assert decode._turbo_pixels(read_jpeg(whole), None) is not None
    assert decode._turbo_pixels(read_jpeg(whole[:-200]), None) is None


def test_bombs_are_refused_by_simplejpeg_as_well(tmp_path, monkeypatch):
    corners(100, 100).save(tmp_path / "x.jpg")
    monkeypatch.setattr(decode, "PIXEL_LIMIT", 9_999)
    assert reason(tmp_path / "x.jpg") == "100x100 pixels, more than the limit of 9,999"


def test_at_least_leaves_other_formats_whole(tmp_path):
    corners(400, 200).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", at_least=10).shape == (200, 400, 3)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("This is no picture.")
    (tmp_path / "empty.png").touch()
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert reason(tmp_path / "text.jpg") == "not an image"
    assert reason(tmp_path / "empty.png") == "empty file"
    assert "HEIC" in reason(tmp_path / "phone.jpg")
    assert reason(tmp_path / "absent.jpg") == "no such file"
    assert reason(tmp_path) == "a folder, not a regular file"


@pytest.mark.skipif(os.name == "nt" or not os.getuid(), reason="the administrator may read all")
def test_permission_denied(tmp_path):
    corners().save(tmp_path / "x.png")
    (tmp_path / "x.png").chmod(0)
    assert reason(tmp_path / "x.png") == "permission denied"


def test_permission_error_is_an_image_error(tmp_path, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    corners().save(tmp_path / "x.png")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert reason(tmp_path / "x.png") == "permission denied"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".gif", ".webp", ".tif", ".ppm"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_truncated_files_fail_by_name(tmp_path, suffix, part):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    path = tmp_path / f"x{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(12, int(part * len(whole)))])
    assert reason(path) == "truncated" or reason(path).startswith("damaged (")
    if suffix in {".jpg", ".png", ".bmp"} and part > 0.1:
        assert reason(path) == "truncated"


def test_no_damage_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    outcomes = set()
    for suffix in (".jpg", ".png", ".gif", ".webp", ".tif", ".bmp", ".ppm"):
        path = tmp_path / f"x{suffix}"
        noise.save(path, **({"compression": "tiff_lzw"} if suffix == ".tif" else {}))
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(8, min(300, len(damaged)), 6)] = rng.integers(0, 256, 6)
            path.write_bytes(damaged.tobytes())
            try:
                outcomes.add(read_image(path).ndim)
            except ImageError as error:
                outcomes.add(error.reason.split(" ")[0])
    assert outcomes >= {3, "truncated", "damaged"}


def test_bombs_are_refused_unread(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(60_000, 60_000) + chunk(b"IDAT", zlib.compress(b"")))
    assert reason(path) == "60000x60000 pixels, more than the limit of 178,956,970"


def enlarged(path: Path) -> None:
    """Make a small sound file claim a picture far beyond the limit."""
    data = bytearray(path.read_bytes())
    match path.suffix:
        case ".jpg":
            start = data.index(b"\xff\xc0")
            struct.pack_into(">HH", data, start + 5, 60_000, 60_000)
        case ".gif":
            struct.pack_into("<HH", data, 6, 60_000, 60_000)
            struct.pack_into("<HH", data, data.index(b"\x2c\0\0\0\0") + 5, 60_000, 60_000)
        case ".bmp":
            struct.pack_into("<ii", data, 18, 60_000, 60_000)
        case ".webp":  # whose sides have 14 bits
            struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a") + 3, 16_383, 16_383)
        case ".tif":
            (entries,) = struct.unpack_from("<I", data, 4)
            (number,) = struct.unpack_from("<H", data, entries)
            for entry in range(entries + 2, entries + 2 + 12 * number, 12):
                if struct.unpack_from("<H", data, entry)[0] in {256, 257}:
                    struct.pack_into("<HII", data, entry + 2, 4, 1, 60_000)
        case ".ppm":
            data = data.replace(b"48 32", b"60000 60000")
    path.write_bytes(data)


@pytest.mark.parametrize("at_least", [None, 64])
@pytest.mark.parametrize("suffix", [".jpg", ".gif", ".bmp", ".webp", ".tif", ".ppm"])
def test_bombs_of_every_format_are_refused_unread(tmp_path, suffix, at_least):
    path = tmp_path / f"bomb{suffix}"
    corners().save(path)
    enlarged(path)
    tracemalloc.start()
    with pytest.raises(ImageError) as caught:
        read_image(path, at_least=at_least)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if suffix == ".webp":  # Pillow's own limit may come first
        assert caught.value.reason.endswith("than the limit of 178,956,970")
    else:
        assert caught.value.reason == "60000x60000 pixels, more than the limit of 178,956,970"
    assert most < 2_000_000


def test_between_the_warning_and_the_limit_of_pillow_nothing_is_warned_of(tmp_path):
    # Truncated, so that the test does not need the memory; Image.open would warn before that.
    path = tmp_path / "large.png"
    path.write_bytes(png_header(10_000, 10_000) + chunk(b"IDAT", zlib.compress(bytes(99))))
    with pytest.warns(Image.DecompressionBombWarning), Image.open(path):
        pass
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert reason(path) == "truncated"
    assert caught == []


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_corrupt_exif_costs_nothing(tmp_path, suffix):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x50\0" + bytes(range(60))
    corners().save(tmp_path / f"x{suffix}", exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_image(tmp_path / f"x{suffix}").shape == (32, 48, 3)
    assert caught == []


def test_tiff_with_odd_metadata_loads_without_warning_in_threads(tmp_path):
    path = tmp_path / "x.tif"
    corners().save(path)
    data = bytearray(path.read_bytes())
    # Claim two values for the tag of the samples in a pixel (277), of which there is one.
    at = data.index(struct.pack("<HHI", 277, 3, 1))
    data[at + 4] = 2
    path.write_bytes(bytes(data))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open(path):
            pass
        assert len(caught) == 1
        caught.clear()
        filters = list(warnings.filters)
        with ThreadPoolExecutor(4) as pool:
            shapes = set(pool.map(lambda _: read_image(path).shape, range(40)))
        assert warnings.filters == filters
    assert shapes == {(32, 48, 3)}
    assert caught == []


def test_nothing_is_left_open_or_printed(tmp_path, capfd):
    corners().save(tmp_path / "x.jpg")
    (tmp_path / "y.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:300])
    before = threading.active_count()
    read_image(tmp_path / "x.jpg")
    reason(tmp_path / "y.jpg")
    assert capfd.readouterr() == ("", "")
    assert threading.active_count() == before


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_only_the_first_frame_counts(tmp_path, suffix):
    """What follows is never decoded, so it may be cut off; it is still said to be there."""
    path = tmp_path / f"x{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (2, 40, 60, 3), np.uint8)
    first, second = map(Image.fromarray, noise)
    first.save(path, save_all=True, append_images=[second])
    assert decode.several(path.read_bytes(), path) == ("pages" if suffix == ".tif" else "frames")
    whole = read_image(path)
    data = path.read_bytes()
    if suffix == ".gif":
        at = [found.start() for found in re.finditer(rb"!\xf9\x04", data)]
        path.write_bytes(data[: at[-1] + 20])
        np.testing.assert_array_equal(read_image(path), whole)
        assert decode.several(path.read_bytes(), path) == "frames"
    first.save(path)
    assert decode.several(path.read_bytes(), path) is None


def described_by(path: Path, how: str, orientation: int) -> None:
    """Save a picture whose orientation is stated in one of the ways that Pillow honours."""
    stored = corners().transpose(STORED[orientation])
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 4, 1, orientation, 0)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    if how == "long":
        stored.save(path, exif=b"Exif\0\0" + tiff, quality=95)
    elif how == "profile":
        lines = ["", "exif", f"{len(tiff) + 6:8}", (b"Exif\0\0" + tiff).hex()]
        text = PngImagePlugin.PngInfo()
        text.add_text("Raw profile type exif", "\n".join(lines), zip=True)
        stored.save(path, pnginfo=text)
    elif path.suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        stored.save(path, pnginfo=text)
    elif path.suffix == ".tif":
        stored.save(path, tiffinfo={700: xmp})
    else:
        stored.save(path, xmp=xmp, quality=95)


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        *((suffix, "long") for suffix in (".jpg", ".png", ".webp")),
        (".png", "profile"),
        *((suffix, "xmp") for suffix in (".jpg", ".png", ".webp", ".tif")),
    ],
)
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientations_that_pillow_applies_are_applied(tmp_path, suffix, how, orientation):
    path = tmp_path / f"x{suffix}"
    described_by(path, how, orientation)
    with Image.open(path) as image:
        turned = ImageOps.exif_transpose(image).convert("RGB")
    assert turned.size == (48, 32)
    np.testing.assert_array_equal(read_image(path), np.asarray(turned))
    with decode.decoded(path.read_bytes(), path) as picture:
        assert picture.orientation == orientation


def test_exif_is_believed_before_xmp():
    exif = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 1, 0)
    xmp = b'tiff:Orientation="6"'
    assert decode.orientation_of(exif, xmp) == 1
    assert decode.orientation_of(b"", xmp) == 6
    assert decode.orientation_of(b"", b"<tiff:Orientation>8</tiff:Orientation>") == 8
    assert decode.orientation_of(b"", b'tiff:Orientation="9"') == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_colour_profiles_are_not_applied(tmp_path, suffix):
    """The pixels are those that any decoder gives, with the profile of a wide gamut or without."""
    path = tmp_path / f"x{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    red = b"XYZ \0\0\0\0\0\0\x6f"
    wide = usual.tobytes().replace(red, red[:-1] + b"\x9c")
    Image.fromarray(noise).save(path, icc_profile=wide)
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        stored = image.convert("RGB")
    converted = ImageCms.profileToProfile(stored, profile, usual)
    assert np.abs(np.asarray(converted).astype(int) - np.asarray(stored)).max() > 20
    np.testing.assert_array_equal(read_image(path), np.asarray(stored))


def float_colours(path: Path) -> None:
    """A sound TIFF of three floats a pixel, which Pillow does not read."""
    entries = [
        (256, 3, 1, 4), (257, 3, 1, 2), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 300), (277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, 96), (339, 3, 3, 210),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    head += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    head = head.ljust(200, b"\0") + struct.pack("<3H", 32, 32, 32)
    head = head.ljust(210, b"\0") + struct.pack("<3H", 3, 3, 3)
    path.write_bytes(head.ljust(300, b"\0") + np.zeros(24, np.float32).tobytes())


def of_compression(path: Path) -> None:
    """A TIFF of a compression that Pillow does not know."""
    corners().save(path)
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHI", 259, 3, 1))
    struct.pack_into("<H", data, at + 8, 34712)
    path.write_bytes(data)


def of_bits(path: Path) -> None:
    """A JPEG that says it has 12 bits a sample."""
    corners().save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xc0") + 4] = 12
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "write", "kind"),
    [
        ("x.tif", float_colours, "a kind of TIFF (unknown pixel mode)"),
        ("x.tif", of_compression, "a TIFF of compression 34712"),
        ("x.jpg", of_bits, "a JPEG of 12 bits"),
    ],
)
def test_what_is_sound_but_not_read_is_not_called_damaged(tmp_path, name, write, kind):
    path = tmp_path / name
    write(path)
    assert reason(path) == f"{kind}, which is not supported; convert it to JPEG or PNG"


def test_a_jpeg_cut_within_its_header_is_truncated(tmp_path):
    path = tmp_path / "x.jpg"
    corners().save(path)
    whole = path.read_bytes()
    for end in range(4, whole.index(b"\xff\xda"), 7):
        path.write_bytes(whole[:end])
        assert reason(path) == "truncated"


def test_libtiff_prints_nothing(tmp_path, capfd):
    """It writes a line for each strip that it cannot unpack."""
    path = tmp_path / "x.tif"
    noise = np.random.default_rng(0).integers(0, 256, (400, 300), np.uint8)
    black = Image.fromarray(noise).convert("1")
    black.save(path, compression="group4")
    data = bytearray(path.read_bytes())
    data[300:-200] = np.random.default_rng(1).integers(0, 256, len(data) - 500, np.uint8).tobytes()
    outcomes = []
    for _ in range(2):
        path.write_bytes(data)
        try:
            outcomes.append(read_image(path).shape)
        except ImageError as error:
            outcomes.append(error.reason)
    assert len(set(outcomes)) == 1
    assert capfd.readouterr() == ("", "")
