"""The classes of ImageNet, inside the package: no download.

`imagenet_classes.txt` holds, in the order of the outputs, each class's WordNet synset and its name,
those of the `imagenet_class_index.json` that keras.applications downloads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from keras_classics.errors import ClassicsError


@dataclass(frozen=True)
class ImageNetClass:
    """A class of the ILSVRC 2012 challenge."""

    synset: str  # WordNet's identifier, such as n01440764: the name of the class's folder
    name: str  # such as tench; "crane" and "maillot" stand for two classes each


@cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """The 1,000 classes in the order of the outputs of every network trained on ImageNet."""
    text = resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8")
    return tuple(ImageNetClass(*line.split(" ")) for line in text.splitlines())


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """The most probable ImageNet classes, as `keras.applications` gives them, without a download.

    Args:
        preds: (b, 1000) outputs of a network with ImageNet's top: an array, or a tensor that
            becomes one.
        top: How many classes an image, at most 1,000.

    Returns:
        For each image a list of (synset, name, output), the largest output first.

    Raises:
        ClassicsError: If preds has another shape, or top is out of its range.
    """
    import keras  # noqa: PLC0415  the list of the published weights needs no backend

    values = keras.ops.convert_to_numpy(preds)
    classes = imagenet_classes()
    if values.ndim != 2 or values.shape[1] != len(classes):
        raise ClassicsError(
            f"preds of shape {values.shape}: (images, {len(classes):,}) is needed; the class names "
            "of a network of your own are in its artefact."
        )
    if not 1 <= top <= len(classes):
        raise ClassicsError(f"top={top}: 1 to {len(classes):,} is possible.")
    # Of equals the first; numbers without a sign could not be negated as they are.
    best = (-values.astype("float64")).argsort(axis=1, kind="stable")[:, :top]
    return [
        [(classes[i].synset, classes[i].name, float(row[i])) for i in indices]
        for row, indices in zip(values, best, strict=True)
    ]
