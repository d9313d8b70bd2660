"""The figures of a run as files: JSON and CSV, which any program can read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_classics.errors import ArtefactError
from keras_classics.evaluation.assessment import Assessment, Judged
from keras_classics.evaluation.comparison import Answers
from keras_classics.evaluation.metrics import Judgement
from keras_classics.evaluation.suspects import losses
from keras_classics.host.files import write_table, write_text
from keras_classics.host.regular import open_regular, read_regular

METRICS = "metrics.json"
HISTORY = "history.csv"
PREDICTIONS = "predictions.csv"
CLASSES = "classes.csv"
CONFUSION = "confusion.csv"
MOST_VALUES = 5_000_000  # probabilities in a file; beyond it, only that of the answer is kept
FIELDS = ("path", "split", "label", "called", "confidence", "loss")


def write_metrics(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `metrics.json`, all that the report shows."""
    write_text(folder / METRICS, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_metrics(folder: Path) -> dict[str, Any]:
    """What `write_metrics` wrote.

    Raises:
        ArtefactError: If it is missing or torn.
    """
    path = folder / METRICS
    try:
        content = json.loads(read_regular(path))
        if not isinstance(content, dict):
            raise ValueError
    except FileNotFoundError:
        raise ArtefactError(
            f"{path}: no such file; `classics report {folder} --data FOLDER` makes it from the "
            "images."
        ) from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: not the figures of a run, or corrupt.") from error
    return content


def write_history(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write `history.csv`: a row an epoch."""
    fields = list(dict.fromkeys(key for epoch in history for key in epoch if key != "epoch"))
    rows = ([i, *(epoch.get(key, "") for key in fields)] for i, epoch in enumerate(history, 1))
    write_table(folder / HISTORY, ("epoch", *fields), rows)


def write_assessment(folder: Path, assessment: Assessment, parts: Mapping[str, Judged]) -> None:
    """Write the figures of the classes, the confusions and the predictions.

    Args:
        folder: Where.
        assessment: From `assess`.
        parts: What it was made of.
    """
    names = [figures.name for figures in assessment.judgement.classes]
    write_table(
        folder / CLASSES,
        ("class", "train_images", "held_out_images", *_bounds("precision", "recall", "f1")),
        _class_rows(assessment.judgement, assessment.content["train_images"]),
    )
    write_table(
        folder / CONFUSION,
        ("label \\ predicted", *names),
        ([name, *row] for name, row in zip(names, assessment.judgement.confusion, strict=True)),
    )
    judged = {name: part for name, part in parts.items() if part.probabilities is not None}
    values = sum(len(part.labels) for part in judged.values()) * len(names)
    columns = [f"p:{name}" for name in names] if values <= MOST_VALUES else []
    write_table(
        folder / PREDICTIONS,
        (*FIELDS, *columns),
        _prediction_rows(assessment, judged, names, whole=bool(columns)),
    )


def read_answers(folder: Path) -> Answers:
    """What a run said of its held-out images, from `predictions.csv`.

    Raises:
        ArtefactError: If it is missing or torn.
    """
    path = folder / PREDICTIONS
    content = read_metrics(folder)
    answers = {}
    try:
        with io.TextIOWrapper(
            open_regular(path), newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            for row in csv.DictReader(file, strict=True):
                if row["split"] == "test":
                    answers[row["path"]] = (row["label"], row["called"])
        return Answers(
            name=str(folder),
            class_names=tuple(content["class_names"]),
            fingerprint=content.get("fingerprint"),
            answers=answers,
        )
    except FileNotFoundError:
        raise ArtefactError(
            f"{path}: no such file; `classics report {folder} --data FOLDER` makes it from the "
            "images."
        ) from None
    except (OSError, csv.Error, KeyError, TypeError) as error:
        raise ArtefactError(f"{path}: not the predictions of a run, or corrupt.") from error


def _bounds(*names: str) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


def _class_rows(judgement: Judgement, train: Sequence[int]) -> Iterable[Sequence[object]]:
    for figures, count in zip(judgement.classes, train, strict=True):
        row: list[object] = [figures.name, count, figures.support]
        for value, interval in (
            (figures.precision, figures.precision_interval),
            (figures.recall, figures.recall_interval),
            (figures.f1, figures.f1_interval),
        ):
            # Empty where no image could tell.
            known = () if value is None or interval is None else (value, *interval)
            row += [f"{each:.6g}" for each in known] or [""] * 3
        yield row


def _prediction_rows(
    assessment: Assessment, judged: Mapping[str, Judged], names: Sequence[str], *, whole: bool
) -> Iterable[Sequence[object]]:
    for split, part in judged.items():
        probabilities = assessment.calibrated(part)
        loss = losses(probabilities, part.labels)
        called = np.argmax(probabilities, axis=1)
        for i, path in enumerate(part.paths):
            row = probabilities[i]
            yield [
                path,
                split,
                names[part.labels[i]],
                names[called[i]],
                f"{row[called[i]]:.6g}",
                f"{loss[i]:.6g}",
                *(f"{p:.6g}" for p in (row if whole else ())),
            ]
