"""Features: what the last layer reads of each image, computed once by the frozen network."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures.frame import Architecture, with_channels
from keras_classics.architectures.optimise import for_inference
from keras_classics.architectures.precision import numbers
from keras_classics.classifier.card import FEATURES, RECORD
from keras_classics.errors import OutputError
from keras_classics.forward import filled, forward_of
from keras_classics.networks import build
from keras_classics.training.images import Images
from keras_classics.training.steps import typical
from keras_classics.weights.preprocess import preprocess

BATCH = 32
EQUAL = 1e-4  # of the largest feature: what folding may change by rounding

Forward = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
Told = Callable[[int, int, float], None]
"""Called with the images that are done, their number, and images a second."""


def compute_features(
    network: keras.Model, data: Images, folder: Path, *, mode: Any, told: Told
) -> npt.NDArray[np.float32]:
    """The features of all images, from a file that a process which was killed may have begun.

    Args:
        network: As it is kept, with the trained weights and any head.
        data: The images.
        folder: Of the run, where the file is.
        mode: From pixels to inputs.
        told: Called after each batch.

    Returns:
        (images, d), mapped from the file.

    Raises:
        OutputError: If the file cannot be written; what is in it stays, and is gone on from.
    """
    head = network.layers[-1]
    number = len(data.labels)
    path = folder / FEATURES
    forward: Forward | None = None
    with _rows(path, (number, head.input.shape[-1])) as (file, there):
        done = first = there
        began = time.monotonic()
        if done == number:
            told(done, number, 0.0)
        for pictures in data.chunks(np.arange(done, number), BATCH):
            inputs = _inputs(filled(pictures, min(BATCH, number)), mode)
            if forward is None:
                forward = fastest_forward(keras.Model(network.input, head.input), inputs)
                began, first = time.monotonic(), done + len(pictures)
            _write(file, forward(inputs)[: len(pictures)], path)
            done += len(pictures)
            spent = time.monotonic() - began
            told(done, number, (done - first) / spent if done > first else 0.0)
    found: npt.NDArray[np.float32] = np.load(path, mmap_mode="r")
    return found


def fastest_forward(model: keras.Model, inputs: npt.NDArray[Any]) -> Forward:
    """What computes a model's outputs: folded, where that is proven equal on some inputs."""
    exact, folded = forward_of(model), forward_of(for_inference(model))
    expected = exact(inputs)
    difference = np.abs(folded(inputs) - expected).max()
    return folded if difference <= EQUAL * np.abs(expected).max() else exact


@numbers()
def measure_rate(architecture: Architecture, *, size: int, width: float) -> float:
    """Images a second of which features are computed, measured here and now on random ones.

    Args:
        architecture: Of the catalog.
        size: Height and width of the input, in pixels.
        width: Multiplies the number of filters.
    """
    model = build(architecture, input_shape=with_channels((size, size), 3), width=width)
    forward = forward_of(for_inference(keras.Model(model.input, model.layers[-1].input)))
    shape = (BATCH, *model.input_shape[1:])
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    forward(inputs)
    return BATCH / typical(lambda: forward(inputs))


def _inputs(pictures: npt.NDArray[np.uint8], mode: Any) -> npt.NDArray[np.float32]:
    inputs = preprocess(pictures, mode)
    if keras.config.image_data_format() == "channels_first":
        inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    return inputs


@contextmanager
def _rows(path: Path, shape: tuple[int, int]) -> Iterator[tuple[IO[bytes], int]]:
    """The file of features, to write rows at its end, and how many whole ones it has.

    It is written, not mapped: a full disk is an error then, and not the end of the process.
    """
    with _errors_told(path):
        file = path.open("r+b" if path.exists() else "w+b", buffering=0)
    with file:
        with _errors_told(path):
            done = _whole_rows(file, shape)
            if done is None:
                file.seek(0)
                file.truncate()
                described = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, described)
                done = 0
        yield file, done
        with _errors_told(path):
            os.fsync(file.fileno())


def _whole_rows(file: IO[bytes], shape: tuple[int, int]) -> int | None:
    """How many rows a file of this shape has, with the file's end after them; None for another."""
    try:
        np.lib.format.read_magic(file)
        found, *_ = np.lib.format.read_array_header_1_0(file)
    except ValueError:
        return None
    if found != shape:
        return None
    begin = file.tell()
    row = 4 * shape[1]
    done = min((file.seek(0, os.SEEK_END) - begin) // row, shape[0])
    file.truncate(begin + done * row)
    file.seek(0, os.SEEK_END)
    return done


def _write(file: IO[bytes], rows: npt.NDArray[np.float32], path: Path) -> None:
    data = memoryview(np.ascontiguousarray(rows, "<f4").tobytes())
    with _errors_told(path):
        while data:  # a write without a buffer may take a part
            data = data[file.write(data) :]


@contextmanager
def _errors_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        again = "try again"
        if (path.parent / RECORD).is_file():  # of a run; otherwise of a command that keeps nothing
            again = f"`classics train --resume {path.parent}` resumes"
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space, and {again}."
        ) from error
