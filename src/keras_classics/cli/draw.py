"""`classics draw`: a network, or one block of it, as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_classics.cli import options


def draw(
    network: Annotated[
        str | None,
        typer.Argument(
            help="A network of the catalog, an artefact, or a .keras file.",
            show_default="EfficientNet-Lite0",
        ),
    ] = None,
    beside: Annotated[
        str | None,
        typer.Argument(
            help="A second network, drawn beside it, aligned by resolution.", show_default=False
        ),
    ] = None,
    block: Annotated[
        str | None, typer.Option(help="Draw only the inside of this block.", show_default="all")
    ] = None,
    level: Annotated[
        str, typer.Option(help="Level of detail: stages, blocks or layers.")
    ] = "blocks",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .svg, .png or .pdf; - writes SVG to standard output.",
            show_default="the network's name with .svg",
        ),
    ] = None,
    unfold: Annotated[
        bool, typer.Option("--unfold", help="Draw repeated blocks one by one.")
    ] = False,
    theme: Annotated[
        str,
        typer.Option(help="light, dark, or auto (follows the viewer's system; SVG only)."),
    ] = "auto",
    size: options.ShownSize = None,
    width: options.ShownWidth = None,
    classes: options.ShownClasses = None,
) -> None:
    """Draw a network with shapes, parameters, multiply-adds and receptive fields."""
    from keras_classics.cli.backend import start

    start()
    from keras_classics.architectures.catalog import of_model
    from keras_classics.cli.named import named
    from keras_classics.cli.terminal import console
    from keras_classics.drawing import draw as draw_model
    from keras_classics.drawing.draw import check_format, check_level, check_theme
    from keras_classics.weights import records

    to_terminal = str(output) == "-"
    checked_level, checked_theme = check_level(level), check_theme(theme)
    if output is not None and not to_terminal:
        check_format(output)
    screen = console(error=to_terminal)
    # A figure shows no weights.
    shown = records.find(records.DEFAULT).network if network is None else network
    with screen.status("drawing"):
        models = [
            named(name, size=size, width=width, classes=classes)
            for name in (shown, *([beside] if beside is not None else []))
        ]
        drawing = draw_model(
            models[0],
            level=checked_level,
            block=block,
            unfolded=unfold,
            theme=checked_theme,
            size=size,
            beside=models[1] if len(models) > 1 else None,
        )
        if to_terminal:
            typer.echo(drawing.svg(), nl=False)
            return
        known = [(of_model(model.name), model.name) for model in models]
        titles = [record.name if record else name for record, name in known]
        names = "-".join([*titles, *([block] if block else [])])
        path = drawing.save(output or f"{names}.svg")
    screen.print(f"{path}", soft_wrap=True, markup=False)
