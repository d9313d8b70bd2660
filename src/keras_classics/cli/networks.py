"""`classics networks`: the catalog."""

from __future__ import annotations


def networks() -> None:
    """List the networks of the catalog, measured as the papers do, for 1,000 classes."""
    from keras_classics.architectures import frame
    from keras_classics.architectures.analysis import analyse
    from keras_classics.architectures.catalog import CATALOG
    from keras_classics.cli.terminal import console, plain_table

    screen = console()
    table = plain_table()
    table.add_column("network", style="bold")
    for heading in ("parameters", "GMACs", "input", "least", "layers", "year"):
        table.add_column(heading, justify="right")
    table.add_column("paper")
    with screen.status("measuring the graphs"):
        for architecture in CATALOG.values():
            model = frame.build(architecture)
            cost = analyse(model).model
            table.add_row(
                architecture.name,
                f"{cost.parameters:,}",
                f"{cost.macs / 1e9:.3f}",
                str(architecture.default_size),
                str(architecture.least_size),
                str(len(model.layers)),
                str(architecture.year),
                architecture.paper.removeprefix("https://"),
            )
    screen.print(table)
