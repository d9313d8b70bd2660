"""Classes of different size, measured: no balance, weights, balanced sampling.

    python benchmarks/balance.py FOLDER

leaves a tenth of the images to learn from in every other class, and trains in each of the three
ways on the same images, several times over. Validation and held-out images are as many in every
class; all are links in a temporary folder, nothing is written in FOLDER. Prints a table.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple, get_args

import keras

from keras_classics.data.folder import scan
from keras_classics.data.listing import Listing
from keras_classics.training.config import TrainConfig
from keras_classics.training.recipe import Balance
from keras_classics.training.run import train

LEFT = 0.1  # of the images of a rare class
HELD_OUT = 0.3  # of all, half of them for validation


class Result(NamedTuple):
    """Of the held-out images, in percent."""

    rare: float  # mean recall of the rare classes
    common: float  # and of the others
    f1: float  # mean of all classes


def draw(listing: Listing, seed: int, folder: Path) -> set[str]:
    """Fill a folder with links; the names of the rare classes."""
    rare = set(listing.classes[1::2])
    for label, name in enumerate(listing.classes):
        images = [item.path for item in listing.items if item.label == label]
        random.Random(f"{seed} {name}").shuffle(images)
        held = round(HELD_OUT * len(images))
        learn = images[held:]
        parts = {
            "val": images[: held // 2],
            "test": images[held // 2 : held],
            "train": learn[: round(LEFT * len(learn))] if name in rare else learn,
        }
        for part, paths in parts.items():
            place = folder / part / name
            place.mkdir(parents=True)
            for i, path in enumerate(paths):
                (place / f"{i}{path.suffix}").symlink_to((listing.root / path).resolve())
    return rare


def measure(folder: Path, rare: set[str], network: str, balance: Balance, seed: int) -> Result:
    """Train once."""
    keras.backend.clear_session()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        run = train(TrainConfig(folder, network=network, balance=balance, seed=seed, out=out))
    if run.judgement is None:
        raise KeyboardInterrupt
    classes = [figures for figures in run.judgement.classes if figures.support]
    result = Result(
        100 * statistics.mean(figures.recall for figures in classes if figures.name in rare),
        100 * statistics.mean(figures.recall for figures in classes if figures.name not in rare),
        100 * statistics.mean(figures.f1 for figures in classes),
    )
    sys.stderr.write(f"seed {seed}, {balance}: {result}\n")
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Three ways to treat classes of different size.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="vgg16")
    parser.add_argument("--seeds", type=int, default=3, help="at least 2")
    asked = parser.parse_args()
    listing = scan(asked.folder)
    results: dict[Balance, list[Result]] = {balance: [] for balance in get_args(Balance)}
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            rare = draw(listing, seed, Path(folder))
            for balance, found in results.items():
                found.append(measure(Path(folder), rare, asked.network, balance, seed))
    sys.stdout.write(
        "| balance | recall, rare | recall, others | macro F1 |\n|---|---:|---:|---:|\n"
    )
    for balance, found in results.items():
        cells = (
            f"{statistics.mean(column):.1f} ± {statistics.stdev(column):.1f}"
            for column in zip(*found, strict=True)
        )
        sys.stdout.write(f"| {balance} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
