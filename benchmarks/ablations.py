"""Ablations: the ideas of the papers, each taken out of a small network to see what it is for.

    python benchmarks/ablations.py residual       # plain networks against residual ones, by depth
    python benchmarks/ablations.py batch_norm     # VGG's stack with and without, by learning rate
    python benchmarks/ablations.py factorised     # 5x5 and 7x7 kernels against what replaces them
    python benchmarks/ablations.py all --save     # all three; writes docs/networks/ablations.json

Each takes some minutes of a CPU. The networks are made of this package's blocks; the images are the
digits of scikit-learn, or part of a folder whose sub-folders are classes (`--data FOLDER`). Every
network is trained with several seeds, which draw its first weights and the order of the images;
networks that are compared get the same ones. Prints a table: means over the seeds, ± the standard
deviation. Seconds are those of the processor, over all cores, so that other work on the machine
changes them little; the first step, in which the graph is traced, is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from keras_classics import analyse, convolutional_block, identity_block
from keras_classics.architectures import resnet, vgg
from keras_classics.architectures.inception_v3 import KERAS
from keras_classics.architectures.layers import Kernel, conv_bn, scaled
from keras_classics.data.decode import read_image
from keras_classics.data.digits import load_digits_images
from keras_classics.data.fit import fit_image
from keras_classics.data.folder import scan
from keras_classics.training.batch_norm import fitted_momentum, momentum
from keras_classics.training.speed import fast_training, jit_compile

SAVED = Path(__file__).parent.parent / "docs" / "networks" / "ablations.json"
SEEDS = 3
BATCH = 64
TRAIN, TEST = 200, 100  # images a class, at most, of a folder

Arrays = NDArray[np.float32]


@dataclass(frozen=True)
class Data:
    """Images (n, h, w, 3) of mean 0 and deviation 1, and their classes."""

    name: str
    x: Arrays
    y: NDArray[np.int64]
    test_x: Arrays
    test_y: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image."""
        return self.x.shape[1:]

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.y.max()) + 1


@dataclass(frozen=True)
class Case:
    """A network to train, and at which learning rate."""

    network: str  # what is compared
    setting: str  # under which circumstances
    build: Callable[[tuple[int, int, int], int], keras.Model]  # of an image's shape and classes
    rate: float
    initial: str = "he"


@dataclass
class Row:
    """What became of a case; lists have an entry for each seed."""

    network: str
    setting: str
    parameters: int
    macs: int
    receptive_field: tuple[int, int] | None  # of the last feature maps, pixels
    rate: float
    train_error: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)  # on the held-out images
    losses: list[list[float]] = field(default_factory=list)  # mean of every epoch
    cpu_ms: list[float] = field(default_factory=list)  # of training, for each image
    diverged: int = 0  # runs whose loss was no number any more


# --- the networks -------------------------------------------------------------------------------


def residual_network(
    shape: tuple[int, int, int], classes: int, *, blocks: int, filters: Sequence[int] = (4, 8, 16)
) -> keras.Model:
    """Three stages of bottlenecks, 9 `blocks` + 2 layers deep, laid out as ResNet's."""
    inputs = keras.Input(shape, name="input_layer")
    x = resnet.V1.unit(inputs, filters=4 * filters[0], kernel=3, name="conv1")
    for stage, number in enumerate(filters, start=2):
        name = f"conv{stage}_block"
        x = convolutional_block(x, filters=number, strides=min(2, stage - 1), name=f"{name}1")
        for block in range(2, blocks + 1):
            x = identity_block(x, filters=number, name=f"{name}{block}")
    return _classifier(inputs, x, classes, name=f"residual{9 * blocks + 2}")


def without_shortcuts(model: keras.Model) -> keras.Model:
    """The same layers with every addition left out: the signal has one way, the residual's."""

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> KerasTensor:
        if isinstance(layer, layers.Add):
            _, residual = args[0]  # the operands are the shortcut and the residual
            return residual
        return layer(*args, **kwargs)

    return keras.models.clone_model(model, call_function=call)


def plain_network(shape: tuple[int, int, int], classes: int, *, blocks: int) -> keras.Model:
    """The residual network of that depth without its shortcuts."""
    return without_shortcuts(residual_network(shape, classes, blocks=blocks))


VGG_WIDTH = 0.125


def vgg_network(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """VGG16 of an eighth of the width, from its own blocks."""
    inputs = keras.Input(shape, name="input_layer")
    x = vgg.features(inputs, width=VGG_WIDTH, depths=vgg.DEPTHS, prefix="")["block5"]
    x = vgg.top(x, width=VGG_WIDTH, prefix="", classes=classes, activation=None)
    return keras.Model(inputs, x, name="vgg")


def vgg_batch_norm_network(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The same table of blocks, with batch norm between every convolution and its ReLU."""
    inputs = x = keras.Input(shape, name="input_layer")
    for i, (filters, convolutions) in enumerate(zip(vgg.FILTERS, vgg.DEPTHS, strict=True), 1):
        for j in range(1, convolutions + 1):
            x = conv_bn(x, filters=scaled(filters, VGG_WIDTH), kernel=3, name=f"block{i}_{j}")
        x = layers.MaxPooling2D(2, strides=2, name=f"block{i}_pool")(x)
    x = vgg.top(x, width=VGG_WIDTH, prefix="", classes=classes, activation=None)
    return keras.Model(inputs, x, name="vgg_bn")


# What stands where Inception has its large kernels: name, kernels, whether ReLU is between them.
FACTORISATIONS: dict[str, dict[str, tuple[tuple[Kernel, ...], bool]]] = {
    "5×5": {
        "one 5×5": ((5,), True),
        "two 3×3": ((3, 3), True),
        "two 3×3, no ReLU between": ((3, 3), False),
    },
    "7×7": {
        "one 7×7": ((7,), True),
        "1×7 and 7×1": (((1, 7), (7, 1)), True),
        "three 3×3": ((3, 3, 3), True),
    },
}


def factorised_network(
    shape: tuple[int, int, int],
    classes: int,
    *,
    kernels: tuple[Kernel, ...],
    between: bool = True,
    filters: int = 32,
    places: int = 3,
) -> keras.Model:
    """Three places, on half the resolution, where these kernels stand; batch norm everywhere."""
    inputs = keras.Input(shape, name="input_layer")
    x = KERAS.conv(inputs, filters=filters, kernel=3, name="stem")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(x)
    for place in range(1, places + 1):
        for i, kernel in enumerate(kernels, start=1):
            activation = "relu" if between or i == len(kernels) else None
            name = f"place{place}_{i}"
            x = KERAS.conv(x, filters=filters, kernel=kernel, activation=activation, name=name)
    return _classifier(inputs, x, classes, name="factorised")


def _classifier(inputs: KerasTensor, x: KerasTensor, classes: int, *, name: str) -> keras.Model:
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="predictions")(x), name=name)


# --- the ablations ------------------------------------------------------------------------------

BLOCKS = (1, 2, 4, 8)
RATES = (0.001, 0.01, 0.1, 0.3, 1.0)


def residual_cases() -> list[Case]:
    """Plain and residual networks of several depths."""
    return [
        Case(name, str(9 * blocks + 2), partial(build, blocks=blocks), rate=0.1)
        for blocks in BLOCKS
        for name, build in (("plain", plain_network), ("residual", residual_network))
    ]


def batch_norm_cases() -> list[Case]:
    """VGG's stack at several learning rates."""
    return [
        Case(name, f"{rate:g}", build, rate=rate, initial=initial)
        for name, build, initial in (
            ("plain, Glorot", vgg_network, "glorot"),
            ("plain, He", vgg_network, "he"),
            ("batch norm, He", vgg_batch_norm_network, "he"),
        )
        for rate in RATES
    ]


def factorised_cases() -> list[Case]:
    """Large kernels and what replaces them."""
    return [
        Case(name, field, partial(factorised_network, kernels=kernels, between=between), rate=0.1)
        for field, ways in FACTORISATIONS.items()
        for name, (kernels, between) in ways.items()
    ]


@dataclass(frozen=True)
class Ablation:
    """What is tried, on images of which size, for how long."""

    cases: Callable[[], list[Case]]
    size: int  # pixels of a side
    epochs: int
    setting: str  # what the settings are


ABLATIONS = {
    "residual": Ablation(residual_cases, size=16, epochs=10, setting="layers"),
    "batch_norm": Ablation(batch_norm_cases, size=32, epochs=10, setting="learning rate"),
    "factorised": Ablation(factorised_cases, size=32, epochs=10, setting="in the place of"),
}


# --- the data -----------------------------------------------------------------------------------


def load(folder: Path | None, size: int) -> Data:
    """The digits, or part of a folder: at most so many images of every class."""
    if folder is None:
        name = "digits"
        images, labels, _ = load_digits_images(size)
        train, test = _divided(labels)
    else:
        name = folder.resolve().name
        listing = scan(folder)
        order = np.random.default_rng(0).permutation(len(listing.items))
        items = [listing.items[i] for i in order]
        labels = np.array([item.label for item in items])
        splits = np.array([item.split or "" for item in items])
        if {"train", "test"} <= set(splits):
            train, test = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "test")
        else:
            train, test = _divided(labels)
        train, test = _of_each(labels, train, TRAIN), _of_each(labels, test, TEST)
        images = np.zeros((len(items), size, size, 3), np.uint8)
        for i in (*train, *test):
            pixels = read_image(listing.root / items[i].path)
            images[i] = fit_image(pixels, (size, size), "stretch")
    mean, deviation = images[train].mean((0, 1, 2)), images[train].std((0, 1, 2))

    def standard(chosen: NDArray[np.int64]) -> Arrays:
        return ((images[chosen] - mean) / deviation).astype("float32")

    return Data(name, standard(train), labels[train], standard(test), labels[test])


def _divided(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.28, stratify=labels, random_state=0
    )
    return train, test


def _of_each(labels: NDArray[np.int64], chosen: NDArray[np.int64], most: int) -> Any:
    return np.concatenate([chosen[labels[chosen] == c][:most] for c in np.unique(labels)])


# --- training -----------------------------------------------------------------------------------


def draw_weights(model: keras.Model, *, initial: str, seed: int) -> None:
    """First weights that depend on seed and name alone: what two networks share begins equal."""
    kinds = {"he": keras.initializers.HeNormal, "glorot": keras.initializers.GlorotUniform}
    resting = {"gamma": 1.0, "moving_variance": 1.0}
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name == "kernel":
                kind = "glorot" if layer.name == "predictions" else initial
                own = kinds[kind](seed=zlib.crc32(f"{seed} {layer.name}".encode()))
                weight.assign(own(weight.shape, dtype=weight.dtype))
            else:
                weight.assign(np.full(weight.shape, resting.get(weight.name, 0.0)))


def measure(case: Case, data: Data, *, epochs: int, seeds: int) -> Row:
    """Train a case once with each seed."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = case.build(data.shape, data.classes)
    cost = analyse(model)
    maps = [layer.field for layer in cost.layers if len(layer.output_shape) == 3]
    row = Row(
        case.network,
        case.setting,
        cost.model.parameters,
        cost.model.macs,
        maps[-1].size if maps[-1] else None,
        case.rate,
    )
    steps = len(data.x) // BATCH
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, epochs * steps, warmup_target=case.rate, warmup_steps=steps
    )
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9)
    optimizer.build(model.trainable_variables)
    resting = [keras.ops.convert_to_numpy(variable) for variable in optimizer.variables]
    with momentum(model, partial(fitted_momentum, steps)), fast_training(model):
        model.compile(
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit_compile(),
        )
        for seed in range(seeds):
            draw_weights(model, initial=case.initial, seed=seed)
            for variable, value in zip(optimizer.variables, resting, strict=True):
                variable.assign(value)
            _train(model, data, row, epochs=epochs, seed=seed)
            row.train_error.append(1 - _accuracy(model, data.x, data.y))
            row.accuracy.append(_accuracy(model, data.test_x, data.test_y))
    return row


def _train(model: keras.Model, data: Data, row: Row, *, epochs: int, seed: int) -> None:
    spent, images = 0.0, 0
    losses: list[float] = []
    for epoch in range(epochs):
        of_epoch = []
        for number, batch in enumerate(_batches(len(data.x), seed, epoch)):
            began = time.process_time()
            of_epoch.append(float(model.train_on_batch(data.x[batch], data.y[batch])))
            model.reset_metrics()  # or the loss would be a mean of all steps so far
            if epoch or number:
                spent, images = spent + time.process_time() - began, images + len(batch)
        losses.append(statistics.mean(of_epoch))
        if not math.isfinite(losses[-1]):
            row.diverged += 1
            losses.pop()
            break
    row.losses.append(losses)
    row.cpu_ms.append(1000 * spent / max(images, 1))


def _batches(number: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    order = np.random.default_rng((seed, epoch)).permutation(number)
    for first in range(0, number - BATCH + 1, BATCH):
        yield order[first : first + BATCH]


def _accuracy(model: keras.Model, x: Arrays, y: NDArray[np.int64]) -> float:
    outputs = model.predict(x, batch_size=256, verbose=0)
    return float(np.mean(outputs.argmax(1) == y))


# --- the tables ---------------------------------------------------------------------------------


def table(rows: Sequence[Row], setting: str) -> str:
    """All rows as Markdown."""
    least = {row.setting: row.cpu_ms for row in reversed(rows)}  # the first of each setting
    head = f"network | {setting} | parameters | M multiply-adds | field | training error"
    lines = [
        f"| {head} | right, held out | CPU time |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        seen = "×".join(map(str, row.receptive_field)) if row.receptive_field else "-"
        ratio = statistics.mean(row.cpu_ms) / statistics.mean(least[row.setting])
        lines.append(
            f"| {row.network} | {row.setting} | {row.parameters:,} | {row.macs / 1e6:.1f} | {seen} "
            f"| {spread(row.train_error)} | {spread(row.accuracy)} | "
            f"{statistics.mean(row.cpu_ms):.2f} ms, × {ratio:.2f}"
            f"{f', {row.diverged} diverged' if row.diverged else ''} |"
        )
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation of fractions, in per cent."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * deviation:.1f}%"


def processor() -> str:
    """The kind of processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def conditions() -> dict[str, str | int]:
    """Under what it was measured."""
    backend = keras.backend.backend()
    return {
        "cpu": processor(),
        "cores": os.cpu_count() or 0,
        "backend": backend,
        **{name: importlib.metadata.version(name) for name in ("keras", backend, "keras-classics")},
    }


def save(name: str, data: Data, rows: Sequence[Row], *, epochs: int, seconds: float) -> None:
    """Put the figures beside those of the other ablations and other images."""
    saved = json.loads(SAVED.read_text(encoding="utf-8")) if SAVED.is_file() else {}
    saved.setdefault(name, {})[data.name] = {
        "size": data.shape[0],
        "train_images": len(data.x),
        "test_images": len(data.test_x),
        "classes": data.classes,
        "epochs": epochs,
        "batch": BATCH,
        "seeds": len(rows[0].accuracy),
        "cpu_seconds": round(seconds),
        "measured_with": conditions(),
        "rows": [_rounded(dataclasses.asdict(row)) for row in rows],
    }
    text = json.dumps(saved, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    temporary = SAVED.with_name(f".{SAVED.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(SAVED)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, (list, tuple)) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What the ideas of the papers are good for.")
    parser.add_argument("ablation", choices=[*ABLATIONS, "all"])
    parser.add_argument("--data", type=Path, help="folder of classes; default: the digits")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--epochs", type=int, help="default: the ablation's own")
    parser.add_argument("--save", action="store_true", help=f"in {SAVED.name}, for the pages")
    asked = parser.parse_args(arguments)
    if asked.seeds < 1:
        parser.error(f"--seeds {asked.seeds}: at least 1 is needed.")
    for name in ABLATIONS if asked.ablation == "all" else [asked.ablation]:
        ablation = ABLATIONS[name]
        epochs = asked.epochs or ablation.epochs
        began = time.process_time()
        data = load(asked.data, ablation.size)
        cases, rows = ablation.cases(), []
        for number, case in enumerate(cases, start=1):
            rows.append(measure(case, data, epochs=epochs, seeds=asked.seeds))
            sys.stderr.write(
                f"{name} {number}/{len(cases)}: {case.network}, {case.setting}: "
                f"{spread(rows[-1].accuracy)} right, {time.process_time() - began:.0f} CPU s\n"
            )
        seconds = time.process_time() - began
        sys.stdout.write(
            f"\n{name}: {data.name}, {len(data.x)} images to learn from, {len(data.test_x)} held "
            f"out, {data.shape[0]} pixels, {epochs} epochs, {asked.seeds} seeds; "
            f"{processor()}, {seconds:.0f} CPU seconds\n\n{table(rows, ablation.setting)}\n"
        )
        sys.stdout.flush()
        if asked.save:
            save(name, data, rows, epochs=epochs, seconds=seconds)


if __name__ == "__main__":
    main()
