from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_classics.training import batch_norm


def test_fitted_momentum_settles_in_one_epoch_and_never_exceeds_the_own():
    assert batch_norm.fitted_momentum(44) == pytest.approx(np.exp(-5 / 44))
    assert batch_norm.fitted_momentum(44) ** 44 == pytest.approx(np.exp(-5))
    assert batch_norm.fitted_momentum(5000) == 0.99
    assert batch_norm.fitted_momentum(5000, 0.9) == 0.9
    assert batch_norm.fitted_momentum(1) == 0.5


def normed():
    inputs = keras.Input((4, 4, 3))
    x = layers.BatchNormalization(name="first")(inputs)
    x = layers.Conv2D(5, 3, name="conv")(x)
    return keras.Model(inputs, layers.BatchNormalization(momentum=0.7, name="second")(x))


@pytest.mark.every_backend
def test_reestimated_statistics_are_the_population_s():
    model = normed()
    rng = np.random.default_rng(0)
    # Batches that differ from each other: the variance of their means counts too.
    batches = [rng.normal(i, 1 + i, (8, 4, 4, 3)).astype("float32") for i in range(5)]
    batch_norm.reestimate(model, batches)
    everything = np.concatenate(batches)
    first = model.get_layer("first")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(first.moving_mean), everything.mean((0, 1, 2)), rtol=1e-4
    )
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(first.moving_variance), everything.var((0, 1, 2)), rtol=1e-4
    )
    # The second layer sees what training sees: each batch normalised by itself.
    kernel = keras.ops.convert_to_numpy(model.get_layer("conv").kernel)
    outputs = []
    for batch in batches:
        own = (batch - batch.mean((0, 1, 2))) / np.sqrt(batch.var((0, 1, 2)) + 1e-3)
        outputs.append(
            sum(own[:, i : i + 2, j : j + 2] @ kernel[i, j] for i in range(3) for j in range(3))
        )
    expected = np.concatenate(outputs)
    second = model.get_layer("second")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(second.moving_mean), expected.mean((0, 1, 2)), atol=1e-4
    )
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(second.moving_variance), expected.var((0, 1, 2)), rtol=1e-3
    )
    assert (first.momentum, second.momentum) == (0.99, 0.7)


def test_reestimating_changes_no_trained_weight():
    model = normed()
    before = [keras.ops.convert_to_numpy(w).copy() for w in model.trainable_weights]
    batch_norm.reestimate(model, [np.ones((2, 4, 4, 3), "float32")])
    for old, weight in zip(before, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(weight))


def test_a_model_without_batch_norm_is_left_alone():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    batch_norm.reestimate(model, iter([]))


def test_momentum_is_restored_after_an_error():
    model = normed()
    with pytest.raises(KeyboardInterrupt), batch_norm.momentum(model, lambda own: own / 2):
        assert model.get_layer("first").momentum == 0.495
        raise KeyboardInterrupt
    assert model.get_layer("first").momentum == 0.99
