"""The figure of a benchmark: throughput and latency, ours and the others', and the limits."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from keras_classics.engines.benchmark.results import Results, Row, is_ours
from keras_classics.errors import ClassicsError
from keras_classics.host.canvas import canvas

FORMS = (".svg", ".png", ".pdf")
INK, SOFT, GRID = "#1b1f24", "#5c6670", "#dde1e6"
OURS, OTHERS, LIMIT = "#1f5fbf", "#aeb6bf", "#b4610a"
ROW = 0.34  # inches
WORDS = 1.3  # times the longest bar, with the words behind it


def draw(results: Results, path: Path) -> bytes:
    """The figure in the form that a file's ending says.

    Raises:
        ClassicsError: If it is none of .svg, .png and .pdf, or nothing ran.
    """
    form = path.suffix.lower()
    if form not in FORMS:
        raise ClassicsError(f"{path}: a figure ends with {', '.join(FORMS)}.")
    if not results.rows:
        raise ClassicsError("nothing ran, so that there is nothing to draw.")
    with canvas(font_size=9, svg_fonttype="none", svg_hashsalt="keras-classics"):
        figure = Figure(figsize=(9, 1.5 + ROW * len(results.rows)), layout="constrained")
        rates, waits = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
        rows = results.rows[::-1]  # the first at the top
        _throughput(rates, rows, results)
        _latency(waits, rows)
        machine = results.machine
        figure.suptitle(
            f"{results.network}, {results.size} × {results.size}: "
            f"{machine['processor']}, {machine['cores']} cores",
            x=0.01,
            ha="left",
            color=INK,
            fontweight="bold",
        )
        file = io.BytesIO()
        date = _DATE.get(form)
        figure.savefig(file, format=form[1:], dpi=160, metadata={date: None} if date else None)
    return file.getvalue()


_DATE = {".svg": "Date", ".pdf": "CreationDate"}


def _throughput(axes: Axes, rows: tuple[Row, ...], results: Results) -> None:
    places = range(len(rows))
    rates = [row.images_per_s for row in rows]
    limits = {name: limit / (2 * results.macs) for name, limit in results.limits.items()}
    reach = WORDS * max([*rates, *limits.values()])
    axes.barh(places, rates, color=[OURS if is_ours(row) else OTHERS for row in rows], height=0.64)
    for place, row in zip(places, rows, strict=True):
        ratio = "" if row.to_reference is None else f" · {row.to_reference:.2f} ×"
        end, limit = row.images_per_s, limits.get(row.precision)
        if limit is not None:
            axes.plot([limit, limit], [place - 0.4, place + 0.4], color=LIMIT, linewidth=1.5)
            if 0 < limit - end < (WORDS - 1) * reach:  # which would cross the words
                end = limit
        axes.annotate(
            f"{row.images_per_s:.1f}{ratio}",
            (end, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
    axes.set_xlim(0, reach)
    axes.set_yticks(list(places), [row.name for row in rows])
    axes.set_xlabel(
        f"images/s, {results.batch} at a time; × keras.applications' predict\n"
        "orange: what matrix products of that precision would allow"
    )
    _plain(axes)


def _latency(axes: Axes, rows: tuple[Row, ...]) -> None:
    for place, row in enumerate(rows):
        colour = OURS if is_ours(row) else SOFT
        axes.plot([row.p50_ms, row.p99_ms], [place, place], color=colour, linewidth=1.5)
        axes.plot([row.p50_ms], [place], "o", color=colour, markersize=5)
        axes.plot([row.p95_ms, row.p99_ms], [place, place], "|", color=colour, markersize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("ms for one image, logarithmic:\nmedian, 95 and 99 of 100")
    _plain(axes)


def _plain(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=SOFT, length=0)
    for label in axes.get_yticklabels():
        label.set_color(INK)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(SOFT)
