"""`draw`: a model as a figure."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_classics.architectures.catalog import of_model
from keras_classics.drawing.compare import side_by_side
from keras_classics.drawing.diagram import Level, Subject, check_level, subject, walk
from keras_classics.drawing.layout import SMALL, Sketch, sketch
from keras_classics.drawing.scene import Scene, Words, text_width
from keras_classics.drawing.svg import to_svg
from keras_classics.drawing.theme import THEMES, Theme
from keras_classics.drawing.words import shape_of
from keras_classics.errors import ClassicsError
from keras_classics.host.files import write_bytes
from keras_classics.host.units import short

MARGIN = 20.0
__all__ = ["Drawing", "check_format", "check_level", "check_theme", "draw"]
FORMATS = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Drawing:
    """A figure; in which format, its methods say."""

    scene: Scene
    theme: Theme

    def svg(self, *, standalone: bool = True) -> str:
        """The text of an SVG file; without font and colours where a page has them."""
        return to_svg(self.scene, theme=self.theme, standalone=standalone)

    def png(self, *, scale: float = 2.0) -> bytes:
        """The bytes of a PNG file, with `scale` pixels for each pixel of the SVG."""
        from keras_classics.drawing.raster import to_png  # noqa: PLC0415  matplotlib is slow

        return to_png(self.scene, theme=self.theme, scale=scale)

    def pdf(self) -> bytes:
        """The bytes of a PDF file of vectors and text."""
        from keras_classics.drawing.raster import to_pdf  # noqa: PLC0415

        return to_pdf(self.scene, theme=self.theme)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figure as its name says: `.svg`, `.png` or `.pdf`.

        Raises:
            ClassicsError: If the name says none of these.
            OutputError: If it cannot be written there.
        """
        file = Path(path)
        form = check_format(file)
        content = {".svg": lambda: self.svg().encode(), ".png": self.png, ".pdf": self.pdf}[form]()
        write_bytes(file, content)
        return file


def check_format(file: Path) -> str:
    """The ending of a file's name, if it is one that can be written."""
    form = file.suffix.lower()
    if form not in FORMATS:
        raise ClassicsError(f"{file}: a name that ends with .svg, .png or .pdf is needed.")
    return form


def check_theme(theme: str) -> Theme:
    """The theme of that name."""
    for known in THEMES:
        if theme == known:
            return known
    raise ClassicsError(f"theme={theme!r}: one of {', '.join(THEMES)} is needed.")


def draw(
    model: keras.Model,
    *,
    level: Level = "blocks",
    block: str | None = None,
    opened: Collection[str] | None = None,
    unfolded: bool = False,
    theme: Theme = "auto",
    size: int | tuple[int, int] | None = None,
    beside: keras.Model | None = None,
) -> Drawing:
    """Draw a flat model: a network of this package, one of your own, or any Functional graph.

    Args:
        model: Functional or built Sequential.
        level: "stages" shows the outermost blocks, "blocks" what the stages are made of, "layers"
            every layer.
        block: Draw the inside of this block alone; at "blocks" its units are closed.
        opened: The names of the blocks that show their insides, in the place of what `level` says.
        unfolded: Whether blocks that repeat the one before are drawn one by one.
        theme: "light", "dark" or "auto": what the reader's system prefers, light in PNG and PDF.
        size: Height and width of the input in pixels, where the model leaves them open.
        beside: Another model, drawn on the right at the same height where its resolution is the
            same.

    Raises:
        ClassicsError: If an argument is out of its range, the block is not in the model, or the
            model cannot be measured (see `analyse`).
    """
    theme = check_theme(theme)
    if beside is not None and block is not None:
        raise ClassicsError("block and beside: a block is drawn alone; give one of the two.")
    subjects = [
        subject(
            one,
            level=level,
            block=block,
            opened=opened,
            unfolded=unfolded,
            size=size,
            frameless=() if beside is None else ("stem",),
        )
        for one in ([model] if beside is None else [model, beside])
    ]
    if beside is not None:
        return Drawing(_both(subjects[0], subjects[1]), theme)
    return Drawing(_alone(subjects[0], is_block=block is not None), theme)


def title_of(subject: Subject) -> str:
    """A network by its title; anything else by its name."""
    known = of_model(subject.title)
    return known.title if known else subject.title


def facts_of(subject: Subject) -> str:
    """The figures of the whole, for the line below the title."""
    facts = [f"input {shape_of(subject.input_shape)}"]
    if subject.cost.parameters:
        facts.append(f"{short(subject.cost.parameters)} parameters")
    if subject.cost.macs:
        facts.append(f"{short(subject.cost.macs)} multiply-adds")
    return " · ".join(facts)


def heading(subject: Subject, x: float, y: float) -> list[Words]:
    """Title, kind and figures, the title's letters from (x, y) down."""
    lines = [line for line in (subject.about, facts_of(subject)) if line]
    return [
        Words(x, y + 16, title_of(subject), 18, weight="SemiBold", anchor="start"),
        *(
            Words(x, y + 34 + 16 * i, line, SMALL + 0.5, "dim", anchor="start")
            for i, line in enumerate(lines)
        ),
    ]


def legend(subjects: Sequence[Subject]) -> list[str]:
    """What the signs mean that occur."""
    items = [item for subject in subjects for item in walk(subject.root.items)]
    signs = [
        ("×", "×N: N blocks that are exactly equal"),
        ("~", "~N: N blocks of the same wiring, of other widths"),
    ]
    folds = {item.fold[:1] for item in items}
    lines = ["In a box: parameters · multiply-adds · receptive field (RF) in pixels"]
    lines += ["; ".join(words for sign, words in signs if sign in folds)]
    if any(skip.kind == "projection" for item in items for skip in item.skips):
        lines.append("Orange: shortcuts; with a small box where they are projected")
    return [line for line in lines if line]


def _alone(subject: Subject, *, is_block: bool) -> Scene:
    """One model or block, with title above and legend below."""
    body = sketch(subject.root, ends=is_block)
    head = heading(subject, MARGIN, MARGIN)
    what = "the block" if is_block else "the network"
    return _scene(
        head,
        body,
        legend([subject]),
        title=title_of(subject),
        description=f"Diagram of {what} {title_of(subject)}: {facts_of(subject)}.",
    )


def _both(one: Subject, other: Subject) -> Scene:
    """Two networks beside each other."""
    body, first, second = side_by_side(one, other)
    head = heading(one, MARGIN + first, MARGIN)
    # What is written over the left one must not reach into the right one.
    longest = max(text_width(mark.text, mark.size, mark.weight) for mark in head)
    head += heading(other, MARGIN + max(second, first + longest + 30), MARGIN)
    titles = f"{title_of(one)} and {title_of(other)}"
    return _scene(
        head,
        body,
        legend([one, other]),
        title=titles,
        description=f"Diagram of {titles} side by side, aligned by resolution: "
        f"{title_of(one)}: {facts_of(one)}; {title_of(other)}: {facts_of(other)}.",
    )


def _scene(
    head: Sequence[Words], body: Sketch, notes: Sequence[str], *, title: str, description: str
) -> Scene:
    """Words, body and notes on a page, the body in its middle, the words at its left edge."""
    ends = [mark.x + text_width(mark.text, mark.size, mark.weight) for mark in head]
    ends += [MARGIN + text_width(line, SMALL) for line in notes]
    width = max(MARGIN + body.left + body.right, *ends) + MARGIN
    top = max(mark.y for mark in head) + 20
    y = top + body.height + 30
    return Scene(
        width=width,
        height=y + 15 * (len(notes) - 1) + MARGIN,
        title=title,
        description=description,
        marks=(
            *head,
            body.moved((width + body.left - body.right) / 2, top),
            *(
                Words(MARGIN, y + 15 * i, line, SMALL, "dim", anchor="start")
                for i, line in enumerate(notes)
            ),
        ),
    )
