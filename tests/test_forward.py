from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from keras_classics import build
from keras_classics.forward import filled, forward_of, size_for


def test_any_number_of_images_makes_few_sizes():
    assert {size_for(n, 32) for n in range(1, 200)} == {1, 2, 4, 8, 16, 32}
    assert [size_for(n, 12) for n in (0, 1, 7, 8, 9, 12, 13)] == [1, 1, 8, 8, 12, 12, 12]
    assert all(min(n, 32) <= size_for(n, 32) < 2 * n for n in range(1, 200))


def test_filled_up_with_the_last():
    np.testing.assert_array_equal(filled(np.arange(6).reshape(3, 2), 5)[:, 0], [0, 2, 4, 4, 4])
    batch = np.ones((2, 3))
    assert filled(batch, 2) is batch


@pytest.mark.backends
def test_threads_side_by_side_and_new_weights(randomise, images):
    model = randomise(
        build("vgg16", weights=None, input_shape=(32, 32, 3), width=0.0625, classes=3)
    )
    forward = forward_of(model)
    batches = [images(n, 32, 32, 3, seed=n) for n in (1, 2, 4, 8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(forward, batches * 10))
    for i, rows in enumerate(found):
        wanted = keras.ops.convert_to_numpy(model(batches[i % 4], training=False))
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, wanted, atol=1e-5)
    randomise(model, seed=1)
    wanted = keras.ops.convert_to_numpy(model(batches[0], training=False))
    assert np.abs(found[0] - wanted).max() > 1e-3
    np.testing.assert_allclose(forward(batches[0]), wanted, atol=1e-5)
