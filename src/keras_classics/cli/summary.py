"""`classics summary`: a network's shapes, costs and receptive fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options
from keras_classics.host.units import short

ROOMY = 100  # columns of a terminal that hold blocks inside blocks with air between

if TYPE_CHECKING:
    from keras_classics.architectures.analysis import Analysis, Cost
    from keras_classics.architectures.tree import Block


def summary(
    network: options.Shown,
    layers: Annotated[bool, typer.Option("--layers", help="One row a layer.")] = False,
    blocks: Annotated[
        bool, typer.Option("--blocks", help="One row a block, blocks inside.")
    ] = False,
    size: options.ShownSize = None,
    width: options.ShownWidth = None,
    classes: options.ShownClasses = None,
) -> None:
    """Show shapes, parameters, multiply-adds, memory and receptive fields from the built graph.

    Without --layers or --blocks: the outermost blocks.
    """
    from keras_classics.cli.backend import start

    start()
    from rich.text import Text

    from keras_classics.architectures.analysis import analyse
    from keras_classics.cli.named import named
    from keras_classics.cli.terminal import console, new_table, show_table
    from keras_classics.errors import ClassicsError

    if layers and blocks:
        raise ClassicsError("--layers and --blocks: choose one of the two.")
    screen = console()
    with screen.status("building"):
        model = named(network, size=size, width=width, classes=classes)
        analysis = analyse(model, size=size)

    tight = blocks and screen.width < ROOMY
    table = new_table(
        ["layer" if layers else "block", "kind"],
        ["output", "params" if tight else "parameters", "MACs", "memory", "field", "stride"],
        tight=tight,
        title=f"{model.name}, input {'×'.join(map(str, analysis.layers[0].output_shape))}",
    )
    rows = [(0, cost) for cost in analysis.layers] if layers else _rows(analysis, deep=blocks)
    for depth, cost in rows:
        table.add_row(Text((" " if tight else "  ") * depth + cost.name), *_cells(cost))
    table.add_section()
    table.add_row("total", *_cells(analysis.model), style="bold")
    show_table(screen, table)
    screen.print("memory: all outputs for one image; field: the pixels that a position sees.")
    if any(cost.field and not cost.field.exact for _, cost in rows):
        screen.print(
            "≤ a bound: the branches see different regions, and this is the box around them."
        )
    if any(cost.field and cost.field.gated for _, cost in rows):
        screen.print("+ besides, through squeeze-and-excite, numbers of the whole image.")
    trainable = analysis.model.trainable
    screen.print(
        f"{analysis.model.parameters:,} parameters, {trainable:,} trainable; "
        f"{short(analysis.model.macs)} multiply-adds an image."
    )


def _rows(analysis: Analysis, *, deep: bool) -> list[tuple[int, Cost]]:
    """The blocks in the order of the graph, and the layers that are in none."""
    of_block = {cost.name: cost for _, cost in analysis.blocks}
    of_layer = {cost.name: cost for cost in analysis.layers}
    rows: list[tuple[int, Cost]] = []

    def add(block: Block, depth: int) -> None:
        rows.append((depth, of_block[block.name]))
        if deep:
            for inner in block.blocks:
                add(inner, depth + 1)

    for member in analysis.tree.members:
        if isinstance(member, str):
            rows.append((0, of_layer[member]))
        else:
            add(member, 0)
    return rows


def _cells(cost: Cost) -> tuple[str, ...]:
    field = stride = ""
    if cost.field:
        field = ("" if cost.field.exact else "≤ ") + _pair(cost.field.size)
        field += " +" if cost.field.gated else ""
        stride = _pair(cost.field.stride)
    return (
        cost.kind,
        "×".join("?" if side is None else str(side) for side in cost.output_shape),
        f"{cost.parameters:,}" if cost.parameters else "",
        short(cost.macs) if cost.macs else "",
        short(cost.activation_bytes, "B"),
        field,
        stride,
    )


def _pair(sides: tuple[int, int]) -> str:
    return str(sides[0]) if sides[0] == sides[1] else f"{sides[0]}×{sides[1]}"
