from __future__ import annotations

import re

import pytest

from keras_classics.data.folder import scan
from keras_classics.errors import DataError
from listings import make

FILES = ("cat/p1-a.jpg", "cat/p2-a.jpg", "dog/p1-b.jpg", "dog/p3-a.jpg")


@pytest.fixture
def root(tmp_path):
    return make(tmp_path, *FILES)


def groups(listing):
    return [item.group for item in listing.items]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"p(\d+)", ["1", "2", "1", "3"]),
        (r"p\d+", ["p1", "p2", "p1", "p3"]),
        (r"^(\w+)/", ["cat", "cat", "dog", "dog"]),
        (r"(?:p(1)|p(\d))-", ["1", "2", "1", "3"]),
        (r"(x)?-[ab]", ["-a", "-a", "-b", "-a"]),
    ],
)
def test_the_first_group_that_takes_part_or_the_whole_match_is_the_key(root, pattern, expected):
    assert groups(scan(root, group_by=pattern)) == expected


def test_without_a_pattern_there_are_no_groups(root):
    assert groups(scan(root)) == [None] * 4


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("p(", r"group_by='p(' is not a regular expression (missing ), unterminated"),
        ("scene", "group_by='scene' is found in no path, such as cat/p1-a.jpg; change it"),
        (
            "p[12]",
            "is not found in 1 of 4 paths, such as dog/p3-a.jpg; change it so that it is found",
        ),
        ("", "group_by='' is found in no path"),
        ("x*", "group_by='x*' is found in no path"),
        ("jpg", "group_by='jpg' puts all 4 images into one group, 'jpg'; change it or leave it"),
    ],
)
def test_patterns_that_make_no_groups(root, pattern, words):
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        scan(root, group_by=pattern)
    assert str(caught.value).startswith(f"{root}: ")
    assert str(caught.value).isprintable()


def test_equal_keys_are_one_text(tmp_path):
    """A million images of ten groups need not hold a million texts."""
    make(tmp_path, *(f"{kind}/scene-long-{i % 2}-{i}.jpg" for kind in "ab" for i in range(10)))
    found = groups(scan(tmp_path, group_by=r"scene-long-\d"))
    assert len({id(group) for group in found}) == 2
