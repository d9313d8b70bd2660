"""`classics find-rate`: a learning rate for a network and a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from keras_classics.training.events import Event


def find_rate(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Images as for `classics train`. Without any: the digits that come with "
            "scikit-learn.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder or .zip that the paths of a .csv begin in.")
    ] = None,
    network: Annotated[str, typer.Option(help="See `classics networks`.")] = "resnet50",
    recipe: Annotated[str, typer.Option(help="Its name, or a TOML file of your own.")] = "quick",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="LINE=VALUE", help="A line in the place of the recipe's."),
    ] = None,
    width: Annotated[
        float | None, typer.Option(help="As for train.", show_default="the recipe's")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Height and width in pixels.", show_default="that of train")
    ] = None,
    batch_size: Annotated[
        str | None, typer.Option(help="A number, or auto.", show_default="the recipe's")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Where to begin, as for train.", show_default="random")
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="As for train.")
    ] = "auto",
    steps: Annotated[
        int, typer.Option(min=20, help="Of the optimiser, over the whole range.")
    ] = 120,
    lowest: Annotated[float, typer.Option(help="The first rate.")] = 1e-5,
    highest: Annotated[float, typer.Option(help="The last one.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of weights and order.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The SVG.", show_default="find-rate.svg, numbered"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let the learning rate rise step by step, plot the loss, and suggest a rate."""
    from keras_classics.cli.backend import start

    start()
    import dataclasses
    import json

    from rich.markup import escape

    from keras_classics.cli.terminal import console, counting
    from keras_classics.evaluation.saved import write_text
    from keras_classics.training.config import TrainConfig, batch_size_of
    from keras_classics.training.events import Step
    from keras_classics.training.judging import command
    from keras_classics.training.output import check_file
    from keras_classics.training.rate_chart import rate_chart
    from keras_classics.training.rate_finder import find_rate as find

    config = TrainConfig(
        folder=folder,
        root=root,
        network=network,
        recipe=recipe,
        changes=tuple(changes or ()),
        width=width,
        size=size,
        batch_size=batch_size_of(batch_size),
        weights=weights,
        precision=precision,
        seed=seed,
    )
    place = check_file(out, "find-rate", ".svg", data=folder)
    screen = console(error=as_json)
    with counting(screen, "steps") as count:

        def show(event: Event) -> None:
            if isinstance(event, Step):
                count(event.done, event.total)

        found = find(config, steps=steps, lowest=lowest, highest=highest, listener=show)
    write_text(place, rate_chart(found))
    if as_json:
        typer.echo(json.dumps({**found.to_dict(), "chart": str(place)}, indent=2))
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
    again = command(dataclasses.replace(config, learning_rate=found.suggestion))
    screen.print(f"next: {escape(again)}", soft_wrap=True)
