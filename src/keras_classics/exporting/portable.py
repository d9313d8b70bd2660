"""A classifier as one Keras model, with what Python does around it inside: the stuff of exports.

"raw" is the network alone, "fitted" takes pictures of its size, "image" one picture of any size.
"""

from __future__ import annotations

from typing import Literal, get_args

import keras
from keras import KerasTensor, ops

from keras_classics.architectures.optimise import fold_scaling, for_inference
from keras_classics.classifier.artefact import Classifier
from keras_classics.evaluation.temperature import TINY
from keras_classics.exporting.resizing import Resize
from keras_classics.weights.preprocess import as_scaling

InputKind = Literal["image", "fitted", "raw"]
INPUT_KINDS: tuple[InputKind, ...] = get_args(InputKind)


def portable(classifier: Classifier, *, input: InputKind = "image") -> keras.Model:  # noqa: A002
    """The classifier as one model, for inference only: to be exported, not to be saved.

    Dropout and an auxiliary head are gone, batch norm is part of the convolutions, and so is the
    scaling of the pixels, as far as that is exact (`architectures.optimise`).

    Args:
        classifier: Which is left as it is.
        input: "image": uint8 (1, h, w, 3) of any h and w, red, green and blue. "fitted": uint8
            (n, H, W, 3) of the network's size, as `data.fit.fit_image` makes them. Both give
            calibrated probabilities, float32 (n, classes). "raw": what the network takes, float32
            and scaled, to what it gives.
    """
    model = for_inference(classifier.model)
    if input == "raw":
        return model
    shape = classifier.card.preprocessing
    scaling = as_scaling(shape.mode)
    model = fold_scaling(
        model, mean=scaling.mean, deviation=scaling.deviation, reverse=scaling.reverse
    )
    if input == "image":
        images = keras.Input(batch_shape=(1, None, None, 3), dtype="uint8", name="images")
        x = Resize(shape.size, shape.fit, name="resize")(images)
    else:
        images = keras.Input((*shape.size, 3), dtype="uint8", name="images")
        x = ops.cast(images, "float32")
    if model.input_shape[1] == 3 and model.input_shape[3] != 3:
        x = ops.transpose(x, (0, 3, 1, 2))
    probabilities = ops.cast(model(x), "float32")
    calibration = classifier.calibration
    if calibration is not None and calibration.temperature != 1.0:
        probabilities = with_temperature(probabilities, calibration.temperature)
    return keras.Model(images, probabilities, name=model.name)


def with_temperature(probabilities: KerasTensor, temperature: float) -> KerasTensor:
    """As `evaluation.temperature.with_temperature`, in a graph."""
    return ops.softmax(ops.log(ops.maximum(probabilities, TINY)) / temperature)
