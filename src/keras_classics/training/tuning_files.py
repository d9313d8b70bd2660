"""What a tuning leaves on the disk beside the run: trials, the study, a recipe, a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from keras_classics.architectures import catalog
from keras_classics.errors import ClassicsError
from keras_classics.evaluation.charts import STYLE, Bar, Chart, Dot, Line, bars, percent, plain
from keras_classics.host.files import write_text
from keras_classics.training import recipes
from keras_classics.training.head_search import HeadTrial
from keras_classics.training.recipe import Monitor, Recipe
from keras_classics.training.search_space import Settings, Space, differing, toml_value
from keras_classics.training.trials import Trial

TRIALS, RECORD, RECIPE, PICTURE = "trials.csv", "study.json", "best.toml", "trials.svg"
HEADS = "heads.csv"
FORMAT = 1
SECTIONS = ("optimizer", "schedule", "loss", "network", "selection", "augmentation", "mixing")


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
        ClassicsError: If the folder is not that of a tuning, or its record is torn.
    """
    path = folder / RECORD
    if not folder.is_dir():
        raise ClassicsError(f"{folder}: no such folder; --resume takes the folder of a tuning.")
    if not path.is_file():
        raise ClassicsError(
            f"{folder}: not the folder of a tuning; --resume takes what `classics tune` made."
        )
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") > FORMAT:
            raise ClassicsError(f"{path}: of a later version; upgrade keras-classics.")
    except ClassicsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClassicsError(f"{path}: not the record of a tuning or corrupt.") from error
    return values


def write_trials(folder: Path, trials: Sequence[Trial], monitor: Monitor) -> None:
    """Write `trials.csv`: a row a trial.

    Raises:
        OutputError: If it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in dataclasses.fields(Settings)]
    figures = [monitor, "val_loss_of_that_epoch", "best_epoch", "epochs", "seconds"]
    writer.writerow(["trial", "status", *names, *figures])
    for trial in trials:
        values = (trial.value, trial.loss, trial.best_epoch, trial.epochs)
        writer.writerow(
            [trial.number, trial.status]
            + [getattr(trial.settings, name) for name in names]
            + ["" if value is None else value for value in values]
            + [f"{trial.seconds:.1f}"]
        )
    write_text(folder / TRIALS, text.getvalue())


def write_heads(folder: Path, heads: Sequence[HeadTrial], monitor: Monitor) -> None:
    """Write `heads.csv`: a row for each network and size; none where there are none.

    Raises:
        OutputError: If it cannot be written.
    """
    if not heads:
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "size", "status", monitor, "val_loss", "seconds"])
    for head in heads:
        figures = ["" if value is None else value for value in (head.value, head.loss)]
        where = head.candidate
        writer.writerow([where.network, where.size, head.status, *figures, f"{head.seconds:.1f}"])
    write_text(folder / HEADS, text.getvalue())


def write_recipe(folder: Path, space: Space, settings: Settings, about: str) -> None:
    """Write `best.toml`: a recipe of one's own, with these settings.

    Raises:
        OutputError: If it cannot be written.
    """
    write_text(folder / RECIPE, recipe_text(space, settings, about))


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
    changed = differing(below, wanted)
    for name in ("name", "about", "sources"):
        changed.pop(name, None)
    sections = {name: changed.pop(name) for name in (*SECTIONS, "transfer") if name in changed}
    lines += ["", *(f"{key} = {toml_value(value)}" for key, value in changed.items())]
    for name, section in sections.items():
        before = getattr(below, name)
        if section is None:
            continue
        before = type(section)() if before is None else before
        inner = differing(before, section)
        if inner or getattr(below, name) is None:
            lines += ["", f"[{name}]"]
            lines += [f"{key} = {toml_value(value)}" for key, value in inner.items()]
    return "\n".join(lines) + "\n"


MORE_STYLE = (
    "text.head{font-size:15px;font-weight:600}.whisker{stroke:none}.grid,.axis{stroke-width:1}"
    ".one.bar{fill:#1f5fbf;opacity:.75}"
)
LABELS = {
    "learning_rate": "learning rate",
    "size": "pixels of a side",
    "width": "width",
    "augmentation": "strength of the augmentation",
}
PANEL = (470.0, 250.0)


def write_picture(
    folder: Path,
    trials: Sequence[Trial],
    space: Space,
    monitor: Monitor,
    importances: Mapping[str, float],
) -> None:
    """Write `trials.svg`: the trials in their order, and over each setting.

    Raises:
        OutputError: If it cannot be written.
    """
    shown = [trial for trial in trials if trial.judged]
    if shown:
        write_text(folder / PICTURE, picture(shown, space, monitor, importances))


def picture(
    trials: Sequence[Trial], space: Space, monitor: Monitor, importances: Mapping[str, float]
) -> str:
    """The SVG, which needs no other file."""
    values = [trial.value or 0.0 for trial in trials]
    pad = 0.06 * (max(values) - min(values)) or 0.05
    limits = (min(values) - pad, max(values) + pad)
    y_format = plain if monitor == "val_loss" else percent
    name = monitor.replace("val_", "").replace("f1", "F1")

    def panel(key: str, x_label: str, x: tuple[float, float], places: Sequence[float]) -> Chart:
        chart = Chart(
            key, x_label, f"validation {name} over {x_label}", x, limits, x_label,
            f"validation {name}", y_format=y_format, width=PANEL[0], height=PANEL[1], right=30,
        )  # fmt: skip
        for look, complete in (("two", False), ("one", True)):
            dots = [
                Dot(place, value, value, value, size=4.0)
                for place, value, trial in zip(places, values, trials, strict=True)
                if (trial.status == "complete") is complete
            ]
            chart.dots(dots, look)
        return chart

    numbers = [float(trial.number + 1) for trial in trials]
    history = panel("history", "trial", (min(numbers) - 0.5, max(numbers) + 0.5), numbers)
    history.whole_x = True
    best, steps = values[0], []
    for number, value in zip(numbers, values, strict=True):
        better = min(best, value) if monitor == "val_loss" else max(best, value)
        steps += [(number, best), (number, better)]
        best = better
    history.lines([Line("", "one", steps)])
    panels = [history.svg()]
    for key in space.varied:
        found = [float(getattr(trial.settings, key)) for trial in trials]
        low, high = (float(f(getattr(space, key))) for f in (min, max))
        x_format: Callable[[float], str] = plain
        if key == "learning_rate":
            found, low, high = [math.log10(v) for v in found], math.log10(low), math.log10(high)
            x_format = _power
        room = 0.04 * (high - low)
        chart = panel(key, LABELS[key], (low - room, high + room), found)
        chart.x_format = x_format
        panels.append(chart.svg())
    note = Markup("")
    if importances:
        rows = [Bar(key.replace("_", " "), v, (v, v), "one") for key, v in importances.items()]
        title = "what explains the differences"
        panels.append(bars("importances", title, "importance of each setting", rows))
        i = len(panels) - 1
        note = Markup('<text class="label start" x="{:.0f}" y="{:.0f}">{}</text>').format(
            10 + i % 2 * (PANEL[0] + 10), 73 + i // 2 * PANEL[1], title
        )
    width, height = PANEL
    total = 70 + height * math.ceil(len(panels) / 2)
    placed = [
        str(svg).replace(
            "<svg ",
            f'<svg x="{10 + i % 2 * (width + 10):.0f}" y="{60 + i // 2 * height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" ',
            1,
        )
        for i, svg in enumerate(panels)
    ]
    head = Markup(
        '<text class="head" x="20" y="26">{} trials, by the validation part</text>'
        '<circle class="one dot" cx="25" cy="43" r="4"/><text class="note" x="35" y="47">'
        'all epochs</text><circle class="two dot" cx="115" cy="43" r="4"/><text class="note" '
        'x="125" y="47">stopped: worse than the others, or the time was up; the line is the best '
        "so far</text>"
    ).format(len(trials))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width + 30:.0f} {total:.0f}" '
        f'width="{2 * width + 30:.0f}" height="{total:.0f}"><style>{STYLE}{MORE_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{head}{note}{"".join(placed)}</svg>\n'
    )


def _power(value: float) -> str:
    return f"{10**value:.2g}"
