from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from keras_classics.data import storage
from keras_classics.data.folder import scan
from keras_classics.data.image_list import ImageList
from keras_classics.data.sources import each_image, find_images
from keras_classics.errors import DataError


@pytest.fixture
def tree(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a/deep/x.jpeg", "a/notes.txt", "c.tif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(paths, root):
    return [source.path.relative_to(root).as_posix() for source in paths]


def test_a_folder_stands_for_its_images_at_any_depth(tree):
    assert names(find_images(tree), tree) == ["a/deep/x.jpeg", "b/1.JPG", "b/2.png", "c.tif"]


def test_files_keep_their_order_and_any_ending(tree):
    given = [tree / "c.tif", tree / "a/notes.txt", tree / "b/1.JPG"]
    assert [source.path for source in find_images(given)] == given


def test_patterns(tree):
    assert names(find_images(f"{tree}/**/*.p*"), tree) == ["b/2.png"]
    assert names(find_images([f"{tree}/?/*"]), tree) == ["b/1.JPG", "b/2.png"]


def test_a_file_whose_name_looks_like_a_pattern(tree):
    odd = tree / "img[1].png"
    odd.write_bytes(b"x")
    assert [source.path for source in find_images(odd)] == [odd]


def test_each_image_once(tree):
    assert names(find_images([tree / "b", tree / "b/2.png"]), tree) == ["b/1.JPG", "b/2.png"]


@pytest.mark.parametrize(
    ("given", "message"),
    [("nowhere", "no such file"), ("a", "contains no images"), ("*.webp", "matches no image")],
)
def test_errors_name_what_was_given(tree, given, message):
    (tree / "a/deep/x.jpeg").unlink()
    with pytest.raises(DataError, match=message) as caught:
        find_images(tree / given)
    assert given in str(caught.value)


def test_nothing_named():
    with pytest.raises(DataError, match="no images named"):
        find_images([])


def test_a_folder_has_the_images_that_scan_sees(tree):
    for name in ("b/._2.png", ".thumbs/1.png", "__MACOSX/b/1.png"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"x")
    (tree / "c.tif").unlink()
    found = find_images(tree)
    assert names(found, tree) == ["a/deep/x.jpeg", "b/1.JPG", "b/2.png"]
    assert [source.name for source in found] == [item.name for item in scan(tree).items]
    assert names(find_images(tree / "b/._2.png"), tree) == ["b/._2.png"]
    assert names(find_images(f"{tree}/b/*"), tree) == ["b/1.JPG", "b/2.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_linked_folders_are_followed_but_not_in_circles(tree):
    (tree / "set").mkdir()
    (tree / "set" / "link").symlink_to(tree / "b")
    (tree / "b" / "again").symlink_to(tree / "set")
    assert names(find_images(tree / "set"), tree) == ["set/link/1.JPG", "set/link/2.png"]


@pytest.mark.parametrize("given", ["", [""], ["c.tif", ""]])
def test_an_empty_path_is_not_the_current_folder(tree, monkeypatch, given):
    monkeypatch.chdir(tree)
    with pytest.raises(DataError, match=r"^an empty path names no file or folder; give"):
        find_images(given)
    assert len(find_images(".")) == len(find_images(Path())) == 4


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "a\0b/*.png"])
def test_a_name_that_no_file_can_have_is_refused(tree, name):
    with pytest.raises(DataError, match="cannot be read") as caught:
        find_images(tree / name)
    assert str(caught.value).isprintable()


def test_a_pattern_may_be_longer_than_a_name(tree):
    assert names(find_images(f"{tree}/b/[{'2' * 300}].png"), tree) == ["b/2.png"]


def test_what_may_not_be_looked_at_is_named(tree, monkeypatch):
    def refuse(_path, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    for given in ("locked/x.jpg", "locked/*.jpg", str(tree / "b/*.png")):
        with pytest.raises(DataError) as caught:
            find_images(given)
        assert "cannot be read (Permission denied)" in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be had there")
@pytest.mark.parametrize("given", ["a\nb", "a\nb*", "dir\r"])
def test_errors_are_one_line(tree, given):
    (tree / "dir\r").mkdir()
    with pytest.raises(DataError) as caught:
        find_images(tree / given)
    assert str(caught.value).isprintable()
    assert given.replace("\n", "\\n").replace("\r", "\\r") in str(caught.value)


def test_an_archive_stands_for_its_images_too(tree, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "x"), "zip", tree))
    found = find_images([archive, tree / "b", tree / "b/2.png"])
    assert names(found, tmp_path) == [
        "x.zip/a/deep/x.jpeg", "x.zip/b/1.JPG", "x.zip/b/2.png", "x.zip/c.tif", "b/1.JPG", "b/2.png"
    ]  # fmt: skip
    assert {source.storage.read_bytes(source.name) for source in found} == {b"x"}
    empty = tmp_path / "empty.zip"
    empty.write_bytes(b"PK\5\6" + bytes(18))
    with pytest.raises(DataError, match=r"empty\.zip: contains no images"):
        find_images(empty)
    empty.write_bytes(b"torn")
    with pytest.raises(DataError, match=r"empty\.zip: is not a zip archive, or is corrupt"):
        find_images(empty)


def test_one_by_one_in_the_order_of_sorted_names(tmp_path, monkeypatch):
    """However few names of a folder are held at a time."""
    names = [
        "a.png", "a-b/1.png", "a/1.png", "a/b.png", "a/b/2.png", "a0.png", "B.png", "z/y/x.png",
        "a b/3.png", "\u00e9.png", *(f"many/{i}.png" for i in range(25)),
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for held in (1, 2, 7, 100_000):
        monkeypatch.setattr(storage, "AT_A_TIME", held)
        assert [source.name for source in each_image(tmp_path)] == sorted(names)


def test_each_image_once_without_a_list_of_them(tree):
    """What was named before is known by its place."""
    (tree / "b/.hidden.png").write_bytes(b"x")
    (tree / "b/none.txt").write_bytes(b"x")
    given = [tree / "b/2.png", tree / "b", tree / "b/none.txt", tree / "b/.hidden.png", tree, tree]
    assert names(each_image(given), tree) == [
        "b/2.png", "b/1.JPG", "b/none.txt", "b/.hidden.png", "a/deep/x.jpeg", "c.tif"
    ]  # fmt: skip
    assert names(each_image([f"{tree}/b/*", tree / "b", tree / "c.tif"]), tree) == [
        "b/1.JPG", "b/2.png", "c.tif"
    ]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_file_by_way_of_a_circle_is_one_of_its_own(tree):
    (tree / "b" / "again").symlink_to(tree / "b")
    circle = tree / "b" / "again" / "2.png"
    assert names(each_image([tree / "b", circle]), tree) == ["b/1.JPG", "b/2.png", "b/again/2.png"]


def test_a_wrong_second_name_is_told_after_the_first(tree):
    images = each_image([tree / "b", tree / "nowhere"])
    assert names([next(images), next(images)], tree) == ["b/1.JPG", "b/2.png"]
    with pytest.raises(DataError, match="nowhere: no such file"):
        next(images)


def test_a_list_in_a_database(tree, tmp_path, monkeypatch):
    """Any number of files, and not one on the disk where there are few."""
    archive = Path(shutil.make_archive(str(tmp_path / "x"), "zip", tree / "b"))
    odd = tree / "two\nlines.png"
    odd.write_bytes(b"x")
    given = [tree / "b", archive, odd, tree / "a"]
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path / "none"))
    with closing(ImageList()) as images:
        images.add(find_images(given))
        wanted = [
            (source.path, source.storage.read_bytes(source.name)) for source in find_images(given)
        ]
        assert len(images) == len(wanted) == 6
        for first in range(7):
            sources = images.sources(first)
            found = [(source.path, source.storage.read_bytes(source.name)) for source in sources]
            assert found == wanted[first:]
