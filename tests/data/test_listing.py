from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from keras_classics.data.folder import scan
from keras_classics.data.listing import Item, Listing, contents, fingerprint
from listings import make


def test_fingerprint_changes_with_the_data_alone(tmp_path):
    files = ["a/1.jpg", "a/2.jpg", "b/1.jpg"]
    listing = scan(make(tmp_path / "one", *files))
    same = fingerprint(listing)
    assert same == fingerprint(scan(make(tmp_path / "two", *files)))
    split = [replace(item, split="test") for item in listing.items]
    assert same == fingerprint(replace(listing, items=tuple(split)))
    changes = set()
    (tmp_path / "one" / "a" / "1.jpg").write_text("longer than it was")
    changes.add(fingerprint(scan(tmp_path / "one")))
    (tmp_path / "two" / "a" / "1.jpg").rename(tmp_path / "two" / "a" / "3.jpg")
    changes.add(fingerprint(scan(tmp_path / "two")))
    (tmp_path / "two" / "a" / "3.jpg").rename(tmp_path / "two" / "b" / "3.jpg")
    changes.add(fingerprint(scan(tmp_path / "two")))
    (tmp_path / "two" / "b" / "3.jpg").unlink()
    changes.add(fingerprint(scan(tmp_path / "two")))
    assert len(changes) == 4
    assert same not in changes


def test_fingerprint_of_a_file_that_has_gone(tmp_path):
    listing = scan(make(tmp_path, "a/1.jpg", "b/1.jpg"))
    before = fingerprint(listing)
    (tmp_path / "a" / "1.jpg").unlink()
    assert fingerprint(listing) != before


def test_contents_change_with_bytes_names_and_classes_alone():
    def hashed(names=("a/1.jpg", "b/1.jpg"), classes=("a", "b"), digests=(b"1", b"2"), split=None):
        items = tuple(Item(name, label, split) for label, name in enumerate(names))
        return contents(Listing(Path("x"), classes, items), digests)

    assert len(hashed()) == 64
    assert hashed(split="train") == hashed()
    different = {hashed(), hashed(names=("a/1.jpg", "b/2.jpg")), hashed(classes=("a", "c"))}
    assert len(different | {hashed(digests=(b"1", b"3"))}) == 4
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        hashed(digests=(b"1",))


def test_an_item_is_small_and_a_listing_knows_what_was_named(tmp_path):
    assert not hasattr(Item("a/1.jpg", 0), "__dict__")
    assert Item("a/1.jpg", 0).path == Path("a/1.jpg")
    listing = scan(make(tmp_path, "a/1.jpg", "b/1.jpg"))
    assert listing.source == listing.storage.place == tmp_path
    table = replace(listing, table=tmp_path / "t.csv")
    assert (table.source, table.storage.place) == (tmp_path / "t.csv", tmp_path)
