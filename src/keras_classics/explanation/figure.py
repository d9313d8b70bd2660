"""The figure of an explanation: picture, answer, heat maps, control and curves on one page."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from keras_classics.errors import OutputError
from keras_classics.explanation.cam import enlarged
from keras_classics.explanation.probe import Array

if TYPE_CHECKING:
    from keras_classics.explanation.explain import ClassExplanation, Explanation
    from keras_classics.explanation.faithfulness import Curve, Sanity

INK, SOFT, GRID, PALE = "#1b1f24", "#5c6670", "#dde1e6", "#aeb6bf"
BLUE, ORANGE = "#1f5fbf", "#b4610a"  # told apart by everybody, and in print
HEAT, SIGNED = "inferno", "coolwarm"  # even steps to the eye; and for signs, away from white
DOTS = 160  # per inch
# In inches: a panel's side, and what is kept free around it for titles, scales and labels.
PANEL, ABOVE, BELOW, BESIDE, MARGIN = 2.5, 0.42, 0.42, 0.62, 0.16
LONGEST = 22  # characters of a class's name


def draw(explanation: Explanation) -> bytes:
    """The figure as PNG: the same explanation gives the same bytes."""
    checked = any(each.checks for each in explanation.classes)
    panels = 2 + len(explanation.classes)
    rows, columns = (len(explanation.classes) + 1, 3) if checked else (-(-panels // 3), 3)
    page = _Page(rows, columns)
    _picture(page.panel(0, 0), explanation)
    _answer(page.panel(0, 1, columns=2 if checked else 1), explanation)
    for i, each in enumerate(explanation.classes):
        row, column = (1 + i, 0) if checked else divmod(2 + i, columns)
        axes = page.panel(row, column)
        _heat(axes, page.bar(row, column), explanation, each.heat)
        _title(axes, f"{explanation.method.title}: {_short(each.name)}", _where(explanation, each))
        if each.checks:
            sanity = each.checks.sanity
            axes = page.panel(row, 1)
            _heat(axes, page.bar(row, 1), explanation, sanity.control)
            _title(axes, "control: random weights", _alike(sanity))
            axes = page.panel(row, 2)
            _curves(axes, each.checks.deletion, each.checks.insertion)
            _title(axes, "does the class follow the map?", "probability while pixels go or come")
    buffer = io.BytesIO()
    page.figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


class _Page:
    """A grid of square panels, measured in inches, so that they stand in line."""

    def __init__(self, rows: int, columns: int) -> None:
        self.width = MARGIN + columns * (PANEL + BESIDE)
        self.height = MARGIN + rows * (ABOVE + PANEL + BELOW)
        self.figure = Figure(figsize=(self.width, self.height), dpi=DOTS, facecolor="white")
        FigureCanvasAgg(self.figure)

    def panel(self, row: int, column: int, *, columns: int = 1) -> Any:
        """The axes of a panel, which may go over several columns."""
        width = columns * PANEL + (columns - 1) * BESIDE
        return self._axes(row, MARGIN + column * (PANEL + BESIDE), width)

    def bar(self, row: int, column: int) -> Any:
        """The axes of the scale to the right of a panel."""
        return self._axes(row, MARGIN + column * (PANEL + BESIDE) + PANEL + 0.07, 0.09)

    def _axes(self, row: int, left: float, width: float) -> Any:
        bottom = self.height - MARGIN - row * (ABOVE + PANEL + BELOW) - ABOVE - PANEL
        place = (left / self.width, bottom / self.height, width / self.width, PANEL / self.height)
        return self.figure.add_axes(place)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error


def overlay(picture: npt.NDArray[np.uint8], heat: Array, *, signed: bool) -> Array:
    """A heat map (h', w') laid over a picture (h, w, 3): (h, w, 3) from 0 to 1.

    The picture is grey beneath, so that every colour is the map's, and shows through where the map
    is silent.
    """
    height, width = picture.shape[:2]
    large = enlarged(heat[None], (height, width))[0]
    relative = np.clip(large / (_limit(picture, heat) or 1), -1 if signed else 0, 1)
    colours = colormaps[SIGNED](relative / 2 + 0.5) if signed else colormaps[HEAT](relative)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None] / 255.0
    cover = 0.85 * np.abs(relative)[..., None] ** 0.7
    ground = 0.25 + 0.75 * grey if signed else 0.75 * grey
    return np.asarray((1 - cover) * ground + cover * colours[..., :3], np.float32)


def _limit(picture: npt.NDArray[np.uint8], heat: Array) -> float:
    """Where the colours end: the largest value, of single pixels all but the largest hundredth."""
    pixels = heat.shape == picture.shape[:2]
    return float(np.percentile(np.abs(heat), 99 if pixels else 100))


def _picture(axes: Any, explanation: Explanation) -> None:
    axes.imshow(explanation.picture, interpolation="nearest")
    _bare(axes)
    height, width = explanation.picture.shape[:2]
    _title(axes, _short(explanation.path.name, 30), f"as the network sees it, {height} × {width}")


def _answer(axes: Any, explanation: Explanation) -> None:
    """The most probable classes, and those explained, as bars."""
    shown = dict.fromkeys((i, name, p) for i, name, p in explanation.top)
    shown |= dict.fromkeys((e.index, e.name, e.probability) for e in explanation.classes)
    rows = list(shown)
    explained = {each.index for each in explanation.classes}
    colours = [BLUE if index in explained else PALE for index, _, _ in rows]
    places = np.arange(len(rows))
    axes.barh(places, [p for _, _, p in rows], height=0.62, color=colours)
    for place, (index, _, p) in zip(places, rows, strict=True):
        axes.annotate(
            f"{p:.1%}",
            (p, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK if index in explained else SOFT,
        )
    axes.set_yticks(places, [_short(name) for _, name, _ in rows], fontsize=8.5, color=INK)
    axes.set_xlim(0, 1.12)
    axes.set_ylim(max(len(rows), 5) - 0.4, -0.6)  # few bars stay as thin as many
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(PALE)
    _title(axes, f"what {explanation.network} answers", "probability; blue classes are explained")


def _heat(axes: Any, beside: Any, explanation: Explanation, heat: Array) -> None:
    """A map over the picture, and its scale."""
    signed = explanation.method.signed
    axes.imshow(overlay(explanation.picture, heat, signed=signed), interpolation="nearest")
    _bare(axes)
    limit = _limit(explanation.picture, heat)
    scale = Normalize(-limit if signed else 0.0, limit or 1.0)
    colours = ScalarMappable(scale, SIGNED if signed else HEAT)
    bar = axes.figure.colorbar(colours, cax=beside)
    ends = {limit: f"{limit:.2g}", 0.0: "0"} if limit else {0.0: "0"}
    if signed and limit:
        ends[-limit] = f"−{limit:.2g}"
    bar.set_ticks(list(ends), labels=list(ends.values()))
    bar.ax.tick_params(labelsize=7, length=0, colors=SOFT)
    bar.outline.set_visible(False)


def _curves(axes: Any, deletion: Curve, insertion: Curve) -> None:
    """Both curves and the areas under them."""
    for curve, colour, name in (
        (insertion, BLUE, "insertion"),
        (deletion, ORANGE, "deletion"),
    ):
        x, y = curve.fractions, curve.probabilities[0]
        axes.plot(x, y, color=colour, linewidth=1.6, label=f"{name}, area {curve.areas[0]:.2f}")
        axes.fill_between(x, y, color=colour, alpha=0.08, linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xticks([0, 0.5, 1], ["0", "50% of the pixels", "100%"])
    axes.set_yticks([0, 0.5, 1], ["0", "50%", "100%"])
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=7, length=0, colors=SOFT)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.legend(
        fontsize=7.5, labelcolor="linecolor", loc="center right", handlelength=1.2,
        frameon=True, framealpha=0.85, edgecolor="none", borderpad=0.3,
    )  # fmt: skip


def _title(axes: Any, title: str, note: str) -> None:
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=15)
    axes.annotate(
        note, (0, 1), xytext=(0, 4), xycoords="axes fraction", textcoords="offset points",
        fontsize=7.5, color=SOFT, va="bottom",
    )  # fmt: skip


def _bare(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _where(explanation: Explanation, explained: ClassExplanation) -> str:
    """What is explained, and what the method says of itself."""
    if explanation.block is not None:
        height, width = explained.heat.shape
        return f"at the end of {explanation.block}, {height} × {width}"
    if "completeness_gap" in explained.figures:
        gap, whole = (explained.figures[k] for k in ("completeness_gap", "score_difference"))
        return f"of every pixel; they miss the score by {abs(gap / (whole or 1)):.1%}"
    return "of every pixel"


def _alike(sanity: Sanity) -> str:
    """In a few words whether the control is another map."""
    verdict = "another map, as it must be" if sanity.passed else "too like the map"
    figure = f"{round(sanity.full.rank_correlation, 2) + 0.0:.2f}".replace("-", "−")  # no −0.00
    return f"rank correlation {figure}: {verdict}"


def _short(name: str, longest: int = LONGEST) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
