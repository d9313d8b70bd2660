from __future__ import annotations

import io
import os
import re
import stat
import struct
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_classics.data import storage
from keras_classics.data.check.run import check, quick_check
from keras_classics.data.folder import scan
from keras_classics.data.listing import fingerprint
from keras_classics.data.pixels import decode_all
from keras_classics.data.storage import Archive, Folder
from keras_classics.errors import DataError, ImageError, one_line
from listings import found, make
from pictures import state, write_pictures


def pack(place, files, method=zipfile.ZIP_DEFLATED):
    """An archive of names and bytes; a ZipInfo may stand for a name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        with zipfile.ZipFile(place, "w", method) as archive:
            for name, data in files:
                archive.writestr(name, data)
    return place


def pack_folder(place, folder, prefix=""):
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    return pack(
        place, [(prefix + path.relative_to(folder).as_posix(), path.read_bytes()) for path in names]
    )


def noise(seed, size=(20, 20)):
    file = io.BytesIO()
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def chunk(kind, body):
    """Of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def two_classes():
    return [(f"{kind}/{i}.png", noise(10 * k + i)) for k, kind in enumerate("ab") for i in range(3)]


@pytest.fixture
def photos(tmp_path):
    return write_pictures(tmp_path / "photos", each=5)


# ------------------------------------------------------------------------------- sound archives


@pytest.mark.parametrize("prefix", ["", "set/", "set/train/"])
def test_an_archive_is_as_good_as_its_folder(photos, tmp_path, prefix):
    place = pack_folder(tmp_path / "photos.zip", photos, prefix)
    before = state(tmp_path)
    one, two = scan(photos), scan(place)
    assert two.classes == one.classes
    assert two.root == two.source == place
    assert [item.name for item in two.items] == [prefix + item.name for item in one.items]
    if not prefix:
        assert fingerprint(one) == fingerprint(two)
    decoded = [decode_all(each.storage, each.items, (24, 24), "crop") for each in (one, two)]
    np.testing.assert_array_equal(decoded[0].images, decoded[1].images)
    assert state(tmp_path) == before


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_bytes_are_those_that_went_in_whatever_the_thread(tmp_path, method):
    files = [(f"a/{i}.png", os.urandom(1 + 997 * i)) for i in range(50)]
    archive = Archive(pack(tmp_path / "x.zip", files, method))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(archive.read_bytes, [name for name, _ in files] * 5))
    assert read == [data for _, data in files] * 5


def test_without_positioned_reads_threads_take_turns(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pread", raising=False)
    test_bytes_are_those_that_went_in_whatever_the_thread(tmp_path, zipfile.ZIP_DEFLATED)


def test_what_is_hidden_is_skipped_and_what_is_no_file_is_ignored(tmp_path):
    link = zipfile.ZipInfo("a/link.png")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    place = pack(
        tmp_path / "x.ZIP",
        [
            *two_classes(),
            ("__MACOSX/a/0.png", b"x"), ("a/._0.png", b"x"), (".git/x.png", b"x"),
            ("a/notes.txt", b"x"), ("logo.png", noise(1)), (link, "0.png"), ("empty/", b""),
            ("a/inner.zip", b"x"),
        ],
    )  # fmt: skip
    listing = scan(place)
    assert list(found(listing)) == sorted(["a/link.png", *(name for name, _ in two_classes())])
    assert listing.ignored == tuple(map(Path, ("a/inner.zip", "a/notes.txt", "logo.png")))
    with pytest.raises(ImageError, match=r"a/link\.png: a symbolic link, which is not followed"):
        listing.storage.read_bytes("a/link.png")
    findings = check(place, size=64).findings
    kinds = {one.kind: [place.paths for place in one.places] for one in findings}
    assert kinds["unreadable"] == [("a/link.png",)]
    assert kinds["outside-classes"] == [("logo.png",)]
    assert kinds["other-files"] == [("a/inner.zip",), ("a/notes.txt",)]
    assert kinds["empty-folder"] == [("empty",)]


def test_the_check_finds_in_an_archive_what_it_finds_in_a_folder(photos, tmp_path):
    (photos / "cross" / "copy.png").write_bytes((photos / "circle" / "000.png").read_bytes())
    (photos / "cross" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (photos / "cross" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    place = pack_folder(tmp_path / "photos.zip", photos)
    assert check(place, size=64).findings == check(photos, size=64).findings
    assert quick_check(scan(place)) == quick_check(scan(photos))


def test_windows_separators_and_twice_the_same_name(tmp_path):
    windows = zipfile.ZipInfo("a/0.png")
    windows.filename = "a\\0.png"
    windows.create_system = 0
    place = pack(
        tmp_path / "x.zip",
        [(windows, noise(0)), ("b/0.png", b"old"), ("b/./0.png", b"older"), ("b/0.png", noise(1))],
    )
    listing = scan(place)
    assert list(found(listing)) == ["a/0.png", "b/0.png"]
    assert listing.storage.read_bytes("b/0.png") == noise(1)


def test_an_archive_by_its_contents(photos, tmp_path):
    assert len(scan(pack_folder(tmp_path / "photos.dat", photos)).items) == 15


# --------------------------------------------------------------------------- archives refused


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    place = pack(tmp_path / "x.zip", [*two_classes(), (name, b"x")])
    with pytest.raises(DataError, match=re.escape(f"x.zip: holds the name '{name}', which leads")):
        scan(place)


def test_an_encrypted_archive_is_refused(tmp_path):
    place = pack(tmp_path / "x.zip", two_classes())
    data = bytearray(place.read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 8] |= 1
    place.write_bytes(data)
    with pytest.raises(DataError, match=r"x\.zip: a/0\.png is encrypted; unpack the archive"):
        scan(place)


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\3\4" + bytes(100)])
def test_what_is_no_archive_is_refused(tmp_path, data):
    place = tmp_path / "x.zip"
    place.write_bytes(data)
    with pytest.raises(
        DataError, match=r"x\.zip: is not a zip archive, or is corrupt \(.*; create"
    ):
        scan(place)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_torn_archive_is_refused(tmp_path, part):
    place = pack(tmp_path / "x.zip", two_classes())
    place.write_bytes(place.read_bytes()[: int(part * place.stat().st_size)])
    with pytest.raises(DataError, match=r"x\.zip: is not a zip archive, or is corrupt"):
        scan(place)


def test_an_archive_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    place = pack(tmp_path / "x.zip", two_classes())
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"x\.zip: cannot be read \(Permission denied\)"):
        scan(place)


def test_an_empty_archive_has_no_images(tmp_path):
    with pytest.raises(DataError, match=r"x\.zip: contains no images"):
        scan(pack(tmp_path / "x.zip", []))


def test_files_that_share_their_bytes_are_a_bomb(tmp_path):
    """As in Fifield, A better zip bomb (2019): the directory names one kernel many times."""
    place = pack(tmp_path / "x.zip", two_classes())
    data = place.read_bytes()
    start = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    entries = data[start:end]
    first = entries[: entries.index(b"PK\1\2", 4)]
    again = first.replace(b"a/0.png", b"a/9.png")
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, 7, 7, len(entries) + len(again))
    place.write_bytes(data[:start] + entries + again + tail)
    with pytest.raises(DataError, match=r"x\.zip: a bomb: files of the archive share their bytes"):
        scan(place)


# ----------------------------------------------------------------------- single files refused


def reason(place, name):
    with pytest.raises(ImageError) as caught:
        scan(place).storage.read_bytes(name)
    assert caught.value.path == place / name
    return caught.value.reason


def test_a_bomb_costs_only_itself_and_no_memory(tmp_path):
    bomb = bytes(storage.RATIO_FROM + 1)
    place = pack(tmp_path / "x.zip", [*two_classes(), ("a/bomb.png", bomb)])
    assert place.stat().st_size < 100_000
    assert reason(place, "a/bomb.png").startswith("a bomb: 16,777,217 bytes packed into 16,")
    listing = scan(place)
    decoded = decode_all(listing.storage, listing.items, (8, 8), "crop")
    assert [str(error) for error in decoded.skipped] == [
        f"{place}/a/bomb.png: {reason(place, 'a/bomb.png')}"
    ]
    assert len(decoded.items) == 6


def test_a_small_picture_of_one_colour_is_no_bomb(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(file, "BMP")
    assert len(file.getvalue()) > 800 * len(zlib.compress(file.getvalue()))
    place = pack(tmp_path / "x.zip", [*two_classes(), ("a/black.bmp", file.getvalue())])
    assert scan(place).storage.read_bytes("a/black.bmp") == file.getvalue()


def forged(place, name, *, size=None, crc=None, method=None):
    """The directory of the archive says something else of a file."""
    data = bytearray(place.read_bytes())
    entry = data.index(b"PK\1\2")
    while data[entry + 46 : entry + 46 + len(name)] != name.encode():
        entry = data.index(b"PK\1\2", entry + 4)
    for offset, form, value in ((10, "<H", method), (16, "<I", crc), (24, "<I", size)):
        if value is not None:
            struct.pack_into(form, data, entry + offset, value)
    place.write_bytes(data)
    return place


def test_more_bytes_than_declared_are_never_unpacked(tmp_path, monkeypatch):
    place = pack(tmp_path / "x.zip", [*two_classes(), ("a/bomb.png", bytes(50_000_000))])
    forged(place, "a/bomb.png", size=1000)
    asked = []
    decompressobj = zlib.decompressobj

    class Watched:
        def __init__(self, *arguments):
            self.inner = decompressobj(*arguments)

        def decompress(self, data, limit):
            asked.append(limit)
            return self.inner.decompress(data, limit)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    assert reason(place, "a/bomb.png").startswith("damaged (its bytes are not those")
    assert asked == [1001]


def test_a_file_beyond_the_limit_is_not_unpacked(tmp_path):
    place = forged(pack(tmp_path / "x.zip", two_classes()), "a/0.png", size=4_000_000_000)
    assert reason(place, "a/0.png") == "4,000,000,000 bytes, more than the limit of 715,827,880"


def test_damage_inside_is_named(tmp_path):
    place = pack(tmp_path / "x.zip", [*two_classes(), ("a/empty.png", b"")])
    assert reason(place, "a/empty.png") == "empty file"
    assert reason(place, "a/absent.png") == "no such file in the archive"
    forged(place, "a/0.png", crc=1)
    assert reason(place, "a/0.png").startswith("damaged (its bytes are not those")
    forged(place, "a/1.png", method=12)
    assert reason(place, "a/1.png").startswith("packed by a method other than deflate; create")
    data = bytearray(place.read_bytes())
    start = data.index(b"a/2.png")
    data[start + 7 : start + 107] = bytes(100)
    data[data.index(b"b/0.png") - 30] = 0
    place.write_bytes(data)
    assert reason(place, "a/2.png").startswith("damaged (")
    assert reason(place, "b/0.png") == "damaged (the archive is corrupt)"
    assert scan(place).storage.head("b/0.png", 9) is None


def test_bombs_of_pixels_are_refused_in_an_archive_too(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b""))
    listing = scan(pack(tmp_path / "x.zip", [*two_classes(), ("b/bomb.png", png)]))
    (error,) = decode_all(listing.storage, listing.items, (8, 8), "crop").skipped
    assert str(error) == (
        f"{tmp_path}/x.zip/b/bomb.png: 60000x60000 pixels, more than the limit of 178,956,970"
    )


def test_an_archive_is_closed_with_its_listing(photos, tmp_path):
    place = pack_folder(tmp_path / "photos.zip", photos)
    listing = scan(place)
    file = listing.archive._file
    del listing
    assert file.closed


# -------------------------------------------------------------------------------- folders, names


def test_the_files_of_a_folder_are_relative_sorted_and_visible(tmp_path):
    make(tmp_path, "b/2.PNG", "b.jpg", "a/notes.txt", "a/._x.jpg", "__MACOSX/x.jpg")
    assert Folder(tmp_path).files() == (["b.jpg", "b/2.PNG"], ["a/notes.txt"])


def test_one_line_keeps_what_can_be_printed():
    assert one_line("caf\u00e9 \u4e2d\u3000\\ a\tb\u2028\x85\udce9") == (
        "caf\u00e9 \u4e2d\u3000\\ a\\tb\\u2028\\x85\\udce9"
    )
