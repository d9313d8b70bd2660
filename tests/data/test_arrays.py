from __future__ import annotations

import numpy as np
import pytest

from keras_classics.data.arrays import as_pictures
from keras_classics.errors import ClassicsError
from pictures import no_pictures

SIZE = (8, 6)
PICTURES = np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), np.uint8)
PICTURES[0, 0, 0] = 0, 1, 255  # both ends of the range


@pytest.mark.parametrize("which", range(len(no_pictures(PICTURES))))
def test_what_is_no_picture_is_refused(which):
    given, words = no_pictures(PICTURES)[which]
    with pytest.raises(ClassicsError, match=words) as caught:
        as_pictures(given, SIZE)
    assert "\n" not in str(caught.value)


def test_pictures_are_taken_as_they_are():
    assert as_pictures(PICTURES, SIZE) is PICTURES
    assert as_pictures(PICTURES[:0], SIZE).shape == (0, *SIZE, 3)


@pytest.mark.parametrize(
    "given",
    [
        list(PICTURES),
        tuple(PICTURES),
        PICTURES.tolist(),
        PICTURES.astype(">i8"),
        list(PICTURES * 1),
    ],
)
def test_other_things_that_hold_pictures(given):
    found = as_pictures(given, SIZE)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PICTURES)


def test_one_picture_is_a_batch_of_one():
    for given in (PICTURES[0], [PICTURES[0]], PICTURES[0].tolist()):
        np.testing.assert_array_equal(as_pictures(given, SIZE), PICTURES[:1])
    assert as_pictures([], SIZE).shape == (0, *SIZE, 3)
