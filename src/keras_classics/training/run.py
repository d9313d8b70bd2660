"""A run: folder -> split -> network -> fit -> artefact."""

from __future__ import annotations

import dataclasses
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

import keras

from keras_classics.architectures.analysis import analyse
from keras_classics.classifier.artefact import folder_id, write_artefact
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.data.check.run import quick_check
from keras_classics.data.formats import not_read
from keras_classics.errors import NothingLearntError
from keras_classics.host.interrupts import Interrupts, handled
from keras_classics.host.staging import (
    Staging,
    check_outside,
    check_space,
    free_name,
    staging,
    taken,
)
from keras_classics.training.batch_size import with_batch_size
from keras_classics.training.begun import CHECKPOINTS, Begun, Run
from keras_classics.training.checkpoint import Checkpoints, Progress
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Checked, Listener, Prepared, Resumed
from keras_classics.training.images import Images, decode_images
from keras_classics.training.record import Record, versions
from keras_classics.training.start import StartingNetwork
from keras_classics.training.task import Task, computing, task_of
from keras_classics.training.transfer import from_trained_weights


def train(
    config: TrainConfig, listener: Listener | None = None, *, began: float | None = None
) -> Run:
    """Train a network and write the artefact.

    The images are divided into a part to learn from, a part that chooses the best epoch, and a part
    that is looked at once, at the end. Nothing is written beside the artefact.

    Args:
        config: What to train on what.
        listener: Told what goes on.
        began: When the run began, of `time.monotonic`; None for now.

    Returns:
        The run. On Ctrl-C after the first epoch, what was learnt so far is saved all the same.

    Raises:
        ClassicsError: If the data, the arguments, the weights or the place for the artefact cannot
            be used; nothing is left behind then.
        NothingLearntError: On Ctrl-C before the first epoch is over.
    """
    task = task_of(config, listener)
    if began is not None:
        task = dataclasses.replace(task, began=began)
    out = config.out or free_name(Path("runs"), f"{config.data_name}-{task.architecture.name}")
    if config.folder is not None:
        check_outside(out, config.folder)
    with handled() as interrupts, staging(out) as stage:
        task = with_batch_size(task)
        return _run(task, stage, interrupts, policy=task.policy())


def resume(folder: Path, listener: Listener | None = None) -> Run:
    """Go on with a run that was interrupted, killed or lost its power.

    It ends with the same weights, bit for bit, as if it had never stopped, where the backend gives
    the same results twice (`TrainConfig.deterministic` sees to it).

    Args:
        folder: Of the run, as `train` made it.
        listener: Told what goes on.

    Raises:
        ClassicsError: If it is not the folder of such a run, is finished, is being trained, or the
            images or the backend have changed since the run started; the folder stays as it is.
        NothingLearntError: On Ctrl-C before the first epoch is over.
    """
    record = Record.read(folder)
    differs = record.check_here()
    task = task_of(record.placed(), listener, asked=record.config, recipe=record.recipe)
    record.check_images(task)
    stage = Staging(folder, folder.resolve(), kept=True)
    with handled() as interrupts:
        return _run(task, stage, interrupts, policy=record.policy, record=record, differs=differs)


def _run(
    task: Task,
    stage: Staging,
    interrupts: Interrupts,
    *,
    policy: str,
    record: Record | None = None,
    differs: tuple[str, ...] = (),
) -> Run:
    """Prepare, fit, judge, write; from a record on, where there is one."""
    with computing(policy, task.config), ExitStack() as held:
        network = task.network()
        data = _images(task, network, stage, check=record is None)
        card = _card(task, network, data)
        if record is None:
            # A disk that cannot take the artefact says so now, not at the end.
            _try_to_write(stage, network, card, data)
        task.tell(_prepared(task, network, data))
        progress = None
        if record is None:
            record = Record.of(task, policy)
            record.write(stage.folder)
            stage.publish()
            held.enter_context(taken(stage.folder))
        else:
            held.enter_context(taken(stage.folder))
            progress = Checkpoints(stage.folder / CHECKPOINTS, every=0.0).latest()
            at = progress or Progress()
            task.tell(Resumed(at.epoch, at.step, differs))
        begun = Begun(task, stage, interrupts, record, network, data, card, progress)
        return _from_scratch(begun) if task.origin is None else from_trained_weights(begun)


def _from_scratch(begun: Begun) -> Run:
    """Train random weights, and judge the network of the best epoch."""
    try:
        fitting, kept = begun.fitted()
    except NothingLearntError as error:
        checkpoints = Checkpoints(begun.stage.folder / CHECKPOINTS, every=0.0)
        begun.stage.kept = begun.stage.kept or checkpoints.latest() is not None
        raise begun.nothing(error) from None
    classifier, parts = begun.classifier(kept), None
    if not fitting.interrupted:
        with suppress(KeyboardInterrupt), begun.interrupts.allowed():
            parts = begun.judged(begun.predictions(classifier))
    return begun.end(classifier, fitting, parts)


def _images(task: Task, network: StartingNetwork, stage: Staging, *, check: bool) -> Images:
    """The images, decoded and divided, once the disk is known to hold what comes of them."""
    needed = 5 * network.model.count_params()
    if task.origin is not None:
        needed += 4 * network.head.input.shape[-1] * len(task.listing.items)  # the features
    check_space(stage.folder, needed)
    data = decode_images(
        task.listing, task.sizes, task.recipe, task.config, scratch=stage.folder, tell=task.tell
    )
    if task.asked.folder is not None:
        data = dataclasses.replace(data, source=str(task.asked.folder))
    if check and task.config.folder is not None:
        balance = task.recipe.balance
        task.tell(Checked(quick_check(data.listing, copies=data.copies, balance=balance)))
    return data


def _try_to_write(stage: Staging, network: StartingNetwork, card: Card, data: Images) -> None:
    trial = stage.folder / ".trial"
    trial.mkdir()
    write_artefact(trial, network.finished(), card, data.listing)
    shutil.rmtree(trial)


def _card(task: Task, network: StartingNetwork, data: Images) -> Card:
    """The description of a run."""
    config, test = task.config, task.sizes.test
    return Card(
        network=task.architecture.name,
        width=network.shape.width,
        class_names=data.listing.classes,
        preprocessing=Preprocessing(size=(test, test), fit=task.sizes.fit, mode=network.mode),
        recipe={
            **dataclasses.asdict(task.recipe),
            "weights": network.began_with,
            "seed": config.seed,
            "train_size": task.sizes.train,
        },
        data={
            "source": data.source,
            "fingerprint": task.fingerprint,
            "contents": data.contents,
            "folder": folder_id(config.folder) if config.folder else None,
            "images": data.counts,
            "skipped": [str(error) for error in data.skipped],
        },
        completed=False,
        versions=versions(),
    )


def _prepared(task: Task, network: StartingNetwork, data: Images) -> Prepared:
    shape = network.shape
    side = (shape.size, shape.size)
    cost = analyse(network.model, size=None if shape.size == shape.test_size else side).model
    return Prepared(
        source=data.source,
        classes=len(data.listing.classes),
        **data.counts,
        skipped=data.skipped,
        ignored=len(data.listing.ignored),
        left_out=not_read(data.listing.ignored),
        network=task.architecture.title,
        recipe=task.recipe.name,
        width=shape.width,
        size=shape.size,
        parameters=cost.parameters,
        macs=cost.macs,
        epochs=task.recipe.epochs if task.fine_tunes else 0,
        batch_size=task.recipe.batch_size,
        policy=keras.config.dtype_policy().name,
        weights=network.began_with,
        why=task.why,
    )
