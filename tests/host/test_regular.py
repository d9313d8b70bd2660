from __future__ import annotations

import errno
import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from keras_classics.architectures import catalog
from keras_classics.classifier.artefact import MANIFEST
from keras_classics.classifier.card import CARD, Card
from keras_classics.cli import app
from keras_classics.data import decode, storage
from keras_classics.data.folder import scan
from keras_classics.data.manifest import read_manifest
from keras_classics.data.pixels import decode_all
from keras_classics.data.sources import find_images
from keras_classics.errors import ArtefactError, DataError, ImageError, WeightsError
from keras_classics.evaluation import saved
from keras_classics.host import regular
from keras_classics.host.regular import IrregularFileError, open_regular, read_regular
from keras_classics.weights.loading import read_contents
from keras_classics.weights.verification import verify
from pictures import write_pictures

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")

LINK = regular.BROKEN_LINK
WORDS = {
    "pipe": "a named pipe, not a regular file",
    "socket": "a socket, not a regular file",
    "folder": "a folder, not a regular file",
    "zero": "a device, not a regular file",
    "gone": LINK,
    "self": LINK,
    "ring": LINK,
}


@pytest.fixture(autouse=True)
def _in_time():
    """What waits for a pipe would wait for ever."""

    def late(_number, _frame):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make(folder: Path, kind: str, name: str) -> Path:
    """Something under a name that is no regular file."""
    path = folder / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(folder)  # as the name of a socket may not be long
            server.bind(name)
            os.chdir(here)
    elif kind == "folder":
        path.mkdir()
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "gone":
        path.symlink_to("nowhere.jpg")
    elif kind == "self":
        path.symlink_to(name)
    else:
        path.symlink_to(f"{name}.2")
        (folder / f"{name}.2").symlink_to(name)
    return path


@pytest.mark.parametrize("kind", WORDS)
def test_what_is_no_regular_file_is_refused_unopened(kind, tmp_path):
    path = make(tmp_path, kind, "x.jpg")
    for read in (open_regular, read_regular):
        with pytest.raises(IrregularFileError) as caught:
            read(path)
        assert (caught.value.strerror, caught.value.filename) == (WORDS[kind], str(path))
    assert regular.why_none(path).partition(",")[0] == WORDS[kind].partition(",")[0]
    with pytest.raises(ImageError) as refused:
        decode.read_image(path)
    assert str(refused.value) == f"{path}: {WORDS[kind]}"


def test_what_is_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link", most=3) == b"abc"
    assert stat.S_ISREG(regular.mode_of(tmp_path / "link"))
    with pytest.raises(OSError, match="3 bytes, more than the limit of 2") as caught:
        read_regular(tmp_path / "a", most=2)
    assert caught.value.errno == errno.EFBIG
    assert regular.why_none(tmp_path / "b") == "no such file"
    with pytest.raises(FileNotFoundError):
        regular.mode_of(tmp_path / "b")


def test_a_file_of_any_size_is_not_read_into_memory(tmp_path):
    with (tmp_path / "x.tif").open("wb") as file:
        file.truncate(decode.FILE_LIMIT + 1)
    with pytest.raises(ImageError, match=r"x\.tif: cannot be read \(715,827,881 bytes, more than"):
        decode.read_image(tmp_path / "x.tif")


@pytest.fixture
def irregular(tmp_path):
    """Two classes of pictures, and one of each kind of what is no regular file."""
    folder = write_pictures(tmp_path / "set", each=3, classes=("circle", "cross"))
    for kind in ("pipe", "socket", "zero", "gone", "self"):
        make(folder / "cross", kind, f"{kind}.jpg")
    return folder


NAMES = [f"cross/{kind}.jpg" for kind in ("gone", "pipe", "self", "socket", "zero")]


def test_a_folder_is_read_without_them_and_names_each(irregular):
    listing = scan(irregular)
    decoded = decode_all(listing.storage, listing.items, (8, 8), "crop")
    assert len(decoded.items) == 6
    assert [error.path.relative_to(irregular).as_posix() for error in decoded.skipped] == NAMES
    assert [error.reason for error in decoded.skipped] == [WORDS[Path(name).stem] for name in NAMES]


@pytest.mark.parametrize("given", ["", "cross/*.jpg", "**/*.jpg"])
def test_folders_and_patterns_find_them(irregular, given):
    found = [
        source.path.relative_to(irregular).as_posix() for source in find_images(irregular / given)
    ]
    assert [name for name in found if name.endswith("jpg")] == NAMES
    folder = storage.Folder(irregular)
    assert list(folder.images()) == folder.files()[0]
    assert all(folder.shows(irregular / name) for name in folder.images())


def test_named_directly(irregular):
    for name in NAMES:
        (source,) = find_images(irregular / name)
        with pytest.raises(ImageError, match=r"regular file|leads to no file"):
            source.storage.read_bytes(source.name)
        assert source.storage.head(source.name, 4) is None
    # What a shell makes of an asterisk.
    assert len(find_images(sorted((irregular / "cross").iterdir()))) == 8
    with pytest.raises(DataError, match="cannot be read"):  # no link itself
        find_images(irregular / "cross" / "self.jpg" / "x.jpg")


def test_named_as_a_folder(irregular):
    for name in NAMES:
        what = WORDS[Path(name).stem].partition(",")[0]
        with pytest.raises(DataError, match=f"{name}: is {what}, not a folder"):
            scan(irregular / name)


def test_in_a_table(irregular):
    rows = "".join(f"{name},{name[:5]}\n" for name in [*NAMES, "circle/000.png", "cross/000.png"])
    (irregular / "t.csv").write_text(f"path,label\n{rows}")
    listing = scan(irregular / "t.csv")
    decoded = decode_all(listing.storage, listing.items, (8, 8), "crop")
    assert [error.path.relative_to(irregular).as_posix() for error in decoded.skipped] == NAMES


@pytest.mark.parametrize("name", ["t.csv", "t.zip"])
def test_a_table_or_archive_that_is_a_pipe(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: is a named pipe, not a folder"):
        scan(tmp_path / name)
    assert not storage.is_archive(tmp_path / name)
    with pytest.raises(DataError, match="a named pipe, not a regular file"):
        storage.Archive(tmp_path / name)


def test_the_files_of_a_run(tmp_path):
    for name in (MANIFEST, CARD, saved.METRICS, "x.h5", "x.keras"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="a named pipe, not a regular file"):
        read_manifest(tmp_path / MANIFEST)
    with pytest.raises(ArtefactError):
        Card.read(tmp_path)
    with pytest.raises(ArtefactError):
        saved.read_metrics(tmp_path)
    network = catalog.find("resnet50")
    with pytest.raises(WeightsError, match=r"x\.h5: a named pipe, not a regular file"):
        verify(tmp_path / "x.h5", architecture=network)
    with pytest.raises(WeightsError, match=r"x\.keras: a named pipe, not a regular file"):
        read_contents(tmp_path / "x.keras", {}, network)


def test_commands_name_them_and_go_on(irregular, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert app.run(["check", str(irregular), "--json"]) == 1
    assert capsys.readouterr().out.count("cross/self.jpg") == 1
    os.mkfifo("x.keras")
    assert app.run(["summary", "x.keras"]) == 2
    assert "x.keras: a named pipe, not a regular file." in capsys.readouterr().err
