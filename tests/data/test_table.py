from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from keras_classics.data.check.run import check
from keras_classics.data.folder import scan
from keras_classics.data.listing import fingerprint
from keras_classics.data.manifest import read_manifest, write_manifest
from keras_classics.data.splits import assign_splits
from keras_classics.errors import DataError
from listings import found, make
from pictures import write_pictures

FILES = ("img/1.jpg", "img/2.jpg", "img/3.jpg", "img/4.jpg")
ROWS = "img/1.jpg,cat\nimg/2.jpg,dog\nimg/3.jpg,cat\nimg/4.jpg,dog\n"


def table(folder, text, name="labels.csv", encoding="utf-8"):
    make(folder, *FILES)
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


CATS = {"img/1.jpg": "cat", "img/2.jpg": "dog", "img/3.jpg": "cat", "img/4.jpg": "dog"}


@pytest.mark.parametrize("path", ["path", "filename", "file", "image", " Path "])
@pytest.mark.parametrize("label", ["label", "class", "target", "LABEL"])
def test_columns_by_any_of_their_names(tmp_path, path, label):
    listing = scan(table(tmp_path, f"{path},{label}\n{ROWS}"))
    assert {name: what for name, (what, _) in found(listing).items()} == CATS
    assert listing.root == tmp_path
    assert listing.source == tmp_path / "labels.csv"
    assert listing.classes == ("cat", "dog")
    assert (listing.ignored, listing.items[0].split, listing.items[0].group) == ((), None, None)


@pytest.mark.parametrize(
    ("text", "name", "encoding"),
    [
        ("path;label\n" + ROWS.replace(",", ";"), "x.csv", "utf-8"),
        ("path\tlabel\n" + ROWS.replace(",", "\t"), "x.tsv", "utf-8"),
        ("path,label\n" + ROWS, "x.CSV", "utf-8-sig"),
        ("path,label\r\n" + ROWS.replace("\n", "\r\n"), "x.csv", "utf-8"),
        ("id,label,path\n" + re.sub("(.*),(.*)", r"7,\2,\1", ROWS), "x.csv", "utf-8"),
        ("path,label\n" + re.sub("(.*),(.*)", r'"\1", "\2"', ROWS).replace(', ', ","), "x.csv",
         "utf-8"),
        ("path,label\n" + ROWS.replace(",", ", ") + "\n\n", "x.csv", "utf-8"),
        ("path,label\n" + ROWS.replace("img/", "img\\"), "x.csv", "utf-8"),
        ("path,label\n" + ROWS.replace("img/", "./img//"), "x.csv", "utf-8"),
        ("path,label\n" + ROWS + ROWS, "x.csv", "utf-8"),
    ],
)  # fmt: skip
def test_ways_to_write_a_table(tmp_path, text, name, encoding):
    listing = scan(table(tmp_path, text, name, encoding))
    assert {name: what for name, (what, _) in found(listing).items()} == CATS


def test_splits_in_any_of_their_names(tmp_path):
    rows = ROWS.splitlines()
    splits = ("train", "Training", " dev", "VALIDATION")
    text = "".join(f"{row},{split}\n" for row, split in zip(rows, splits, strict=True))
    listing = scan(table(tmp_path, "path,label,Split\n" + text))
    assert [item.split for item in listing.items] == ["train", "train", "val", "val"]


def test_a_path_may_be_absolute_or_lead_elsewhere(tmp_path):
    make(tmp_path, *FILES)
    (tmp_path / "tables").mkdir()
    text = f"path,label\n../img/1.jpg,cat\n{tmp_path / 'img' / '2.jpg'},dog\n"
    place = table(tmp_path / "tables", text)
    listing = scan(place)
    assert [listing.storage.read_bytes(item.name) for item in listing.items] == [
        b"img/1.jpg", b"img/2.jpg"
    ]  # fmt: skip


def test_names_with_spaces_at_their_ends_and_any_ending(tmp_path):
    make(tmp_path, " a'", "b.jpg ", "c.dat")
    listing = scan(table(tmp_path, "path,label\n a',x\nb.jpg ,y\n c.dat ,y\n"))
    assert [item.name for item in listing.items] == [" a'", "b.jpg ", "c.dat"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty, or no text; its first line must name the columns"),
        ("path,label\0\n", "is empty, or no text"),
        ("path,label\n", "has no rows below the names of the columns; add some"),
        (
            "name,label\nx,y\n",
            "has no column path, filename, file or image, but 'name', 'label'; rename one",
        ),
        ("file;kind\nx;y\n", "has no column label, class or target, but 'file', 'kind'; rename"),
        ("path,label\n,cat\n", "row 2 has nothing in the column 'path'; fill it in"),
        ("path,label\n" + ROWS + "img/1.jpg, \n", "row 6 has nothing in the column 'label'"),
        ("path,label\n" + ROWS + "img/1.jpg\n", "row 6 has 1 fields, but the first line names 2"),
        ('path,label\n"a"b,cat\n', "is not a table ("),
        (
            "path,label\n" + ROWS + "img/1.jpg,dog\n",
            "rows 2 and 6 give img/1.jpg two labels, 'cat' and 'dog'; remove one",
        ),
        (
            "path,label\n" + ROWS + "img/5.jpg,cat\nimg/6.jpg,cat\n",
            "2 of 6 files are not in ",
        ),
        ("path,label\nimg/1.jpg,cat\nimg/2.jpg,cat\n", "has only one class, 'cat'; add"),
        (
            "path,label,split\nimg/1.jpg,cat,train\nimg/2.jpg,dog,holdout\n",
            "row 3 has the split 'holdout'; one of train, val, test is needed, or nothing in all",
        ),
        (
            "path,label,split\nimg/1.jpg,cat,\nimg/2.jpg,dog,train\n",
            "row 3 has a split but row 2 has none; fill in all or none",
        ),
        (
            "path,label,split\nimg/1.jpg,cat,train\nimg/1.jpg,cat,test\n",
            "rows 2 and 3 give img/1.jpg two splits, 'train' and 'test'",
        ),
        (
            "path,label,split\nimg/1.jpg,cat,train\nimg/2.jpg,dog,test\n",
            "the class 'dog' has images for test (img/2.jpg) but none for train",
        ),
    ],
)
def test_tables_that_are_refused(tmp_path, text, words):
    place = table(tmp_path, text)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        scan(place)
    assert str(caught.value).startswith(f"{place}: ")
    assert str(caught.value).isprintable()


def test_missing_files_are_told_with_where_they_were_looked_for(tmp_path):
    place = table(tmp_path, f"path,label\n{ROWS}gone.jpg,cat\n")
    with pytest.raises(DataError) as caught:
        scan(place)
    assert str(caught.value) == (
        f"{place}: 1 of 5 files are not in {tmp_path}, first gone.jpg of row 6; paths are relative "
        "to the folder of the table, or to that which --root names"
    )


def test_a_table_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    place = table(tmp_path, "path,label\n" + ROWS)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"labels\.csv: cannot be read \(Permission denied\)"):
        scan(place)


def test_evaluation_follows_the_classes_of_the_model(tmp_path):
    place = table(tmp_path, "path,label,split\nimg/1.jpg,dog,test\n")
    listing = scan(place, classes=("ant", "cat", "dog"))
    assert [item.label for item in listing.items] == [2]
    with pytest.raises(DataError, match="does not know the class 'dog'; it knows 'ant'; rename"):
        scan(place, classes=("ant",))


def test_nothing_is_said_of_the_folders_of_a_table(tmp_path):
    write_pictures(tmp_path / "photos", each=12)
    (tmp_path / "empty").mkdir()
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    text = "".join(f"{name},{name.parts[1][0]}\n" for name in names)
    (tmp_path / "t.csv").write_text("path,label\n" + text)
    result = check(tmp_path / "t.csv", size=64)
    assert result.folder == str(tmp_path / "t.csv")
    assert result.classes == {"c": 24, "s": 12}
    assert {finding.kind for finding in result.findings} <= {"tiny"}


# ------------------------------------------------------------------------------ groups and roots


def test_a_column_groups(tmp_path):
    text = "path,label,patient\nimg/1.jpg,cat,7\nimg/2.jpg,dog,8\nimg/3.jpg,cat,8\n"
    place = table(tmp_path, text)
    assert [item.group for item in scan(place, group_by="patient").items] == ["7", "8", "8"]
    assert [item.group for item in scan(place).items] == [None] * 3
    assert [item.group for item in scan(place, group_by=r"[12]|3").items] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("img/1.jpg,cat,7\nimg/2.jpg,dog,\n", "row 3 has nothing in the column 'patient'"),
        ("img/1.jpg,cat,7\nimg/2.jpg,dog,7\n", "group_by='patient' puts all 2 images into one"),
        ("img/1.jpg,cat,7\nimg/1.jpg,cat,8\n", "give img/1.jpg two groups, '7' and '8'"),
    ],
)
def test_columns_that_make_no_groups(tmp_path, rows, words):
    with pytest.raises(DataError, match=re.escape(words)):
        scan(table(tmp_path, "path,label,patient\n" + rows), group_by="patient")


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path):
    with pytest.raises(DataError) as caught:
        scan(table(tmp_path, "path,label\n" + ROWS), group_by="patient")
    assert str(caught.value).endswith(
        "group_by='patient' is found in no path, such as img/1.jpg (columns of the table: 'path', "
        "'label'); change it"
    )


@pytest.mark.parametrize("packed", [False, True])
def test_a_manifest_with_its_root_divides_in_the_same_way(tmp_path, packed):
    photos = write_pictures(tmp_path / "photos", each=9)
    listing = assign_splits(scan(photos, group_by=r"(\d)\.png"), seed=5)
    manifest = tmp_path / "run" / "split.csv"
    manifest.parent.mkdir()
    write_manifest(listing, manifest)
    assert set(read_manifest(manifest)[0]) == {"path", "label", "split", "group"}
    root = photos
    if packed:
        root = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))
    again = scan(manifest, root=root, group_by="group")
    assert again.items == listing.items
    assert again.classes == listing.classes
    assert assign_splits(again, seed=8).items == listing.items
    assert fingerprint(again) == fingerprint(listing)
    assert (again.root, again.source) == (root, manifest)
    shutil.copy(manifest, photos / "split.csv")
    assert scan(photos / "split.csv", group_by="group").items == listing.items


def test_roots_that_cannot_be(tmp_path):
    place = table(tmp_path, "path,label\n" + ROWS)
    with pytest.raises(DataError, match=r"absent: no such folder; check the path"):
        scan(place, root=tmp_path / "absent")
    with pytest.raises(DataError, match=r"1\.jpg: is a file, not a folder; give"):
        scan(place, root=tmp_path / "img" / "1.jpg")
    with pytest.raises(DataError, match=r"4 of 4 files are not in .*img, first img/1\.jpg"):
        scan(place, root=tmp_path / "img")
    with pytest.raises(DataError, match=r"root=.*: is for a table \(\.csv\) of paths, and .* none"):
        scan(tmp_path, root=tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be had there")
def test_errors_are_one_line_whatever_the_names(tmp_path):
    folder = tmp_path / "a\nb"
    for text in ("", "x,y\n", 'path,label\n"a\nb",c\n', 'path,label\n"a\nb"c,d\n'):
        with pytest.raises(DataError) as caught:
            scan(table(folder, text))
        assert str(caught.value).isprintable()
