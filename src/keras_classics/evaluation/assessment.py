"""All that is said of a run: figures, calibration, baselines, suspects, and warnings in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import fisher_exact

from keras_classics.errors import DataError
from keras_classics.evaluation.baselines import Baseline, Part, Pictures, linear_probe, majority
from keras_classics.evaluation.calibration import (
    calibrate,
    reliability,
    risk_coverage,
    select,
)
from keras_classics.evaluation.metrics import Judgement, interval_of, judge
from keras_classics.evaluation.suspects import Suspect, find_suspects, mislabelled
from keras_classics.evaluation.temperature import Calibration

SUSPECTS = 24
UNEQUAL = 4  # times the images of the smallest class, as `classics check` says it
FEW_IMAGES = 100  # held out; with fewer the accuracy is known to ten points at best
FEW_OF_A_CLASS = 10
TOO_SURE = 0.05  # mean confidence above accuracy
SMALL_CHANCE = 0.01  # that validation and test differ by chance


@dataclass(frozen=True)
class Judged:
    """The images of a part, and what the network said of them, before any calibration."""

    paths: Sequence[str]
    labels: npt.NDArray[np.integer[Any]]  # (n,)
    probabilities: npt.NDArray[np.floating[Any]] | None = None  # (n, classes); not for train
    pictures: Pictures | None = None  # at the size of the network's input


@dataclass(frozen=True)
class Assessment:
    """What is said of a run."""

    judgement: Judgement  # on the held-out part, calibrated
    calibration: Calibration | None  # None where there is no validation part
    content: dict[str, Any]  # all of it as plain values, for `metrics.json` and the report

    def calibrated(self, part: Judged) -> npt.NDArray[np.floating[Any]]:
        """Probabilities of a part as the classifier gives them from now on."""
        if part.probabilities is None:
            raise ValueError("the part was not predicted.")
        return (
            self.calibration.apply(part.probabilities) if self.calibration else part.probabilities
        )


def assess(
    parts: Mapping[str, Judged],
    class_names: Sequence[str],
    *,
    target: float | None = None,
    seed: int = 0,
) -> Assessment:
    """Judge a network on its held-out part.

    Args:
        parts: "train" with labels, "test" and, if there is one, "val" with probabilities. With
            pictures in them a linear probe is fitted, too, in seconds.
        class_names: One a column of the probabilities.
        target: Accuracy wanted of what is answered, for the threshold; by default half of the
            errors on the validation part go.
        seed: Of the linear probe.

    Raises:
        DataError: If the held-out part is empty.
    """
    train, val, test = parts["train"], parts.get("val"), parts["test"]
    if test.probabilities is None:
        raise ValueError("the held-out part was not predicted.")
    names = tuple(class_names)
    calibration = None
    if val is not None and val.probabilities is not None and len(val.labels):
        calibration = calibrate(val.probabilities, val.labels, target=target)
    after = calibration.apply(test.probabilities) if calibration else test.probabilities
    judgement = judge(after, test.labels, names)
    content: dict[str, Any] = {
        "class_names": list(names),
        "train_images": np.bincount(train.labels, minlength=len(names)).tolist(),
        "held_out": _without_matrix(judgement),
        "calibration": calibration.to_dict() if calibration else None,
        "reliability": {
            "before": reliability(test.probabilities, test.labels).to_dict(),
            "after": reliability(after, test.labels).to_dict(),
        },
        "selection": (
            select(after, test.labels, calibration.threshold).to_dict() if calibration else None
        ),
        "risk_coverage": risk_coverage(after, test.labels),
        "validation": _validation(val, calibration),
        "baselines": [
            baseline.to_dict() for baseline in _baselines(train, val, test, names, seed=seed)
        ],
        **_suspects(parts, calibration, names),
    }
    content["warnings"] = _warnings(content)
    return Assessment(judgement, calibration, content)


def _suspects(
    parts: Mapping[str, Judged], calibration: Calibration | None, names: tuple[str, ...]
) -> dict[str, Any]:
    """Of the images that were not learnt from: on the others a network repeats what it was told."""
    found: list[Suspect] = []
    doubted = images = 0
    for split in ("test", "val"):
        part = parts.get(split)
        if part is None or part.probabilities is None or not len(part.labels):
            continue
        after = calibration.apply(part.probabilities) if calibration else part.probabilities
        found += find_suspects(part.paths, split, after, part.labels, names, most=SUSPECTS)
        doubted += int(mislabelled(after, part.labels).sum())
        images += len(part.labels)
    worst = sorted(found, key=lambda suspect: -suspect.loss)[:SUSPECTS]
    return {
        "suspects": [suspect.to_dict() for suspect in worst],
        "mislabelled": {"images": doubted, "of": images},
    }


def _without_matrix(judgement: Judgement) -> dict[str, Any]:
    """The figures, with the confusions as a list of what there is: of 1,000 classes few are."""
    figures = judgement.to_dict()
    del figures["confusion"]
    figures["right"] = judgement.right
    figures["confusions"] = [
        [i, j, n] for i, row in enumerate(judgement.confusion) for j, n in enumerate(row) if n
    ]
    return figures


def _validation(val: Judged | None, calibration: Calibration | None) -> dict[str, Any] | None:
    if val is None or val.probabilities is None or calibration is None:
        return None
    right = int((val.probabilities.argmax(axis=1) == val.labels).sum())
    after = calibration.apply(val.probabilities)
    return {
        "images": len(val.labels),
        "right": right,
        "accuracy": right / len(val.labels),
        "accuracy_interval": interval_of(right, len(val.labels)),
        "selection": select(after, val.labels, calibration.threshold).to_dict(),
    }


def _baselines(
    train: Judged, val: Judged | None, test: Judged, names: Sequence[str], *, seed: int
) -> list[Baseline]:
    found = [majority(train.labels, test.labels, names)]
    if train.pictures and test.pictures and len(np.unique(train.labels)) > 1:
        choose = Part(val.pictures, val.labels) if val and val.pictures else None
        learn, held_out = Part(train.pictures, train.labels), Part(test.pictures, test.labels)
        with suppress(DataError):  # a picture that is gone since: no reason to lose a run
            found.append(linear_probe(learn, choose, held_out, seed=seed))
    return found


def _warnings(content: Mapping[str, Any]) -> list[str]:
    """What a reader should know before believing the figures, in plain words."""
    held_out = content["held_out"]
    return [
        *_on_the_data(content["train_images"], content["class_names"]),
        *_on_the_held_out(held_out),
        *_on_the_gap(content["validation"], held_out),
        *_on_the_baselines(content["baselines"], held_out),
        *_on_the_confidence(content),
    ]


def _on_the_data(train: Sequence[int], names: Sequence[str]) -> list[str]:
    most, least = int(np.argmax(train)), int(np.argmin(train))
    if train[most] < UNEQUAL * max(train[least], 1):
        return []
    return [
        (
            f"The classes are unequal: {train[most]:,} training images of {names[most]}, "
            f"{train[least]:,} of {names[least]}. The accuracy is mostly that of the large ones; "
            "look at each class."
        )
    ]


def _on_the_held_out(held_out: Mapping[str, Any]) -> list[str]:
    found = []
    images = held_out["images"]
    if images < FEW_IMAGES:
        low, high = held_out["accuracy_interval"]
        found.append(
            f"Only {images:,} images are held out: the true accuracy could be anywhere from "
            f"{low:.0%} to {high:.0%}."
        )
    few = [
        figures["name"] for figures in held_out["classes"] if figures["support"] < FEW_OF_A_CLASS
    ]
    if few:
        found.append(
            f"{_listed(few)} {'has' if len(few) == 1 else 'have'} fewer than {FEW_OF_A_CLASS} "
            "held-out images; the figures of such a class say little."
        )
    never = [
        figures["name"]
        for figures in held_out["classes"]
        if figures["support"] and not figures["called"]
    ]
    if never:
        found.append(f"No image was predicted as {_listed(never, 'or')}.")
    return found


def _on_the_gap(validation: Mapping[str, Any] | None, held_out: Mapping[str, Any]) -> list[str]:
    if validation is None:
        return [
            (
                "There is no validation part: the epoch was chosen by the training images, and "
                "nothing could be calibrated."
            )
        ]
    rows = [[part["right"], part["images"] - part["right"]] for part in (validation, held_out)]
    if fisher_exact(rows).pvalue >= SMALL_CHANCE:
        return []
    return [
        (
            f"Validation ({validation['accuracy']:.1%}) and held-out images "
            f"({held_out['accuracy']:.1%}) differ by more than chance: the parts are not alike, or "
            "the epoch fits the validation part too well. Believe the held-out figure."
        )
    ]


def _on_the_baselines(
    baselines: Sequence[Mapping[str, Any]], held_out: Mapping[str, Any]
) -> list[str]:
    low, high = held_out["accuracy_interval"]
    found = []
    for baseline in baselines:
        if baseline["accuracy"] > high:
            found.append(
                f"The {baseline['name']} is better than the network ({baseline['accuracy']:.1%}): "
                "before you use it, train longer, or try another network, learning rate or size."
            )
        elif baseline["accuracy"] >= low:
            found.append(
                f"The {baseline['name']} ({baseline['accuracy']:.1%}) is not significantly worse "
                "than the network."
            )
    return found


def _on_the_confidence(content: Mapping[str, Any]) -> list[str]:
    found = []
    before, accuracy = content["reliability"]["before"], content["held_out"]["accuracy"]
    if before["confidence"] - accuracy > TOO_SURE:
        found.append(
            f"The network was too sure of itself: {before['confidence']:.0%} on average, "
            f"{accuracy:.0%} right. What `classics predict` shows is corrected by the temperature."
        )
    calibration = content["calibration"]
    if calibration and calibration["warning"]:
        found.append(f"The calibration is rough: {calibration['warning']}.")
    return found


def _listed(names: Sequence[str], word: str = "and", most: int = 5) -> str:
    """Names in a sentence, the rest counted."""
    if len(names) > most:
        return f"{', '.join(names[:most])} {word} {len(names) - most:,} more classes"
    return f" {word} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
