"""What images are called, whatever the network runs on: one stream from files to answers."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_classics.classifier.card import Card
from keras_classics.data.fit import fit_bytes
from keras_classics.data.image_list import ImageList
from keras_classics.data.pixels import processors
from keras_classics.data.sources import Source
from keras_classics.errors import DataError, ImageError

Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]
Progress = Callable[[int, int | None], None]  # images so far, in all where known

PART = 4  # images that a thread decodes at a time: a task costs far less, and ends soon


@dataclass(frozen=True)
class Prediction:
    """What one image was called."""

    path: Path
    top: tuple[tuple[str, float], ...]  # class names and probabilities, the most probable first
    accepted: bool | None = None  # sure enough to be answered; None where there is no threshold

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return self.top[0][0]

    @property
    def confidence(self) -> float:
        """Its probability, from 0 to 1."""
        return self.top[0][1]


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """Predictions in the order of the images, and the images that could not be read."""

    items: tuple[Prediction, ...]
    skipped: tuple[ImageError, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


def answer(path: Path, row: npt.NDArray[np.float32], card: Card, top_k: int) -> Prediction:
    """What an image is called.

    Args:
        path: Of the image.
        row: Calibrated probabilities (classes,).
        card: Of the network that gave them.
        top_k: How many classes to name, at least 1.
    """
    best = np.argsort(-row, kind="stable")[:top_k]
    top = tuple((card.class_names[i], float(row[i])) for i in best)
    calibration = card.fitted
    accepted = None if calibration is None else bool(row.max() >= calibration.threshold)
    return Prediction(path, top, accepted)


@dataclass(frozen=True)
class Options:
    """How images are predicted, whatever the model.

    Attributes:
        top_k: how many classes to name.
        batch_size: images that the network is asked for at a time.
        threads: that decode; None for one a processor.
    """

    top_k: int = 5
    batch_size: int = 32
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.top_k < 1 or self.batch_size < 1 or (self.threads is not None and self.threads < 1):
            raise ValueError(
                f"top_k={self.top_k}, batch_size={self.batch_size}, threads={self.threads}: at "
                "least 1 is needed."
            )


DEFAULTS = Options()

Answers = Generator[list[Prediction | ImageError], None, None]
"""A prediction or an error for each image, in their order, a batch at a time."""


def predicted(
    images: ImageList,
    card: Card,
    probabilities: Callable[[Images], Probabilities],
    options: Options = DEFAULTS,
    *,
    requests: int = 1,
    first: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """Classify images: decoded ahead by threads, while the network runs.

    Memory is that of a few batches, however many images there are. Batches are the same whenever
    the images are, and so are the answers, bit by bit. The network is asked until what is returned
    is closed or at its end.

    Args:
        images: The images.
        card: Of the network.
        probabilities: From (n, h, w, 3) uint8, n at most `batch_size`, to (n, classes).
        options: How.
        requests: How many batches the network may be asked for at a time, each in a thread.
        first: How many images are done already.
        progress: Called with the number of images whose answers were taken, and of all.
    """
    decoders = ThreadPoolExecutor(options.threads or processors(), thread_name_prefix="decode")
    askers = ThreadPoolExecutor(requests, thread_name_prefix="ask")
    waiting: deque[tuple[list[Source], Future[list[Probabilities | ImageError]]]] = deque()
    sources = images.sources(first)
    done, total = first, len(images)
    try:
        while True:
            if progress:
                progress(done, total)
            # One batch is decoded while each request runs one.
            while len(waiting) <= requests and (
                batch := list(itertools.islice(sources, options.batch_size))
            ):
                waiting.append((batch, _begin(batch, card, probabilities, decoders, askers)))
            if not waiting:
                return
            batch, rows = waiting.popleft()
            yield [
                row if isinstance(row, ImageError) else answer(each.path, row, card, options.top_k)
                for each, row in zip(batch, rows.result(), strict=True)
            ]
            done += len(batch)
    finally:
        # The requests first: they wait for what is decoded, which would never come.
        askers.shutdown(wait=False, cancel_futures=True)
        decoders.shutdown(wait=True, cancel_futures=True)
        askers.shutdown(wait=True)


def readable(answers: Answers, skipped: list[ImageError]) -> Generator[Prediction, None, None]:
    """The predictions among answers, which are closed at the end; the errors go to a list.

    Raises:
        DataError: At the end, if no image can be read.
    """
    some = False
    with closing(answers):
        for found in itertools.chain.from_iterable(answers):
            if isinstance(found, ImageError):
                skipped.append(found)
            else:
                some = True
                yield found
    if not some:
        raise DataError(f"none of the {len(skipped)} images can be read; first {skipped[0]}")


def gathered(answers: Answers) -> Predictions:
    """All answers in memory; DataError as in `readable`."""
    skipped: list[ImageError] = []
    items = tuple(readable(answers, skipped))
    return Predictions(items, tuple(skipped))


def _begin(
    batch: list[Source],
    card: Card,
    probabilities: Callable[[Images], Probabilities],
    decoders: ThreadPoolExecutor,
    askers: ThreadPoolExecutor,
) -> Future[list[Probabilities | ImageError]]:
    """Have a batch decoded and, when it is, the network asked; a row or an error an image."""
    images = np.empty((len(batch), *card.preprocessing.size, 3), np.uint8)

    def decode(start: int) -> list[ImageError | None]:
        return [
            _decode(batch[i], card, images[i]) for i in range(start, min(start + PART, len(batch)))
        ]

    parts = [decoders.submit(decode, start) for start in range(0, len(batch), PART)]

    def ask() -> list[Probabilities | ImageError]:
        errors = [error for part in parts for error in part.result()]
        good = [index for index, error in enumerate(errors) if error is None]
        if not good:
            return [error for error in errors if error is not None]
        rows = iter(probabilities(images if len(good) == len(batch) else images[good]))
        return [next(rows) if error is None else error for error in errors]

    return askers.submit(ask)


def _decode(source: Source, card: Card, place: Images) -> ImageError | None:
    shape = card.preprocessing
    try:
        data = source.storage.read_bytes(source.name)
        place[:] = fit_bytes(data, source.path, shape.size, shape.fit)
    except ImageError as error:
        # A new one, as the traceback of the old one would keep the file's bytes alive.
        return ImageError(error.path, error.reason)
    return None
