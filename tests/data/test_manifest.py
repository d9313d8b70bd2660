from __future__ import annotations

import os
from pathlib import Path

import pytest

from keras_classics.data.listing import Item, Listing, fingerprint
from keras_classics.data.manifest import read_manifest, write_manifest
from keras_classics.data.splits import assign_splits
from keras_classics.errors import DataError, OutputError
from listings import listing_of, together


def test_manifest_round_trip(tmp_path):
    classes = ('a, "b"', "é\u4e2d")
    items = (
        Item("x/1,2.jpg", 0, "train"),
        Item("y/new\nline.jpg", 1, "test"),
        Item("y/z.jpg", 1, None),
    )
    path = tmp_path / "splits.csv"
    path.write_text("old")
    write_manifest(Listing(tmp_path, classes, items), path)
    assert read_manifest(path) == (
        {"path": "x/1,2.jpg", "label": classes[0], "split": "train"},
        {"path": "y/new\nline.jpg", "label": classes[1], "split": "test"},
        {"path": "y/z.jpg", "label": classes[1], "split": ""},
    )
    assert path.read_text("utf-8").startswith("path,label,split\n")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a\rb", "a\r\nb", "\r", "a\nb", "a,b", 'a"b"', '"\r,\n', " a'"])
def test_manifest_keeps_any_name(tmp_path, name):
    items = (
        Item("y/1.jpg", 1, "train"),
        Item(f"{name}/1.jpg", 0, "train"),
        Item(f"y/{name}", 1, None),
    )
    write_manifest(Listing(tmp_path, (name, "y"), items), tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv") == (
        {"path": "y/1.jpg", "label": "y", "split": "train"},
        {"path": f"{name}/1.jpg", "label": name, "split": "train"},
        {"path": f"y/{name}", "label": "y", "split": ""},
    )
    assert (tmp_path / "m.csv").read_bytes().startswith(b"path,label,split\ny/1.jpg,y,train\n")


def test_a_name_that_is_not_unicode_survives(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    listing = Listing(tmp_path, ("a", "b"), (Item(name, 0, "train"),))
    write_manifest(listing, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv")[0]["path"] == name
    assert len(fingerprint(listing)) == 64
    assert assign_splits(together(listing, listing_of({"a": 2}, "train")), seed=0).items


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    def fail(_path, _target):
        raise OSError(28, "No space left on device")

    path = tmp_path / "m.csv"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match=r"m\.csv: cannot be written \(No space left"):
        write_manifest(listing_of({"a": 1}), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot be written"):
        write_manifest(listing_of({"a": 1}), tmp_path / "absent" / "m.csv")
    with pytest.raises(OutputError, match="cannot be written"):
        write_manifest(listing_of({"a": 1}), path / "m.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line must be path,label,split"),
        ("path,label\nx,y\n", "first line must be path,label,split"),
        ("path,label,split\nx,y,train\nx,y\n", "row 3 does not have 3 fields"),
        ("path,label,split\nx,y,train,z\n", "row 2 does not have 3 fields"),
        ('path,label,split\n"x"y,z,train\n', "is not a manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, text, words):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_manifest(tmp_path / "m.csv")


def test_an_absent_manifest_is_named(tmp_path):
    with pytest.raises(DataError, match=r"m\.csv: cannot be read \(No such file"):
        read_manifest(tmp_path / "m.csv")
