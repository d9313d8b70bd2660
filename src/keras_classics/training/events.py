"""What a run tells while it goes on, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_classics.data.check.findings import Finding
from keras_classics.errors import ImageError


@dataclass(frozen=True)
class Reading:
    """Images are being decoded."""

    done: int
    total: int


@dataclass(frozen=True)
class Checked:
    """The quick part of the check of the folder is done."""

    findings: tuple[Finding, ...]  # beside the images that cannot be read, which `Prepared` names


@dataclass(frozen=True)
class BatchSizeTried:
    """A few steps were taken with batches of this size."""

    batch_size: int
    images_per_second: float


@dataclass(frozen=True)
class BatchSizeFound:
    """What trying came to."""

    batch_size: int
    learning_rate: float  # that goes with it
    own_size: int  # the recipe's
    own_rate: float  # before


@dataclass(frozen=True)
class Prepared:
    """All is ready; training begins."""

    source: str  # the folder, or what stands in its place
    classes: int
    train: int  # images in each part
    val: int
    test: int
    skipped: tuple[ImageError, ...]
    ignored: int  # files that are no images
    left_out: str | None  # which of these are images that are not read, in words
    network: str
    recipe: str
    width: float
    size: int
    parameters: int
    macs: int  # for one image
    epochs: int
    batch_size: int
    policy: str  # the dtype policy: "float32", "mixed_bfloat16"...
    weights: str | None  # the trained weights that it begins with
    why: str  # it begins with them, or with random ones


@dataclass(frozen=True)
class Features:
    """With trained weights: the frozen network computes the features of the images."""

    done: int
    total: int
    images_per_second: float


@dataclass(frozen=True)
class Estimated:
    """After the first features: what the run will take, and what of it fits."""

    features: float  # seconds that are left of them
    fine_tuning: float  # seconds for its epochs; 0: there is none
    epochs: int  # of fine-tuning
    minutes: float | None  # that the run may take


@dataclass(frozen=True)
class HeadFitted:
    """The new head is fitted on the features."""

    accuracy: float | None  # on the validation part; None where there is none
    images: int  # of that part
    regularisation: float  # C of the logistic regression
    seconds: float  # of features and head
    epochs: int  # of fine-tuning that follow; 0: none
    wanted: int  # epochs that would follow if there were time
    fine_tuning: float  # seconds that these take, about


@dataclass(frozen=True)
class PhaseBegin:
    """With trained weights to begin with: more of the network is trained from here on."""

    stages: tuple[str, ...]  # that begin to be trained, from the top down
    epoch: int  # the phase's first one, from 1
    trained: int  # parameters that are trained now
    parameters: int  # of the whole network


@dataclass(frozen=True)
class Step:
    """A step is done."""

    epoch: int  # from 1
    done: int  # steps of the whole run
    total: int
    images_per_second: float  # this epoch, without building a phase's first step; 0: not known yet


@dataclass(frozen=True)
class EpochEnd:
    """An epoch is over."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    images_per_second: float
    best: bool  # the best so far on the validation part
    val_f1: float | None = None  # where that is the monitor


@dataclass(frozen=True)
class NotSaved:
    """A checkpoint could not be written; the run goes on."""

    reason: str


@dataclass(frozen=True)
class Resumed:
    """The run goes on where it was."""

    epoch: int  # epochs that are over
    step: int  # steps of the next one that are
    differs: tuple[str, ...]  # what is not as it was, such as a version: not bit for bit then


Event = (
    Reading
    | Checked
    | BatchSizeTried
    | BatchSizeFound
    | Prepared
    | Features
    | Estimated
    | HeadFitted
    | Resumed
    | PhaseBegin
    | Step
    | EpochEnd
    | NotSaved
)
Listener = Callable[[Event], None]
