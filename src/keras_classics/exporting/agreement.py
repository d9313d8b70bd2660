"""An export beside the Keras model that it was made of, on real pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from keras_classics.classifier.artefact import Classifier
from keras_classics.exporting.exported import Agreement, ExportError, Input, Precision
from keras_classics.exporting.samples import Picture, Sample, fitted
from keras_classics.exporting.targets import Run

Progress = Callable[[int, int], None]
Floats = npt.NDArray[np.float32]

# The largest difference of a probability, and the least agreement of top-1.
LIMITS: dict[Precision, tuple[float | None, float]] = {
    "f32": (1e-4, 0.0),
    "bf16": (0.1, 0.99),
    "int8": (None, 0.99),
}

ROUNDED_OTHERWISE = 0.01  # share of the numbers of a picture


def compare(
    classifier: Classifier,
    run: Run,
    samples: Sequence[Sample],
    *,
    kind: Input,
    precision: Precision,
    pixels: Callable[[], Run] | None = None,
    progress: Progress | None = None,
) -> Agreement:
    """Run an export and the Keras model on the same pictures.

    Args:
        classifier: What was exported.
        run: The export.
        samples: The pictures; they are decoded once, for both.
        kind: What the export takes.
        precision: Says how near it has to be.
        pixels: Makes the resize rule alone, run as the export is; for an export that has one.
        progress: Called with the number of pictures done and their total.

    Raises:
        ExportError: If none of the pictures can be read, or the export gives no numbers.
    """
    tolerance, least = LIMITS[precision]
    largest, same, seen = 0.0, 0, 0
    rounded, largest_rounded = 0, 0.0
    resize: Run | None = None
    right, right_in_keras, known = 0, 0, 0  # of pictures whose class is known
    total = sum(map(len, samples))
    for sample in samples:
        before = seen
        for pictures, labels in sample.batches():
            wanted = expected(classifier, fitted(classifier, pictures), kind)
            given = _answers(classifier, run, pictures, kind)
            if given.shape != wanted.shape or not np.isfinite(given).all():
                raise ExportError(
                    f"the export gives {given.shape} numbers, not all finite, where the Keras "
                    f"model gives {wanted.shape}; it is not usable."
                )
            apart = np.abs(given - wanted).max(axis=1)
            if pixels is not None and tolerance is not None:
                for i in np.flatnonzero(apart > tolerance):
                    resize = resize or pixels()
                    as_rounded = _where_rounding_differs(classifier, resize, pictures[i])
                    if as_rounded is not None:
                        rounded += 1
                        largest_rounded = max(largest_rounded, float(apart[i]))
                        apart[i] = np.abs(given[i] - as_rounded).max()
            largest = max(largest, float(apart.max()))
            top, top_in_keras = given.argmax(axis=1), wanted.argmax(axis=1)
            same += int((top == top_in_keras).sum())
            seen += len(pictures)
            if sample.labels is not None:
                known += len(pictures)
                right += int((top == labels).sum())
                right_in_keras += int((top_in_keras == labels).sum())
            if progress:
                progress(seen, total)
        if seen == before:
            raise ExportError(f"none of {sample.of} can be read; nothing to compare the export on.")
    of = " and ".join(sample.of for sample in samples)
    return Agreement(
        pictures=seen,
        of=of,
        largest_difference=largest,
        top1_agreement=same / seen,
        tolerance=tolerance,
        least_top1=least,
        rounded=rounded,
        largest_rounded=largest_rounded,
        accuracy=right / known if known else None,
        keras_accuracy=right_in_keras / known if known else None,
    )


def _where_rounding_differs(classifier: Classifier, resize: Run, picture: Picture) -> Floats | None:
    """What Keras says of the pixels that the runtime makes of a picture.

    A sum of products can lie so near the middle between two grey levels that the order of its terms
    decides. None where the pixels are those of `fit_image`, or differ by more than that.
    """
    ours = fitted(classifier, [picture]).astype(np.float32)
    theirs = resize(picture[None])
    apart = np.abs(theirs - ours)
    if not 0 < apart.max() <= 1 or (apart > 0).mean() > ROUNDED_OTHERWISE:
        return None
    given: Floats = classifier.probabilities(np.rint(theirs).astype(np.uint8))[0]
    return given


def expected(classifier: Classifier, images: Picture, kind: Input) -> Floats:
    """What the Keras model says of pictures of its size; raw, before any calibration."""
    if kind == "raw":
        return classifier.outputs(classifier.inputs(images))
    return classifier.probabilities(images)


def _answers(classifier: Classifier, run: Run, pictures: list[Picture], kind: Input) -> Floats:
    if kind == "image":
        return np.concatenate([run(picture[None]) for picture in pictures])
    images = fitted(classifier, pictures)
    return run(images if kind == "fitted" else classifier.inputs(images))
