from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from keras_classics.data.folder import scan
from keras_classics.data.listing import fingerprint
from keras_classics.data.manifest import read_manifest, write_manifest
from keras_classics.data.splits import assign_splits
from keras_classics.errors import DataError, OutputError
from listings import found, listing_of, make, together


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
def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    make(tmp_path / "store", "1.jpg")
    make(tmp_path / "set", "dog/1.jpg")
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "dog" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "dog" / "self").symlink_to(tmp_path / "set" / "dog" / "self")
    listing = scan(tmp_path / "set")
    assert list(found(listing)) == ["cat/1.jpg", "dog/1.jpg"]
    assert listing.ignored == (Path("dog/self"),)


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


(EXAMPLE,) = re.findall(
    r"```python\n(.*?)```",
    (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8"),
    flags=re.DOTALL,
)


def test_the_example_of_the_guide(tmp_path, capsys, monkeypatch):
    names = [f"{kind}/patient{i}-{kind}.jpg" for kind in ("cat", "dog") for i in range(9)]
    make(tmp_path / "photos", *names)
    monkeypatch.chdir(tmp_path)
    shutil.make_archive("photos", "zip", "photos")
    exec(EXAMPLE, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        [f"cat/patient{i}-cat.jpg", "cat", str(i)] for i in range(3)
    ]
    assert {line.split()[3] for line in lines} <= {"train", "val", "test"}
