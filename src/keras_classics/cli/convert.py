"""`classics convert`: weights from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from keras_classics.weights.conversion import Conversion


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A file (.weights.h5, .keras, .h5, .pth, .safetensors), an artefact, or the name "
            "of published weights.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Its extension sets the format: .keras is a whole model; .weights.h5, "
            ".h5, .pth and .safetensors hold the weights alone.",
        ),
    ],
    network: Annotated[
        str | None,
        typer.Option(help="Network that the weights belong to; see `classics networks`."),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(help="Width of the network.", show_default="the artefact's, else 1"),
    ] = None,
    layout: Annotated[
        Literal["torchvision", "timm", "google"] | None,
        typer.Option(
            help="Layer names used in .pth and .safetensors.",
            show_default="the first of these that has the network",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert weights between formats, verify the result, and report every tensor."""
    from keras_classics.cli.backend import start

    start()
    from keras_classics.classifier.published import locate
    from keras_classics.cli.weights import downloading
    from keras_classics.weights.conversion import convert as convert_file

    with downloading(source) as progress:
        found = locate(source, network=network, width=width, progress=progress)
    conversion = convert_file(
        found.path, target, architecture=found.architecture, width=found.width, layout=layout
    )
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(passage) for passage in conversion.passages], indent=2))
    else:
        _show(conversion)


def _show(conversion: Conversion) -> None:
    """A row a tensor, then a summary."""
    from collections import Counter

    from rich.markup import escape
    from rich.text import Text

    from keras_classics.cli.terminal import console, new_table, show_table

    screen = console()
    table = new_table(["in", "network", "out", "change"], ["shape in", "shape out"])
    for column in table.columns[:4]:
        column.no_wrap = True  # a report that is cut says nothing
    for passage in conversion.passages:
        table.add_row(
            *(
                Text(cell or "-")
                for cell in (passage.source, passage.network, passage.target, passage.change)
            ),
            _shape(passage.source_shape),
            _shape(passage.target_shape),
        )
    show_table(screen, table)
    changes = Counter(passage.change or "unchanged" for passage in conversion.passages)
    for change, number in changes.most_common():
        screen.print(f"{number:>5} {escape(change)}")
    screen.print(f"written, read again and equal: [bold]{escape(str(conversion.path))}[/]")
    screen.print(escape(conversion.holds))


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "-"
