"""Would more data help? The error over the number of training images, and where it leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from keras_classics.errors import ClassicsError, DataError
from keras_classics.evaluation.metrics import interval_of

FRACTIONS = (1 / 8, 1 / 4, 1 / 2)
DRAWS = 400  # of the bootstrap
EXPONENTS = np.arange(1, 61) / 20  # c; the decay of published curves lies below 1
FLOORS = np.linspace(0.0, 1.0, 41)  # a, as a fraction of the lowest error
LITTLE = 0.005  # half a point: less would not be seen
LEAST_POINTS = 3


Of = Literal["network", "head"]
"""What learnt: the network, or a head on the features of trained weights."""


@dataclass(frozen=True)
class Point:
    """What learnt from some of the images, judged on the held-out ones."""

    train: int  # images learnt from
    wrong: float  # a mean over the draws
    images: int  # held out
    draws: int = 1  # of so many images to learn from

    @property
    def error(self) -> float:
        """The fraction that was called wrongly."""
        return self.wrong / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the error; all draws are judged on the same images."""
        return interval_of(round(self.wrong), self.images)


@dataclass(frozen=True)
class LearningCurve:
    """Points, the power law through them, and what it says of more images."""

    points: tuple[Point, ...]
    floor: float  # a of a + b n^-c: the error that no number of images would undercut
    scale: float  # b
    exponent: float  # c
    band: tuple[tuple[float, float, float, float], ...]  # images, error, its 95 % band
    twice: tuple[float, float]  # fewer errors with twice the images, 95 %, as a fraction
    verdict: str
    of: Of = "network"

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            **asdict(self),
            "points": [
                {**vars(point), "error": point.error, "interval": point.interval}
                for point in self.points
            ],
        }


def measure(
    train_on: Callable[[float], Point],
    *,
    whole: Point,
    fractions: Sequence[float] = FRACTIONS,
    of: Of = "network",
) -> LearningCurve:
    """Train on fractions of the training part, and fit.

    Args:
        train_on: Trains on a fraction of the training images and judges on the same held-out ones.
        whole: The run itself, on all training images.
        fractions: Between 0 and 1.
        of: What learns.

    Raises:
        ClassicsError: If a fraction is not between 0 and 1.
        DataError: As in `fit_curve`.
    """
    for fraction in fractions:
        if not 0 < fraction < 1:
            raise ClassicsError(f"fraction={fraction}: above 0 and below 1 is needed.")
    return fit_curve([*(train_on(fraction) for fraction in sorted(fractions)), whole], of=of)


def fit_curve(points: Sequence[Point], *, seed: int = 0, of: Of = "network") -> LearningCurve:
    """Fit error(n) = a + b n^-c (Cortes et al. 1994), with a band from a parametric bootstrap.

    The bootstrap draws the held-out errors anew; that another training run of the same images would
    end elsewhere is not in the band.

    Raises:
        DataError: If there are not at least three points of different sizes.
    """
    ordered = tuple(sorted(points, key=lambda point: point.train))
    sizes = np.array([point.train for point in ordered], dtype=np.float64)
    if len(set(sizes)) < LEAST_POINTS or min(point.train for point in ordered) < 1:
        raise DataError(
            f"{len(set(sizes))} sizes of the training part: {LEAST_POINTS} or more are needed for "
            "a learning curve."
        )
    images = np.array([point.images for point in ordered])
    wrong = np.array([point.wrong for point in ordered])
    # Half an error more and less, so that no error at all is not taken for certain.
    smooth = (wrong + 0.5) / (images + 1)
    drawn = np.random.default_rng(seed).binomial(images, smooth, (DRAWS, len(images)))
    weights = images / (smooth * (1 - smooth))
    last = sizes[-1]
    scaled = sizes / last  # so that b is the part of the present error that images can mend
    a, b, c = (value[0] for value in _fit(scaled, (wrong / images)[None], weights, FLOORS))
    # Few points hardly tell a floor from a slow decay, so half of the draws have no floor.
    half = DRAWS // 2
    many = np.concatenate(
        [
            _fit(scaled, drawn[:half] / images, weights, FLOORS),
            _fit(scaled, drawn[half:] / images, weights, FLOORS[:1]),
        ],
        axis=1,
    )
    ahead = np.geomspace(sizes[0], 4 * last, 60)
    curves = many[0][:, None] + many[1][:, None] * (ahead / last) ** -many[2][:, None]
    low, high = np.quantile(curves, (0.025, 0.975), axis=0)
    # No more can be mended than is wrong, however badly the law fits.
    gains = np.minimum(many[1] * (1 - 2.0 ** -many[2]), drawn[:, -1] / images[-1])
    twice = (float(np.quantile(gains, 0.025)), float(np.quantile(gains, 0.975)))
    return LearningCurve(
        points=ordered,
        floor=float(a),
        scale=float(b * last**c),
        exponent=float(c),
        band=tuple(
            (float(n), float(a + b * (n / last) ** -c), float(lower), float(upper))
            for n, lower, upper in zip(ahead, low, high, strict=True)
        ),
        twice=twice,
        verdict=_verdict(twice, int(last)),
        of=of,
    )


def _fit(
    sizes: npt.NDArray[np.float64],
    errors: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    fractions: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """a, b and c (3, draws) of each row of errors (draws, sizes), by weighted least squares.

    A grid finds the same minimum every time, which a search from a starting point does not.
    """
    floors = fractions[:, None] * errors.min(axis=1)  # (floors, draws)
    y = errors - floors[..., None]
    draws = np.arange(len(errors))
    best = np.full(len(errors), np.inf)
    found = np.zeros((3, len(errors)))
    for c in EXPONENTS:
        x = sizes**-c
        b = np.maximum(y @ (weights * x) / (weights * x * x).sum(), 0.0)
        cost = ((y - b[..., None] * x) ** 2) @ weights
        at = cost.argmin(axis=0)
        lowest = cost[at, draws]
        better = lowest < best
        best[better] = lowest[better]
        values = np.stack([floors[at, draws], b[at, draws], np.full(len(errors), c)])
        found[:, better] = values[:, better]
    return found


def _verdict(twice: tuple[float, float], images: int) -> str:
    low, high = (100 * gain for gain in twice)
    if high < 100 * LITTLE:
        return (
            f"More images of this kind would help little: twice as many ({2 * images:,}) would "
            f"reduce the error by less than {max(high, 0.1):.1f} points."
        )
    if low >= 100 * LITTLE:
        return (
            f"Yes: twice as many images ({2 * images:,}) would reduce the error by about "
            f"{low:.1f} to {high:.1f} points."
        )
    return (
        f"Cannot tell: twice as many images ({2 * images:,}) would reduce the error by 0 to "
        f"{high:.1f} points; more held-out images would narrow this range."
    )
