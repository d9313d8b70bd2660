"""`classics verify`: what a file of weights is, whether it is sound, what it computes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keras_classics.weights.verification import Verification


def verify(
    weights: Annotated[
        str, typer.Argument(help="A file, an artefact, or the name of published weights.")
    ],
    network: Annotated[
        str | None,
        typer.Option(help="Network that the weights belong to; see `classics networks`."),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(help="Width of the network.", show_default="the artefact's, else 1"),
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(help="Earlier report (--json) whose outputs must be reproduced."),
    ] = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="Print one row per tensor.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Verify weights offline: hash, variant, statistics, finite values, golden outputs."""
    from keras_classics.cli.backend import start

    start()
    from keras_classics.classifier.published import locate
    from keras_classics.cli.terminal import console
    from keras_classics.cli.weights import downloading
    from keras_classics.weights.verification import verify as verify_file

    with downloading(weights) as progress:
        found = locate(weights, network=network, width=width, progress=progress)
    with console(error=True).status("looking at the weights"):
        verification = verify_file(
            found.path, architecture=found.architecture, width=found.width, expected=expect
        )
    if as_json:
        import json

        typer.echo(json.dumps(verification.to_dict(), indent=2))
    else:
        _show(verification, every_tensor=tensors, compared_with=expect)


def _show(verification: Verification, *, every_tensor: bool, compared_with: Path | None) -> None:
    import keras
    import numpy as np
    from rich.markup import escape
    from rich.text import Text

    from keras_classics.cli.terminal import console, new_table, show_table
    from keras_classics.weights.labels import imagenet_classes

    screen = console()

    def line(what: str, value: str) -> None:
        screen.print(f"[bold]{what:<13}[/] {escape(value)}", soft_wrap=True)

    line("file", verification.path)
    line("md5", verification.md5)
    line("sha256", verification.sha256)
    line("record", verification.record or "none: not one of the published files")
    line("network", f"{verification.network}, width {verification.width:g}")
    line("variant", verification.variant)
    top = f"{verification.outputs:,} classes" if verification.outputs else "without the top"
    line("tensors", f"{len(verification.tensors)}, all there, all finite, {top}")
    golden = verification.golden_difference
    if golden is not None:
        line(
            "installation",
            f"Keras {keras.__version__} on {verification.backend} gives the golden outputs of "
            f"{verification.network}, {golden:.0e} off",
        )
    outputs = np.array(verification.picture_outputs)
    best = np.argsort(-outputs, kind="stable")[:5]
    classes = imagenet_classes()
    named = len(outputs) == len(classes) and verification.outputs is not None
    line(
        "test picture",
        ", ".join(f"{classes[i].name if named else i} {outputs[i]:.4g}" for i in best),
    )
    if compared_with:
        line("", f"as in {compared_with}")

    shown = verification.tensors if every_tensor else verification.odd
    if shown:
        table = new_table(["tensor", "remark"], ["shape", "mean", "deviation", "least", "largest"])
        table.columns[1].no_wrap = True
        for tensor in shown:
            table.add_row(
                Text(tensor.name),
                tensor.remark,
                "×".join(map(str, tensor.shape)),
                *(
                    f"{value + 0.0:.3g}"  # no -0
                    for value in (tensor.mean, tensor.deviation, tensor.least, tensor.largest)
                ),
            )
        show_table(screen, table)
    if verification.odd:
        noun = "tensor looks" if len(verification.odd) == 1 else "tensors look"
        screen.print(f"[yellow]{len(verification.odd)} {noun} odd: see the remarks.[/]")
