"""The colours of a drawing, in light and in dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Theme = Literal["auto", "light", "dark"]
THEMES: tuple[Theme, ...] = ("auto", "light", "dark")


@dataclass(frozen=True)
class Style:
    """How a mark is painted."""

    fill: str | None = None
    stroke: str | None = None
    width: float = 1.0


# What the boxes are called by: families of layers and of blocks.
_LIGHT_BOXES = {
    "conv": ("#e3effb", "#3f7fbf"),
    "pool": ("#dff3ea", "#2f8f68"),
    "dense": ("#efe6fa", "#8257b8"),
    "plain": ("#f2f4f6", "#8a94a0"),
    "merge": ("#fdf0d5", "#b9821b"),
    "residual": ("#e8eafc", "#5563c1"),
    "projection": ("#f6e6f4", "#a8519c"),
    "module": ("#fde9e0", "#c2643a"),
    "stage": ("#eef1f5", "#67737f"),
}
_DARK_BOXES = {
    "conv": ("#17304a", "#6fb0ee"),
    "pool": ("#12382c", "#5cc79b"),
    "dense": ("#2f2145", "#b995e8"),
    "plain": ("#232a32", "#8b97a4"),
    "merge": ("#3d2f10", "#e0b252"),
    "residual": ("#22284f", "#98a5f5"),
    "projection": ("#3a1f37", "#dd92d3"),
    "module": ("#41241a", "#ee9a74"),
    "stage": ("#222a33", "#93a1b0"),
}


def _styles(
    boxes: dict[str, tuple[str, str]],
    *,
    paper: str,
    ink: str,
    dim: str,
    line: str,
    skip: str,
    frame: str,
    band: str,
) -> dict[str, Style]:
    return {
        "paper": Style(fill=paper),
        "text": Style(fill=ink),
        "dim": Style(fill=dim),
        "line": Style(stroke=line, width=1.3),
        "head": Style(fill=line),
        "skip": Style(stroke=skip, width=1.8),
        "skip-head": Style(fill=skip),
        "skip-text": Style(fill=skip),
        "frame": Style(fill=frame, stroke=line, width=1.0),
        "band": Style(fill=band),
        "badge": Style(fill=ink),
        "badge-text": Style(fill=paper),
        **{name: Style(fill, stroke, 1.2) for name, (fill, stroke) in boxes.items()},
    }


LIGHT = _styles(
    _LIGHT_BOXES,
    paper="#ffffff",
    ink="#1b222a",
    dim="#55606c",
    line="#7a8692",
    skip="#c2410c",
    frame="#fafbfc",
    band="#f3f5f8",
)
DARK = _styles(
    _DARK_BOXES,
    paper="#11161c",
    ink="#edf1f5",
    dim="#a7b3bf",
    line="#75828f",
    skip="#fb923c",
    frame="#171d24",
    band="#1a212a",
)


def stylesheet(theme: Theme = "auto") -> str:
    """The CSS of the styles; "auto" follows what the reader's system prefers."""
    if theme == "auto":
        return f"{_css(LIGHT)}@media (prefers-color-scheme:dark){{{_css(DARK)}}}"
    return _css(DARK if theme == "dark" else LIGHT)


def _css(styles: dict[str, Style]) -> str:
    return "".join(
        f".kc-{name}{{fill:{style.fill or 'none'}"
        + (f";stroke:{style.stroke};stroke-width:{style.width:g}" if style.stroke else "")
        + "}"
        for name, style in styles.items()
    )
