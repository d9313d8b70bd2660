"""JPEGs as other programs write them, and as nobody should."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_classics.data import decode
from keras_classics.data.decode import read_image
from keras_classics.data.jpeg import SCAN_LIMIT, read_jpeg
from keras_classics.errors import ImageError

PROCESSES = [kind for kind in range(16) if kind not in {4, 8, 12}]
SAMPLINGS = (0x11, 0x21, 0x12, 0x22, 0x41, 0x14, 0x44)


def corners(width: int = 48, height: int = 32) -> Image.Image:
    """White, with a part of each colour."""
    image = Image.new("RGB", (width, height), "white")
    image.paste("red", (0, 0, width // 2, height // 2))
    image.paste("blue", (0, height // 2, width // 2, height))
    return image


def encoded(image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or corners()).save(file, "JPEG", **options)
    return file.getvalue()


def framed(
    process: int, *, width: int = 227, height: int = 149, bits: int = 8, sampling: int = 0x11
) -> bytes:
    """A JPEG of any kind of frame, with codes of one bit: a lossless one is sound."""
    frame = struct.pack(">HBHHB", 17, bits, height, width, 3)
    frame += bytes([1, sampling, 0, 2, 0x11, 0, 3, 0x11, 0])
    tables = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1]) * 64
    for table in (0x00, 0x10):
        tables += b"\xff\xc4" + struct.pack(">HB", 20, table) + bytes([1] + [0] * 15) + b"\0"
    predictor = 1 if process in {3, 7, 11, 15} else 0  # else where the coefficients begin
    scan = struct.pack(">HB", 12, 3) + bytes([1, 0, 2, 0, 3, 0, predictor, 0, 0])
    body = bytes(width * height * 3 // 8 + 1)
    return (
        b"\xff\xd8" + tables + bytes([0xFF, 0xC0 + process]) + frame + b"\xff\xda" + scan + body
        + b"\xff\xd9"
    )  # fmt: skip


def verdict(data: bytes, at_least: int | None = None) -> str | tuple[int, ...]:
    try:
        return decode.decode_image(data, Path("x.jpg"), at_least=at_least).shape
    except ImageError as error:
        return error.reason


@pytest.fixture(params=["simplejpeg", "pillow"])
def decoder(request, monkeypatch):
    """With the optional decoder, and without."""
    if request.param == "pillow":
        monkeypatch.setattr(decode, "_simplejpeg", lambda: None)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("bits", [8, 12])
def test_each_kind_of_frame_has_one_verdict(process, bits):
    verdicts = {
        found if isinstance(found := verdict(data, at_least), str) else "read"
        for data in (framed(process, bits=bits), framed(process, bits=bits, sampling=0x22))
        for at_least in (None, 8, 32, 64, 224)
    }
    (found,) = verdicts
    if bits == 12:
        assert found == "a JPEG of 12 bits, which is not supported; convert it to JPEG or PNG"
    elif process in {5, 6, 7, 13, 14, 15}:
        assert found.startswith(f"a hierarchical JPEG (SOF{process}), which is not supported")
    elif process <= 3:
        assert found == "read"
    else:
        assert found in {"read", "truncated"} or found.startswith("damaged (")


@pytest.mark.parametrize("process", PROCESSES)
def test_no_decoder_is_asked_for_less_than_it_writes(process, monkeypatch):
    """libjpeg does not scale frames other than those of Huffman codes and cosines of 8 bits."""
    asked = []

    class Turbo:
        def decode_jpeg(self, _data, **options):
            asked.append(options["min_factor"])
            raise ValueError("never mind")

    monkeypatch.setattr(decode, "_simplejpeg", Turbo)
    verdict(framed(process), 32)
    assert asked == ([4] if process in {0, 1, 2} else [])
    asked.clear()
    verdict(framed(process, bits=12), 32)
    assert asked == []


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("at_least", [None, 8])
def test_every_sampling_is_read_as_pillow_reads_it(sampling, at_least):
    import simplejpeg

    data = bytearray(simplejpeg.encode_jpeg(np.array(corners(128, 96)), colorsubsampling="411"))
    at = data.index(b"\xff\xc0") + 11
    assert data[at] == 0x41
    data[at] = sampling
    try:
        Image.open(io.BytesIO(data)).load()
    except OSError:
        assert isinstance(verdict(bytes(data), at_least), str)
    else:
        assert verdict(bytes(data), at_least) == ((96, 128, 3) if at_least is None else (12, 16, 3))


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("short", [1, 2, 7, 30])
def test_segments_that_state_too_short_a_length(tmp_path, short):
    """Photoshop wrote such; libjpeg looks for the next marker."""
    data = encoded()
    resource = b"Photoshop 3.0\0" + bytes(range(1, 60))
    segment = b"\xff\xed" + struct.pack(">H", 2 + len(resource) - short) + resource
    path = tmp_path / "x.jpg"
    path.write_bytes(data[:2] + segment + data[2:])
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path)))


def test_what_the_header_states():
    jpeg = read_jpeg(encoded(corners(50, 20), progressive=True))
    assert (jpeg.width, jpeg.height, jpeg.components, jpeg.bits) == (50, 20, 3, 8)
    assert jpeg.several_scans
    assert not read_jpeg(encoded()).several_scans
    assert [read_jpeg(framed(process)).scales for process in (0, 1, 2, 3, 9)] == [
        True, True, True, False, False,
    ]  # fmt: skip
    twice = framed(0)
    frame = twice[twice.index(b"\xff\xc0") : twice.index(b"\xff\xda")]
    with pytest.raises(ValueError, match="a wrong frame"):
        read_jpeg(twice.replace(frame, frame + frame))
    with pytest.raises(ValueError, match="no frame"):
        read_jpeg(twice.replace(frame, b""))


def test_metadata_is_cut_from_a_jpeg_and_its_colours_kept(tmp_path):
    path = tmp_path / "x.jpg"
    corners().save(path, exif=Image.Exif(), comment=b"kept", icc_profile=b"profile" * 99)
    data = path.read_bytes()
    jpeg = read_jpeg(data)
    rest, exif = jpeg.data, jpeg.exif
    assert b"profile" in data
    assert b"profile" not in rest
    assert b"JFIF" in rest
    assert exif.startswith(b"Exif")
    assert exif not in rest
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path)))


def with_scans(count, trick=b""):
    """A progressive JPEG whose last scan is repeated, each time behind some bytes."""
    file = io.BytesIO()
    corners().convert("L").save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    own = data.count(b"\xff\xda")
    return data[:-2] + (count - own) * (trick + data[last:-2]) + data[-2:]


COMMENT = b"\xff\xfe\x00\x04"  # of two bytes


@pytest.mark.parametrize("trick", [b"", COMMENT + b"\xff\xd9", b"\xff", b"\xff\x01"])
def test_a_jpeg_that_takes_hours_is_refused(trick):
    assert verdict(with_scans(SCAN_LIMIT + 1, trick)) == "a JPEG of more than 64 scans"


def test_as_many_scans_as_are_taken(tmp_path):
    """What only looks like scans is none: in a comment, or behind the end."""
    path = tmp_path / "x.jpg"
    data = with_scans(SCAN_LIMIT)
    path.write_bytes(data[:2] + COMMENT + b"\xff\xda" + data[2:] + 99 * b"\xff\xda\x00\x02")
    assert read_image(path).shape == (32, 48, 3)


FUZZ = Path(__file__).parent / "fuzz_jpeg.py"
CHECKED_MALLOC = next(map(str, Path("/lib").glob("*/libc_malloc_debug.so.0")), "")


def fuzzed(seed: int, count: int) -> None:
    """Decode changed JPEGs in a process of their own, which must neither die nor write astray."""
    done = subprocess.run(
        [sys.executable, str(FUZZ), str(seed), str(count)],
        capture_output=True,
        text=True,
        check=False,
        # glibc then ends the process where something was written beside its place.
        env={**os.environ, "MALLOC_CHECK_": "3", "LD_PRELOAD": CHECKED_MALLOC},
    )
    assert (done.returncode, done.stderr) == (0, ""), f"seed {seed}"


def test_a_little_fuzzing():
    fuzzed(0, 400)


@pytest.mark.slow
def test_fuzzing_for_ten_minutes():
    end, seed = time.monotonic() + 600, 1
    while time.monotonic() < end:
        fuzzed(seed, 5000)
        seed += 1
