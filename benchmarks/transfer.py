"""Transfer, measured: a few images a class, from random weights and from trained ones.

    python benchmarks/transfer.py SOURCE TARGET

trains a ResNet50 of a quarter of the width on the folder SOURCE (or takes the artefact of such a
run: `--artefact RUN`), draws a few images a class out of TARGET, several times over, and trains on
each of these subsets as `classics train` does: that ResNet50 from random weights and from those of
the source, and EfficientNet-Lite0 from those of ImageNet; with a fitted head only, and fine-tuned.
All images that were not drawn are held out; they are linked to from a temporary folder, nothing is
written in TARGET. Prints a table. Seconds are those of the processor, over all cores, for a whole
run: other work on the machine, such as that of `--jobs`, changes them little.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_classics.classifier.card import Card
from keras_classics.data.folder import scan
from keras_classics.data.listing import Listing
from keras_classics.training.config import TrainConfig
from keras_classics.training.recipe import Unfreeze
from keras_classics.training.run import train

SOURCE = TrainConfig(
    network="resnet50", width=0.25, size=64, epochs=8, batch_size=128, learning_rate=4e-3
)
BATCH_SIZE = 16  # a subset fills few batches
VALIDATION = 0.2  # of the images drawn
LONGER = 3  # times the epochs, as training from scratch needs more of them


class Row(NamedTuple):
    """A way to train."""

    weights: str  # "none", "source", "imagenet"
    epochs: int | None = None  # None: the recipe's for so many images
    unfreeze: Unfreeze | None = None

    def __str__(self) -> str:
        return {
            "none": "random weights",
            "source": f"weights of the source, `--unfreeze {self.unfreeze}`",
            "imagenet": f"EfficientNet-Lite0 of ImageNet, `--unfreeze {self.unfreeze}`",
        }[self.weights]

    def config(self, source: Path) -> TrainConfig:
        """What `classics train` is told, but for the folder."""
        epochs: dict[str, Any] = {"epochs": self.epochs, "unfreeze": self.unfreeze}
        if self.weights == "imagenet":
            return TrainConfig(weights="imagenet", **epochs)
        weights = str(source) if self.weights == "source" else "none"
        return TrainConfig(
            network=SOURCE.network,
            width=SOURCE.width,
            size=SOURCE.size,
            batch_size=BATCH_SIZE,
            weights=weights,
            **epochs,
        )


class Result(NamedTuple):
    """What a run came to."""

    accuracy: float  # on the held-out images
    seconds: float  # of the processor


def draw(listing: Listing, each: int, seed: int, folder: Path) -> None:
    """Fill a folder with links: `each` images a class to learn from, the others held out."""
    validation = round(VALIDATION * each)
    for label, name in enumerate(listing.classes):
        images = [item.path for item in listing.items if item.label == label]
        random.Random(f"{seed} {name}").shuffle(images)
        for part, paths in (
            ("val", images[:validation]),
            ("train", images[validation:each]),
            ("test", images[each:]),
        ):
            place = folder / part / name
            place.mkdir(parents=True)
            for i, path in enumerate(paths):
                (place / f"{i}{path.suffix}").symlink_to((listing.root / path).resolve())


def measure(row: Row, folder: Path, source: Path, seed: int) -> Result:
    """Train once on a subset."""
    keras.backend.clear_session()
    began = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        config = dataclasses.replace(
            row.config(source), folder=folder, seed=seed, out=Path(scratch) / "run"
        )
        run = train(config)
    accuracy = run.judgement.accuracy if run.judgement else 0.0
    result = Result(accuracy, time.process_time() - began)
    sys.stderr.write(
        f"subset {seed}, {row}, {row.epochs or 'its own'} epochs: {result.accuracy:.1%}, "
        f"{result.seconds:.0f} s, best epoch {run.best_epoch}\n"
    )
    return result


def measure_all(
    seed: int, *, rows: list[Row], target: Path, each: int, source: Path
) -> list[Result]:
    """Train in every way on one subset."""
    with tempfile.TemporaryDirectory() as folder:
        draw(scan(target), each, seed, Path(folder))
        return [measure(row, Path(folder), source, seed) for row in rows]


def line(row: Row, results: list[Result], scratch: list[Result]) -> str:
    """One row of the table; `scratch` is the first training from random weights."""
    right = [result.accuracy for result in results]
    of = 1 - statistics.mean(result.accuracy for result in scratch)
    errors = f"{(1 - statistics.mean(right)) / of:.2f}" if of else "-"
    wins = sum(one.accuracy > two.accuracy for one, two in zip(results, scratch, strict=True))
    epochs = "-" if row.unfreeze == "none" else row.epochs or "the recipe's"
    return (
        f"| {row} | {epochs} | {statistics.mean(right):.1%} ± {statistics.stdev(right):.1%} | "
        f"{min(right):.1%} to {max(right):.1%} | {errors} | "
        f"{'-' if results is scratch else f'{wins} of {len(results)}'} | "
        f"{statistics.median(result.seconds for result in results):.0f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Transfer against training from scratch.")
    parser.add_argument("source", type=Path, help="folder to learn from first")
    parser.add_argument("target", type=Path, help="folder of which a few images are learnt from")
    parser.add_argument("--artefact", type=Path, help="of a run on SOURCE, which is not repeated")
    parser.add_argument("--each", type=int, default=10, help="images a class, validation included")
    parser.add_argument("--subsets", type=int, default=5, help="at least 2, each with its seed")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=1, help="subsets at a time")
    asked = parser.parse_args()

    rows = [
        Row("none", asked.epochs),
        Row("none", LONGER * asked.epochs),
        Row("source", unfreeze="none"),
        Row("source", asked.epochs, unfreeze="all"),
        Row("imagenet", unfreeze="none"),
        Row("imagenet", unfreeze="all"),
    ]
    with tempfile.TemporaryDirectory() as place:
        artefact = asked.artefact or Path(place) / "source"
        if asked.artefact is None:
            train(dataclasses.replace(SOURCE, folder=asked.source, out=artefact))
        figures = Card.read(artefact).figures or {}
        work = partial(
            measure_all, rows=rows, target=asked.target, each=asked.each, source=artefact
        )
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(asked.jobs, mp_context=spawn) as pool:
            by_subset = list(pool.map(work, range(asked.subsets)))
    results = {row: [of_subset[i] for of_subset in by_subset] for i, row in enumerate(rows)}
    listing = scan(asked.target)
    held_out = len(listing.items) - asked.each * len(listing.classes)
    sys.stdout.write(
        f"{os.cpu_count()} cores; source: {asked.source.name}, {figures['accuracy']:.1%} right of "
        f"{figures['images']} held-out images; target: {asked.target.name}, {asked.each} images a "
        f"class, {held_out} held out, {asked.subsets} subsets\n\n"
        "| begins with | epochs | right | range | errors, of those of the first row | better on "
        "| CPU seconds |\n|---|---:|---:|---:|---:|---:|---:|\n"
    )
    for row in rows:
        sys.stdout.write(line(row, results[row], results[rows[0]]) + "\n")


if __name__ == "__main__":
    main()
