"""What is minimised, and the figures that are shown beside it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_classics.training.recipe import Loss, Monitor

SIDE = "side_"  # before the figures of the side classifier


class BinaryCrossentropy(keras.losses.Loss):  # type: ignore[misc]  # Keras ships no types
    """Every class as a question of its own, as in https://arxiv.org/abs/2110.00476, section 2.2.

    Args:
        label_smoothing: Part of the label that is spread evenly over all classes; Keras' own loss
            would give half of it to the true class, as if there were two.
    """

    def __init__(self, label_smoothing: float) -> None:
        super().__init__(name="binary_cross_entropy")
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Labels and logits (b, classes) to losses (b,): the mean over the classes."""
        y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / y_true.shape[-1]
        return ops.mean(ops.binary_crossentropy(y_true, y_pred, from_logits=True), axis=-1)


def soft_accuracy(y_true: Any, y_pred: Any) -> Any:
    """The part of the label that the predicted class has: (b, classes), (b, classes) -> (b,).

    For hard labels it is the accuracy. Of two mixed images, the class that is named counts as much
    as there is of it in the mixture.
    """
    y_true = ops.convert_to_tensor(y_true)
    called = ops.one_hot(ops.argmax(y_pred, axis=-1), y_pred.shape[-1], dtype=y_true.dtype)
    return ops.sum(y_true * called, axis=-1)


class MacroF1(keras.metrics.F1Score):  # type: ignore[misc]
    """The mean F1 of the classes that have images; Keras' own counts the others as zeros."""

    def result(self) -> Any:
        """From 0 to 1."""
        scores = super().result()  # (classes,), as there is no `average`
        has_images = ops.cast(self.true_positives + self.false_negatives > 0, scores.dtype)
        return ops.sum(scores * has_images) / ops.maximum(ops.sum(has_images), 1)


def compile_arguments(loss: Loss, model: keras.Model, monitor: Monitor) -> dict[str, Any]:
    """Losses, their weights and metrics, as `Model.compile` takes them."""
    metrics: list[Any] = [keras.metrics.MeanMetricWrapper(soft_accuracy, name="accuracy")]
    if monitor == "val_f1":
        metrics.append(MacroF1(name="f1"))
    if len(model.outputs) == 1:
        return {"loss": _loss(loss), "metrics": metrics}
    return {
        "loss": [_loss(loss), _loss(loss)],
        "loss_weights": [1.0, loss.auxiliary],
        "metrics": [metrics, []],
    }


def figures(logs: dict[str, Any], model: keras.Model) -> dict[str, float]:
    """Keras' logs of an epoch by plain names; the loss is that of the classifier that is kept."""
    values = {key: float(value) for key, value in logs.items()}
    if len(model.outputs) == 1:
        return values
    main, side = model.output_names
    for part in ("", "val_"):
        total = values.pop(f"{part}loss", None)
        for name in ("loss", "accuracy", "f1"):
            value = values.pop(f"{part}{main}_{name}", None)
            if value is not None:
                values[part + name] = value
        of_side = values.pop(f"{part}{side}_loss", None)
        if of_side is not None:
            values[f"{part}{SIDE}loss"] = of_side
        if total is not None and f"{part}loss" not in values:
            values[f"{part}loss"] = total
    return values


def _loss(loss: Loss) -> keras.losses.Loss:
    if loss.name == "binary_cross_entropy":
        return BinaryCrossentropy(loss.label_smoothing)
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=loss.label_smoothing
    )
