"""`classics recipes`: how networks are trained, as data."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from keras_classics.architectures import DEFAULT
from keras_classics.cli import options


def recipes(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print every line as JSON.")] = False,
) -> None:
    """List the training recipes."""
    if context.invoked_subcommand is not None:
        return
    from keras_classics.cli.backend import start

    start()
    from dataclasses import asdict

    from rich.text import Text

    from keras_classics.cli.terminal import console, new_table, show_table
    from keras_classics.training import recipes

    found = [
        recipes.find(name, next(iter(recipes.networks_of(name)), DEFAULT))
        for name in recipes.names()
    ]
    if as_json:
        typer.echo(json.dumps([asdict(recipe) for recipe in found], indent=2))
        return
    screen = console()
    table = new_table(["recipe", "about"], ["epochs", "batch", "pixels"])
    for recipe in found:
        table.add_row(
            Text(recipe.name),
            Text(recipe.about),
            f"{recipe.epochs}",
            f"{recipe.batch_size:,}",
            f"{recipe.size or 'any'}",
        )
    show_table(screen, table)
    screen.print("`paper` stands for the recipe of the network's paper")


def show(
    name: Annotated[str, typer.Argument(help="Name of a recipe, or a TOML file.")],
    network: Annotated[str, typer.Option(help="Network that the recipe is for.")] = DEFAULT,
    changes: options.Changes = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every resolved line as JSON.")
    ] = False,
) -> None:
    """Show a recipe with the source of each line; a starting point for your own."""
    from keras_classics.cli.backend import start

    start()
    from dataclasses import asdict

    from keras_classics.architectures import catalog
    from keras_classics.training import recipes

    found = recipes.find(name, catalog.find(network).name, tuple(changes or ()))
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    typer.echo(recipes.read(name, network).text.rstrip())
    for change in changes or ():
        typer.echo(f"# --set {change}")
