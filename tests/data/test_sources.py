from __future__ import annotations

import pytest

from keras_classics.data.sources import find_images
from keras_classics.errors import DataError


@pytest.fixture
def tree(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a/deep/x.jpeg", "a/notes.txt", "c.tif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_folder_stands_for_its_images_at_any_depth(tree):
    assert names(find_images(tree), tree) == ["a/deep/x.jpeg", "b/1.JPG", "b/2.png", "c.tif"]


def test_files_keep_their_order_and_any_ending(tree):
    given = [tree / "c.tif", tree / "a/notes.txt", tree / "b/1.JPG"]
    assert find_images(given) == given


def test_patterns(tree):
    assert names(find_images(f"{tree}/**/*.p*"), tree) == ["b/2.png"]
    assert names(find_images([f"{tree}/?/*"]), tree) == ["b/1.JPG", "b/2.png"]


def test_a_file_whose_name_looks_like_a_pattern(tree):
    odd = tree / "img[1].png"
    odd.write_bytes(b"x")
    assert find_images(odd) == [odd]


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
