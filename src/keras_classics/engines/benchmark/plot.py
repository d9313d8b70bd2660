"""The figure of a benchmark: throughput and latency of all that ran."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from keras_classics.engines.benchmark.measuring import Results, Row
from keras_classics.engines.engine import ENGINES
from keras_classics.host.canvas import canvas

FORMS = {".svg": {"Date": None}, ".png": None, ".pdf": {"CreationDate": None}}
"""Endings of files, and the metadata that would make each one another."""

INK, SOFT, GRID = "#1b1f24", "#5c6670", "#dde1e6"
OURS, OTHERS = "#1f5fbf", "#aeb6bf"
ROW = 0.34  # inches
WORDS = 1.3  # times the longest bar, with the words behind it


def draw(results: Results, path: Path) -> bytes:
    """The figure in the form that a file's ending says, one of `FORMS`."""
    form = path.suffix.lower()
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
        figure.savefig(file, format=form[1:], dpi=160, metadata=FORMS[form])
    return file.getvalue()


def _throughput(axes: Axes, rows: tuple[Row, ...], results: Results) -> None:
    rates = [row.images_per_s for row in rows]
    bars = axes.barh(
        [row.name for row in rows],
        rates,
        color=[OURS if row.library in ENGINES else OTHERS for row in rows],
        height=0.64,
    )
    ratios = ["" if row.to_reference is None else f" · {row.to_reference:.2f} ×" for row in rows]
    words = [f"{rate:.1f}{ratio}" for rate, ratio in zip(rates, ratios, strict=True)]
    axes.bar_label(bars, words, padding=4, color=INK)
    axes.set_xlim(0, WORDS * max(rates))
    compared = f"; × keras.applications' {results.reference}" if any(ratios) else ""
    axes.set_xlabel(f"images/s, {results.batch} at a time{compared}")
    _plain(axes)


def _latency(axes: Axes, rows: tuple[Row, ...]) -> None:
    for row in rows:
        colour = OURS if row.library in ENGINES else SOFT
        axes.plot([row.p50_ms, row.p99_ms], [row.name] * 2, color=colour, linewidth=1.5)
        axes.plot([row.p50_ms], [row.name], "o", color=colour, markersize=5)
        axes.plot([row.p95_ms, row.p99_ms], [row.name] * 2, "|", color=colour, markersize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("ms for one image:\nmedian, 95th and 99th percentile")
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=SOFT, length=0)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(SOFT)
