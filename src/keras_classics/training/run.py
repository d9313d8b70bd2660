"""A run: folder -> split -> network -> fit -> artefact."""

from __future__ import annotations

import dataclasses
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import keras

from keras_classics.architectures import catalog
from keras_classics.architectures.analysis import analyse
from keras_classics.architectures.frame import Architecture
from keras_classics.artefact import (
    Card,
    Classifier,
    Preprocessing,
    folder_id,
    splits_of,
    write_artefact,
)
from keras_classics.data.check.run import quick_check
from keras_classics.data.folder import Listing, fingerprint
from keras_classics.errors import OutputError
from keras_classics.evaluation.metrics import Judgement, judge
from keras_classics.training.config import TrainConfig, check_arguments, input_size, recipe_for
from keras_classics.training.events import Checked, Listener, Prepared
from keras_classics.training.fitting import Fitting, fit
from keras_classics.training.images import Images, decode_images, list_images
from keras_classics.training.interrupts import Interrupts, handled
from keras_classics.training.origin import find_origin
from keras_classics.training.output import (
    Staging,
    check_outside,
    check_space,
    free_name,
    staging,
)
from keras_classics.training.recipe import Recipe
from keras_classics.training.start import StartingNetwork, start_network


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
    diverged: bool  # stopped, because the loss was no number any more
    moved: str | None  # why the artefact is not where it was asked for; None if it is


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
        NothingLearntError: On Ctrl-C before the first epoch is over.
    """
    tell: Listener = listener or (lambda _: None)
    began = time.monotonic()
    check_arguments(config)
    architecture = catalog.find(config.network)
    origin = find_origin(config.weights, architecture, config.width) if config.weights else None
    size = input_size(config, architecture, origin)
    recipe = recipe_for(config, architecture, origin)
    name = "digits" if config.folder is None else config.folder.resolve().name
    out = config.out or free_name(Path("runs"), f"{name}-{architecture.name}")
    if config.folder is not None:
        check_outside(out, config.folder)
    listing = list_images(config)
    with handled() as interrupts, staging(out) as stage:
        keras.utils.set_random_seed(config.seed)
        classes = len(listing.classes)
        network = start_network(config, architecture, size, classes, origin)
        check_space(stage.folder, needed=5 * network.model.count_params())
        data = decode_images(listing, size, config, stage.folder, tell)
        if config.folder is not None:
            tell(Checked(quick_check(data.listing)))
        card = _card(config, architecture, network, recipe, data, size=size, found=listing)
        # A disk that cannot take the artefact says so now, not at the end.
        write_artefact(stage.folder, network.model, card, data.listing)
        tell(_prepared(data, architecture, network, recipe, size))
        fitting = fit(network, recipe, data, seed=config.seed, tell=tell, interrupts=interrupts)
        classifier = Classifier(
            _with_probabilities(network.model), card, splits=splits_of(data.listing)
        )
        return _finish(
            classifier,
            fitting,
            data,
            stage,
            interrupts=interrupts,
            batch_size=recipe.batch_size,
            began=began,
        )


def _finish(
    classifier: Classifier,
    fitting: Fitting,
    data: Images,
    stage: Staging,
    *,
    interrupts: Interrupts,
    batch_size: int,
    began: float,
) -> Run:
    """Judge once on the held-out images, and write the artefact."""
    judgement = None
    held_out = data.part("test")
    if not fitting.interrupted:
        with suppress(KeyboardInterrupt), interrupts.allowed():
            probabilities = classifier.probabilities(data.images, held_out, batch_size=batch_size)
            judgement = judge(probabilities, data.labels[held_out], data.listing.classes)
    classifier.card = dataclasses.replace(
        classifier.card,
        history=fitting.history,
        figures=judgement.to_dict() if judgement else None,
        completed=judgement is not None,
    )
    moved = _write_somewhere(classifier, data, stage)
    return Run(
        artefact=stage.out,
        classifier=classifier,
        judgement=judgement,
        epochs=len(fitting.history),
        best_epoch=fitting.best_epoch,
        seconds=time.monotonic() - began,
        interrupted=judgement is None,
        diverged=fitting.diverged,
        moved=moved,
    )


def _with_probabilities(model: keras.Model) -> keras.Model:
    """The same layers with probabilities as outputs, without the optimiser and what was traced."""
    model.get_layer("predictions").activation = keras.activations.softmax
    return keras.Model(model.input, model.output, name=model.name)


def _write_somewhere(classifier: Classifier, data: Images, stage: Staging) -> str | None:
    """Write the artefact, in the system's temporary folder if need be; why there, if there."""
    try:
        write_artefact(stage.folder, classifier.model, classifier.card, data.listing)
        stage.publish()
    except OutputError as error:  # the disk is full, but hours of training are in memory
        stage.move_to_safety()
        write_artefact(stage.folder, classifier.model, classifier.card, data.listing)
        stage.publish()
        return str(error)
    return None


def _card(
    config: TrainConfig,
    architecture: Architecture,
    network: StartingNetwork,
    recipe: Recipe,
    data: Images,
    *,
    size: int,
    found: Listing,
) -> Card:
    """The description of a run; `found` are its images before those that cannot be read went."""
    return Card(
        network=architecture.name,
        width=network.width,
        class_names=data.listing.classes,
        preprocessing=Preprocessing(size=(size, size), fit=config.fit, mode=network.mode),
        recipe={**dataclasses.asdict(recipe), "weights": config.weights, "seed": config.seed},
        data={
            "source": data.source,
            "fingerprint": fingerprint(found) if config.folder else None,
            "folder": folder_id(config.folder) if config.folder else None,
            "images": data.counts,
            "skipped": [str(error) for error in data.skipped],
        },
        completed=False,
        versions=_versions(),
    )


def _prepared(
    data: Images, architecture: Architecture, network: StartingNetwork, recipe: Recipe, size: int
) -> Prepared:
    cost = analyse(network.model).model
    return Prepared(
        source=data.source,
        classes=len(data.listing.classes),
        **data.counts,
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
