"""`classics networks`: the catalog."""

from __future__ import annotations


def networks() -> None:
    """List the networks of the catalog, measured as the papers do, for 1,000 classes."""
    from keras_classics.cli.backend import start

    start()
    from keras_classics.architectures import frame
    from keras_classics.architectures.analysis import analyse
    from keras_classics.architectures.catalog import CATALOG
    from keras_classics.cli.terminal import console, new_table, show_table

    screen = console()
    table = new_table(["network", "paper"], ["year", "parameters", "GMACs", "input", "least"])
    with screen.status("measuring the graphs"):
        for architecture in CATALOG.values():
            cost = analyse(frame.build(architecture)).model
            table.add_row(
                architecture.name,
                architecture.paper.removeprefix("https://"),
                str(architecture.year),
                f"{cost.parameters:,}",
                f"{cost.macs / 1e9:.3f}",
                str(architecture.default_size),
                str(architecture.least_size),
            )
    show_table(screen, table)
