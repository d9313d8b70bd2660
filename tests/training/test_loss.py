from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_classics import build
from keras_classics.training.loss import (
    BinaryCrossentropy,
    MacroF1,
    compile_arguments,
    figures,
    soft_accuracy,
)
from keras_classics.training.recipe import Loss
from weights.references import torch_module


@pytest.mark.every_backend
def test_of_mixed_images_the_class_that_is_named_counts_as_much_as_there_is_of_it():
    labels = np.array([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0], [0.4, 0.6, 0.0]], "float32")
    logits = np.array([[0.0, 5.0, 1.0], [0.0, 1.0, 2.0], [3.0, 1.0, 0.0]], "float32")
    found = keras.ops.convert_to_numpy(soft_accuracy(labels, logits))
    np.testing.assert_allclose(found, [0.3, 1.0, 0.4])


def test_binary_cross_entropy_is_timm_s():
    import torch

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 5)).astype("float32")
    classes = rng.integers(0, 5, 6)
    timm = torch_module("timm.loss").BinaryCrossEntropy(smoothing=0.1)
    reference = timm(torch.tensor(logits), torch.tensor(classes))
    ours = BinaryCrossentropy(0.1)(np.eye(5, dtype="float32")[classes], logits)
    assert float(ours) == pytest.approx(float(reference), rel=1e-6)


@pytest.mark.slow
def test_the_side_classifier_counts_as_the_recipe_says_and_the_figures_are_the_main_one_s():
    model = build(
        "inception_v3",
        weights=None,
        width=1 / 32,
        input_shape=(75, 75, 3),
        classes=3,
        classifier_activation=None,
        auxiliary=True,
    )
    model.compile("sgd", **compile_arguments(Loss(auxiliary=0.4), model, "val_f1"))
    x = np.random.default_rng(0).normal(size=(4, 75, 75, 3)).astype("float32")
    y = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    logs = model.evaluate(x, (y, y), verbose=0, return_dict=True)
    found = figures({f"val_{key}": value for key, value in logs.items()}, model)
    main, side = (keras.ops.convert_to_numpy(out) for out in model(x, training=False))

    def loss(logits):
        return float(
            keras.ops.convert_to_numpy(
                keras.losses.CategoricalCrossentropy(from_logits=True)(y, logits)
            )
        )

    assert found["val_loss"] == pytest.approx(loss(main), rel=1e-5)
    assert found["val_side_loss"] == pytest.approx(loss(side), rel=1e-5)
    assert logs["loss"] == pytest.approx(loss(main) + 0.4 * loss(side), rel=1e-5)
    assert found["val_accuracy"] == np.mean(main.argmax(1) == [0, 1, 2, 0])
    assert set(found) == {"val_loss", "val_accuracy", "val_f1", "val_side_loss"}


@pytest.mark.backends
def test_macro_f1_leaves_out_classes_without_images():
    metric = MacroF1(name="f1")
    labels, called = [0, 0, 1, 1, 1], [0, 3, 1, 1, 0]
    for part in (slice(0, 2), slice(2, 5)):
        metric.update_state(np.eye(4, dtype="float32")[labels[part]], np.eye(4)[called[part]])
    found = float(keras.ops.convert_to_numpy(metric.result()))
    assert found == pytest.approx((1 / 2 + 4 / 5) / 2)  # of 2 and 3 there are none


def test_a_network_with_one_output_keeps_its_figures():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", **compile_arguments(Loss(label_smoothing=0.1), model, "val_loss"))
    assert figures({"loss": 1, "val_accuracy": 0.5}, model) == {"loss": 1.0, "val_accuracy": 0.5}
    assert model.loss.label_smoothing == 0.1
