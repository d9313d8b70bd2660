"""A run: folder -> split -> network -> fit -> artefact."""

from __future__ import annotations

import dataclasses
import platform
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures import catalog
from keras_classics.architectures.analysis import analyse
from keras_classics.architectures.frame import Architecture, with_channels
from keras_classics.artefact import MANIFEST, MODEL, Card, Classifier, Preprocessing
from keras_classics.data.batches import Batches
from keras_classics.data.digits import load_digits_images
from keras_classics.data.fit import Fit
from keras_classics.data.folder import (
    Item,
    Listing,
    assign_splits,
    fingerprint,
    scan,
    write_manifest,
)
from keras_classics.data.pixels import decode_all
from keras_classics.data.preprocess import Mode
from keras_classics.errors import ClassicsError, DataError, ImageError, OutputError, WeightsError
from keras_classics.evaluation.metrics import Judgement, judge
from keras_classics.networks import build
from keras_classics.training import batch_norm
from keras_classics.training.events import EpochEnd, Listener, Prepared, Reading, Step
from keras_classics.training.output import Staging, check_space, free_name, staging
from keras_classics.training.recipe import FINE_TUNING, GENTLE, QUICK, Recipe
from keras_classics.weights import records
from keras_classics.weights.loading import fetch, load_weights

LARGEST = 4096  # pixels; beyond it a single image no longer fits through a network on most machines
DIGITS_SIZE = 32
FOLDER_SIZE = 64
DEFAULT_WIDTH = 0.25


@dataclass(frozen=True)
class TrainConfig:
    """What to train on what; None lets the run choose."""

    folder: Path | None = None  # None: the digits that come with scikit-learn
    network: str = "resnet50"
    width: float | None = None  # 0.25; 1.0 with ImageNet weights
    size: int | None = None  # pixels: 32 for digits, else 64, or the least that the network takes
    epochs: int | None = None  # the recipe's
    batch_size: int | None = None  # the recipe's
    learning_rate: float | None = None  # the recipe's
    weights: str | None = None  # "imagenet", a file of weights or an artefact; None: random
    preprocessing: Mode | None = None  # that of the weights; "tf" for random ones
    fit: Fit = "crop"
    seed: int = 0
    out: Path | None = None  # runs/<data>-<network>, numbered


@dataclass(frozen=True)
class Run:
    """What came of a run."""

    artefact: Path
    classifier: Classifier
    judgement: Judgement | None  # on the held-out images; None if the run was interrupted
    epochs: int  # that were completed
    best_epoch: int
    seconds: float
    interrupted: bool
    moved: str | None  # why the artefact is not where it was asked for; None if it is


@dataclass(frozen=True)
class _Data:
    """Decoded images with their parts."""

    source: str
    images: npt.NDArray[np.uint8]  # (n, h, w, 3)
    labels: npt.NDArray[np.int64]
    parts: npt.NDArray[np.str_]  # "train", "val" or "test"
    listing: Listing
    skipped: tuple[ImageError, ...]

    def part(self, name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Images and labels of one part."""
        chosen = self.parts == name
        return self.images[chosen], self.labels[chosen]


class NothingLearnt(ClassicsError):
    """The run was interrupted before its first epoch was over."""


def train(config: TrainConfig, listener: Listener | None = None) -> Run:
    """Train a network and write the artefact.

    The images are divided into a part to learn from, a part that chooses the best epoch, and a part
    that is looked at once, at the end. Nothing is written beside the artefact.

    Args:
        config: What to train on what.
        listener: Told what goes on.

    Returns:
        The run. On Ctrl-C after the first epoch, what was learnt so far is saved all the same.

    Raises:
        ClassicsError: If the data, the arguments, the weights or the place for the artefact cannot
            be used; nothing is left behind then.
        NothingLearnt: On Ctrl-C before the first epoch is over.
    """
    tell: Listener = listener or (lambda _: None)
    began = time.monotonic()
    architecture = catalog.find(config.network)
    size = _size(config, architecture)
    recipe = _recipe(config, architecture)
    name = "digits" if config.folder is None else config.folder.resolve().name
    out = config.out or free_name(Path("runs"), f"{name}-{architecture.name}")
    listing = _listing(config)
    with staging(out) as stage:
        data = _decode(listing, size, config, stage, tell)
        keras.utils.set_random_seed(config.seed)
        network = _network(config, architecture, size, classes=len(data.listing.classes))
        check_space(stage.folder, needed=5 * network.model.count_params())
        card = _card(config, architecture, network, recipe, data, size)
        classifier = Classifier(network.model, card)
        classifier.save(stage.folder)  # a disk that cannot take it says so now, not at the end
        tell(_prepared(data, architecture, network, recipe, size))
        fitting = _fit(network, recipe, data, config.seed, tell)
        return _finish(classifier, fitting, data, stage, recipe, began)


@dataclass(frozen=True)
class _Network:
    """A network ready to be trained: its outputs are logits until training is over."""

    model: keras.Model
    width: float
    mode: Mode
    began_with: str | None


@dataclass
class _Fitting:
    """What fitting left: the history, and the best weights."""

    history: list[dict[str, float]]
    best_epoch: int
    weights: list[npt.NDArray[Any]]
    interrupted: bool = False


def _size(config: TrainConfig, architecture: Architecture) -> int:
    default = DIGITS_SIZE if config.folder is None else FOLDER_SIZE
    if config.weights == "imagenet":
        default = architecture.default_size
    size = max(default, architecture.least_size) if config.size is None else config.size
    if not architecture.least_size <= size <= LARGEST:
        raise ClassicsError(
            f"size={size}: {architecture.title} takes {architecture.least_size} to {LARGEST} pixels."
        )
    return size


def _recipe(config: TrainConfig, architecture: Architecture) -> Recipe:
    for argument in ("epochs", "batch_size"):
        value = getattr(config, argument)
        if value is not None and value < 1:
            raise ClassicsError(f"{argument}={value}: at least 1 is needed.")
    if config.learning_rate is not None and not 0 < config.learning_rate < 10:
        raise ClassicsError(
            f"learning_rate={config.learning_rate}: above 0 and below 10 is needed."
        )
    rate = QUICK.learning_rate
    if architecture.name.startswith("vgg"):
        rate *= GENTLE
    if config.weights is not None:
        rate *= FINE_TUNING
    return dataclasses.replace(
        QUICK,
        epochs=config.epochs or QUICK.epochs,
        batch_size=config.batch_size or QUICK.batch_size,
        learning_rate=config.learning_rate or rate,
    )


def _listing(config: TrainConfig) -> Listing:
    """The images and their parts, before anything is decoded."""
    if config.folder is not None:
        return assign_splits(scan(config.folder), seed=config.seed)
    _, labels, names = load_digits_images(8)
    items = tuple(Item(Path(f"{i:04d}"), int(label)) for i, label in enumerate(labels))
    return assign_splits(Listing(Path("digits"), names, items), seed=config.seed)


def _decode(
    listing: Listing, size: int, config: TrainConfig, stage: Staging, tell: Listener
) -> _Data:
    skipped: tuple[ImageError, ...] = ()
    if config.folder is None:
        images, _, _ = load_digits_images(size)
    else:
        decoded = decode_all(
            listing.root,
            listing.items,
            (size, size),
            config.fit,
            progress=lambda done, total: tell(Reading(done, total)),
            scratch=stage.folder,
        )
        images, skipped = decoded.images, decoded.skipped
        if skipped:
            listing = _readable(listing, decoded.items, skipped, config.seed)
    write_manifest(listing, stage.folder / MANIFEST)
    return _Data(
        source="the digits of scikit-learn" if config.folder is None else str(config.folder),
        images=images,
        labels=np.array([item.label for item in listing.items], dtype=np.int64),
        parts=np.array([item.split for item in listing.items]),
        listing=listing,
        skipped=skipped,
    )


def _readable(
    listing: Listing, items: tuple[Item, ...], skipped: tuple[ImageError, ...], seed: int
) -> Listing:
    """The split of the images that can be read, drawn as if there were no others.

    Raises:
        DataError: If a class has too few of them.
    """
    for label, name in enumerate(listing.classes):
        if not any(item.label == label for item in items):
            raise DataError(
                f"{listing.root}: no image of the class {name!r} can be read; first {skipped[0]}"
            )
    given = {item.path: item.split for item in scan(listing.root).items}
    undecided = tuple(dataclasses.replace(item, split=given[item.path]) for item in items)
    return assign_splits(dataclasses.replace(listing, items=undecided), seed=seed)


def _network(config: TrainConfig, architecture: Architecture, size: int, classes: int) -> _Network:
    """The network with logits as outputs, and the weights that it begins with."""
    path, mode, width, began_with = _starting_weights(config, architecture)
    model = build(
        architecture,
        input_shape=with_channels((size, size), 3),
        classes=classes,
        classifier_activation=None,
        width=width,
    )
    if path is None:
        _draw_weights(model, config.seed)
    else:
        load_weights(model, path, architecture=architecture, skip_top=True)
    return _Network(model, width, config.preprocessing or mode, began_with)


def _starting_weights(
    config: TrainConfig, architecture: Architecture
) -> tuple[Path | None, Mode, float, str | None]:
    """The file, its preprocessing, the width, and the weights in words."""
    width = config.width if config.width is not None else DEFAULT_WIDTH
    if config.weights is None:
        return None, "tf", width, None
    if config.weights == "imagenet":
        if config.width not in (None, 1.0):
            raise ClassicsError(f"width={config.width}: ImageNet weights fit width 1.0 only.")
        record = records.imagenet(architecture.name, include_top=False)
        return fetch(record), cast(Mode, record.preprocessing), 1.0, "ImageNet weights, a new top"
    path = Path(config.weights)
    if path.is_dir():
        card = Card.read(path)
        if card.network != architecture.name:
            raise WeightsError(f"{path}: holds {card.network}, not {architecture.name}.")
        if config.width not in (None, card.width):
            raise WeightsError(f"{path}: has width {card.width}, not {config.width}.")
        return path / MODEL, card.preprocessing.mode, card.width, f"{path}, a new top"
    if not path.is_file():
        raise WeightsError(
            f"weights={config.weights!r}: no such file; use imagenet, a file or an artefact."
        )
    return path, "tf", width, f"{path}, a new top"


def _draw_weights(model: keras.Model, seed: int) -> None:
    """Random weights that keep the size of the signal through ReLUs (He et al. 2015).

    Keras' default loses half of it in every layer, which a network without batch norm cannot make
    good. The top, which no ReLU follows, keeps the default.
    """
    for i, layer in enumerate(model.layers):
        if hasattr(layer, "kernel") and layer.name != "predictions":
            draw = keras.initializers.HeNormal(seed=seed * 10_000 + i)
            layer.kernel.assign(draw(layer.kernel.shape, dtype=layer.kernel.dtype))


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Tells what goes on and keeps the best weights."""

    def __init__(self, steps: int, epochs: int, batch_size: int, tell: Listener) -> None:
        super().__init__()
        self.steps, self.total, self.batch_size, self.tell = steps, steps * epochs, batch_size, tell
        self.fitting = _Fitting(history=[], best_epoch=0, weights=[])
        self._began = self._spent = 0.0
        self._seen = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._began, self._spent, self._seen = time.monotonic(), 0.0, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._seen += self.batch_size
        self._spent = time.monotonic() - self._began
        epoch = len(self.fitting.history)
        done = epoch * self.steps + batch + 1
        self.tell(Step(epoch + 1, done, self.total, self._rate()))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = {key: float(value) for key, value in logs.items()}
        rank = (values["val_accuracy"], -values["val_loss"])
        best = not self.fitting.history or rank > self._best
        if best:
            self._best = rank
            self.fitting.best_epoch = epoch + 1
            self.fitting.weights = self.model.get_weights()
        self.fitting.history.append(values)
        self.tell(
            EpochEnd(
                epoch=epoch + 1,
                loss=values["loss"],
                accuracy=values["accuracy"],
                val_loss=values["val_loss"],
                val_accuracy=values["val_accuracy"],
                images_per_second=self._rate(),
                best=best,
            )
        )

    def _rate(self) -> float:
        return self._seen / self._spent if self._spent else 0.0


def _fit(network: _Network, recipe: Recipe, data: _Data, seed: int, tell: Listener) -> _Fitting:
    """Train, until the last epoch or Ctrl-C."""
    model, classes = network.model, len(data.listing.classes)
    train = Batches(
        *data.part("train"),
        classes=classes,
        batch_size=recipe.batch_size,
        mode=network.mode,
        augmentation=recipe.augmentation,
        shuffle=True,
        seed=seed,
        drop_remainder=True,
    )
    # A class may have too few images for a validation part of its own; if all have, the training
    # images stand in, as there is nothing else to choose the epoch by.
    validation = data.part("val") if (data.parts == "val").any() else data.part("train")
    val = Batches(*validation, classes=classes, batch_size=recipe.batch_size, mode=network.mode)
    watch = _Watch(len(train), recipe.epochs, recipe.batch_size, tell)
    frozen = batch_norm.batch_norms(model) if network.began_with else []
    for layer in frozen:  # trained statistics are worth more than those of a small set
        layer.trainable = False
    try:
        with batch_norm.momentum(model, lambda own: batch_norm.fitted_momentum(len(train), own)):
            model.compile(
                _optimizer(recipe, steps=len(train) * recipe.epochs),
                keras.losses.CategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
                # XLA takes minutes to compile these networks for a CPU, and runs them no faster.
                jit_compile=keras.backend.backend() == "jax",
            )
            # With its variables there beforehand, TensorFlow traces the step once, not twice.
            model.optimizer.build(model.trainable_variables)
            model.fit(
                train,
                epochs=recipe.epochs,
                validation_data=val,
                shuffle=False,
                verbose=0,
                callbacks=[watch],
            )
    except KeyboardInterrupt:
        if not watch.fitting.history:
            raise NothingLearnt(
                "interrupted before the first epoch was over: nothing was learnt, nothing saved."
            ) from None
        watch.fitting.interrupted = True
    finally:
        for layer in frozen:
            layer.trainable = True
    model.set_weights(watch.fitting.weights)
    if not frozen:
        images, _ = data.part("train")
        clean = Batches(
            images, np.zeros(len(images), np.int64), classes=classes,
            batch_size=recipe.batch_size, mode=network.mode, shuffle=True, seed=seed,
            drop_remainder=True,
        )  # fmt: skip
        sample = range(min(len(clean), _STATISTICS_BATCHES))
        batch_norm.reestimate(model, (clean[i][0] for i in sample))
    return watch.fitting


_STATISTICS_BATCHES = 200


def _optimizer(recipe: Recipe, steps: int) -> keras.Optimizer:
    warm_up = round(recipe.warm_up * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 20,
        decay_steps=max(1, steps - warm_up),
        warmup_target=recipe.learning_rate,
        warmup_steps=warm_up,
    )
    return keras.optimizers.AdamW(
        schedule, weight_decay=recipe.weight_decay, global_clipnorm=recipe.clip_norm
    )


def _finish(
    classifier: Classifier,
    fitting: _Fitting,
    data: _Data,
    stage: Staging,
    recipe: Recipe,
    began: float,
) -> Run:
    """Judge once on the held-out images, and write the artefact."""
    model = classifier.model
    model.get_layer("predictions").activation = keras.activations.softmax
    model.compile(None)  # forgets what was traced with logits, and the optimiser
    judgement = None
    if not fitting.interrupted:
        images, labels = data.part("test")
        probabilities = classifier.probabilities(images, batch_size=recipe.batch_size)
        judgement = judge(probabilities, labels, data.listing.classes)
    classifier.card = dataclasses.replace(
        classifier.card,
        history=fitting.history,
        figures=judgement.to_dict() if judgement else None,
        completed=not fitting.interrupted,
    )
    moved = None
    try:
        _write(classifier, data, stage)
    except OutputError as error:  # the disk is full, but hours of training are in memory
        moved = str(error)
        stage.move_to_safety()
        _write(classifier, data, stage)
    classifier.splits = {i.path.as_posix(): str(i.split) for i in data.listing.items}
    return Run(
        artefact=stage.out,
        classifier=classifier,
        judgement=judgement,
        epochs=len(fitting.history),
        best_epoch=fitting.best_epoch,
        seconds=time.monotonic() - began,
        interrupted=fitting.interrupted,
        moved=moved,
    )


def _write(classifier: Classifier, data: _Data, stage: Staging) -> None:
    write_manifest(data.listing, stage.folder / MANIFEST)
    classifier.save(stage.folder)
    stage.publish()


def _card(
    config: TrainConfig,
    architecture: Architecture,
    network: _Network,
    recipe: Recipe,
    data: _Data,
    size: int,
) -> Card:
    counts = {part: int((data.parts == part).sum()) for part in ("train", "val", "test")}
    return Card(
        network=architecture.name,
        width=network.width,
        class_names=data.listing.classes,
        preprocessing=Preprocessing(size=(size, size), fit=config.fit, mode=network.mode),
        recipe={**dataclasses.asdict(recipe), "weights": config.weights, "seed": config.seed},
        data={
            "source": data.source,
            "fingerprint": fingerprint(data.listing) if config.folder else None,
            "images": counts,
            "skipped": [str(error) for error in data.skipped],
        },
        completed=False,
        versions=_versions(),
    )


def _prepared(
    data: _Data, architecture: Architecture, network: _Network, recipe: Recipe, size: int
) -> Prepared:
    cost = analyse(network.model).model
    return Prepared(
        source=data.source,
        classes=len(data.listing.classes),
        train=int((data.parts == "train").sum()),
        val=int((data.parts == "val").sum()),
        test=int((data.parts == "test").sum()),
        skipped=data.skipped,
        ignored=len(data.listing.ignored),
        network=architecture.title,
        width=network.width,
        size=size,
        parameters=cost.parameters,
        macs=cost.macs,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        weights=network.began_with,
    )


def _versions() -> dict[str, str]:
    backend = keras.backend.backend()
    found = {"python": platform.python_version(), "backend": backend}
    for package in ("keras-classics", "keras", backend, "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"  # such as tensorflow-cpu under another name
    return found
