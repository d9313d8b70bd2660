"""Which trained network, at which size? Each is tried by its head alone, before any trial."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from keras_classics.architectures import catalog
from keras_classics.errors import ClassicsError, out_of_memory
from keras_classics.training.events import Features
from keras_classics.training.fitted_head import standing
from keras_classics.training.origin import IMAGENET, Origin, find_origin
from keras_classics.training.recipe import Monitor
from keras_classics.training.search_space import Ranges, space_of
from keras_classics.training.shelf import Shelf
from keras_classics.training.task import Task
from keras_classics.weights import records
from keras_classics.weights.download import cached

Clock = Callable[[], float]  # seconds since some moment

SHARE = 0.25  # of the time for all heads but the first, where trials follow


@dataclass(frozen=True)
class Candidate:
    """A network with trained weights, and the size of its inputs."""

    network: str
    size: int  # pixels

    def __str__(self) -> str:
        return f"{self.network}, {self.size} pixels"

    @property
    def cost(self) -> float:
        """Multiply-adds of an image, about."""
        _, macs = catalog.measured()[self.network]
        return macs * (self.size / catalog.find(self.network).default_size) ** 2

    def task(self, of: Task) -> Task:
        """The same task with this network and size; its own size is left to the network."""
        task = _with_network(of, self.network)
        if task.sizes.train == self.size:
            return task
        return task.changed(dataclasses.replace(task.config, size=self.size))


@dataclass(frozen=True)
class HeadTrial:
    """What came of a candidate."""

    candidate: Candidate
    status: Literal["complete", "too long", "no memory"]
    value: float | None = None  # the monitor's, on the validation part
    loss: float | None = None  # validation loss
    seconds: float = 0.0  # that it took; of one that is too long, that it would take

    @property
    def judged(self) -> bool:
        """Whether its value counts."""
        return self.status == "complete"


def candidates(task: Task, ranges: Ranges, networks: Sequence[str]) -> tuple[Candidate, ...]:
    """What is tried by its head, in this order; nothing where random weights are the beginning.

    The network of the task at its own size comes first, then the others at theirs, then other
    sizes, the nearest first; of equals the cheaper one.

    Args:
        task: Of the network that was asked for.
        ranges: The sizes that the user wants.
        networks: That the user names; none for those whose weights are at hand.

    Raises:
        ClassicsError: If a network that was named is not known, or its weights cannot be had.
    """
    own = task.architecture.name
    if task.origin is None:
        if len(networks) > 1:
            raise ClassicsError(
                f"network={', '.join(networks)}: several are compared by trained weights only; "
                "name one."
            )
        return ()
    for name in networks:
        origin = _with_network(task, name).origin
        if origin:
            origin.file(include_top=len(catalog.find(name).top_layers) > 1)
    found: list[tuple[bool, float, float, Candidate]] = []
    named = [catalog.find(name).name for name in networks]
    for name in dict.fromkeys([own, *(named or _at_hand(task))]):
        space = space_of(_with_network(task, name), ranges)
        for size in space.size:
            each = Candidate(name, size)
            far = abs(math.log(size / space.default.size))
            first = name == own and size == space.default.size
            found.append((not first, far, each.cost, each))
    return tuple(each for *_, each in sorted(found, key=lambda row: row[:3]))


def _with_network(task: Task, name: str) -> Task:
    """The task with another network, whose weights are those of the same name."""
    architecture = catalog.find(name)
    if architecture == task.architecture:
        return task
    config = dataclasses.replace(task.config, network=architecture.name)
    origin: Origin = find_origin(config.weights or IMAGENET, architecture, None)
    return dataclasses.replace(task, architecture=architecture, origin=origin).changed(config)


def _at_hand(task: Task) -> list[str]:
    """Networks whose weights need no download, if it is the published ones that are asked for."""
    if task.config.weights != IMAGENET or task.config.preprocessing is not None:
        return []
    found = []
    for record in records.RECORDS.values():
        hidden = len(catalog.find(record.network).top_layers) > 1
        if record.imagenet and cached(record.file_for(include_top=hidden)):
            found.append(record.network)
    return found


def too_long(candidate: Candidate, tried: Sequence[HeadTrial], left: float) -> float | None:
    """The seconds that a candidate would take, if that is more than there are.

    The one with the nearest cost is the measure; where a candidate costs less, no gain is counted
    on.
    """
    measured = [trial for trial in tried if trial.judged]
    if not measured:
        return None
    nearest = min(measured, key=lambda trial: _ratio(trial.candidate.cost, candidate.cost))
    seconds = nearest.seconds * max(1.0, candidate.cost / nearest.candidate.cost)
    return seconds if seconds > left else None


def _ratio(one: float, other: float) -> float:
    return max(one / other, other / one)


def try_head(candidate: Candidate, of: Task, shelf: Shelf, *, clock: Clock) -> HeadTrial:
    """Compute the features of all images, fit a head, and look at the validation part.

    Args:
        candidate: What is tried.
        of: The task whose images and settings it has.
        shelf: Of the images; it keeps the head.
        clock: Seconds since some moment.
    """
    began = clock()
    try:
        task = candidate.task(of)
        network, data = task.network(), shelf.images(task)
        found = shelf.head(task, network, data, told=lambda *at: task.tell(Features(*at)))
    except Exception as error:
        if not out_of_memory(error):
            raise
        return HeadTrial(candidate, "no memory", seconds=clock() - began)
    monitor = task.recipe.selection.monitor
    labels = data.labels[data.part("val")]
    value, likelihood = standing(found.val, labels, data.listing.classes, monitor)
    value = -value if monitor == "val_loss" else value
    return HeadTrial(candidate, "complete", value, -likelihood, clock() - began)


def best_head(tried: Sequence[HeadTrial], monitor: Monitor) -> HeadTrial | None:
    """The best one; the loss decides between equals, then the order."""

    def rank(trial: HeadTrial) -> tuple[float, float]:
        value, loss = trial.value or 0.0, -(trial.loss or 0.0)
        return (loss, loss) if monitor == "val_loss" else (value, loss)

    return max((trial for trial in tried if trial.judged), key=rank, default=None)
