"""What the commands show in common: the console, figures, and the tables of a judgement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Span, Text

from keras_classics.errors import ImageError, one_line
from keras_classics.evaluation.metrics import Judgement, interval
from keras_classics.host.streams import forget
from keras_classics.weights.records import PublishedWeights

LONGEST_HEADING = 8  # characters of a class over a column of the confusion matrix
NARROWEST = 6  # characters that a column of words keeps
WIDEST_CONFUSION = 20  # classes; beyond that only the commonest confusions fit a screen


def console(*, error: bool = False) -> Console:
    """The terminal, or standard error, where progress and remarks go when data go to output."""
    return _Console(stderr=error, highlight=False, emoji=False)


class _Console(Console):
    """A console whose reader, such as `head`, may have seen enough.

    The names of files and classes may hold what moves a cursor, or cannot be encoded: it is shown
    escaped, whatever is printed.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """As Rich does it."""
        super().print(*map(_harmless, objects), **options)

    def on_broken_pipe(self) -> None:
        """Output that nobody reads ends the command in peace; remarks that nobody reads do not."""
        forget(self.file)
        if not self.stderr:
            raise SystemExit(0)


class _Table(Table):
    """A table whose cells are single lines."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """As Rich does it."""
        super().add_row(*(_harmless(cell, lines=False) for cell in cells), **options)


def _harmless(shown: Any, *, lines: bool = True) -> Any:
    """A string or a text with control characters escaped, but for its line breaks if it has any."""
    if isinstance(shown, str):
        return "\n".join(map(one_line, shown.split("\n"))) if lines else one_line(shown)
    if not isinstance(shown, Text):
        return shown
    odd = {char for char in shown.plain if one_line(char) != char} - ({"\n"} if lines else set())
    if not odd:
        return shown
    places = [i for i, char in enumerate(shown.plain) if char in odd]
    parts = shown.divide(sorted({cut for i in places for cut in (i, i + 1)}))
    return Text.assemble(*(_escaped(part) if part.plain in odd else part for part in parts))


def _escaped(char: Text) -> Text:
    text = one_line(char.plain)
    return Text(text, char.style, spans=[Span(0, len(text), span.style) for span in char.spans])


def new_table(
    words: Sequence[str],
    figures: Sequence[str] = (),
    title: str | None = None,
    *,
    tight: bool = False,
) -> Table:
    """A table of columns of words, cut where the terminal is narrow, and of whole figures."""
    table = _Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 0 if tight else 1, 0, 0),
        pad_edge=False,
    )
    for i, name in enumerate(words):
        table.add_column(Text(one_line(name)), overflow="ellipsis", no_wrap=i == 0)
    for name in figures:
        table.add_column(Text(one_line(name)), justify="right", no_wrap=True)
    return table


def show_table(where: Console, table: Table) -> None:
    """Print a table; where it is too wide, words give way, names and figures do not."""
    needed, gap = 0, table.padding[1]
    for column in table.columns:
        widest = max(where.measure(cell).maximum for cell in (column.header, *column.cells))
        if column.no_wrap:
            column.width = widest
        needed += 1 + gap + (widest if column.no_wrap else min(widest, NARROWEST - (not gap)))
    terminal = where.width
    where.width = max(terminal, needed)  # a line that runs over is better than half a figure
    where.print(table, crop=False)
    where.width = terminal


@contextmanager
def counting(where: Console, what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar over a known number of things; gone when done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with running(Progress(*columns, console=where, transient=True)) as progress:
        task = progress.add_task(what, total=None)
        counted = False

        def show(done: int, total: int | None) -> None:
            nonlocal counted
            if total is not None and not counted:
                # What another process has done says nothing of the speed of this one.
                progress.reset(task, completed=done, total=total)
                counted = True
            progress.update(task, completed=done, total=total)

        yield show


@contextmanager
def running(progress: Progress) -> Iterator[Progress]:
    """Show a progress bar where somebody watches; a log file gets none of it."""
    if progress.console.is_interactive:
        with progress:
            yield progress
    else:
        yield progress


def show_skipped(where: Console, skipped: Sequence[ImageError]) -> None:
    """Name and count the images that could not be read."""
    if not skipped:
        return
    noun = "image" if len(skipped) == 1 else "images"
    where.print(f"[yellow]skipped {len(skipped)} {noun} that cannot be read:[/]")
    for error in skipped:
        where.print(
            Text(one_line(f"  {error}")), soft_wrap=True
        )  # a path that is cut cannot be copied


def show_left_out(where: Console, images: str | None) -> None:
    """Say which images were left out because of their format, if any were."""
    if images:
        where.print(f"[yellow]left out {images}[/]", soft_wrap=True)


def show_judgement(where: Console, judgement: Judgement, title: str) -> None:
    """Accuracy, the table of the classes and the confusion matrix."""
    right = sum(row[i] for i, row in enumerate(judgement.confusion))
    where.print()
    where.print(f"[bold]{escape(title)}[/]: {right:,} of {judgement.images:,} right")
    where.print(f"accuracy [bold green]{judgement.accuracy:.1%}[/]", end="")
    if judgement.top5_accuracy is not None:
        where.print(f"   top-5 {judgement.top5_accuracy:.1%}", end="")
    where.print(f"   log loss {judgement.log_loss:.3f}")
    table = new_table(["class"], ["precision", "recall", "F1", "images"])
    for figures in judgement.classes:
        table.add_row(
            Text(figures.name),
            *(
                "–" if value is None else f"{value:.1%}"
                for value in (figures.precision, figures.recall, figures.f1)
            ),
            f"{figures.support:,}",
        )
    show_table(where, table)
    names = [figures.name for figures in judgement.classes]
    if len(names) <= WIDEST_CONFUSION:
        where.print("[bold]confusion matrix[/]: rows are labels, columns are predictions")
        show_table(where, _confusion_matrix(judgement, names))
    else:
        show_table(where, _confusions(judgement, names))


def show_published(
    where: Console, judgement: Judgement, record: PublishedWeights, title: str
) -> None:
    """Top-1 and top-5 beside the published figures."""
    where.print()
    where.print(f"[bold]{escape(title)}[/]: {judgement.images:,} images")
    table = new_table([record.name], ["measured", "95 % interval", "published"])
    for what, measured, published in (
        ("top-1", judgement.accuracy, record.top1),
        ("top-5", judgement.top5_accuracy or 0.0, record.top5),
    ):
        low, high = interval(measured, judgement.images)
        told = "–" if published is None else f"{published:.2f}%"
        table.add_row(what, f"{measured:.2%}", f"{low:.2%} to {high:.2%}", told)
    show_table(where, table)
    protocol = record.protocol
    where.print(
        f"shorter side resized to {protocol.resize} pixels ({protocol.interpolation}), the central "
        f"{protocol.crop} × {protocol.crop} cut out; published of ImageNet's 50,000 validation "
        "images."
    )


def _confusion_matrix(judgement: Judgement, names: Sequence[str]) -> Table:
    if max(map(len, names)) > LONGEST_HEADING:  # numbers stand over the columns instead
        headings = [str(i) for i in range(1, len(names) + 1)]
        names = [f"{i} {name}" for i, name in zip(headings, names, strict=True)]
    else:
        headings = list(names)
    table = new_table([""], headings)
    for i, (name, row) in enumerate(zip(names, judgement.confusion, strict=True)):
        cells = [
            Text(str(n) if n else "·", style="bold green" if i == j else "red" if n else "dim")
            for j, n in enumerate(row)
        ]
        table.add_row(Text(name), *cells)
    return table


def _confusions(judgement: Judgement, names: Sequence[str]) -> Table:
    table = new_table(["it is", "was called"], ["times"], title="the commonest confusions")
    wrong = [
        (n, i, j)
        for i, row in enumerate(judgement.confusion)
        for j, n in enumerate(row)
        if n and i != j
    ]
    for n, i, j in sorted(wrong, key=lambda found: (-found[0], found[1:]))[:WIDEST_CONFUSION]:
        table.add_row(Text(names[i]), Text(names[j]), str(n))
    return table
