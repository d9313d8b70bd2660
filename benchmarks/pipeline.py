"""Images a second from JPEG files to batches for a network, beside the usual ways; and memory.

    python benchmarks/pipeline.py FOLDER [--many FOLDER]

FOLDER holds a folder of JPEGs for each class. Each way runs in a process of its own, where it reads
the folder again and again, shuffled, and hands out float32 batches of 32 images, 224 x 224 pixels.
The processes take turns, so that none of them profits from a quieter minute; the table shows the
median of the rounds. With `--many`, the memory that streaming 6,000 files and all files of another
folder takes is measured as well.

The ways do not compute the same, each does what its own documentation shows:

- keras-classics, whole: decoded by libjpeg-turbo, the largest centred square, resized by areas
  where it shrinks (OpenCV), scaled to -1..1.
- keras-classics, random area: a random part of 8 to 100 % of the picture, resized, mirrored every
  second time; the same randomness whatever the number of threads.
- tf.data: tf.image.decode_jpeg, tf.image.resize (bilinear, not smoothed where it shrinks), scaled;
  the random area by tf.image.sample_distorted_bounding_box, on the decoded picture or while it is
  decoded (decode_and_crop_jpeg). All of it with AUTOTUNE.
- torch: DataLoader with torchvision's v2 transforms on Pillow's pictures: Resize and CenterCrop, or
  RandomResizedCrop and RandomHorizontalFlip, smoothed where they shrink; then Normalize.
- Keras: keras.utils.image_dataset_from_directory, with crop_to_aspect_ratio; it has no random area.
"""

# ruff: noqa: PLC0415  each process imports its own way alone
from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

SIZE = 224
BATCH = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Pass = Callable[[], int]
"""Reads all images once and tells how many they were."""


def classics(files: list[str], labels: list[int], *, area: bool, size: int = SIZE) -> Pass:
    """Ours."""
    import numpy as np

    from keras_classics.data.augment import Augmentation
    from keras_classics.data.batches import Batches
    from keras_classics.data.pictures import FilePictures

    batches = Batches(
        FilePictures(files),
        np.array(labels),
        classes=max(labels) + 1,
        batch_size=BATCH,
        mode="tf",
        size=(size, size),
        augmentation=Augmentation(view="random_area", flip=True) if area else None,
        shuffle=True,
    )

    def one() -> int:
        batches.epoch += 1
        return sum(len(batches[index][0]) for index in range(len(batches)))

    return one


def tf_data(files: list[str], labels: list[int], *, area: str = "") -> Pass:
    """tf.data; the area is cut "after" decoding or "while" decoding."""
    import tensorflow as tf

    def boxed(shape: object) -> tuple:
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape,
            tf.zeros((1, 0, 4)),
            area_range=(0.08, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        return begin, size

    def load(path: object, label: object) -> tuple:
        data = tf.io.read_file(path)
        if area == "while":
            begin, size = boxed(tf.image.extract_jpeg_shape(data))
            window = tf.concat([begin[:2], size[:2]], axis=0)
            image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        else:
            image = tf.image.decode_jpeg(data, channels=3)
        if area == "after":
            begin, size = boxed(tf.shape(image))
            image = tf.slice(image, begin, size)
        image = tf.image.resize(image, (SIZE, SIZE))
        if area:
            image = tf.image.random_flip_left_right(image)
        return image / 127.5 - 1, tf.one_hot(label, max(labels) + 1)

    data = tf.data.Dataset.from_tensor_slices((files, labels)).shuffle(len(files))
    data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    data = data.prefetch(tf.data.AUTOTUNE)
    return lambda: sum(len(images.numpy()) for images, _ in data)


def keras_directory(folder: Path) -> Pass:
    """Keras' own function, with its defaults."""
    import keras

    data = keras.utils.image_dataset_from_directory(
        folder,
        label_mode="categorical",
        image_size=(SIZE, SIZE),
        batch_size=BATCH,
        crop_to_aspect_ratio=True,
        verbose=False,
    )
    return lambda: sum(len(images.numpy()) for images, _ in data)


class Files:
    """A data set of torch, at the level of the module as its workers import it."""

    def __init__(self, files: list[str], labels: list[int], change: Callable) -> None:
        self.files, self.labels, self.change = files, labels, change

    def __len__(self) -> int:
        """How many."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple:
        """One image and its label."""
        from PIL import Image

        with Image.open(self.files[index]) as image:
            return self.change(image.convert("RGB")), self.labels[index]


def torch_loader(files: list[str], labels: list[int], *, area: bool, workers: int) -> Pass:
    """The loader of torch; images (b, 3, h, w)."""
    import torch

    from torch_modules import torch_module

    v2 = torch_module("torchvision.transforms.v2")
    view = (
        [v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip()]
        if area
        else [v2.Resize(SIZE), v2.CenterCrop(SIZE)]
    )
    change = v2.Compose(
        [*view, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    torch.set_num_threads(1)  # as in its workers
    loader = torch.utils.data.DataLoader(
        Files(files, labels, change),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return lambda: sum(len(images) for images, _ in loader)


WHOLE, AREA = "evaluation: whole picture", "training: random area and mirror"
WAYS: dict[str, tuple[str, str, Callable[..., Pass]]] = {
    "classics-whole": (WHOLE, "keras-classics", lambda f, n, _: classics(f, n, area=False)),
    "tf-whole": (WHOLE, "tf.data", lambda f, n, _: tf_data(f, n)),
    "keras": (WHOLE, "image_dataset_from_directory", lambda _, __, root: keras_directory(root)),
    **{
        f"torch{k}-whole": (
            WHOLE,
            f"torch DataLoader, {k} workers",
            lambda f, n, _, k=k: torch_loader(f, n, area=False, workers=k),
        )
        for k in (0, 1, 2, 4)
    },
    "classics-area": (AREA, "keras-classics", lambda f, n, _: classics(f, n, area=True)),
    "tf-area": (AREA, "tf.data", lambda f, n, _: tf_data(f, n, area="after")),
    "tf-crop": (AREA, "tf.data, decode_and_crop_jpeg", lambda f, n, _: tf_data(f, n, area="while")),
    **{
        f"torch{k}-area": (
            AREA,
            f"torch DataLoader, {k} workers",
            lambda f, n, _, k=k: torch_loader(f, n, area=True, workers=k),
        )
        for k in (0, 1, 2, 4)
    },
}


def listed(folder: Path, count: int | None = None) -> tuple[list[str], list[int]]:
    """The files of a folder, and the numbers of their folders."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())[:count]
    numbers = {parent: n for n, parent in enumerate(sorted({path.parent for path in paths}))}
    return [str(path) for path in paths], [numbers[path.parent] for path in paths]


def processor_time() -> float:
    """Seconds that this process and its workers have taken of processors."""
    own = os.getpid()
    total = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if own in {int(entry.parent.name), int(fields[1])}:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def serve(way: str, folder: Path) -> None:
    """In a process of its own: a round for every line on the standard input."""
    files, labels = listed(folder)
    one = WAYS[way][2](files, labels, folder)
    one()
    for line in sys.stdin:
        begin, spent, images = time.perf_counter(), processor_time(), 0
        while time.perf_counter() - begin < float(line):
            images += one()
        speed = images / (time.perf_counter() - begin)
        sys.stdout.write(f"{speed} {1000 * (processor_time() - spent) / images}\n")
        sys.stdout.flush()


def peak(folder: Path, count: int) -> None:
    """In a process of its own: the memory of streaming some files once."""
    files, labels = listed(folder, count)
    few = listed(folder, 64)
    classics(*few, area=True, size=32)()  # what the libraries themselves take
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    images = classics(files, labels, area=True, size=32)()
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(f"{images} {before / 1024} {after / 1024} {images / seconds}\n")


def process(*arguments: object) -> subprocess.Popen[str]:
    """This script again."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **quiet},
    )


def measured(
    ways: Iterable[str], folder: Path, rounds: int, seconds: float
) -> dict[str, tuple[float, float]]:
    """Medians of each way, its rounds among those of the others.

    Images a second, and milliseconds of a processor for an image.
    """
    running = {way: process(folder, "--serve", way) for way in ways}
    found: dict[str, list[tuple[float, ...]]] = {way: [] for way in running}
    try:
        for _ in range(rounds):
            for way, one in running.items():
                one.stdin.write(f"{seconds}\n")
                one.stdin.flush()
                found[way].append(tuple(map(float, one.stdout.readline().split())))
    finally:
        for one in running.values():
            one.stdin.close()
            one.wait()
    return {
        way: tuple(map(statistics.median, zip(*values, strict=True)))
        for way, values in found.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--many", type=Path, help="a folder of many small images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a round")
    parser.add_argument("--only", default="", help="ways that this expression finds")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve, options.folder)
    if options.peak:
        return peak(options.folder, options.peak)
    ways = [way for way in WAYS if re.search(options.only, way)]
    speeds = measured(ways, options.folder, options.rounds, options.seconds)
    for kind in (WHOLE, AREA):
        own = next((speeds[way] for way in ways if WAYS[way][0] == kind), None)
        heading = f"{kind} | images/s | ours is faster by | ms of a processor an image"
        sys.stdout.write(f"\n| {heading} |\n|---|---|---|---|\n")
        for way in (way for way in ways if WAYS[way][0] == kind):
            speed, spent = speeds[way]
            row = f"{WAYS[way][1]} | {speed:,.0f} | {own[0] / speed:.2f} | {spent:.2f}"
            sys.stdout.write(f"| {row} |\n")
    if options.many:
        total = len(listed(options.many)[0])
        sys.stdout.write(
            "\n| files streamed | MiB before | MiB at most | images/s |\n|---|---|---|---|\n"
        )
        for count in (6_000, total):
            answer = process(options.many, "--peak", count).communicate()[0].split()
            images, before, after, speed = map(float, answer)
            sys.stdout.write(f"| {images:,.0f} | {before:.0f} | {after:.0f} | {speed:,.0f} |\n")
    return None


if __name__ == "__main__":
    main()
