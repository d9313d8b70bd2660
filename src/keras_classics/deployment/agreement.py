"""An export beside the Keras model that it was made of, on real pictures."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.artefact import Classifier
from keras_classics.data.preprocess import preprocess
from keras_classics.deployment.engine import Precision
from keras_classics.deployment.exported import Agreement, ExportError, Input
from keras_classics.deployment.samples import Picture, Sample, fitted
from keras_classics.deployment.targets import Run

Progress = Callable[[int, int], None]
Floats = npt.NDArray[np.float32]

# The largest difference of a probability, and the least agreement of top-1.
LIMITS: dict[Precision, tuple[float | None, float]] = {
    "f32": (1e-4, 0.0),
    "bf16": (0.1, 0.99),
    "int8": (None, 0.99),
}


def compare(
    classifier: Classifier,
    run: Run,
    sample: Sample,
    *,
    kind: Input,
    precision: Precision,
    progress: Progress | None = None,
) -> Agreement:
    """Run an export and the Keras model on the same pictures.

    Args:
        classifier: What was exported.
        run: The export.
        sample: The pictures; they are decoded once, for both.
        kind: What the export takes.
        precision: Says how near it has to be.
        progress: Called with the number of pictures done and their total.

    Raises:
        ExportError: If none of the pictures can be read, or the export gives no numbers.
    """
    largest, same, right, right_in_keras, seen = 0.0, 0, 0, 0, 0
    for pictures, labels in sample.batches():
        wanted = expected(classifier, fitted(classifier, pictures), kind)
        given = _answers(classifier, run, pictures, kind)
        if given.shape != wanted.shape or not np.isfinite(given).all():
            raise ExportError(
                f"the export gives {given.shape} numbers, not all finite, where the Keras model "
                f"gives {wanted.shape}; it is not usable."
            )
        largest = max(largest, float(np.abs(given - wanted).max()))
        top, top_in_keras = given.argmax(axis=1), wanted.argmax(axis=1)
        same += int((top == top_in_keras).sum())
        right += int((top == labels).sum())
        right_in_keras += int((top_in_keras == labels).sum())
        seen += len(pictures)
        if progress:
            progress(seen, len(sample))
    if not seen:
        raise ExportError(f"none of {sample.of} can be read; nothing to compare the export on.")
    tolerance, least = LIMITS[precision]
    known = sample.labels is not None
    return Agreement(
        pictures=seen,
        of=sample.of,
        largest_difference=largest,
        top1_agreement=same / seen,
        tolerance=tolerance,
        least_top1=least,
        accuracy=right / seen if known else None,
        keras_accuracy=right_in_keras / seen if known else None,
    )


def expected(classifier: Classifier, images: Picture, kind: Input) -> Floats:
    """What the Keras model says of pictures of its size; raw, before any calibration."""
    if kind == "raw":
        outputs = classifier.model.predict_on_batch(raw(classifier, images))
        return np.asarray(keras.ops.convert_to_numpy(outputs), np.float32)
    return classifier.probabilities(images)


def raw(classifier: Classifier, images: Picture) -> Floats:
    """Pictures as the network itself takes them."""
    inputs = preprocess(images, classifier.card.preprocessing.mode)
    channels_first = classifier.model.input_shape[1] == 3 != classifier.model.input_shape[3]
    return np.moveaxis(inputs, -1, 1) if channels_first else inputs


def _answers(classifier: Classifier, run: Run, pictures: list[Picture], kind: Input) -> Floats:
    if kind == "image":
        return np.concatenate([run(picture[None]) for picture in pictures])
    images = fitted(classifier, pictures)
    return run(images if kind == "fitted" else raw(classifier, images))
