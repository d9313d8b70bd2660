"""`classics compare`: whether one run is better than another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options

if TYPE_CHECKING:
    from keras_classics.evaluation.comparison import Comparison


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Folders that `classics train` wrote."),
    ],
    as_json: options.Json = False,
) -> None:
    """Test whether runs differ significantly on the held-out images that they share."""
    import json

    from keras_classics.errors import ClassicsError
    from keras_classics.evaluation import comparison
    from keras_classics.evaluation.saved import read_answers

    if len(runs) < 2:
        raise ClassicsError("two RUNs or more are needed to compare.")
    for run in runs:
        if not run.is_dir():
            raise ClassicsError(f"{run}: no such folder; RUN is one that `classics train` wrote.")
    if len({run.resolve() for run in runs}) < len(runs):
        raise ClassicsError("a run is named twice; it does not differ from itself.")
    found = comparison.compare([read_answers(run) for run in runs])
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        _show(found)


def _show(found: Comparison) -> None:
    from rich.text import Text

    from keras_classics.cli.terminal import console, new_table, show_table
    from keras_classics.evaluation.metrics import interval_of

    screen = console()
    table = new_table(["run"], ["accuracy", "95 % interval", "images"])
    for name, right, images in sorted(found.runs, key=lambda run: -run[1] / run[2]):
        low, high = interval_of(right, images)
        row = (f"{right / images:.1%}", f"{low:.1%} to {high:.1%}", f"{images:,}")
        table.add_row(Text(name), *row)
    show_table(screen, table)
    for difference in found.differences:
        style = "yellow" if difference.verdict == "cannot tell" else "bold green"
        heading = f"{difference.first} and {difference.second}: "
        screen.print(Text(heading) + Text(difference.text, style=style), soft_wrap=True)
        only = ""
        if difference.paired:
            only = (
                f"only the first is right on {difference.only_first:,} of "
                f"{difference.images[0]:,} images, only the second on "
                f"{difference.only_second:,}; "
            )
        several = ", for all pairs together" if len(found.differences) > 1 else ""
        screen.print(Text(f"  {only}p = {difference.adjusted:.2g}{several}"), soft_wrap=True)
        for remark in difference.remarks:
            screen.print(Text(f"  {remark}"), soft_wrap=True)
