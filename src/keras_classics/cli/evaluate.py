"""`classics evaluate`: the judgement of an artefact on a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def evaluate(
    artefact: Annotated[Path, typer.Argument(help="Folder that `classics train` wrote.")],
    folder: Annotated[Path, typer.Argument(help="Sub-folders are classes, as in training.")],
    split: Annotated[
        Literal["train", "val", "test", "all"] | None,
        typer.Option(
            help="Which part to judge on. [default: test, where the folder is the run's own or has "
            "one; else all]",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge an artefact on a folder: accuracy, table of the classes, confusion matrix."""
    from keras_classics.cli.backend import start

    start()
    import json

    from keras_classics.artefact import load
    from keras_classics.cli.terminal import console, counting, show_judgement, show_skipped

    remarks = console(error=as_json)
    with remarks.status("loading"):
        classifier = load(artefact)
    with counting(remarks, "reading images") as progress:
        evaluation = classifier.evaluate(
            folder, split=split, batch_size=batch_size, progress=progress
        )
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "part": evaluation.part,
                    **evaluation.judgement.to_dict(),
                    "skipped": [
                        {"path": str(error.path), "reason": error.reason}
                        for error in evaluation.skipped
                    ],
                },
                indent=2,
            )
        )
    else:
        show_skipped(remarks, evaluation.skipped)
        show_judgement(remarks, evaluation.judgement, f"{folder}, {evaluation.part}")
