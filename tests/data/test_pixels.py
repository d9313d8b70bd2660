from __future__ import annotations

import gc
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_classics.data import pixels
from keras_classics.data.copies import equal_groups, perceptual_hash
from keras_classics.data.decode import decoded
from keras_classics.data.fit import load_image
from keras_classics.data.listing import Item
from keras_classics.data.pixels import decode_all
from keras_classics.data.storage import Folder
from keras_classics.errors import DataError

COUNT = 20
BAD = (0, 7, 8, 19)


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        noise = rng.integers(0, 256, (9 + number, 30, 3), np.uint8)
        Image.fromarray(noise).save(root / f"{number:02}.png")
    return root


@pytest.fixture
def items() -> tuple[Item, ...]:
    return tuple(Item(f"{number:02}.png", number % 3, "train") for number in range(COUNT))


def decode_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("decode")]


@pytest.mark.parametrize("workers", [None, 1, 5])
@pytest.mark.parametrize("budget", [2**31, 0])
def test_images_are_those_of_load_image_in_order(folder, items, monkeypatch, workers, budget):
    monkeypatch.setattr(pixels, "MEMORY_BUDGET", budget)
    monkeypatch.setattr(pixels, "_WINDOW", 7)
    decoded = decode_all(Folder(folder), items, (12, 16), "pad", workers=workers)
    assert decoded.images.shape == (COUNT, 12, 16, 3)
    assert decoded.images.dtype == np.uint8
    assert isinstance(decoded.images, np.memmap) == (budget == 0)
    assert decoded.items == items
    assert decoded.skipped == ()
    for image, item in zip(decoded.images, items, strict=True):
        np.testing.assert_array_equal(image, load_image(folder / item.path, (12, 16), "pad"))


@pytest.mark.parametrize("budget", [2**31, 0])
def test_bad_images_are_named_and_cost_only_themselves(
    folder, items, tmp_path, monkeypatch, budget
):
    monkeypatch.setattr(pixels, "MEMORY_BUDGET", budget)
    for number in BAD:
        (folder / f"{number:02}.png").write_text("no image")
    decoded = decode_all(Folder(folder), items, (8, 8), "crop", scratch=tmp_path)
    assert [error.path for error in decoded.skipped] == [folder / f"{n:02}.png" for n in BAD]
    assert {error.reason for error in decoded.skipped} == {"not an image"}
    assert decoded.items == tuple(item for n, item in enumerate(items) if n not in BAD)
    assert len(decoded.images) == COUNT - len(BAD)
    for image, item in zip(decoded.images, decoded.items, strict=True):
        np.testing.assert_array_equal(image, load_image(folder / item.path, (8, 8), "crop"))


def test_errors_do_not_keep_the_files_in_memory(folder, items):
    (folder / "00.png").write_text("no image")
    (error,) = decode_all(Folder(folder), items, (8, 8), "crop").skipped
    assert error.__traceback__ is None
    assert error.__context__ is None


def test_nothing_to_decode_and_nothing_readable(folder, items):
    with pytest.raises(DataError, match="no images to decode"):
        decode_all(Folder(folder), (), (8, 8), "crop")
    for item in items:
        (folder / item.path).write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 20 images can be read.*00\.png: empty file"):
        decode_all(Folder(folder), items, (8, 8), "crop")


@pytest.mark.parametrize("bad", [(), BAD])
def test_prints_tell_copies_among_what_could_be_read(folder, items, bad):
    for number in bad:
        (folder / f"{number:02}.png").write_text("no image")
    rng = np.random.default_rng(1)
    large = rng.integers(0, 256, (5, 7, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    Image.fromarray(large).save(folder / "03.png")
    Image.fromarray(large).save(folder / "05.png", compress_level=0)
    (folder / "06.png").write_bytes((folder / "01.png").read_bytes())
    decoded = decode_all(Folder(folder), items, (8, 8), "crop", prints=True)
    assert decoded.prints is not None
    names = [item.name for item in decoded.items]
    same = [[names[i] for i in group] for group in equal_groups(decoded.prints.files)]
    assert same == [["01.png", "06.png"]]
    pictures = {
        name: one.tobytes() for name, one in zip(names, decoded.prints.pictures, strict=True)
    }
    assert pictures["03.png"] == pictures["05.png"] == perceptual_hash(large)
    assert not any(pictures.pop("01.png"))  # too small to be told
    assert decode_all(Folder(folder), items, (8, 8), "crop").prints is None


def test_progress_counts_every_image(folder, items):
    (folder / "03.png").write_bytes(b"")
    seen: list[tuple[int, int]] = []
    decode_all(Folder(folder), items, (8, 8), "crop", progress=lambda *done: seen.append(done))
    assert seen == [(number, COUNT) for number in range(1, COUNT + 1)]


@pytest.mark.parametrize("budget", [2**31, 0])
def test_an_interrupt_stops_all_threads(folder, items, tmp_path, monkeypatch, budget):
    monkeypatch.setattr(pixels, "MEMORY_BUDGET", budget)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    names: list[str] = []

    def slow(data, path, **options):
        names.append(path.name)
        return decoded(data, path, **options)

    def interrupt(done, _total):
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(pixels, "decoded", slow)
    many = items * 50
    with pytest.raises(KeyboardInterrupt):
        decode_all(
            Folder(folder), many, (8, 8), "crop", progress=interrupt, workers=2, scratch=scratch
        )
    assert decode_threads() == []
    assert 3 <= len(names) < len(many)
    assert list(scratch.iterdir()) == []


def test_other_errors_are_not_swallowed(folder, items):
    with pytest.raises(ValueError, match="fit must be one of"):
        decode_all(Folder(folder), items, (8, 8), "squash")
    assert decode_threads() == []


def test_the_mapped_file_goes_with_the_array(folder, items, tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "MEMORY_BUDGET", 0)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    decoded = decode_all(Folder(folder), items, (8, 8), "crop", scratch=scratch)
    if os.name != "nt":
        assert list(scratch.iterdir()) == []
    assert decoded.images.any()
    del decoded
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_a_full_disk_is_said_before_decoding(folder, items, tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "MEMORY_BUDGET", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
    with pytest.raises(DataError, match=r"0\.0 GB free, but the decoded images take"):
        decode_all(Folder(folder), items, (8, 8), "crop", scratch=tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(pixels, "MEMORY_BUDGET", 0)
    with pytest.raises(DataError, match=r"absent: no room for .*\(No such file"):
        decode_all(Folder(folder), items, (8, 8), "crop", scratch=tmp_path / "absent")


def test_nothing_is_written_in_the_data_folder(folder, items):
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    decode_all(Folder(folder), items, (8, 8), "crop")
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == before
