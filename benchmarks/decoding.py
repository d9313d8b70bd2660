"""What decoding at full size costs, beside scaled decoding and Pillow, in processor time.

python benchmarks/decoding.py FOLDER... [--size 224] [--rounds 5] [--images 50]

Reading from memory, resizing included. Each round takes every image in all ways, one after the
other, so that a machine with other work to do slows all alike; ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from keras_classics.data.decode import decode_image
from keras_classics.data.fit import fit_bytes, fit_image
from keras_classics.data.sources import find_images

FILE = Path("image")
Way = Callable[[bytes, int], NDArray[np.uint8]]


def full(data: bytes, size: int) -> NDArray[np.uint8]:
    """As prediction, evaluation and exports."""
    return fit_bytes(data, FILE, (size, size), "crop")


def scaled(data: bytes, size: int) -> NDArray[np.uint8]:
    """As small as suffices, as parts of pictures are read while a network learns."""
    return fit_image(decode_image(data, FILE, at_least=size), (size, size), "crop")


def pillow(data: bytes, size: int) -> NDArray[np.uint8]:
    """As the guide to exports has it."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    return fit_image(np.asarray(image), (size, size), "crop")


WAYS: dict[str, Way] = {"full size": full, "scaled": scaled, "Pillow": pillow}


def measure(contents: list[bytes], size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by way."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        spent = dict.fromkeys(WAYS, 0.0)
        for data in contents:
            for name, way in WAYS.items():
                began = time.thread_time()
                way(data, size)
                spent[name] += time.thread_time() - began
        for name, time_spent in spent.items():
            seconds[name].append(time_spent)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=50)
    given = parser.parse_args()
    lines = ["| | images | megapixels | full size, images/s of one core | of scaled | of Pillow |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for folder in given.folders:
        sources = list(find_images(folder))
        chosen = sources[:: max(1, len(sources) // given.images)][: given.images]
        contents = [source.storage.read_bytes(source.name) for source in chosen]
        shapes = [decode_image(data, FILE).shape for data in contents]
        pixels = statistics.median(height * width for height, width, _ in shapes) / 1e6
        seconds = measure(contents, given.size, given.rounds)
        rate = len(contents) / statistics.median(seconds["full size"])
        ratios = (
            statistics.median(
                other / own for other, own in zip(seconds[name], seconds["full size"], strict=True)
            )
            for name in ("scaled", "Pillow")
        )
        cells = [folder.name, str(len(contents)), f"{pixels:.2f}", f"{rate:.0f}"]
        lines.append(f"| {' | '.join([*cells, *(f'{ratio:.2f}' for ratio in ratios)])} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
