"""`classics evaluate`: the judgement of an artefact on a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from keras_classics.cli import options


def evaluate(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="[ARTEFACT] FOLDER",
            help="The folder that `classics train` wrote, unless there are --weights; and the "
            "folder of images, whose sub-folders are classes as in training, or a .zip or .csv.",
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="Judge published weights, see `classics weights`, on a folder of ImageNet's "
            "synsets, by the protocol that produced their published accuracy."
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test", "all"] | None,
        typer.Option(
            help="Part to evaluate on. Default: test, if the folder is the run's own or has a test "
            "part; else all.",
            show_default=False,
        ),
    ] = None,
    root: options.Root = None,
    batch_size: options.ImagesAtATime = 32,
    as_json: options.Json = False,
) -> None:
    """Evaluate an artefact or published weights on a folder of images."""
    from keras_classics.cli.backend import start

    start()
    import json

    from keras_classics.classifier.artefact import load
    from keras_classics.classifier.published import published_record
    from keras_classics.cli.terminal import (
        console,
        counting,
        show_judgement,
        show_left_out,
        show_published,
        show_skipped,
    )
    from keras_classics.cli.weights import classifier_of
    from keras_classics.data.sources import left_out
    from keras_classics.errors import ClassicsError

    if len(places) != (1 if weights else 2):
        raise ClassicsError(
            "one FOLDER is needed with --weights."
            if weights
            else "an ARTEFACT and a FOLDER are needed, or --weights and a FOLDER."
        )
    folder = places[-1]
    remarks = console(error=as_json)
    if weights:
        classifier = classifier_of(weights)
    else:
        with remarks.status("loading"):
            classifier = load(places[0])
    with counting(remarks, "reading images") as progress:
        evaluation = classifier.evaluate(
            folder, split=split, root=root, batch_size=batch_size, progress=progress
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
        show_left_out(remarks, left_out(folder))
        title = f"{folder}, {evaluation.part}"
        if weights:
            show_published(remarks, evaluation.judgement, published_record(weights), title)
        else:
            show_judgement(remarks, evaluation.judgement, title)
