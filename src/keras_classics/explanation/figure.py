"""The figure of an explanation: picture, answer, heat maps, control and curves on one page."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from keras_classics.errors import one_line
from keras_classics.explanation.explained import ClassExplanation, Explained
from keras_classics.explanation.faithfulness import Curve, Sanity
from keras_classics.explanation.probe import Array
from keras_classics.heat import HEAT, SIGNED, limit_of, overlay
from keras_classics.host.canvas import canvas

INK, SOFT, GRID, PALE = "#1b1f24", "#5c6670", "#dde1e6", "#aeb6bf"
BLUE, ORANGE = "#1f5fbf", "#b4610a"  # told apart by everybody, and in print
DOTS = 160  # per inch
# In inches: a panel's side, and what is kept free around it for titles, scales and labels.
PANEL, ABOVE, BELOW, BESIDE, MARGIN = 2.5, 0.42, 0.42, 0.8, 0.16
LONGEST = 22  # characters of a class's name
LETTER = 0.08  # inches of a letter of a class's name, about
WIDE = 8  # tiles in a row, at most


@canvas()
def draw(explanation: Explained) -> bytes:
    """The figure as PNG: the same explanation gives the same bytes."""
    checked = any(each.checks for each in explanation.classes)
    cascaded = any(each.checks and each.checks.sanity.cascade for each in explanation.classes)
    panels = 2 + len(explanation.classes)
    columns = 4 if cascaded else 3
    page = _Page(len(explanation.classes) + 1 if checked else -(-panels // columns), columns)
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
            if sanity.cascade:
                axes = page.panel(row, 3)
                _cascade(axes, sanity)
                _title(
                    axes, "does the map forget, too?", "rank correlation with it, random from above"
                )
    return page.png()


@dataclass(frozen=True)
class Scale:
    """What the colours of tiles mean."""

    colours: str  # the name of a colour map
    low: float
    high: float
    labels: tuple[str, ...]  # evenly from low to high


@dataclass(frozen=True)
class Tile:
    """A small picture with its number."""

    values: npt.NDArray[Any]  # (h, w) on the scale, or colours (h, w, 3)
    name: str
    note: str


def scale_of(values: Array) -> Scale:
    """The scale on which values are told apart: they are signed if any is negative.

    It leaves out the largest thousandth, lest one value keep all others in the dark.
    """
    magnitudes = np.abs(values)
    limit = float(np.percentile(magnitudes, 99.9)) or float(magnitudes.max())
    return _scale(limit, signed=float(values.min()) < 0)


@canvas()
def draw_tiles(title: str, note: str, tiles: Sequence[Tile], scale: Scale | None) -> bytes:
    """Tiles in rows as PNG: the same tiles give the same bytes."""
    columns = min(WIDE, max(3, math.ceil(math.sqrt(len(tiles)))))
    edge = 0.7 if scale else 0.06
    room = _Room(panel=3 * PANEL / columns, above=0.2, below=0.1, beside=0.1, head=0.4, edge=edge)
    page = _Page(-(-len(tiles) // columns), columns, room)
    letters = int(room.panel / 0.065)
    for i, tile in enumerate(tiles):
        axes = page.panel(*divmod(i, columns))
        # What has colours already pays no heed to the scale.
        limits = {"cmap": scale.colours, "vmin": scale.low, "vmax": scale.high} if scale else {}
        axes.imshow(tile.values, interpolation="nearest", **limits)
        _bare(axes)
        axes.spines[:].set(visible=True, color=GRID, linewidth=0.6)  # white ends somewhere
        axes.set_anchor("NW")
        name = _short(tile.name, letters)
        axes.set_title(name, loc="left", fontsize=7.5, fontweight="bold", color=INK, pad=3)
        axes.set_title(tile.note, loc="right", fontsize=7, color=SOFT, pad=3)
    page.head(title, note)
    if scale:
        _bar(page.bar(0, columns - 1), scale)
    return page.png()


@dataclass(frozen=True)
class _Room:
    """Inches of a page: a panel's side and what is kept free around it, and around all of them."""

    panel: float = PANEL
    above: float = ABOVE
    below: float = BELOW
    beside: float = BESIDE
    head: float = 0.0
    edge: float = 0.0


class _Page:
    """A grid of square panels, measured in inches, so that they stand in line."""

    def __init__(self, rows: int, columns: int, room: _Room | None = None) -> None:
        self.room = room or _Room()
        self.width = MARGIN + columns * (self.room.panel + self.room.beside) + self.room.edge
        high = self.room.above + self.room.panel + self.room.below
        self.height = MARGIN + self.room.head + rows * high
        self.figure = Figure(figsize=(self.width, self.height), dpi=DOTS, facecolor="white")
        FigureCanvasAgg(self.figure)

    def panel(self, row: int, column: int, *, columns: int = 1) -> Any:
        """The axes of a panel, which may go over several columns."""
        width = columns * self.room.panel + (columns - 1) * self.room.beside
        return self._axes(row, self._left(column), width)

    def bar(self, row: int, column: int) -> Any:
        """The axes of the scale to the right of a panel."""
        return self._axes(row, self._left(column) + self.room.panel + 0.07, 0.09)

    def head(self, title: str, note: str) -> None:
        """What stands over all panels."""
        left, top = MARGIN / self.width, 1 - MARGIN / self.height
        below = top - 0.2 / self.height
        self.figure.text(left, top, title, fontsize=9.5, fontweight="bold", color=INK, va="top")
        self.figure.text(left, below, note, fontsize=7.5, color=SOFT, va="top")

    def png(self) -> bytes:
        """The page as PNG, without a date or a version: the same page gives the same bytes."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    def _left(self, column: int) -> float:
        return MARGIN + column * (self.room.panel + self.room.beside)

    def _axes(self, row: int, left: float, width: float) -> Any:
        room = self.room
        rows = row * (room.above + room.panel + room.below)
        bottom = self.height - MARGIN - room.head - rows - room.above - room.panel
        sides = width / self.width, room.panel / self.height
        return self.figure.add_axes((left / self.width, bottom / self.height, *sides))


def _picture(axes: Any, explanation: Explained) -> None:
    axes.imshow(explanation.picture, interpolation="nearest")
    _bare(axes)
    height, width = explanation.picture.shape[:2]
    _title(axes, _short(explanation.path.name, 30), f"as the network sees it, {height} × {width}")


def _answer(axes: Any, explanation: Explained) -> None:
    """The most probable classes, and those explained, as bars."""
    shown = dict.fromkeys((i, name, p) for i, name, p in explanation.top)
    shown |= dict.fromkeys((e.index, e.name, e.probability) for e in explanation.classes)
    rows = list(shown)
    explained = {each.index for each in explanation.classes}
    colours = [BLUE if index in explained else PALE for index, _, _ in rows]
    places = np.arange(len(rows))
    _title(axes, f"what {explanation.network} answers", "probability; blue classes are explained")
    axes.set_axis_off()
    beside = max(len(_short(name)) for _, name, _ in rows) * LETTER - BESIDE / 2
    width = axes.get_position().width * axes.figure.get_figwidth()
    taken = max(0.0, beside / width)  # by long names, lest they run over the picture
    axes = axes.inset_axes((taken, 0, 1 - taken, 1))
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


def _heat(axes: Any, beside: Any, explanation: Explained, heat: Array) -> None:
    """A map over the picture, and its scale."""
    signed = explanation.method.signed
    axes.imshow(overlay(explanation.picture, heat, signed=signed), interpolation="nearest")
    _bare(axes)
    limit = limit_of(explanation.picture, heat)
    _bar(beside, _scale(limit, signed=signed))


def _scale(limit: float, *, signed: bool) -> Scale:
    """Up to a limit, which is not named where all is zero."""
    end, high = (_figure(limit), limit) if limit else ("", 1.0)
    if signed:
        return Scale(SIGNED, -high, high, (f"−{end}" if end else "", "0", end))
    return Scale(HEAT, 0.0, high, ("0", end))


def _bar(axes: Any, scale: Scale) -> None:
    """The colours of a scale, named."""
    colours = ScalarMappable(Normalize(scale.low, scale.high), scale.colours)
    bar = axes.figure.colorbar(colours, cax=axes)
    bar.set_ticks(np.linspace(scale.low, scale.high, len(scale.labels)), labels=scale.labels)
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
    _plain(axes)
    axes.legend(
        fontsize=7.5, labelcolor="linecolor", loc="center right", handlelength=1.2,
        frameon=True, framealpha=0.85, edgecolor="none", borderpad=0.3,
    )  # fmt: skip


def _cascade(axes: Any, sanity: Sanity) -> None:
    """How like the map stays while the network forgets, part by part from above."""
    alike = [1.0, *(each.rank_correlation for _, each in sanity.cascade)]
    axes.plot(range(len(alike)), alike, color=BLUE, linewidth=1.6, marker="o", markersize=3)
    low = min(0.0, *alike)
    axes.set_xlim(0, len(alike) - 1)
    axes.set_ylim(low - 0.05, 1.05)
    first, last = sanity.cascade[0][0], sanity.cascade[-1][0]
    ends = {0: "none", len(alike) - 1: f"all {len(sanity.cascade)} parts"}
    axes.set_xticks(list(ends), list(ends.values()))
    axes.set_xlabel(
        f"{_short(first)} first, {_short(last)} last", fontsize=7, color=SOFT, labelpad=2
    )
    ticks = [0, 0.5, 1] if low > -0.25 else [-0.5, 0, 0.5, 1]
    axes.set_yticks(ticks, [_figure(tick) for tick in ticks])
    _plain(axes)


def _plain(axes: Any) -> None:
    """The look of a curve's panel, with its numbers to the right."""
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=7, length=0, colors=SOFT)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


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


def _where(explanation: Explained, explained: ClassExplanation) -> str:
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
    if sanity.passed is None:
        return "no contrast, so no verdict"
    verdict = "another map, as it must be" if sanity.passed else "too like the map"
    figure = f"{round(sanity.full.rank_correlation, 2) + 0.0:.2f}".replace("-", "−")  # no −0.00
    return f"rank correlation {figure}: {verdict}"


def _figure(value: float) -> str:
    """A number in two digits, with a minus that is one."""
    return f"{value:.2g}".replace("-", "−")


def _short(name: str, longest: int = LONGEST) -> str:
    name = one_line(name)
    return name if len(name) <= longest else name[: longest - 1] + "…"
