"""Charts of the report as inline SVG: text stays text, and colours are those of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

Points = Sequence[tuple[float, float]]
LEADING = 15.0  # pixels between the labels of two lines

# Of a chart that stands alone: the light colours of the report's page.
STYLE = (
    'text{fill:#1b1f24;font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}'
    "text.tick,text.note,text.label{fill:#5c6670}text.strong{fill:#1b1f24;font-weight:600}"
    ".middle{text-anchor:middle}.end{text-anchor:end}.start{text-anchor:start}"
    ".grid{stroke:#dde1e6;fill:none}.axis{stroke:#5c6670;fill:none}"
    ".mark{stroke:#5c6670;stroke-dasharray:3 3;fill:none}"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}.one.line{stroke:#1f5fbf}"
    ".two.line{stroke:#b4610a}.faint.line{stroke:#9db7dc;stroke-width:1}"
    ".one.dot{fill:#1f5fbf}.two.dot{fill:#b4610a}"
    "text.name.one{fill:#1f5fbf}text.name.two{fill:#b4610a}text.name.faint{fill:#6f8fbd}"
)


def percent(value: float) -> str:
    """A fraction for an axis: 85%."""
    return f"{100 * value:.3g}%"


def plain(value: float) -> str:
    """A number for an axis: 0.5, 1,200."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    look: str  # the class that the page's style colours
    points: Points


@dataclass(frozen=True)
class Mark:
    """An upright line at a place of the x axis."""

    x: float
    text: str
    side: Literal["start", "end"] | None = None  # where the words start or end; None: where room is


@dataclass(frozen=True)
class Dot:
    """A measured value with its interval."""

    x: float
    y: float
    low: float
    high: float
    size: float = 3.5


@dataclass
class Chart:
    """Axes on which lines, bands and dots are drawn."""

    name: str  # unique on the page
    title: str
    text: str  # what is seen, for who cannot see it
    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    x_format: Callable[[float], str] = plain
    y_format: Callable[[float], str] = plain
    log_x: bool = False
    whole_x: bool = False  # ticks at whole numbers alone
    width: float = 460
    height: float = 280
    right: float = 76  # room for the names of the lines
    _parts: list[Markup] = field(default_factory=list)

    def lines(self, lines: Sequence[Line]) -> Chart:
        """Lines, each with its name at its end."""
        ends: list[tuple[float, Line]] = []
        for line in lines:
            if len(line.points) == 1:
                x, y = line.points[0]
                self._add(
                    '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3"/>',
                    f"{line.look} dot",
                    self._x(x),
                    self._y(y),
                )
            elif line.points:
                self._add('<path class="{}" d="{}"/>', f"{line.look} line", self._path(line.points))
            if line.points:
                ends.append((self._y(line.points[-1][1]), line))
        ends.sort(key=lambda end: end[0])
        places: list[float] = []  # of the names: one below the other, then up from the last
        for y, _ in ends:
            places.append(max(y, places[-1] + LEADING if places else -math.inf))
        limit = self.height - 46
        for i, place in reversed(list(enumerate(places))):
            places[i] = min(place, limit)
            limit = places[i] - LEADING
        for place, (_, line) in zip(places, ends, strict=True):
            x = self._x(line.points[-1][0]) + 7
            self._text(line.name, x, place + 4, f"name {line.look}")
        return self

    def band(self, points: Sequence[tuple[float, float, float]], look: str) -> Chart:
        """The area between two lines: x, low, high."""
        there = [(x, low) for x, low, _ in points]
        back = [(x, high) for x, _, high in reversed(points)]
        path = f"{self._path([*there, *back])}Z"
        self._add('<path class="{}" d="{}"/>', f"{look} band", path)
        return self

    def dots(self, dots: Sequence[Dot], look: str) -> Chart:
        """Values with their intervals."""
        for dot in dots:
            x = self._x(dot.x)
            self._add(
                '<path class="{} whisker" d="M{:.1f} {:.1f}V{:.1f}"/>',
                look,
                x,
                self._y(dot.low),
                self._y(dot.high),
            )
            self._add(
                '<circle class="{} dot" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>',
                look,
                x,
                self._y(dot.y),
                dot.size,
            )
        return self

    def marks(self, marks: Sequence[Mark]) -> Chart:
        """Upright lines with a word at the top."""
        for mark in marks:
            x = self._x(mark.x)
            self._add('<path class="mark" d="M{:.1f} {:.1f}V{:.1f}"/>', x, self._top, self._bottom)
            late = x > (self._left + self.width - self.right) / 2
            anchor = mark.side or ("end" if late else "start")
            away = -5 if anchor == "end" else 5
            self._text(mark.text, x + away, self._top + 9, f"note {anchor}")
        return self

    def diagonal(self, text: str) -> Chart:
        """Where x equals y."""
        low, high = max(self.x[0], self.y[0]), min(self.x[1], self.y[1])
        self._add('<path class="mark" d="{}"/>', self._path([(low, low), (high, high)]))
        # Along the line, halfway up.
        middle = low + (high - low) * 0.3
        x, y = self._x(middle), self._y(middle)
        slope = math.degrees(math.atan2(self._y(high) - self._y(low), self._x(high) - self._x(low)))
        self._add(
            '<text class="note middle" transform="translate({:.1f} {:.1f}) rotate({:.1f})" '
            'dy="-6">{}</text>',
            x,
            y,
            slope,
            text,
        )
        return self

    def svg(self) -> Markup:
        """The finished chart."""
        return Markup(
            '<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" '
            'aria-labelledby="{}-t {}-d"><title id="{}-t">{}</title><desc id="{}-d">{}</desc>'
            "{}{}</svg>"
        ).format(
            self.width,
            self.height,
            *(self.name,) * 3,
            self.title,
            self.name,
            self.text,
            self._axes(),
            Markup("").join(self._parts),
        )

    def document(self) -> str:
        """The chart as a file of its own, dark on light: XML."""
        inside = str(self.svg()).partition(">")
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" '
            f'width="{1.5 * self.width:.0f}" height="{1.5 * self.height:.0f}"'
            f"{inside[0].removeprefix('<svg')}><style>{STYLE}</style>"
            f'<rect width="100%" height="100%" fill="#fff"/>{inside[2]}\n'
        )

    _left, _top = 46.0, 24.0

    @property
    def _bottom(self) -> float:
        return self.height - 40

    def _x(self, value: float) -> float:
        low, high = self.x
        if self.log_x:
            value, low, high = math.log(value), math.log(low), math.log(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self._left + share * (self.width - self.right - self._left)

    def _y(self, value: float) -> float:
        low, high = self.y
        share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5
        return self._bottom - share * (self._bottom - self._top)

    def _path(self, points: Points) -> str:
        return "M" + "L".join(f"{self._x(x):.1f} {self._y(y):.1f}" for x, y in points)

    def _add(self, pattern: str, *values: object) -> None:
        self._parts.append(Markup(pattern).format(*values))

    def _text(self, text: str, x: float, y: float, look: str) -> None:
        self._add('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>', look, x, y, text)

    def _axes(self) -> Markup:
        parts = []
        end = self.width - self.right
        for value in ticks(*self.y):
            y = self._y(value)
            parts.append(
                Markup('<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>').format(self._left, y, end)
            )
            parts.append(_label(self.y_format(value), self._left - 6, y + 4, "tick end"))
        for value in self._x_ticks():
            at, y = self._x(value), self._bottom
            parts.append(Markup('<path class="axis" d="M{:.1f} {:.1f}v4"/>').format(at, y))
            parts.append(_label(self.x_format(value), at, y + 17, "tick middle"))
        parts.append(
            Markup('<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>').format(
                self._left, self._bottom, end
            )
        )
        middle = (self._left + end) / 2
        parts.append(_label(self.x_label, middle, self.height - 5, "label middle"))
        parts.append(_label(self.y_label, 2, 13, "label start"))
        return Markup("").join(parts)

    def _x_ticks(self) -> list[float]:
        if self.log_x:
            low, high = self.x
            if high >= 1000 * low:
                powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high)) + 1)
                return [10.0**power for power in powers]
            doubled = [2.0**i for i in range(-3, 3)]
            return [high / 4 * d for d in doubled if low <= high / 4 * d * 1.001 <= high * 1.01]
        found = ticks(*self.x, about=7)
        return [value for value in found if value == round(value)] if self.whole_x else found


def sheet(title: str, charts: Sequence[Chart]) -> str:
    """Charts of the same size in two columns, as a file of its own, dark on light: SVG."""
    width, height = charts[0].width, charts[0].height
    panels = Markup("").join(
        Markup('<svg x="{:.0f}" y="{:.0f}" width="{:.0f}" height="{:.0f}">{}</svg>').format(
            i % 2 * width, 30 + i // 2 * height, width, height, chart.svg()
        )
        for i, chart in enumerate(charts)
    )
    whole = f"{2 * width:.0f} {30 + math.ceil(len(charts) / 2) * height:.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f"{_label(title, 10, 20, 'strong')}{panels}</svg>\n"
    )


def _label(text: str, x: float, y: float, look: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(look, x, y, text)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Bar:
    """A bar with an interval at its end, both fractions."""

    name: str
    value: float
    interval: tuple[float, float]
    look: str


def bars(name: str, title: str, text: str, rows: Sequence[Bar]) -> Markup:
    """Bars below each other, from 0 to 100 %."""
    left, right, width, step = 136.0, 96.0, 640.0, 30.0
    height = 8 + step * len(rows) + 22
    span = width - left - right
    parts = []
    for value in ticks(0, 1, about=4):
        x = left + value * span
        parts.append(
            Markup('<path class="grid" d="M{:.1f} 4V{:.1f}"/>').format(x, height - 20)
            + _label(percent(value), x, height - 5, "tick middle")
        )
    for i, row in enumerate(rows):
        y = 8 + step * i
        low, high = (left + bound * span for bound in row.interval)
        parts.append(_label(row.name, left - 10, y + 16, "label end"))
        parts.append(
            Markup(
                '<rect class="{} bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="18"/>'
            ).format(row.look, left, y + 3, max(row.value * span, 0.5))
        )
        parts.append(
            Markup(
                '<path class="whisker" d="M{0:.1f} {1:.1f}H{2:.1f}M{0:.1f} {3:.1f}v8M{2:.1f} '
                '{3:.1f}v8"/>'
            ).format(low, y + 12, high, y + 8)
        )
        parts.append(_label(f"{100 * row.value:.1f}%", high + 8, y + 16, "label start strong"))
    return Markup(
        '<svg class="chart wide" viewBox="0 0 {:.0f} {:.0f}" role="img" '
        'aria-labelledby="{}-t {}-d"><title id="{}-t">{}</title><desc id="{}-d">{}</desc>{}</svg>'
    ).format(width, height, *(name,) * 3, title, name, text, Markup("").join(parts))


def span(value: float, interval: tuple[float, float], first: float = 0.0) -> Markup:
    """A small dot with its interval for a cell of a table; the figure stands beside it.

    Args:
        value: A fraction.
        interval: Of it.
        first: Where the scale begins, below 1; it ends at 1.
    """
    low, high, at = (2 + 96 * (bound - first) / (1 - first) for bound in (*interval, value))
    return Markup(
        '<svg class="span" viewBox="0 0 100 10" aria-hidden="true"><path class="grid" d="M2 5H98"/>'
        '<path class="one whisker" d="M{:.0f} 5H{:.0f}"/><circle class="one dot" cx="{:.0f}" '
        'cy="5" r="3"/></svg>'
    ).format(low, high, at)
