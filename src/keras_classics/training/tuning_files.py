"""What a tuning leaves on the disk beside the run: trials, a record, a recipe, a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_classics.architectures import catalog
from keras_classics.errors import ClassicsError
from keras_classics.evaluation.charts import Chart, Dot, Line, percent, plain, sheet
from keras_classics.host.files import write_text
from keras_classics.training import recipes
from keras_classics.training.recipe import Recipe, Transfer
from keras_classics.training.search_space import Settings, Space, differing, toml_value
from keras_classics.training.tuned import Tuned

RECORD = "study.json"
FORMAT = 1


def write_record(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `study.json`: all that another process needs to go on, and what was found.

    Raises:
        OutputError: If it cannot be written.
    """
    values = {"format": FORMAT, **content}
    write_text(folder / RECORD, json.dumps(values, indent=2, default=os.fspath) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """What `write_record` wrote.

    Raises:
        ClassicsError: If the folder is not that of a tuning, or its record is corrupt.
    """
    path = folder / RECORD
    if not path.is_file():
        what = "not the folder of a tuning" if folder.is_dir() else "no such folder"
        raise ClassicsError(f"{folder}: {what}; --resume takes what `classics tune` made.")
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        later = values.pop("format") > FORMAT
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise corrupt(folder) from error
    if later:
        raise ClassicsError(f"{path}: written by a later version; upgrade keras-classics.")
    return values


def corrupt(folder: Path) -> ClassicsError:
    """The error of a record that cannot be used."""
    return ClassicsError(f"{folder / RECORD}: not the record of a tuning, or corrupt.")


def write(folder: Path, tuned: Tuned, network: str) -> None:
    """Write all that was found, beside `study.json`; files of nothing are left out.

    Raises:
        OutputError: If it cannot be written.
    """
    _write_rows(
        folder / "trials.csv",
        (
            {
                "trial": trial.number,
                "status": trial.status,
                **dataclasses.asdict(trial.settings),
                tuned.monitor: trial.value,
                "val_loss_of_that_epoch": trial.loss,
                "best_epoch": trial.best_epoch,
                "epochs": trial.epochs,
                "seconds": f"{trial.seconds:.1f}",
            }
            for trial in tuned.trials
        ),
    )
    _write_rows(
        folder / "heads.csv",
        (
            {
                "network": head.candidate.network,
                "size": head.candidate.size,
                "status": head.status,
                # Where the loss decides, it is both.
                tuned.monitor: head.value,
                "val_loss": head.loss,
                "seconds": f"{head.seconds:.1f}",
            }
            for head in tuned.heads
        ),
    )
    if tuned.best is not None:
        about = f"found by classics tune: trial {tuned.best.number + 1} of {len(tuned.trials)}"
        about += f", for {network}" if tuned.heads else ""
        write_text(folder / "best.toml", recipe_text(tuned.space, tuned.settings, about))
        write_text(folder / "trials.svg", picture(tuned))


def _write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    text, found = io.StringIO(), list(rows)
    if found:
        writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
        write_text(path, text.getvalue())


def recipe_text(space: Space, settings: Settings, about: str) -> str:
    """The recipe as TOML: the name of another one, and the lines that differ from it.

    A recipe of one's own is not named, as it may be moved: all lines are there then.
    """
    config = space.config(settings)
    network, name = config.network or "", config.recipe or recipes.SCRATCH
    file = recipes.read(name, network)
    own = file.name.endswith(".toml")
    below = Recipe(name="", about="") if own else recipes.find(name, network)
    above = recipes.find(name, network, config.changes)
    wanted = dataclasses.replace(
        space.recipe,
        augmentation=above.augmentation,
        mixing=above.mixing,
        size=settings.size,
        width=settings.width,
        preprocessing=config.preprocessing
        or catalog.find(network).mode
        or space.recipe.preprocessing,
        optimizer=dataclasses.replace(
            space.recipe.optimizer,
            # With trained weights, a recipe's rate is multiplied; what was tried is the product.
            learning_rate=settings.learning_rate / space.faster,
        ),
        transfer=space.recipe.transfer or below.transfer,
    )
    if space.recipe.size and space.recipe.test_size:
        # Stated for the recipe's own size; its proportion to this one stays.
        size = round(settings.size * space.recipe.test_size / space.recipe.size)
        wanted = dataclasses.replace(wanted, test_size=size)
    lines = [f"about = {toml_value(about)}"]
    if not own:
        lines.append(f"extends = {toml_value(file.name)}")
    sections = []
    for name, value in differing(below, wanted).items():
        if dataclasses.is_dataclass(value):
            before = getattr(below, name)
            inner = differing(Transfer() if before is None else before, value)
            sections += ["", f"[{name}]", *(f"{k} = {toml_value(v)}" for k, v in inner.items())]
        elif value is not None and name not in {"name", "about", "sources"}:
            lines.append(f"{name} = {toml_value(value)}")
    return "\n".join([*lines, *sections]) + "\n"


LABELS = {
    "learning_rate": "learning rate",
    "size": "pixels of a side",
    "width": "width",
    "augmentation": "strength of the augmentation",
}


def picture(tuned: Tuned) -> str:
    """The SVG of the trials in their order and over each setting, which needs no other file."""
    trials = [trial for trial in tuned.trials if trial.judged]
    values = [trial.value or 0.0 for trial in trials]
    pad = 0.06 * (max(values) - min(values)) or 0.05
    loss = tuned.monitor == "val_loss"
    what = f"validation {tuned.monitor.removeprefix('val_').replace('f1', 'F1')}"

    def panel(key: str, label: str, places: list[float], limits: tuple[float, float]) -> Chart:
        pad_x = 0.04 * (limits[1] - limits[0]) or 0.5
        chart = Chart(
            key,
            label,
            f"{what} over {label}",
            (limits[0] - pad_x, limits[1] + pad_x),
            (min(values) - pad, max(values) + pad),
            label,
            what,
            y_format=plain if loss else percent,
            right=30,
        )
        for look, complete in (("two", False), ("one", True)):
            chart.dots(
                [
                    Dot(x, y, y, y, size=4.0)
                    for x, y, trial in zip(places, values, trials, strict=True)
                    if (trial.status == "complete") is complete
                ],
                look,
            )
        return chart

    numbers = [trial.number + 1.0 for trial in trials]
    history = panel("history", "trial", numbers, (numbers[0], numbers[-1]))
    history.whole_x = True
    best = list(itertools.accumulate(values, min if loss else max))
    history.lines([Line("", "one", list(zip(numbers, best, strict=True)))])
    panels = [history]
    for key in tuned.space.varied:
        change = math.log10 if key == "learning_rate" else float
        places = [change(getattr(trial.settings, key)) for trial in trials]
        bounds = [change(value) for value in getattr(tuned.space, key)]
        label = LABELS[key]
        if key in tuned.importances:
            label += f" (explains {tuned.importances[key]:.0%} of the differences)"
        chart = panel(key, label, places, (min(bounds), max(bounds)))
        if key == "learning_rate":
            chart.x_format = lambda power: f"{10**power:.2g}"
        panels.append(chart)
    return sheet(
        f"{len(trials)} trials on the validation part; blue: all epochs, line: best so far; "
        "orange: stopped early",
        panels,
    )
