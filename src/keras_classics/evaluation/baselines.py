"""What a network has to beat: the commonest class, and a classifier that learns no features."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from keras_classics.evaluation.metrics import interval_of

Pictures = Callable[[Sequence[int]], npt.NDArray[np.uint8]]
"""From places of images in their part to the images, (n, h, w, 3) uint8."""

LEARNT_FROM = 5000  # images at most, and judged on; more would take minutes, not seconds
COLOURS = 8  # pixels of the side of the coarse picture that tells colours and their places
EDGES = 32  # pixels of the side of the picture whose edges are counted
CELLS = 4  # a side, in each of which they are counted
COMPONENTS = 128  # of the features, which are correlated
STRENGTHS = (0.003, 0.03, 0.3)  # inverse of the penalty; the validation part chooses
AT_A_TIME = 512  # images


@dataclass(frozen=True)
class Baseline:
    """How many images a simple method calls rightly."""

    name: str
    text: str  # what it does, in words
    right: int
    images: int

    @property
    def accuracy(self) -> float:
        """From 0 to 1."""
        return self.right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy."""
        return interval_of(self.right, self.images)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "accuracy": self.accuracy, "interval": self.interval}


def majority(
    train: npt.NDArray[np.integer[Any]],
    test: npt.NDArray[np.integer[Any]],
    class_names: Sequence[str],
) -> Baseline:
    """Every image is called what most training images are."""
    commonest = int(np.bincount(train, minlength=len(class_names)).argmax())
    return Baseline(
        name="majority class",
        text=f"calls every image {class_names[commonest]!r}, the commonest class in training",
        right=int((test == commonest).sum()),
        images=len(test),
    )


@dataclass(frozen=True)
class Part:
    """The images of a part, and their labels."""

    pictures: Pictures
    labels: npt.NDArray[np.integer[Any]]


def linear_probe(train: Part, val: Part | None, test: Part, *, seed: int = 0) -> Baseline:
    """A linear classifier of coarse colours and edges, neither of them learnt.

    Logistic regression on 8 x 8 pixels and histograms of oriented gradients (Dalal and Triggs
    2005), reduced to 128 principal components. Seconds, whatever the number of images: at most
    5,000 are learnt from, and as many judged.

    Raises:
        DataError: If a picture cannot be read any more.
    """
    chosen = _sample(train.labels, LEARNT_FROM, seed)
    x, y = _features(train.pictures, chosen), train.labels[chosen]
    choose = val if val is not None and len(val.labels) else None
    models = [
        _fitted(x, y, strength, seed) for strength in (STRENGTHS if choose else STRENGTHS[1:2])
    ]
    best = models[0]
    if choose:
        places = _sample(choose.labels, LEARNT_FROM, seed)
        x_val, y_val = _features(choose.pictures, places), choose.labels[places]
        best = max(models, key=lambda model: model.score(x_val, y_val))
    judged = _sample(test.labels, LEARNT_FROM, seed)
    right = int((best.predict(_features(test.pictures, judged)) == test.labels[judged]).sum())
    return Baseline(
        name="linear probe",
        text=f"logistic regression on {COLOURS} × {COLOURS} pixels and edge directions, fitted to "
        f"{len(chosen):,} images",
        right=right,
        images=len(judged),
    )


def _fitted(
    x: npt.NDArray[np.float32], y: npt.NDArray[np.integer[Any]], strength: float, seed: int
) -> Any:
    model = make_pipeline(
        StandardScaler(),
        PCA(min(COMPONENTS, *x.shape), random_state=seed),
        LogisticRegression(C=strength, max_iter=200),
    )
    # These products are small: where other work runs, too, several threads wait for each other and
    # take a hundred times as long as one.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # good enough for a baseline
        return model.fit(x, y)


def _sample(labels: npt.NDArray[np.integer[Any]], most: int, seed: int) -> npt.NDArray[np.int64]:
    """Places of at most so many images, the classes in their proportions, at least one of each."""
    if len(labels) <= most:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        chosen.append(rng.permutation(own)[: max(1, most * len(own) // len(labels))])
    return np.sort(np.concatenate(chosen))


def _features(pictures: Pictures, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """(n, features): coarse colours, and histograms of oriented gradients."""
    rows = [np.empty((0, COLOURS * COLOURS * 3 + 36 * (CELLS - 1) ** 2), np.float32)]
    for start in range(0, len(places), AT_A_TIME):
        images = pictures([int(i) for i in places[start : start + AT_A_TIME]])
        colours = np.stack([_shrunk(image, COLOURS) for image in images]) / np.float32(255)
        small = np.stack([_shrunk(image, EDGES) for image in images]).astype(np.float32)
        edges = _oriented_gradients(small.mean(axis=3))
        rows.append(np.concatenate([colours.reshape(len(images), -1), edges], axis=1))
    return np.concatenate(rows)


def _shrunk(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))


def _oriented_gradients(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n, h, w) -> (n, features): 9 directions in cells; blocks of 2 x 2 of length one."""
    down, along = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(down, along)
    direction = (np.arctan2(down, along) % np.pi / np.pi * 9).astype(int) % 9
    n, cell = len(grey), EDGES // CELLS
    by_direction = np.where(direction[..., None] == np.arange(9), strength[..., None], 0)
    cells = by_direction.reshape(n, CELLS, cell, CELLS, cell, 9).sum(axis=(2, 4))
    blocks = np.concatenate(
        [cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]], axis=-1
    )
    lengths = np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + 1)
    return np.asarray((blocks / lengths).reshape(n, -1), dtype=np.float32)
