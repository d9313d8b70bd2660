"""A scene as SVG: text stays text, and every box says what it is."""

from __future__ import annotations

import base64
from xml.sax.saxutils import escape, quoteattr

from keras_classics.drawing.scene import (
    FONT,
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
from keras_classics.drawing.theme import Theme, stylesheet

_FALLBACKS = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"


def to_svg(scene: Scene, *, theme: Theme = "auto", standalone: bool = True) -> str:
    """The text of an SVG file, the same for the same scene.

    Args:
        scene: What is drawn.
        theme: "light", "dark", or "auto" for what the reader's system prefers.
        standalone: Whether font and colours are in the file. A page that has them leaves them out.
    """
    width, height = _number(scene.width), _number(scene.height)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label={quoteattr(scene.title)} '
        f'font-family="{FONT}, {_FALLBACKS}">'
    )
    parts = [
        head,
        f"<title>{escape(scene.title)}</title>",
        f"<desc>{escape(scene.description)}</desc>",
    ]
    if standalone:
        parts.append(f"<style>{_fonts()}{stylesheet(theme)}</style>")
        parts.append(f'<rect class="kc-paper" width="{width}" height="{height}"/>')
    parts += [_mark(mark) for mark in scene.marks]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _fonts() -> str:
    faces = (
        f"@font-face{{font-family:{FONT};font-weight:{number};"
        f"src:url(data:font/woff2;base64,{_encoded(weight)})}}"
        for weight, number in zip(WEIGHTS, (400, 600), strict=True)
    )
    return "".join(faces)


def _encoded(weight: Weight) -> str:
    return base64.b64encode(font_file(weight, "woff2").read_bytes()).decode()


def _mark(mark: Mark) -> str:
    if isinstance(mark, Group):
        moved = mark.x or mark.y
        attributes = (
            (f' class="{mark.kind}"' if mark.kind else "")
            + (f' transform="translate({_number(mark.x)} {_number(mark.y)})"' if moved else "")
            + "".join(f" data-{key}={quoteattr(value)}" for key, value in mark.data.items())
        )
        title = f"<title>{escape(mark.title)}</title>" if mark.title else ""
        return f"<g{attributes}>{title}{''.join(map(_mark, mark.marks))}</g>"
    if isinstance(mark, Rect):
        return (
            f'<rect class="kc-{mark.style}" x="{_number(mark.x)}" y="{_number(mark.y)}" '
            f'width="{_number(mark.width)}" height="{_number(mark.height)}"'
            + (f' rx="{_number(mark.radius)}"' if mark.radius else "")
            + "/>"
        )
    if isinstance(mark, Path):
        d = "".join(name + " ".join(map(_number, points)) for name, *points in mark.commands)
        return f'<path class="kc-{mark.style}" d="{d}{"Z" if mark.closed else ""}"/>'
    return _words(mark)


def _words(mark: Words) -> str:
    return (
        f'<text class="kc-{mark.style}" x="{_number(mark.x)}" y="{_number(mark.y)}" '
        f'font-size="{_number(mark.size)}"'
        + (' font-weight="600"' if mark.weight == "SemiBold" else "")
        + (f' text-anchor="{mark.anchor}"' if mark.anchor != "start" else "")
        + f">{escape(mark.text)}</text>"
    )


def _number(value: float) -> str:
    """A length with one decimal at most, and never -0."""
    text = f"{value:.1f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
