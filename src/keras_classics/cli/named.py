"""A network by what the user calls it: of the catalog, an artefact, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def named(
    network: str,
    *,
    size: int | None = None,
    width: float | None = None,
    classes: int | None = None,
) -> keras.Model:
    """A network of the catalog with random weights, or the model of an artefact or `.keras` file.

    Raises:
        ClassicsError: If there is none of that name, or it cannot be had in that size.
    """
    import keras

    from keras_classics.architectures import catalog, frame
    from keras_classics.classifier.artefact import load
    from keras_classics.errors import ClassicsError
    from keras_classics.host.regular import why_none

    path = Path(network)
    if network not in catalog.CATALOG and (path.is_dir() or path.suffix == ".keras"):
        if width is not None or classes is not None:
            raise ClassicsError("--width and --classes: those of a trained model are fixed.")
        if path.is_dir():
            return load(path).model
        if not path.is_file():
            raise ClassicsError(f"{path}: {why_none(path)}.")
        try:
            return keras.models.load_model(path, compile=False)
        except Exception as error:  # Keras raises whatever the torn part of the file leads to
            raise ClassicsError(f"{path}: corrupt or not a Keras model.") from error
    return frame.build(
        catalog.find(network),
        input_shape=frame.with_channels((size, size), 3) if size else None,
        width=1.0 if width is None else width,
        classes=1000 if classes is None else classes,
    )
