"""A scene as PNG or PDF, through matplotlib: no browser, no system program, letters embedded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from io import BytesIO
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from keras_classics.drawing.scene import (
    WEIGHTS,
    Group,
    Mark,
    Path,
    Rect,
    Scene,
    Weight,
    Words,
    font_file,
)
from keras_classics.drawing.theme import DARK, LIGHT, Style, Theme
from keras_classics.host.canvas import canvas

PIXELS_PER_INCH = 96
_POINTS = 72 / PIXELS_PER_INCH  # matplotlib's lengths of lines and letters


def to_png(scene: Scene, *, theme: Theme = "light", scale: float = 2.0) -> bytes:
    """The bytes of a PNG file; `scale` is the number of its pixels for one of the scene's."""
    with canvas(), _painted(scene, theme) as figure:
        FigureCanvasAgg(figure)
        file = BytesIO()
        figure.savefig(
            file, format="png", dpi=PIXELS_PER_INCH * scale, metadata={"Title": scene.title}
        )
        return file.getvalue()


def to_pdf(scene: Scene, *, theme: Theme = "light") -> bytes:
    """The bytes of a PDF file: vectors, and text that can be searched, in embedded fonts."""
    with canvas(pdf_fonttype=42), _painted(scene, theme) as figure:
        file = BytesIO()
        figure.savefig(
            file,
            format="pdf",
            metadata={"Title": scene.title, "Subject": scene.description, "CreationDate": None},
        )
        return file.getvalue()


@contextmanager
def _painted(scene: Scene, theme: Theme) -> Iterator[Figure]:
    styles = DARK if theme == "dark" else LIGHT
    figure = Figure(
        figsize=(scene.width / PIXELS_PER_INCH, scene.height / PIXELS_PER_INCH),
        facecolor=styles["paper"].fill,
    )
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    axes.set_axis_off()
    with ExitStack() as stack:  # matplotlib reads fonts from files alone
        fonts = {
            weight: FontProperties(fname=stack.enter_context(resources.as_file(font)))
            for weight, font in ((weight, font_file(weight, "ttf")) for weight in WEIGHTS)
        }
        painter = _Painter(axes, styles, fonts)
        for mark in scene.marks:
            painter.paint(mark, 0.0, 0.0)
        yield figure


class _Painter:
    def __init__(
        self, axes: Any, styles: dict[str, Style], fonts: dict[Weight, FontProperties]
    ) -> None:
        self.axes, self.styles, self.fonts = axes, styles, fonts
        self.order = 1  # later marks lie over earlier ones, whatever they are

    def paint(self, mark: Mark, x: float, y: float) -> None:
        if isinstance(mark, Group):
            for inner in mark.marks:
                self.paint(inner, x + mark.x, y + mark.y)
            return
        self.order += 1
        style = self.styles[mark.style]
        if isinstance(mark, Words):
            self.axes.text(
                x + mark.x,
                y + mark.y,
                mark.text.replace("$", r"\$"),
                fontproperties=self.fonts[mark.weight],
                fontsize=mark.size * _POINTS,
                color=style.fill,
                ha={"start": "left", "middle": "center", "end": "right"}[mark.anchor],
                va="baseline",
                zorder=self.order,
            )
            return
        look = {
            "facecolor": style.fill or "none",
            "edgecolor": style.stroke or "none",
            "linewidth": style.width * _POINTS if style.stroke else 0,
            "zorder": self.order,
        }
        if isinstance(mark, Rect):
            mark = _round(mark)
        self.axes.add_patch(PathPatch(_outline(mark, x, y), capstyle="round", **look))


_QUARTER = 0.5523  # of the radius: where the handles of a cubic curve make a quarter of a circle


def _round(rect: Rect) -> Path:
    """The outline of a rectangle with round corners, clockwise from the upper left one."""
    x0, y0, x1, y1 = rect.x, rect.y, rect.x + rect.width, rect.y + rect.height
    r = min(rect.radius, rect.width / 2, rect.height / 2)
    h = r * (1 - _QUARTER)
    return Path(
        (
            ("M", x0 + r, y0),
            ("L", x1 - r, y0),
            ("C", x1 - h, y0, x1, y0 + h, x1, y0 + r),
            ("L", x1, y1 - r),
            ("C", x1, y1 - h, x1 - h, y1, x1 - r, y1),
            ("L", x0 + r, y1),
            ("C", x0 + h, y1, x0, y1 - h, x0, y1 - r),
            ("L", x0, y0 + r),
            ("C", x0, y0 + h, x0 + h, y0, x0 + r, y0),
        ),
        rect.style,
        closed=True,
    )


_CODES = {"M": Outline.MOVETO, "L": Outline.LINETO, "C": Outline.CURVE4}


def _outline(path: Path, x: float, y: float) -> Outline:
    points: list[tuple[float, float]] = []
    codes: list[Any] = []
    for name, *numbers in path.commands:
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        points += [(x + a, y + b) for a, b in pairs]
        codes += [_CODES[name]] * len(pairs)
    if path.closed:
        points.append(points[0])
        codes.append(Outline.CLOSEPOLY)
    return Outline(points, codes)
