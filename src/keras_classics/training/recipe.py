"""Recipes: how to train, as data. The recipes themselves are the TOML files in `recipes/`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from keras_classics.data.augment import Augmentation
from keras_classics.data.mixing import Mixing
from keras_classics.weights.preprocess import Mode

Unfreeze = Literal["none", "stage", "all"]
BatchNorm = Literal["frozen", "train"]
Balance = Literal["none", "weights", "sampling"]
Monitor = Literal["val_accuracy", "val_loss", "val_f1"]

# A misspelt line would otherwise be a line without effect, and a number could be a string.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Fraction = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=STRICT)
class Optimizer:
    """From gradients to steps."""

    name: Literal["adamw", "sgd", "rmsprop", "lamb"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, lt=10)] = 2e-3  # at the top of the schedule
    # Of the weights. AdamW and LAMB take it from them beside the gradient's step; in SGD and
    # RMSProp it is the papers' L2 penalty, part of the gradient.
    weight_decay: NotNegative = 0.0
    no_decay: tuple[str, ...] = ()  # weights without it: "gamma", "beta", "bias"
    momentum: Fraction = 0.0  # SGD and RMSProp
    rho: Fraction = 0.9  # RMSProp: of the mean of squared gradients
    epsilon: Annotated[float, Field(gt=0)] = 1e-7
    clip_norm: NotNegative = 0.0  # of all gradients together; 0: not clipped
    accumulate: Count = 1  # batches to a step
    ema: Fraction = 0.0  # mean of the weights over the steps, which is what is judged; 0: none


@dataclass(frozen=True, config=STRICT)
class Schedule:
    """The learning rate from step to step."""

    name: Literal["cosine", "exponential", "plateau", "constant"] = "cosine"
    warm_up: Fraction = 0.0  # fraction of all steps, in which the rate rises linearly
    warm_up_from: Fraction = 0.05  # fraction of the rate with which that begins
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.1  # exponential, plateau: multiplies the rate
    every: Positive = 1.0  # exponential: epochs between two falls
    patience: Count = 5  # plateau: epochs without a better validation accuracy before a fall
    falls: Count = 3  # plateau: at most so many

    def __post_init__(self) -> None:
        if self.name == "plateau" and self.warm_up:
            raise ValueError('"plateau" starts at its peak rate: warm_up must be 0')


@dataclass(frozen=True, config=STRICT)
class Loss:
    """What is minimised."""

    name: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    label_smoothing: Fraction = 0.0
    auxiliary: NotNegative = 0.0  # weight of the side classifier's loss; 0: no side classifier


@dataclass(frozen=True, config=STRICT)
class Network:
    """The network while it is trained; none of it is left in the saved model."""

    dropout: Fraction = 0.0  # in the top
    drop_path: Fraction = 0.0  # of the last residual; that of the others rises linearly to it
    initial: Literal["he", "glorot"] = "he"  # how weights before a ReLU are drawn
    zero_gamma: bool = True  # a residual block begins as its shortcut


@dataclass(frozen=True, config=STRICT)
class Selection:
    """Which epoch is kept, and when no better one is waited for."""

    monitor: Monitor = "val_accuracy"
    patience: Annotated[int, Field(ge=0)] = 0  # epochs without a better one; 0: all are trained
    least_loss: Annotated[float, Field(ge=0)] = 0.0  # training loss below which training stops


@dataclass(frozen=True, config=STRICT)
class Transfer:
    """How a network with trained weights is fine-tuned, once its new head is fitted."""

    unfreeze: Unfreeze = "all"  # beside the head: nothing, a stage at a time, or all at once
    batch_norm: BatchNorm = "frozen"  # of the stages that are unfrozen; below them always frozen
    # A stage's learning rate as a fraction of that of the stage above.
    lower: Annotated[float, Field(gt=0, le=1)] = 1.0
    # (training images, epochs), the images rising; between two, by the logarithms of both.
    # Empty: the recipe's epochs for any number.
    lengths: tuple[tuple[Count, Count], ...] = ()


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """How a network is trained."""

    name: str
    about: str
    sources: tuple[str, ...] = ()
    epochs: Count = 12
    batch_size: Count = 32
    width: Annotated[float, Field(gt=0)] = 1.0
    size: Count | None = None  # pixels in training; None: small, as the data and the network allow
    test_size: Count | None = None  # pixels in validation and use; None: as in training
    # Part of the resized picture, along each side, that is seen in validation and use. 1: all that
    # the way to make pictures square leaves.
    test_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    preprocessing: Mode = "tf"
    balance: Balance = "none"
    reestimate: bool = True  # batch norm's statistics, after the last step
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    schedule: Schedule = dataclasses.field(default_factory=Schedule)
    loss: Loss = dataclasses.field(default_factory=Loss)
    network: Network = dataclasses.field(default_factory=Network)
    selection: Selection = dataclasses.field(default_factory=Selection)
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    mixing: Mixing = dataclasses.field(default_factory=Mixing)
    transfer: Transfer | None = None  # for trained weights, with which such a recipe begins
