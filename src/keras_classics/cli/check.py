"""`classics check`: what is wrong, or worth knowing, in a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_classics.cli import options
from keras_classics.host.units import short

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from keras_classics.data.check.findings import Finding, Place, Severity
    from keras_classics.data.check.run import Check
    from keras_classics.training.task import Task

FIRST = 3  # places of a finding that are shown without --all
FIRST_PATHS = 6  # paths of one place

NUMBERS = 7  # characters of the column of numbers
INDENT = " " * (NUMBERS + 4)  # of paths
TITLES = {"16-bit": "16-bit", "cmyk": "CMYK"}  # where the kind itself would not read well
HEADINGS: dict[Severity, tuple[str, str]] = {
    "mend": ("problems", "red"),
    "look": ("warnings", "yellow"),
    "know": ("notes", "cyan"),
}


def check(
    folder: options.Folder,
    group_by: options.GroupBy = None,
    root: options.Root = None,
    near: Annotated[
        bool, typer.Option("--near/--no-near", help="Also look for near-duplicates.")
    ] = True,
    show_all: Annotated[bool, typer.Option("--all", help="Show all paths.")] = False,
    as_json: options.Json = False,
    network: Annotated[
        str | None,
        typer.Option(help="Estimate the time of a run with this network."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Height and width in pixels.", show_default="that of train"),
    ] = None,
    width: Annotated[
        float | None, typer.Option(help="Width of the network.", show_default="that of train")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Batch size.", show_default="that of train")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the run.", show_default="those of train")
    ] = None,
    weights: options.Weights = None,
) -> int:
    """Check a folder of images before training; writes nothing. Exit code 1: problems found."""
    import json

    from keras_classics.cli.terminal import console, counting
    from keras_classics.data.check.run import check as check_folder
    from keras_classics.errors import ClassicsError
    from keras_classics.weights.records import DEFAULT, RECORDS

    screen = console(error=as_json)
    run: _Run | None = None
    if network is None:
        for name, value in (
            ("width", width),
            ("batch-size", batch_size),
            ("epochs", epochs),
            ("weights", weights),
        ):
            if value is not None:
                raise ClassicsError(f"--{name}: needs --network.")
    else:
        run = _Run(
            folder,
            network,
            group_by=group_by,
            root=root,
            size=size,
            width=width,
            batch_size=batch_size,
            epochs=epochs,
            weights=weights,
        )
        size = run.size
    with counting(screen, "checking images") as progress:
        found = check_folder(
            folder,
            size=size or RECORDS[DEFAULT].protocol.crop,
            near=near,
            group_by=group_by,
            root=root,
            progress=progress,
        )
    estimate: dict[str, Any] | None = None
    if run is not None:
        with screen.status("measuring a few steps"):
            estimate = run.estimate()
    if as_json:
        typer.echo(json.dumps({**found.to_dict(), "run": estimate}, indent=2))
    else:
        _show(screen, found, estimate, show_all=show_all)
    return 0 if found.sound else 1


class _Run:
    """The run of `classics train` that is estimated; its arguments are checked at once."""

    def __init__(
        self,
        folder: Path,
        network: str,
        *,
        group_by: str | None,
        root: Path | None,
        size: int | None,
        width: float | None,
        batch_size: int | None,
        epochs: int | None,
        weights: str | None,
    ) -> None:
        from keras_classics.cli.backend import start

        start()
        from keras_classics.errors import DataError
        from keras_classics.training.config import TrainConfig
        from keras_classics.training.task import task_of

        config = TrainConfig(
            folder,
            network=network,
            group_by=group_by,
            root=root,
            size=size,
            width=width,
            batch_size=batch_size,
            epochs=epochs,
            weights=weights,
        )
        try:
            self.task: Task | None = task_of(config)
        except DataError:  # a class of a single image, which is among the findings
            self.task = None
        self.size = self.task.sizes.train if self.task else size

    def estimate(self) -> dict[str, Any] | None:
        """Time and memory, as plain data; None where there can be no run."""
        if self.task is None:
            return None
        from collections import Counter

        from keras_classics.data.splits import assign_splits
        from keras_classics.training.features import measure_rate
        from keras_classics.training.steps import measure_steps, peak_bytes
        from keras_classics.training.transfer import BUILDING, ENDING, epoch_seconds

        task = self.task
        items = assign_splits(task.listing, seed=task.config.seed).items
        parts = Counter(item.split for item in items)
        shape, recipe = task.shape, task.recipe
        run = {
            "network": task.architecture.name,
            "weights": task.origin.name if task.origin else None,
            "width": shape.width,
            "batch_size": recipe.batch_size,
            "epochs": recipe.epochs,
        }
        if task.origin is None:
            steps = measure_steps(
                task.architecture,
                size=shape.size,
                width=shape.width,
                classes=shape.classes,
                batch_size=recipe.batch_size,
            )
            return {
                **run,
                "images_per_second": 1 / steps.learning,
                "seconds": steps.seconds(
                    learn=parts["train"], choose=parts["val"], epochs=recipe.epochs
                ),
                "peak_bytes": steps.peak_bytes,
            }
        rate = measure_rate(task.architecture, size=shape.test_size, width=shape.width)
        head = len(items) / rate + ENDING
        tuning = BUILDING + recipe.epochs * epoch_seconds(parts["train"], parts["val"], rate)
        if not parts["val"]:
            tuning = 0.0  # without a validation part nothing is fine-tuned
        return {
            **run,
            "images_per_second": rate,
            "seconds": head + tuning,
            "head_seconds": head,
            "fine_tuning_seconds": tuning,
            "peak_bytes": peak_bytes(),
        }


def _show(
    screen: Console, found: Check, estimate: dict[str, Any] | None, *, show_all: bool
) -> None:
    from rich.text import Text

    from keras_classics.errors import one_line

    parts = ", ".join(f"{split} {count:,}" for split, count in found.splits.items())
    screen.print(
        Text.assemble(
            (one_line(found.folder), "bold"),
            f": {found.images:,} images, {len(found.classes):,} classes, ",
            parts or "no splits (a run splits the images)",
        ),
        soft_wrap=True,
    )
    for severity, (heading, colour) in HEADINGS.items():
        findings = [finding for finding in found.findings if finding.severity == severity]
        if findings:
            screen.print(f"\n[bold {colour}]{heading}[/]")
        for finding in findings:
            _show_finding(screen, finding, colour, show_all=show_all)
    screen.print()
    _show_estimates(screen, found, estimate)
    if not found.near:
        screen.print("near-duplicates were not searched for: --near")
    screen.print()
    screen.print(
        "[bold green]no problems found.[/]"
        if found.sound
        else "[bold red]problems found: fix them before training.[/]"
    )


def _show_finding(screen: Console, finding: Finding, colour: str, *, show_all: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    number = len(finding.places)
    title = TITLES.get(finding.kind, finding.kind.replace("-", " "))
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(width=NUMBERS, justify="right")
    lines.add_column()
    lines.add_row(
        Text(f"{number:,}", f"bold {colour}"), Text.assemble((title, "bold"), f": {finding.text}")
    )
    if finding.advice:
        lines.add_row("", Text(f"→ {finding.advice}", "dim"))
    screen.print(lines)
    shown = finding.places if show_all else finding.places[:FIRST]
    for place in shown:
        _show_place(screen, place, "≈" if "near" in finding.kind else "=", show_all=show_all)
    if number > len(shown):
        screen.print(f"{INDENT}[dim]and {number - len(shown):,} more: --all[/]")


def _show_place(screen: Console, place: Place, sign: str, *, show_all: bool) -> None:
    from rich.text import Text

    from keras_classics.errors import one_line

    paths = place.paths if show_all else place.paths[:FIRST_PATHS]
    for i, path in enumerate(paths):
        line = Text(f"{INDENT}{sign} {one_line(path)}" if i else INDENT + one_line(path))
        if place.note and not i:
            line.append(f"  {place.note}", style="dim")
        screen.print(line, soft_wrap=True)  # a path that is cut cannot be copied
    if len(place.paths) > len(paths):
        more = len(place.paths) - len(paths)
        screen.print(f"{INDENT}{sign} [dim]and {more:,} more: --all[/]")


def _show_estimates(screen: Console, found: Check, estimate: dict[str, Any] | None) -> None:
    from rich.table import Table

    cost = found.cost
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "reading",
        f"{_duration(cost.seconds)} for {found.images:,} images, {cost.workers} threads",
    )
    where = "a temporary file, as that is more than 2 GiB" if cost.mapped else "memory"
    table.add_row(
        "images", f"{short(cost.image_bytes, 'B')} at {cost.size} × {cost.size} pixels, in {where}"
    )
    if estimate is not None:
        _add_run(table, estimate)
        if estimate["peak_bytes"]:
            table.add_row(
                "program",
                f"{short(estimate['peak_bytes'], 'B')} of memory while training, without images",
            )
    screen.print("[bold]estimates for a run[/]")
    screen.print(table)


def _add_run(table: Table, estimate: dict[str, Any]) -> None:
    if not estimate["weights"]:
        table.add_row(
            "training",
            f"{_duration(estimate['seconds'])} for {estimate['epochs']} epochs of "
            f"{estimate['network']}, width {estimate['width']:g}, batches of "
            f"{estimate['batch_size']}, at {estimate['images_per_second']:.3g} images/s, plus "
            "start-up and evaluation",
        )
        return
    table.add_row(
        "head",
        f"{_duration(estimate['head_seconds'])} with features of {estimate['network']}, weights "
        f"{estimate['weights']}, at {estimate['images_per_second']:.3g} images/s",
    )
    if estimate["fine_tuning_seconds"]:
        table.add_row(
            "fine-tuning",
            f"{_duration(estimate['fine_tuning_seconds'])} for {estimate['epochs']} epochs, "
            f"batches of {estimate['batch_size']}; skip it with --unfreeze none",
        )


def _duration(seconds: float) -> str:
    """About so long: more digits would promise too much."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
