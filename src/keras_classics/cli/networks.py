"""`classics networks`: the catalog."""

from __future__ import annotations


def networks() -> None:
    """List the networks of the catalog, measured as the papers do, for 1,000 classes."""
    from keras_classics.cli.backend import start

    start()
    from keras_classics.architectures.catalog import CATALOG, measured
    from keras_classics.cli.terminal import console, new_table, show_table

    table = new_table(["network", "paper"], ["year", "parameters", "GMACs", "input", "least"])
    figures = measured()
    for architecture in CATALOG.values():
        parameters, macs = figures[architecture.name]
        table.add_row(
            architecture.name,
            architecture.paper.rpartition("/")[2],
            str(architecture.year),
            f"{parameters:,}",
            f"{macs / 1e9:.3f}",
            str(architecture.default_size),
            str(architecture.least_size),
        )
    screen = console()
    show_table(screen, table)
    screen.print(
        "paper: on arxiv.org; input, least: height and width in pixels. "
        "`classics summary NETWORK` measures one anew."
    )
