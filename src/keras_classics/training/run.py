"""A run: folder -> split -> network -> fit -> artefact."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures.analysis import analyse
from keras_classics.artefact import Classifier, folder_id, splits_of, write_artefact
from keras_classics.card import CARD, RECORD, Card, Preprocessing
from keras_classics.data.check.run import quick_check
from keras_classics.data.formats import not_read
from keras_classics.errors import NothingLearntError, OutputError
from keras_classics.evaluation.assessment import Judged
from keras_classics.evaluation.metrics import Judgement
from keras_classics.training.batch_size import with_batch_size
from keras_classics.training.checkpoint import Checkpoints, Progress
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Checked, Listener, Prepared, Resumed
from keras_classics.training.fitting import Fitting, feed, fit, settle
from keras_classics.training.images import Images, decode_images
from keras_classics.training.interrupts import Interrupts, handled
from keras_classics.training.judging import Conclusion, conclude
from keras_classics.training.output import (
    Staging,
    check_outside,
    check_space,
    free_name,
    staging,
    taken,
)
from keras_classics.training.record import Record, versions
from keras_classics.training.start import StartingNetwork
from keras_classics.training.task import Task, computing, task_of

CHECKPOINTS = "checkpoints"  # in the folder of a run until it is finished


@dataclass(frozen=True)
class Run:
    """What came of a run."""

    artefact: Path
    classifier: Classifier
    judgement: Judgement | None  # on the held-out images; None if the run was interrupted
    epochs: int  # that were completed
    best_epoch: int
    seconds: float  # of this process
    interrupted: bool
    diverged: bool  # stopped, because the loss was no number any more
    stopped: bool  # early, because no better epoch came
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
    task = task_of(config, listener)
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
            images or the backend are not those that it began with; the folder stays as it is.
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
    config, recipe, sizes = task.config, task.recipe, task.sizes
    with computing(policy, config), ExitStack() as held:
        network = task.network()
        check_space(stage.folder, needed=5 * network.model.count_params())
        data = decode_images(
            task.listing, sizes, recipe, config, scratch=stage.folder, tell=task.tell
        )
        if task.asked.folder is not None:
            data = dataclasses.replace(data, source=str(task.asked.folder))
        if config.folder is not None and record is None:
            findings = quick_check(data.listing, copies=data.copies, balance=recipe.balance)
            task.tell(Checked(findings))
        card = _card(task, network, data)
        if record is None:
            # A disk that cannot take the artefact says so now, not at the end.
            _try_to_write(stage, network, card, data)
        task.tell(_prepared(task, network, data))
        batches = feed(network, recipe, data, seed=config.seed)
        if record is None:
            Record.of(task, policy).write(stage.folder)
            stage.publish()
        held.enter_context(taken(stage.folder))
        checkpoints = Checkpoints(stage.folder / CHECKPOINTS, every=config.checkpoint_every)
        progress = checkpoints.latest() if record else None
        if record:
            at = progress or Progress()
            task.tell(Resumed(at.epoch, at.step, differs))
        try:
            fitting = fit(
                network,
                recipe,
                batches,
                tell=task.tell,
                interrupts=interrupts,
                checkpoints=checkpoints,
                begin=progress,
            )
        except NothingLearntError as error:
            stage.kept = stage.kept or checkpoints.latest() is not None
            after = (
                f"go on with `classics train --resume {stage.out}`."
                if stage.kept
                else "nothing was learnt, nothing saved."
            )
            raise NothingLearntError(f"{str(error).rstrip('.')}: {after}") from None
        interrupts.at_once = False
        kept = network.finished()
        settle(kept, recipe, batches, fitting, interrupts)
        classifier = Classifier(kept, card, splits=splits_of(data.listing))
        return _finish(task, classifier, fitting, data, stage, interrupts=interrupts)


def _finish(
    task: Task,
    classifier: Classifier,
    fitting: Fitting,
    data: Images,
    stage: Staging,
    *,
    interrupts: Interrupts,
) -> Run:
    """Judge once on the held-out images, and write the artefact with its report."""
    card = dataclasses.replace(classifier.card, history=fitting.history)
    parts = None
    if not fitting.interrupted:
        with suppress(KeyboardInterrupt), interrupts.allowed():
            parts = {
                name: _judged(name, classifier, data, task.recipe.batch_size)
                for name in ("train", "val", "test")
                if len(data.part(name))
            }
    conclusion = conclude(
        card,
        parts,
        config=task.asked,
        seconds=time.monotonic() - task.began,
        best_epoch=fitting.best_epoch,
        diverged=fitting.diverged,
        model=classifier.model,
    )
    classifier.card = conclusion.card
    moved = _write_somewhere(classifier, conclusion, data, stage)
    return Run(
        artefact=stage.out,
        classifier=classifier,
        judgement=conclusion.judgement,
        epochs=len(fitting.history),
        best_epoch=fitting.best_epoch,
        seconds=time.monotonic() - task.began,
        interrupted=conclusion.judgement is None,
        diverged=fitting.diverged,
        stopped=fitting.stopped,
        moved=moved,
    )


def _judged(name: str, classifier: Classifier, data: Images, batch_size: int) -> Judged:
    """A part, and what the network says of it."""
    indices = data.part(name)

    def pictures(chosen: Sequence[int]) -> npt.NDArray[np.uint8]:
        return np.concatenate(list(data.chunks(indices[np.asarray(chosen)], 256)))

    probabilities = None
    if name != "train":
        chunks = data.chunks(indices, batch_size)
        probabilities = np.concatenate(
            [classifier.probabilities(chunk, batch_size=batch_size) for chunk in chunks]
        )
    return Judged(
        paths=[data.listing.items[i].name for i in indices],
        labels=data.labels[indices],
        probabilities=probabilities,
        pictures=pictures,
    )


def _try_to_write(stage: Staging, network: StartingNetwork, card: Card, data: Images) -> None:
    trial = stage.folder / ".trial"
    trial.mkdir()
    write_artefact(trial, network.finished(), card, data.listing)
    shutil.rmtree(trial)


def _write_somewhere(
    classifier: Classifier, conclusion: Conclusion, data: Images, stage: Staging
) -> str | None:
    """Write the artefact, in the system's temporary folder if need be; why there, if there."""
    moved = None
    try:
        _write(classifier, conclusion, data, stage)
    except OutputError as error:  # the disk is full, but hours of training are in memory
        moved = str(error)
        stage.move_to_safety()
        _write(classifier, conclusion, data, stage)
    stage.kept = True
    if classifier.card.completed:
        shutil.rmtree(stage.folder / CHECKPOINTS, ignore_errors=True)
        (stage.folder / RECORD).unlink(missing_ok=True)
    return moved


def _write(classifier: Classifier, conclusion: Conclusion, data: Images, stage: Staging) -> None:
    with stage.whole(last=CARD) as folder:
        write_artefact(folder, classifier.model, classifier.card, data.listing)
        conclusion.write(folder)


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
            "weights": config.weights,
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
        epochs=task.recipe.epochs,
        batch_size=task.recipe.batch_size,
        policy=keras.config.dtype_policy().name,
        weights=network.began_with,
    )
