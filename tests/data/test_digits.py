from __future__ import annotations

import numpy as np
import pytest

from keras_classics.data.digits import load_digits_images
from keras_classics.errors import DataError


def test_digits_at_their_own_size_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    images, labels, names = load_digits_images(8)
    assert images.shape == (1797, 8, 8, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert names == tuple("0123456789")
    np.testing.assert_array_equal(labels, load_digits().target)
    np.testing.assert_array_equal(
        images, np.repeat(np.rint(load_digits().images * 255 / 16)[..., None], 3, axis=3)
    )
    assert images.max() == 255


def test_enlarged_digits_are_smooth():
    images, _, _ = load_digits_images(32)
    assert images.shape == (1797, 32, 32, 3)
    # Repeating pixels would leave no step smaller than 255 / 16.
    steps = np.abs(np.diff(images[0, ..., 0].astype(int), axis=1))
    assert 0 < np.median(steps[steps > 0]) < 60
    assert len(np.unique(images[0])) > 17
    np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_the_size_is_checked():
    with pytest.raises(ValueError, match="size must be at least 1"):
        load_digits_images(0)


@pytest.mark.parametrize("size", [513, 2048])
def test_a_size_that_would_fill_the_memory_is_refused(size):
    with pytest.raises(DataError) as caught:
        load_digits_images(size)
    assert str(caught.value) == (
        f"size={size}: the digits can be at most 512 x 512 pixels; choose a smaller size"
    )
