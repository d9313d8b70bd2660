from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from keras_classics.data.folder import (
    Item,
    Listing,
    assign_splits,
    fingerprint,
    image_files,
    one_line,
    read_manifest,
    scan,
    write_manifest,
)
from keras_classics.errors import DataError, OutputError


def make(root: Path, *files: str) -> Path:
    """Files with their own names as contents: listing opens none of them."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def found(listing: Listing) -> dict[str, tuple[str, str | None]]:
    return {
        item.path.as_posix(): (listing.classes[item.label], item.split) for item in listing.items
    }


def listing_of(counts: dict[str, int], split: str | None = None, root: str = "root") -> Listing:
    classes = tuple(counts)
    items = tuple(
        Item(Path(f"{split or ''}/{name}/{number:04}.jpg"), label, split)
        for label, name in enumerate(classes)
        for number in range(counts[name])
    )
    return Listing(Path(root), classes, items)


def together(*listings: Listing) -> Listing:
    first = listings[0]
    return Listing(first.root, first.classes, tuple(item for one in listings for item in one.items))


def tally(listing: Listing) -> dict[str, Counter]:
    counts: dict[str, Counter] = defaultdict(Counter)
    for item in listing.items:
        counts[listing.classes[item.label]][item.split] += 1
    return counts


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            ["cat/b.jpg", "cat/a.PNG", "dog/a.jpeg"],
            {"cat/a.PNG": ("cat", None), "cat/b.jpg": ("cat", None), "dog/a.jpeg": ("dog", None)},
        ),
        (
            ["train/cat/1.jpg", "train/dog/1.jpg", "Validation/cat/2.jpg", "TEST/dog/3.jpg"],
            {
                "TEST/dog/3.jpg": ("dog", "test"),
                "Validation/cat/2.jpg": ("cat", "val"),
                "train/cat/1.jpg": ("cat", "train"),
                "train/dog/1.jpg": ("dog", "train"),
            },
        ),
        (
            ["cat/train/1.jpg", "cat/testing/2.jpg", "dog/training/1.jpg"],
            {
                "cat/testing/2.jpg": ("cat", "test"),
                "cat/train/1.jpg": ("cat", "train"),
                "dog/training/1.jpg": ("dog", "train"),
            },
        ),
        (
            ["set/train/cat/deep/er/1.jpg", "set/train/dog/1.jpg", "set/dev/dog/2.jpg"],
            {
                "set/dev/dog/2.jpg": ("dog", "val"),
                "set/train/cat/deep/er/1.jpg": ("cat", "train"),
                "set/train/dog/1.jpg": ("dog", "train"),
            },
        ),
        (
            ["x/y/cat/1.jpg", "x/y/dog/1.jpg"],
            {"x/y/cat/1.jpg": ("cat", None), "x/y/dog/1.jpg": ("dog", None)},
        ),
        (
            ["a/cat/1.jpg", "a/dog/1.jpg", "b/cat/1.jpg"],
            {"a/cat/1.jpg": ("a", None), "a/dog/1.jpg": ("a", None), "b/cat/1.jpg": ("b", None)},
        ),
        (
            ["train/val/cat/1.jpg", "train/train/cat/2.jpg", "train/train/dog/3.jpg"],
            {
                "train/train/cat/2.jpg": ("cat", "train"),
                "train/train/dog/3.jpg": ("dog", "train"),
                "train/val/cat/1.jpg": ("cat", "val"),
            },
        ),
        (
            ["plane/1.jpg", "ship/1.jpg", "train/1.jpg"],
            {
                "plane/1.jpg": ("plane", None),
                "ship/1.jpg": ("ship", None),
                "train/1.jpg": ("train", None),
            },
        ),
        (
            ["train/valid/1.jpg", "train/invalid/2.jpg"],
            {
                "train/invalid/2.jpg": ("invalid", "train"),
                "train/valid/1.jpg": ("valid", "train"),
            },
        ),
    ],
)
def test_layouts(tmp_path, files, expected):
    listing = scan(make(tmp_path, *files))
    assert found(listing) == expected
    assert list(found(listing)) == sorted(expected)
    assert listing.root == tmp_path
    assert listing.ignored == ()


def test_unlabelled_test_images_are_ignored(tmp_path):
    make(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg", "test/2.jpg")
    listing = scan(tmp_path)
    assert {split for _, split in found(listing).values()} == {"train"}
    assert listing.ignored == (Path("test/1.jpg"), Path("test/2.jpg"))
    shutil.rmtree(tmp_path / "train")
    make(tmp_path, "cat/1.jpg", "dog/1.jpg")
    assert scan(tmp_path).classes == ("cat", "dog")


def test_what_is_not_of_a_class_is_ignored_and_what_is_hidden_skipped(tmp_path):
    make(
        tmp_path,
        "cat/1.jpg", "dog/1.jpg", "dog/notes.txt", "logo.png", "README",
        "dog/.hidden.jpg", ".git/x.jpg", "__MACOSX/cat/1.jpg", "cat/.cache/1.jpg",
    )  # fmt: skip
    listing = scan(tmp_path)
    assert list(found(listing)) == ["cat/1.jpg", "dog/1.jpg"]
    assert listing.ignored == (Path("README"), Path("dog/notes.txt"), Path("logo.png"))


def test_classes_are_in_natural_order_whatever_the_disk_says(tmp_path):
    make(tmp_path, *(f"{name}/1.jpg" for name in ("10", "b10", "2", "B9", "a", "1")))
    listing = scan(tmp_path)
    assert listing.classes == ("1", "2", "10", "a", "B9", "b10")
    assert [listing.classes[item.label] for item in listing.items] == [
        item.path.parts[0] for item in listing.items
    ]


def test_both_spellings_of_an_accent_are_one_class(tmp_path):
    make(tmp_path, "train/caf\u00e9/1.jpg", "test/cafe\u0301/1.jpg", "train/bar/1.jpg")
    listing = scan(tmp_path)
    assert listing.classes == ("bar", "caf\u00e9")
    assert len(listing.items) == 3


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_but_not_in_circles_nor_into_nothing(tmp_path):
    make(tmp_path / "store", "1.jpg")
    make(tmp_path / "set", "dog/1.jpg")
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "dog" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "set" / "dog" / "pipe.jpg")
    listing = scan(tmp_path / "set")
    assert list(found(listing)) == ["cat/1.jpg", "dog/1.jpg"]
    assert listing.ignored == (Path("dog/gone.jpg"), Path("dog/pipe.jpg"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], ["contains no images (looked for .bmp, .gif, .jfif", ".webp)"]),
        (["cat/notes.txt"], ["contains no images"]),
        (["1.jpg", "2.jpg"], ["has 2 images but no class sub-folders", "name of the class"]),
        (["train/1.jpg", "val/2.jpg"], ["has 2 images but no class sub-folders"]),
        (["cat/1.jpg", "cat/2.jpg"], ["only one class, 'cat'", "add"]),
        (["set/train/cat/1.jpg", "set/test/cat/2.jpg"], ["only one class, 'cat'"]),
        (["train/a/1.jpg", "train/b/1.jpg", "test/c/1.jpg"], ["'c'", "test/c/1.jpg", "for train"]),
        (["test/a/1.jpg", "test/b/1.jpg"], ["'a'", "for test", "none for train"]),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "test/a/2.jpg", "more/a/3.jpg"],
            ["test/a/2.jpg is in a split folder but more/a/3.jpg is in none", "move"],
        ),
    ],
)
def test_folders_that_cannot_be_learned_from(tmp_path, files, words):
    make(tmp_path, *files)
    with pytest.raises(DataError) as caught:
        scan(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_no_folder_and_a_file_are_named(tmp_path):
    with pytest.raises(DataError, match="absent: no such folder; check"):
        scan(tmp_path / "absent")
    make(tmp_path, "x.jpg")
    with pytest.raises(DataError, match=r"x\.jpg: is a file, not a folder; give"):
        scan(str(tmp_path / "x.jpg"))


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    make(tmp_path, "cat/1.jpg")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        scan(tmp_path)


def test_a_name_that_cannot_be_looked_up_is_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"x: cannot be read \(File name too long\)$"):
        scan(tmp_path / ("x" * 300))
    with pytest.raises(DataError, match=r"cannot be read \(.*null (byte|character).*\)$"):
        scan(f"{tmp_path}/a\0b")

    def refuse(_path, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DataError, match=r"^photos: cannot be read \(Permission denied\)$"):
        scan("photos")


def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, "cat/1.jpg", "dog/1.jpg"))
    with pytest.raises(DataError, match=r"^an empty path names no file or folder; give"):
        scan("")
    assert len(scan(".").items) == len(scan(Path()).items) == 2


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be had there")
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "contains no images"),
        (["1.jpg"], "has 1 images but no class"),
        (["ca\nt/1.jpg"], r"only one class, 'ca\nt'"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/c/x\r1.jpg"], r"(test/c/x\r1.jpg)"),
        (
            ["train/a/1\n.jpg", "b/x\x1b[31m.jpg"],
            r"train/a/1\n.jpg is in a split folder but b/x\x1b",
        ),
    ],
)
def test_control_characters_in_names_do_not_reach_the_terminal(tmp_path, files, words):
    root = make(tmp_path / "my\nset", *files)
    root.mkdir(exist_ok=True)
    with pytest.raises(DataError) as caught:
        scan(root)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/my\\nset: ")
    assert words in message
    assert message.isprintable()


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be had there")
def test_every_other_error_is_one_line_too(tmp_path):
    root = tmp_path / "a\nb"
    make(root, "file", "one/cat/1.jpg")
    lonely = replace(listing_of({"a": 1}), root=root)
    untrained = replace(
        together(listing_of({"a": 0}, "train"), listing_of({"a": 2}, "test")), root=root
    )
    failures = [
        lambda: scan(root / "absent"),
        lambda: scan(root / "file"),
        lambda: scan(root / "one", classes=("dog",)),
        lambda: assign_splits(lonely, seed=0),
        lambda: assign_splits(untrained, seed=0),
        lambda: write_manifest(lonely, root / "absent" / "m.csv"),
        lambda: read_manifest(root / "absent.csv"),
        lambda: read_manifest(root / "file"),
    ]
    for fail in failures:
        with pytest.raises((DataError, OutputError), match=r"a\\nb") as caught:
            fail()
        assert str(caught.value).isprintable()


def test_one_line_keeps_what_can_be_printed():
    assert one_line("caf\u00e9 \u4e2d\u3000\\ a\tb\u2028\x85\udce9") == (
        "caf\u00e9 \u4e2d\u3000\\ a\\tb\\u2028\\x85\\udce9"
    )


def test_image_files_are_relative_sorted_and_visible(tmp_path):
    make(tmp_path, "b/2.PNG", "b.jpg", "a/notes.txt", "a/._x.jpg", "__MACOSX/x.jpg")
    assert image_files(tmp_path) == ([Path("b.jpg"), Path("b/2.PNG")], [Path("a/notes.txt")])


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["dog/1.jpg"], [2]),
        (["dog/1.jpg", "ant/1.jpg"], [0, 2]),
        (["set/dog/1.jpg"], [2]),
        (["set/test/dog/x/1.jpg", "set/test/dog/y/1.jpg"], [2, 2]),
        (["test/dog/1.jpg", "cat/1.jpg"], [1, 2]),
        (["train/1.jpg"], [3]),
    ],
)
def test_evaluation_follows_the_classes_of_the_model(tmp_path, files, labels):
    listing = scan(make(tmp_path, *files), classes=["ant", "cat", "dog", "train"])
    assert listing.classes == ("ant", "cat", "dog", "train")
    assert [item.label for item in listing.items] == labels


def test_evaluation_refuses_unknown_classes(tmp_path):
    make(tmp_path, *(f"{name}/1.jpg" for name in ("e1", "e2", "e3", "e10", "e20", "cat")))
    with pytest.raises(DataError) as caught:
        scan(tmp_path, classes=("cat", "dog"))
    assert "does not know the class 'e1', 'e2', 'e3' and 2 more; it knows 'cat', 'dog'" in str(
        caught.value
    )
    with pytest.raises(DataError, match="the class 'zebra'; it knows"):
        scan(make(tmp_path / "one", "zebra/deep/1.jpg"), classes=("cat", "dog"))


def test_of_many_known_classes_ten_are_named(tmp_path):
    root = make(tmp_path, "zebra/1.jpg")
    known = [f"c{number}" for number in range(1000)]
    with pytest.raises(DataError) as caught:
        scan(root, classes=known)
    assert "it knows 'c0', 'c1', " in str(caught.value)
    assert str(caught.value).endswith(", 'c9' and 990 more; rename or remove the folder")
    with pytest.raises(DataError, match="'c9'; rename"):
        scan(root, classes=known[:10])


def test_nothing_is_written_in_the_folder(tmp_path):
    make(tmp_path, "cat/1.jpg", "dog/1.jpg")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    fingerprint(scan(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.05, 0.05, 0.9), (0.1, 0.8, 0.1)])
def test_every_class_is_in_every_split(seed, fractions):
    sizes = {str(size): size for size in range(2, 40)}
    listing = listing_of(sizes)
    divided = assign_splits(listing, seed=seed, fractions=fractions)
    assert [item.path for item in divided.items] == [item.path for item in listing.items]
    assert [item.label for item in divided.items] == [item.label for item in listing.items]
    for name, counts in tally(divided).items():
        assert counts["train"] >= 1
        assert counts["test"] >= 1
        assert counts["val"] >= 1 or sizes[name] == 2
        assert counts.total() == sizes[name]
    assert tally(divided)["2"] == {"train": 1, "test": 1}


def test_large_classes_have_the_fractions_and_the_paths_do_not_decide():
    divided = assign_splits(listing_of({"a": 1000, "b": 200}), seed=0)
    assert tally(divided)["a"] == {"train": 700, "val": 150, "test": 150}
    assert tally(divided)["b"] == {"train": 140, "val": 30, "test": 30}
    first = Counter(item.split for item in divided.items[:500])
    assert 45 < first["test"] < 105


def test_splits_depend_on_the_seed_and_nothing_else():
    listing = listing_of({"a": 50, "b": 60})
    once = assign_splits(listing, seed=3)
    assert assign_splits(listing, seed=3) == once
    assert assign_splits(listing, seed=4) != once
    elsewhere = assign_splits(listing_of({"a": 50, "b": 60}, root="other"), seed=3)
    assert elsewhere.items == once.items
    # Known since the first version: an old run's manifest must be reproducible.
    tests = [item.path.stem for item in once.items if item.split == "test" and item.label == 0]
    assert tests == ["0014", "0022", "0024", "0026", "0029", "0030", "0035", "0046"]


def test_one_more_image_moves_few_of_the_others():
    before = assign_splits(listing_of({"a": 200, "b": 200}), seed=0)
    after = assign_splits(listing_of({"a": 201, "b": 200}), seed=0)
    splits = {item.path: item.split for item in after.items}
    assert sum(splits[item.path] != item.split for item in before.items) <= 4


def test_only_train_is_divided_as_if_nothing_were_given():
    divided = assign_splits(listing_of({"a": 100, "b": 20}, "train"), seed=0)
    assert tally(divided)["a"] == {"train": 70, "val": 15, "test": 15}


def test_val_is_drawn_from_train_where_test_is_given():
    given = together(listing_of({"a": 100, "b": 2}, "train"), listing_of({"a": 9, "b": 1}, "test"))
    divided = assign_splits(given, seed=0)
    assert tally(divided)["a"] == {"train": 85, "val": 15, "test": 9}
    assert tally(divided)["b"] == {"train": 1, "val": 1, "test": 1}
    for old, new in zip(given.items, divided.items, strict=True):
        assert (old.split == "test") == (new.split == "test")


def test_given_val_is_held_back_and_another_drawn_where_test_is_missing():
    given = together(listing_of({"a": 100, "b": 1}, "train"), listing_of({"a": 9, "b": 0}, "val"))
    divided = assign_splits(given, seed=0)
    assert tally(divided)["a"] == {"train": 85, "val": 15, "test": 9}
    assert tally(divided)["b"] == {"train": 1}
    for old, new in zip(given.items, divided.items, strict=True):
        assert (old.split == "val") == (new.split == "test")


def test_three_given_splits_are_kept():
    given = together(*(listing_of({"a": 5, "b": 4}, split) for split in ("train", "val", "test")))
    assert assign_splits(given, seed=0) == given


def test_a_class_that_cannot_be_divided_is_named():
    with pytest.raises(DataError) as caught:
        assign_splits(listing_of({"a": 5, "lonely": 1}), seed=0)
    message = str(caught.value)
    assert "the class 'lonely' has a single image (lonely/0000.jpg)" in message.replace("/lo", "lo")
    assert message.endswith("add images or remove the folder")
    given = together(listing_of({"a": 5, "b": 0}, "train"), listing_of({"a": 0, "b": 2}, "test"))
    with pytest.raises(DataError, match="'b' has no images for train"):
        assign_splits(given, seed=0)


@pytest.mark.parametrize("fractions", [(0.7, 0.3, 0.0), (0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_are_checked(fractions):
    with pytest.raises(ValueError, match="positive with the sum 1"):
        assign_splits(listing_of({"a": 5}), seed=0, fractions=fractions)


def test_manifest_round_trip(tmp_path):
    classes = ('a, "b"', "é\u4e2d")
    items = (
        Item(Path("x/1,2.jpg"), 0, "train"),
        Item(Path("y/new\nline.jpg"), 1, "test"),
        Item(Path("y/z.jpg"), 1, None),
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
        Item(Path("y/1.jpg"), 1, "train"),
        Item(Path(name) / "1.jpg", 0, "train"),
        Item(Path("y") / name, 1, None),
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
    listing = Listing(tmp_path, ("a", "b"), (Item(Path(name), 0, "train"),))
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
