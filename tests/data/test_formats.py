from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from keras_classics.cli import app
from keras_classics.data.check.run import check
from keras_classics.data.decode import IMAGE_SUFFIXES, decode_image
from keras_classics.data.folder import scan
from keras_classics.data.formats import by_ending, foreign, not_read
from keras_classics.data.sources import find_images, left_out
from keras_classics.errors import DataError, ImageError
from odd_pictures import encoded, noise, sound
from pictures import write_pictures

HEADS = {
    "a.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    "b.j2k": (b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000"),
    "c.jxl": (b"\xff\x0a\xfa\x7f", "JPEG XL"),
    "d.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    "e.heic": (b"\0\0\0\x18ftypheic", "HEIC or AVIF"),
    "f.avif": (b"\0\0\0\x1cftypavif", "HEIC or AVIF"),
    "g.psd": (b"8BPS\0\1", "Photoshop"),
    "h.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "i.ico": (b"\0\0\1\0\1\0", "an icon"),
    "j.exr": (b"v/1\1\2", "a picture of high dynamic range"),
    "k.qoi": (b"qoif\0\0", "QOI"),
    "l.cr2": (b"II*\0\x10\0\0\0CR\2\0", "camera raw"),
    "m.cr3": (b"\0\0\0\x18ftypcrx ", "camera raw"),
    "n.raf": (b"FUJIFILMCCD-RAW", "camera raw"),
    "o.dcm": (bytes(128) + b"DICM", "DICOM"),
}
BY_NAME = {
    "p.tga": (bytes([0, 0, 2]) + bytes(40), "Targa"),
    "q.nef": (encoded(noise(), "TIFF"), "camera raw"),  # the first picture is a thumbnail
    "r.DNG": (encoded(noise(), "TIFF"), "camera raw"),
    "t.svg": (b"<?xml version='1.0'?>\n<svg/>", "SVG"),
    "s.pcx": (b"\x0a\x05\x01\x08" + bytes(40), "PCX"),
}


@pytest.mark.parametrize("name", [*HEADS, *BY_NAME])
def test_what_is_not_read_is_called_by_its_name(name):
    head, form = {**HEADS, **BY_NAME}[name]
    data = head.ljust(200, b"\0")
    assert foreign(name, data) == by_ending(name) == form
    for called in [name, "photo.jpg"] if name in HEADS else [name]:
        with pytest.raises(ImageError) as caught:
            decode_image(data, Path(called))
        reason = f"{called}: {form}, which is not supported; convert it to JPEG or PNG"
        assert str(caught.value) == reason


def test_what_is_read_is_none_of_them():
    for name, data in sound().items():
        assert foreign(name, data) is None
    assert not [suffix for suffix in IMAGE_SUFFIXES if by_ending(f"x{suffix}")]
    assert foreign("x.jpg", b"\0\0\0\x18ftypisom".ljust(40)) is None  # a film
    assert foreign("x.jxl", b"a page, or whatever else") is None
    for ending in (".tga", ".nef", ".jxl"):
        for form in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
            assert decode_image(encoded(noise(), form), Path(f"x{ending}")).shape == (40, 56, 3)
    assert not_read(["a.png", "b.txt", "c"]) is None
    assert not_read(["a.tga", Path("b.JXL"), "c.jxl", "d.png"]) == (
        "3 images in unsupported formats (JPEG XL, Targa); convert them to JPEG or PNG"
    )


@pytest.fixture
def only(tmp_path):
    """Two classes of pictures that are not read."""
    for name in ("a/1.jxl", "a/2.jp2", "b/3.tga", "b/notes.txt"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    return tmp_path / "set"


ONLY = "3 images in unsupported formats (JPEG 2000, JPEG XL, Targa); convert them to JPEG or PNG"


def test_a_folder_that_holds_no_others(only, capsys, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "x"), "zip", only))
    for place in (only, archive):
        for look in (scan, find_images):
            with pytest.raises(DataError, match=re.escape(f": contains no images but {ONLY}")):
                look(place)
    with pytest.raises(
        DataError, match=r"matches no image but 1 image in unsupported formats \(JP"
    ):
        find_images(only / "a" / "*.jxl")
    for command in (["check"], ["train"], ["augment"], ["find-rate"]):
        assert app.run([*command, str(only)]) == 2
        assert ONLY in capsys.readouterr().err


def test_a_folder_that_holds_some(only, capsys, tmp_path):
    write_pictures(tmp_path / "more", each=2, classes=("a", "b"))
    shutil.copytree(tmp_path / "more", only, dirs_exist_ok=True)
    assert left_out(only) == left_out([only / "a", f"{only}/b/*"]) == ONLY
    assert left_out([only / "a" / "1.jxl", tmp_path / "nowhere"]) is None  # refused by name
    (overlooked,) = [each for each in check(only, size=64).findings if each.kind == "overlooked"]
    assert {place.paths[0]: place.note for place in overlooked.places} == {"b/3.tga": "Targa"}
    out = str(tmp_path / "a.png")
    assert app.run(["augment", str(only), "-o", out, "--size", "32", "--columns", "1"]) == 0
    assert f"left out {ONLY}" in capsys.readouterr().err.replace("\n", " ")
