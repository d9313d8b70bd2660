"""Whether one run is better than another, or was only luckier with its test images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm

from keras_classics.errors import DataError
from keras_classics.evaluation.metrics import interval_of

LEVEL = 0.05
Z = float(norm.ppf(1 - LEVEL / 2))


@dataclass(frozen=True)
class Answers:
    """What a run said of its held-out images."""

    name: str
    class_names: tuple[str, ...]
    fingerprint: str | None  # of the data; None where it is not known
    answers: dict[str, tuple[str, str]]  # by path: what it is, what it was called


@dataclass(frozen=True)
class Difference:
    """One run against another."""

    first: str
    second: str
    paired: bool  # on the same images, which tells more
    images: tuple[int, int]  # judged for the first and the second; equal where paired
    accuracies: tuple[float, float]
    only_first: int | None  # images that only the first called rightly; None where not paired
    only_second: int | None
    difference: float  # accuracy of the second less that of the first
    interval: tuple[float, float]  # 95 %
    p_value: float  # of a difference as large by chance alone
    adjusted: float  # the same, for all pairs that are looked at together (Holm)
    remarks: tuple[str, ...]  # what limits the comparison

    @property
    def verdict(self) -> Literal["first", "second", "cannot tell"]:
        """Which is better, if that can be told."""
        if self.adjusted >= LEVEL or self.difference == 0:
            return "cannot tell"
        return "second" if self.difference > 0 else "first"

    @property
    def text(self) -> str:
        """The verdict in words."""
        low, high = (100 * bound for bound in self.interval)
        if self.verdict == "cannot tell":
            return f"no significant difference: it lies within {low:+.1f} to {high:+.1f} points"
        better, worse = self.second, self.first
        if self.verdict == "first":
            better, worse, low, high = worse, better, -high, -low
        span = f"{low:+.1f} to {high:+.1f} points"
        return f"{better} is better than {worse}, by more than chance: {span}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "verdict": self.verdict, "text": self.text}


@dataclass(frozen=True)
class Comparison:
    """Some runs, each on its own images, and each pair of them."""

    runs: tuple[tuple[str, int, int], ...]  # name, right, images
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "runs": [
                {
                    "run": name,
                    "right": right,
                    "images": images,
                    "accuracy": right / images,
                    "accuracy_interval": interval_of(right, images),
                }
                for name, right, images in self.runs
            ],
            "differences": [difference.to_dict() for difference in self.differences],
        }


def compare(runs: Sequence[Answers]) -> Comparison:
    """Compare two or more runs, each with each, by what they said of their held-out images.

    Images that two runs share, by path and label, are compared in pairs (McNemar's exact test);
    where they share none, their accuracies are, which finds only larger differences. Several
    comparisons are corrected by Holm's method.

    Raises:
        DataError: If there are fewer than two runs, or two without a class in common.
    """
    if len(runs) < 2:
        raise DataError(f"{len(runs)} run: two or more are needed to compare.")
    for run in runs:
        if not run.answers:
            raise DataError(f"{run.name}: was not evaluated on any image.")
    raw = [_compare_two(first, second) for first, second in combinations(runs, 2)]
    adjusted = holm([difference.p_value for difference in raw])
    return Comparison(
        runs=tuple((run.name, _right(run.answers), len(run.answers)) for run in runs),
        differences=tuple(
            Difference(**{**vars(difference), "adjusted": p})
            for difference, p in zip(raw, adjusted, strict=True)
        ),
    )


def _compare_two(first: Answers, second: Answers) -> Difference:
    if not set(first.class_names) & set(second.class_names):
        raise DataError(
            f"{first.name} and {second.name}: have no class in common, so there is nothing to "
            "compare."
        )
    remarks = []
    if set(first.class_names) != set(second.class_names):
        remarks.append("they know different classes")
    shared = [
        path
        for path, (label, _) in first.answers.items()
        if path in second.answers and second.answers[path][0] == label
    ]
    other_data = None not in (first.fingerprint, second.fingerprint) and (
        first.fingerprint != second.fingerprint
    )
    if not shared:
        remarks.append(
            "they share no held-out image: two samples are compared, which finds larger "
            "differences only"
        )
        return _unpaired(first, second, tuple(remarks))
    most = max(len(first.answers), len(second.answers))
    if len(shared) < most:
        remarks.append(
            f"compared on the {len(shared):,} held-out images that they share, of "
            f"{len(first.answers):,} and {len(second.answers):,}"
        )
    if other_data:
        remarks.append(
            "their data are not the same: images of the same path and class are taken for the same"
        )
    right = [
        np.array([run.answers[path][0] == run.answers[path][1] for path in shared])
        for run in (first, second)
    ]
    only_first = int((right[0] & ~right[1]).sum())
    only_second = int((right[1] & ~right[0]).sum())
    n = len(shared)
    accuracies = (float(right[0].mean()), float(right[1].mean()))
    p_value = mcnemar(only_first, only_second)
    return Difference(
        first=first.name,
        second=second.name,
        paired=True,
        images=(n, n),
        accuracies=accuracies,
        only_first=only_first,
        only_second=only_second,
        difference=(only_second - only_first) / n,
        interval=paired_interval(right[0], right[1]),
        p_value=p_value,
        adjusted=p_value,
        remarks=tuple(remarks),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact test: whether the images on which two differ are split evenly.

    Recommended for two classifiers on one test set by Dietterich 1998,
    https://doi.org/10.1162/089976698300017197.
    """
    differing = only_first + only_second
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0


def paired_interval(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies on the same images.

    Newcombe's square-and-add method with Wilson's limits (1998, method 10,
    https://doi.org/10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C), which
    holds for few images, too.
    """
    n = len(first)
    both = int((first & second).sum())
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    neither = n - both - only_first - only_second
    p1, p2 = (both + only_second) / n, (both + only_first) / n  # second, first
    (l1, u1), (l2, u2) = interval_of(both + only_second, n), interval_of(both + only_first, n)
    margins = (both + only_second) * (neither + only_first) * (both + only_first)
    margins *= neither + only_second
    product = both * neither - only_first * only_second
    if product > 0:  # with the continuity correction of the method
        product = max(product - n // 2, 0)
    phi = product / math.sqrt(margins) if margins else 0.0
    down = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    up = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    difference = p1 - p2
    return difference - math.sqrt(max(down, 0.0)), difference + math.sqrt(max(up, 0.0))


def _unpaired(first: Answers, second: Answers, remarks: tuple[str, ...]) -> Difference:
    """Two proportions of different images: the pooled z-test, and Newcombe's interval."""
    (k1, n1), (k2, n2) = ((_right(run.answers), len(run.answers)) for run in (first, second))
    p1, p2 = k1 / n1, k2 / n2
    pooled = (k1 + k2) / (n1 + n2)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    p_value = float(2 * norm.sf(abs(p2 - p1) / error)) if error else 1.0
    (l1, u1), (l2, u2) = interval_of(k1, n1), interval_of(k2, n2)
    difference = p2 - p1
    return Difference(
        first=first.name,
        second=second.name,
        paired=False,
        images=(n1, n2),
        accuracies=(p1, p2),
        only_first=None,
        only_second=None,
        difference=difference,
        interval=(
            difference - math.hypot(p2 - l2, u1 - p1),
            difference + math.hypot(u2 - p2, p1 - l1),
        ),
        p_value=p_value,
        adjusted=p_value,
        remarks=remarks,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979): as strict as for all comparisons together."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return [float(p) for p in adjusted]


def _right(answers: dict[str, tuple[str, str]]) -> int:
    return sum(label == called for label, called in answers.values())
