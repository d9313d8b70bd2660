"""`classics find-rate`: a learning rate for a network and a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options

if TYPE_CHECKING:
    from keras_classics.training.events import Event


def find_rate(
    folder: options.Data = None,
    group_by: options.GroupBy = None,
    root: options.Root = None,
    network: options.Network = None,
    recipe: options.Recipe = None,
    changes: options.Changes = None,
    width: options.Width = None,
    size: options.Size = None,
    batch_size: options.BatchSize = None,
    balance: options.Balance = None,
    weights: options.Weights = None,
    unfreeze: options.Unfreeze = None,
    batch_norm: options.BatchNorm = None,
    preprocessing: options.Preprocessing = None,
    fit: options.Fit = "crop",
    precision: options.Precision = "auto",
    steps: Annotated[int, typer.Option(min=20, help="Optimiser steps over the whole range.")] = 120,
    lowest: Annotated[float, typer.Option(help="Lowest learning rate.")] = 1e-5,
    highest: Annotated[float, typer.Option(help="Highest learning rate.")] = 10.0,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="SVG to write.", show_default="find-rate.svg, numbered"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Increase the learning rate step by step, plot the loss, and suggest a rate."""
    from keras_classics.cli.backend import start

    start()
    import dataclasses
    import json

    from rich.markup import escape

    from keras_classics.cli.terminal import console, running
    from keras_classics.cli.train import Display
    from keras_classics.host.files import write_text
    from keras_classics.host.staging import check_file
    from keras_classics.training.config import TrainConfig, batch_size_of
    from keras_classics.training.events import Features, Reading, Step
    from keras_classics.training.judging import command
    from keras_classics.training.rate_chart import rate_chart
    from keras_classics.training.rate_finder import find_rate as find

    config = TrainConfig(
        folder=folder,
        group_by=group_by,
        root=root,
        network=network,
        recipe=recipe,
        changes=tuple(changes or ()),
        width=width,
        size=size,
        batch_size=batch_size_of(batch_size),
        balance=balance,
        weights=weights,
        unfreeze=unfreeze,
        batch_norm=batch_norm,
        preprocessing=preprocessing,
        fit=fit,
        precision=precision,
        seed=seed,
    )
    place = check_file(out, "find-rate", ".svg", data=folder)
    screen = console(error=as_json)
    display = Display(screen)

    def show(event: Event) -> None:
        match event:
            case Step():
                display.bar("raising the rate", event.done, event.total)
            case Reading() | Features():
                display.show(event)

    with running(display.progress):
        found = find(config, steps=steps, lowest=lowest, highest=highest, listener=show)
    write_text(place, rate_chart(found))
    again = command(dataclasses.replace(config, learning_rate=found.suggestion))
    if as_json:
        values = {**found.to_dict(), "chart": str(place), "command": again}
        typer.echo(json.dumps(values, indent=2))
        return
    screen.print(f"chart: {escape(str(place))}", soft_wrap=True)
    if found.suggestion is None:
        screen.print(
            "[yellow]the loss fell at no rate[/]: more --steps, or a lower --lowest and --highest"
        )
        return
    own = found.own_rate
    screen.print(
        f"lowest loss at [bold]{found.suggestion:g}[/], steepest descent at {found.steepest:g}; "
        f"the recipe {escape(found.recipe)} has {own:g}"
    )
    screen.print(f"next: {escape(again)}", soft_wrap=True)
