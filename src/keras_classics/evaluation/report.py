"""The report of a run: one HTML file that needs nothing else, neither network nor JavaScript."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from keras_classics.errors import WeightsError
from keras_classics.evaluation import charts
from keras_classics.heat import decoded, overlay
from keras_classics.host.files import write_text
from keras_classics.weights import records

REPORT = "report.html"
THUMBNAIL = 112  # pixels of the longer side
HEAT_MAP = 192  # pixels of the longer side
LARGEST_MATRIX = 25  # classes; beyond, a page is too narrow and only the confusions are shown
LONGEST_HEADING = 3  # characters of a class over a column; longer names stand upright
MOST_CONFUSIONS = 25
MOST_ROWS = 30  # of the classes, the worst; the others are folded away
EPOCHS_SHOWN = 12

Thumbnails = Callable[[str], npt.NDArray[np.uint8] | None]
"""From a path as in the predictions to the image (h, w, 3), or None where there is none.

It is cut as the network sees it, so that heat maps lie where they belong.
"""


def write_report(
    folder: Path,
    content: Mapping[str, Any],
    about: Mapping[str, Any],
    *,
    thumbnails: Thumbnails | None = None,
) -> Path:
    """Write `report.html`.

    Args:
        folder: Where, usually that of the artefact.
        content: As in `metrics.json`.
        about: As in `artefact.json`.
        thumbnails: Gives the pictures of `paths_of` the content, where they are at hand.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / REPORT
    write_text(path, render(content, about, thumbnails=thumbnails))
    return path


def render(
    content: Mapping[str, Any],
    about: Mapping[str, Any],
    *,
    thumbnails: Thumbnails | None = None,
) -> str:
    """The report as HTML."""
    held_out = content.get("held_out")
    transfer = content.get("transfer")
    classes = _classes(content) if held_out else []
    # A class without images is neither good nor bad, and stands last.
    worst = sorted(classes, key=lambda row: (row["f1"] is None, row["f1"], row["name"]))
    return _template().render(
        about=about,
        content=content,
        run=content.get("run") or {},
        held_out=held_out,
        title=_title(about),
        origin=_origin(content, about)[0],
        warnings=[*_of_the_run(content, about), *content.get("warnings", ())],
        facts=_facts(content, about),
        transfer=transfer,
        candidates=_candidates(transfer) if transfer else None,
        recipe=_recipe(about["recipe"]),
        curves=_curves(content, about["history"]),
        history=about["history"],
        shown_epochs=_epochs(len(about["history"])),
        classes=classes,
        worst=worst[:MOST_ROWS] if len(classes) > MOST_ROWS else classes,
        matrix=_matrix(held_out, content["class_names"]) if held_out else None,
        long_names=max(map(len, content["class_names"])) > LONGEST_HEADING,
        confused=_confused(held_out, content["class_names"]) if held_out else [],
        bars=_baselines(content) if held_out else None,
        calibration=_calibration(content) if held_out else None,
        coverage=_coverage(content) if held_out else None,
        suspects=_suspects(content, thumbnails) if held_out else [],
        looked_at=_looked_at(content, thumbnails),
        learning=_learning(content.get("learning_curve")),
        versions=about["versions"],
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_classics", "evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["pc"] = lambda value, digits=1: (
        "–" if value is None else f"{100 * value:.{digits}f}%"
    )
    environment.filters["span"] = lambda pair: (
        "" if pair is None else f"{100 * pair[0]:.1f} to {100 * pair[1]:.1f}%"
    )
    environment.filters["n"] = lambda value: f"{value:,}"
    environment.filters["duration"] = _duration
    environment.filters["figure"] = _figure
    return environment.get_template("report.html.jinja")


def _title(about: Mapping[str, Any]) -> str:
    source = str(about["data"].get("source") or "images")
    return f"{Path(source).name or source}, {about['network']}"


def _of_the_run(content: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    run = content.get("run") or {}
    found = []
    if not about["completed"]:
        found.append(
            "The run was interrupted: the best epoch so far is kept, but it was not evaluated on "
            "the held-out images."
        )
    if run.get("diverged"):
        found.append(
            "The loss became NaN and training stopped; the best epoch before is kept. Try a lower "
            "learning rate."
        )
    skipped = about["data"].get("skipped") or []
    if skipped:
        noun = "image" if len(skipped) == 1 else "images"
        found.append(f"{len(skipped):,} {noun} could not be read; first {skipped[0]}")
    return found


def _origin(content: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[str, str | None]:
    """What a run began with, in a few words, and its licence, where it is known."""
    name = (content.get("transfer") or {}).get("began_with") or about["recipe"].get("weights")
    if not name:
        return "random weights", None
    record = records.RECORDS.get(str(name))
    if name == "imagenet":
        with suppress(WeightsError):  # another version's
            record = records.imagenet(about["network"])
    if record is None:
        return f"the weights of {name}", None
    return f"the ImageNet weights {record.name}", record.licence


def _facts(content: Mapping[str, Any], about: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, shape = about["data"], about["preprocessing"]
    images = data.get("images") or {}
    size = " × ".join(str(side) for side in shape["size"])
    counts = (
        f"{images.get('train', 0):,} training, {images.get('val', 0):,} validation, "
        f"{images.get('test', 0):,} held out"
    )
    begins, licence = _origin(content, about)
    return [
        ("data", str(data.get("source"))),
        ("classes", f"{len(about['class_names']):,}"),
        ("images", counts),
        ("network", f"{about['network']}, width {about['width']:g}"),
        ("initial weights", f"{begins}, licence: {licence}" if licence else begins),
        ("input", f"{size} pixels, {_fit(shape['fit'])}, scaled as {shape['mode']}"),
        *([("fingerprint", str(data["fingerprint"]))] if data.get("fingerprint") else []),
    ]


def _fit(fit: Any) -> str:
    if isinstance(fit, Mapping):
        return f"centre crop of {fit['resize']} pixels"
    return {"crop": "cropped", "pad": "padded", "stretch": "stretched"}.get(str(fit), str(fit))


def _recipe(recipe: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in recipe.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _recipe(value, f"{prefix}{key}: ")
        elif value is not None and key not in {"weights"}:
            rows.append((name, _figure(value)))
    return rows


def _figure(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_figure(item) for item in value)
    return str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _epochs(count: int) -> list[int]:
    """Which epochs the table beside the curves shows: all, or some evenly."""
    if count <= EPOCHS_SHOWN:
        return list(range(count))
    return sorted({round(i) for i in np.linspace(0, count - 1, EPOCHS_SHOWN)})


def _curves(
    content: Mapping[str, Any], history: Sequence[Mapping[str, float]]
) -> list[tuple[str, Markup]]:
    """Loss and accuracy over the epochs; fine-tuning begins with the head's, at epoch 0."""
    best = (content.get("run") or {}).get("best_epoch")
    head = ((content.get("transfer") or {}).get("head") or {}).get("val")
    first = 0 if head else 1
    marks = []
    if best is not None and best >= first and len(history) > first:
        marks = [charts.Mark(best, "kept")]
    found = []
    for key, label, form in (
        ("loss", "loss", charts.plain),
        ("accuracy", "accuracy", charts.percent),
    ):
        lines = [
            charts.Line(name, look, [(i, e[k]) for i, e in enumerate(history, 1) if k in e])
            for k, name, look in ((key, "training", "two"), (f"val_{key}", "validation", "one"))
        ]
        if head and key == "accuracy" and lines[1].points:
            points = [(0, head["accuracy"]), *lines[1].points]
            lines[1] = replace(lines[1], points=points)
        values = [y for line in lines for _, y in line.points]
        if not values:
            continue
        low = 0.0 if key == "loss" else max(0.0, min(values) - 0.05)
        high = max(values) * 1.05 if key == "loss" else min(1.0, max(values) + 0.05)
        last = ", ".join(f"{line.name} {form(line.points[-1][1])}" for line in lines if line.points)
        found.append(
            (
                label,
                charts.Chart(
                    f"curve-{key}",
                    f"{label} by epoch",
                    f"{len(history)} epochs; at the end {last}.",
                    (first, max(len(history), first + 1)),
                    (low, high),
                    "epoch",
                    label,
                    y_format=form,
                    whole_x=True,
                )
                .marks(marks)
                .lines(lines)
                .svg(),
            )
        )
    return found


def _candidates(transfer: Mapping[str, Any]) -> dict[str, Any]:
    """The head and the fine-tuned network, one below the other on scales of their own."""
    rows = [
        {"name": name, "kept": transfer["kept"] == kind, **figures}
        for name, kind, figures in (
            ("head alone", "head", transfer["head"]),
            ("fine-tuned", "fine-tuned", transfer["fine_tuned"]),
        )
        if figures
    ]
    parts = [
        (name, part)
        for name, part in (("validation", "val"), ("held out", "test"))
        if any(row[part] for row in rows)
    ]
    lows = [row[part]["accuracy_interval"][0] for row in rows for _, part in parts if row[part]]
    low = math.floor(10 * min(lows, default=0)) / 10  # so that small differences are seen
    for row in rows:
        row["pictures"] = {
            part: charts.span(row[part]["accuracy"], row[part]["accuracy_interval"], low)
            for _, part in parts
            if row[part]
        }
    return {
        "rows": rows,
        "parts": [
            (name, part, max(row[part]["images"] for row in rows if row[part]))
            for name, part in parts
        ],
        "low": low,
    }


def _classes(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    most = max([*content["train_images"], 1])
    return [
        {
            **figures,
            "train": train,
            "share": train / most,
            "picture": ""
            if figures["f1"] is None
            else charts.span(figures["f1"], figures["f1_interval"]),
        }
        for figures, train in zip(
            content["held_out"]["classes"], content["train_images"], strict=True
        )
    ]


def _matrix(held_out: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]] | None:
    if len(names) > LARGEST_MATRIX:
        return None
    table = np.zeros((len(names), len(names)), dtype=int)
    for i, j, n in held_out["confusions"]:
        table[i, j] = n
    return [
        {
            "name": name,
            "cells": [
                # The root lets a few errors be seen beside many right ones.
                {"n": int(n), "shade": round(float(n / max(row.sum(), 1)) ** 0.5, 2), "own": i == j}
                for j, n in enumerate(row)
            ],
        }
        for i, (name, row) in enumerate(zip(names, table, strict=True))
    ]


def _confused(held_out: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    support = [figures["support"] for figures in held_out["classes"]]
    wrong = sorted((row for row in held_out["confusions"] if row[0] != row[1]), key=lambda r: -r[2])
    return [
        {"label": names[i], "called": names[j], "n": n, "of": support[i]}
        for i, j, n in wrong[:MOST_CONFUSIONS]
    ]


def _baselines(content: Mapping[str, Any]) -> Markup:
    held_out = content["held_out"]
    rows = [
        charts.Bar(baseline["name"], baseline["accuracy"], baseline["interval"], "two")
        for baseline in content["baselines"]
    ]
    rows.append(
        charts.Bar("this network", held_out["accuracy"], held_out["accuracy_interval"], "one")
    )
    text = "; ".join(f"{row.name} {row.value:.1%}" for row in rows)
    return charts.bars("baselines", "accuracy on the held-out images", f"{text}.", rows)


def _calibration(content: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """The reliability diagram before, and after if there was something to fit by."""
    found = []
    for key, title in (("before", "as the network said it"), ("after", "after calibration")):
        if key == "after" and not content["calibration"]:
            continue
        figures = content["reliability"][key]
        dots = [
            charts.Dot(row["confidence"], row["accuracy"], *row["interval"])
            for row in figures["bins"]
        ]
        chart = charts.Chart(
            f"reliability-{key}",
            f"Confidence and accuracy, {title}",
            "; ".join(f"confidence {dot.x:.0%}, accuracy {dot.y:.0%}" for dot in dots) + ".",
            (0, 1),
            (0, 1),
            "confidence",
            "right",
            x_format=charts.percent,
            y_format=charts.percent,
            width=400,
            height=340,
            right=16,
        ).diagonal("as sure as right")
        found.append((title, chart.dots(dots, "two" if key == "before" else "one").svg()))
    return found


def _coverage(content: Mapping[str, Any]) -> Markup | None:
    points = [(coverage, error) for coverage, error in content["risk_coverage"]]
    selection = content["selection"]
    if len(points) < 2 or not selection:
        return None
    high = max(error for _, error in points)
    marks = []
    if 0 < selection["coverage"] < 1:
        marks = [charts.Mark(selection["coverage"], f"threshold {selection['threshold']:.2f}")]
    return (
        charts.Chart(
            "coverage",
            "Error by coverage",
            f"At full coverage {points[-1][1]:.1%} wrong; at the threshold the coverage is "
            f"{selection['coverage']:.1%}.",
            (0, 1),
            (0, max(high * 1.05, 0.01)),
            "coverage, most confident first",
            "wrong",
            x_format=charts.percent,
            y_format=charts.percent,
            width=640,
            height=260,
            right=20,
        )
        .marks(marks)
        .lines([charts.Line("", "one", points)])
        .svg()
    )


def _suspects(content: Mapping[str, Any], thumbnails: Thumbnails | None) -> list[dict[str, Any]]:
    found = []
    for suspect in content["suspects"]:
        image = thumbnails(suspect["path"]) if thumbnails else None
        found.append({**suspect, "image": data_uri(image) if image is not None else None})
    return found


def paths_of(content: Mapping[str, Any]) -> set[str]:
    """The images that the report shows."""
    looked_at = content.get("looked_at") or {}
    return {row["path"] for row in (*content.get("suspects", ()), *looked_at.get("images", ()))}


def _looked_at(content: Mapping[str, Any], thumbnails: Thumbnails | None) -> dict[str, Any] | None:
    """The pictures with their heat maps, the right and the wrong ones; those that are at hand."""
    looked_at = content.get("looked_at")
    if not looked_at:
        return None
    shown: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for row in looked_at["images"]:
        image = thumbnails(row["path"]) if thumbnails else None
        if image is None:
            continue
        picture, heat = _resized(image, HEAT_MAP), decoded(row["map"])
        over = np.asarray(np.round(255 * overlay(picture, heat, signed=False)), np.uint8)
        pair = {"image": data_uri(picture, HEAT_MAP), "overlay": data_uri(over, HEAT_MAP)}
        shown[row["right"]].append({**row, **pair})
    held_out = content["held_out"]
    right, wrong = held_out["right"], held_out["images"] - held_out["right"]
    return {
        "groups": [
            (title, word, of, shown[is_right])
            for title, word, of, is_right in (
                ("Correct", "correctly", right, True),
                ("Wrong", "incorrectly", wrong, False),
            )
            if shown[is_right] or not of
        ],
        "places": " × ".join(map(str, looked_at["images"][0]["map"]["shape"])),
        "any": any(shown.values()),
    }


def data_uri(image: npt.NDArray[np.uint8], side: int = THUMBNAIL) -> str:
    """A picture (h, w, 3) as a JPEG within the page, its longer side at most so many pixels."""
    if max(image.shape[:2]) > side:
        image = _resized(image, side)
    _, coded = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82]
    )
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")


def _resized(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """A picture whose longer side has so many pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8)


def _learning(curve: Mapping[str, Any] | None) -> Markup | None:
    if not curve:
        return None
    band, points = curve["band"], curve["points"]
    last = max(point["train"] for point in points)
    top = max([*(point["interval"][1] for point in points), *(row[3] for row in band)])
    return (
        charts.Chart(
            "learning",
            "Error on the held-out images, by the number of training images",
            "; ".join(f"{p['train']:,} images: {p['error']:.1%} wrong" for p in points) + ".",
            (band[0][0] * 0.9, 4 * last),
            (0, min(top * 1.05, 1)),
            "training images",
            "wrong",
            y_format=charts.percent,
            log_x=True,
            width=640,
            height=280,
            right=24,
        )
        .band([(row[0], row[2], row[3]) for row in band], "one")
        .marks([charts.Mark(last, "this run")])
        .lines([charts.Line("", "one", [(row[0], row[1]) for row in band])])
        .dots([charts.Dot(p["train"], p["error"], *p["interval"]) for p in points], "two")
        .svg()
    )
