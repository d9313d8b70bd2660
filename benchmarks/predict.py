"""How much of an engine's speed is left when it is fed from files, in one run.

python benchmarks/predict.py MODEL FOLDER... [--engine NAME] [--precision P] [--images N]
    [--rounds R] [--batch-size B] [--threads N...]

MODEL is an artefact or an export, FOLDERs hold images. Each round measures, one after the other,
the engine alone on arrays in memory, decoding alone, and prediction of the files into a CSV file,
with each number of decoding threads; the table gives the median of the rounds and of their ratios.
Processor time says what a quiet machine would show where this one is busy: where nothing waits, the
speeds are as the inverse of it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from keras_classics.classifier.prediction import Options
from keras_classics.data.fit import fit_bytes
from keras_classics.data.image_list import ImageList
from keras_classics.data.sources import Source, each_image
from keras_classics.engines.deployment import Deployment
from keras_classics.engines.engine import Engine
from keras_classics.engines.rows import CsvRows


class Figures:
    """What was measured of one thing, a value a round."""

    def __init__(self) -> None:
        self.rates: list[float] = []  # images a second
        self.costs: list[float] = []  # milliseconds of processors an image

    def add(self, images: int, work: Callable[[], object]) -> None:
        """Measure once."""
        began, used = time.perf_counter(), time.process_time()
        work()
        self.rates.append(images / (time.perf_counter() - began))
        self.costs.append(1000 * (time.process_time() - used) / images)

    def row(self, own: Figures) -> list[str]:
        """The cells of the table, beside what the engine does alone."""
        rates = [one / other for one, other in zip(self.rates, own.rates, strict=True)]
        costs = [other / one for one, other in zip(self.costs, own.costs, strict=True)]
        return [
            f"{statistics.median(self.rates):.1f}",
            f"{statistics.median(rates):.0%}",
            f"{statistics.median(self.costs):.2f}",
            f"{statistics.median(costs):.0%}",
        ]


def alone(engine: Engine, images: np.ndarray, batch_size: int) -> None:
    """The engine on arrays, asked as often at a time as keeps it busy."""
    with ThreadPoolExecutor(engine.requests) as pool:
        starts = range(0, len(images), batch_size)
        deque(
            pool.map(
                lambda start: engine.probabilities(images[start : start + batch_size]), starts
            ),
            maxlen=0,
        )


def decoding(engine: Engine, sources: Sequence[Source], threads: int) -> list[np.ndarray]:
    """All images at the size of the network."""
    shape = engine.card.preprocessing
    with ThreadPoolExecutor(threads) as pool:
        return list(
            pool.map(
                lambda source: fit_bytes(
                    source.storage.read_bytes(source.name), source.path, shape.size, shape.fit
                ),
                sources,
            )
        )


def end_to_end(engine: Engine, sources: Sequence[Source], options: Options) -> None:
    """From files to a file, as `classics predict -o`, but for what happens once."""
    rows = CsvRows(min(options.top_k, len(engine.card.class_names)))
    with tempfile.NamedTemporaryFile() as file, closing(ImageList()) as images:
        images.add(sources)
        for batch in engine.predicted(images, options):
            file.writelines(map(rows.row, batch))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 3, 4])
    asked = parser.parse_args()
    sources = list(islice(each_image(asked.folders), asked.images))
    model = Deployment(Path(asked.model), engine=asked.engine, precision=asked.precision)
    own = Figures()
    figures: dict[str, Figures] = {"the engine alone": own}
    with model.open() as engine:
        images = np.stack(decoding(engine, sources, threads=2))
        alone(engine, images[: 2 * asked.batch_size], asked.batch_size)
        for _ in range(asked.rounds):
            own.add(len(images), partial(alone, engine, images, asked.batch_size))
            for threads in asked.threads:
                options = Options(batch_size=asked.batch_size, threads=threads)
                for name, work in (
                    ("decoding alone", partial(decoding, engine, sources, threads)),
                    ("end to end", partial(end_to_end, engine, sources, options)),
                ):
                    label = f"{name}, {threads} decoding threads"
                    figures.setdefault(label, Figures()).add(len(images), work)
        title = f"{engine.name} {engine.precision}, {engine.requests} requests"
    pixels = "x".join(map(str, images.shape[1:3]))
    sys.stdout.write(
        f"{title}; {len(images)} images at {pixels}; load {os.getloadavg()[0]:.1f}\n\n"
        "| | images/s | of the engine alone | processor ms an image | of the engine alone |\n"
        "|---|---:|---:|---:|---:|\n"
    )
    for name, measured in figures.items():
        sys.stdout.write(f"| {name} | {' | '.join(measured.row(own))} |\n")


if __name__ == "__main__":
    main()
