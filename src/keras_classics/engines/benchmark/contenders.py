"""What runs: a network on our engines, and that of keras.applications.

Each gets images in the form that it takes at once: ours decoded ones of the network's size in
uint8, keras.applications the float32 batch that its preprocessing would have made. Scaling is
counted against ours alone.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from keras_classics.engines.deployment import open_engine
from keras_classics.engines.engine import ENGINES, Engine
from keras_classics.errors import ClassicsError
from keras_classics.exporting.exported import Precision

CALL = 4  # batches in a call, over which the cost of a call is spread


@dataclass(frozen=True)
class Task:
    """What is run.

    Attributes:
        artefact: folder of the network, with trained or random weights.
        exports: folder of the exports that are made for the occasion.
        network: name in the catalog.
        size: height and width in pixels.
        width: multiplier of the number of filters.
        classes: number of classes.
        macs: multiply-adds for an image.
        image_s: seconds that Keras takes for an image, roughly.
        peer: the network of keras.applications that is nearest; None if there is none.
        peer_width: of that.
        batch: images at a time.
        threads: of each library; None for as many as it takes by itself.
    """

    artefact: str
    exports: str
    network: str
    size: int
    width: float
    classes: int
    macs: int
    image_s: float
    peer: str | None
    peer_width: float
    batch: int
    threads: int | None

    def images(self) -> npt.NDArray[np.uint8]:
        """Random ones, as many as a call has: (n, h, w, 3)."""
        shape = (CALL * self.batch, self.size, self.size, 3)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


Run = Callable[[int], None]
"""Runs a network on so many images."""


@dataclass(frozen=True)
class Contender:
    """One way to run a network.

    Attributes:
        library: that runs it.
        precision: that it computes in.
        open: makes it ready, in a process of its own.
    """

    library: str
    precision: Precision
    open: Callable[[Contender, Task], Run]

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.library} {self.precision}"

    def export(self, task: Task) -> Path | None:
        """Where `quantise` puts its export; None where `open_engine` itself makes what it needs."""
        quantised = self.library in ENGINES and self.precision == "int8"
        return Path(task.exports) / self.library if quantised else None


def _open_engine(contender: Contender, task: Task) -> Run:
    images = task.images()

    def opened(hint: str) -> Engine:
        return open_engine(
            contender.export(task) or task.artefact,
            engine=contender.library,
            precision=contender.precision,
            hint=hint,
            threads=task.threads,
        )

    many = opened("throughput")
    # A server of single images would be told so, too.
    single = opened("latency") if contender.library == "openvino" else many

    def run(count: int) -> None:
        engine = single if count == 1 else many
        for start in range(0, count, task.batch):
            engine.probabilities(images[start : min(start + task.batch, count)])

    return run


def _open_keras_applications(_: Contender, task: Task) -> Run:
    import keras  # noqa: PLC0415  in this process alone, as its memory is measured

    if task.peer is None:
        raise ClassicsError(f"has nothing like {task.network}")
    model = getattr(keras.applications, task.peer)(
        weights=None,
        input_shape=(task.size, task.size, 3),
        classes=task.classes,
        **({} if task.peer_width == 1 else {"alpha": task.peer_width}),
    )
    images = task.images().astype(np.float32) / 127.5 - 1

    def run(count: int) -> None:
        model.predict(images[:count], batch_size=task.batch, verbose=0)

    return run


REFERENCE = Contender("keras.applications", "f32", _open_keras_applications)
CONTENDERS: tuple[Contender, ...] = (
    Contender("openvino", "int8", _open_engine),
    Contender("openvino", "bf16", _open_engine),
    Contender("openvino", "f32", _open_engine),
    Contender("onnxruntime", "int8", _open_engine),
    Contender("onnxruntime", "f32", _open_engine),
    Contender("keras", "f32", _open_engine),
    REFERENCE,
)


def process_with(environment: Mapping[str, str]) -> ProcessPoolExecutor:
    """A process of its own, which keeps to itself what libraries print.

    Args:
        environment: Variables beside those of this process.
    """
    spawn = multiprocessing.get_context("spawn")  # threads and engines do not outlive a fork
    return ProcessPoolExecutor(1, spawn, _enter, (dict(environment),))


def _enter(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_running: list[Run] = []  # in the process of a contender


def begin(contender: Contender, task: Task) -> None:
    """Make a contender ready for `times`, in its process."""
    run = contender.open(contender, task)
    for images in (1, task.batch):  # what is compiled, or allocated, at the first run
        run(images)
    _running.append(run)


def times(images: int, seconds: float, least: int) -> tuple[list[float], int]:
    """Let the contender of this process run for so long.

    Returns:
        Seconds of each run, and the bytes that the process holds.
    """
    took: list[float] = []
    until = time.perf_counter() + seconds
    while len(took) < least or time.perf_counter() < until:
        began = time.perf_counter()
        _running[0](images)
        took.append(time.perf_counter() - began)
    return took, psutil.Process().memory_info().rss
