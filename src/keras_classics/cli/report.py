"""`classics report`: the report of a run, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_classics.cli import options


def report(
    run: options.Run,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Images of the run, for the pictures in the report, for a run without figures, or "
            "for another --target.",
            show_default="their original folder, if it still exists",
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            help="Target accuracy above the confidence threshold, such as 0.99. Needs the images.",
            show_default="removes half of the errors",
        ),
    ] = None,
    batch_size: options.ImagesAtATime = 32,
) -> None:
    """Rebuild the report of a run from its saved figures or from the images."""
    from keras_classics.cli.backend import start

    start()
    import dataclasses

    from rich.markup import escape

    from keras_classics.classifier.artefact import load
    from keras_classics.classifier.card import Card
    from keras_classics.cli.terminal import console, counting
    from keras_classics.errors import ClassicsError
    from keras_classics.evaluation.report import paths_of, write_report
    from keras_classics.evaluation.saved import METRICS, read_metrics
    from keras_classics.training.judging import judge_again
    from keras_classics.training.thumbnails import at_hand, source_of, thumbnails

    if target is not None and not 0 < target <= 1:
        raise ClassicsError(f"--target {target}: above 0 and at most 1 is needed, such as 0.99.")
    if not run.exists():
        raise ClassicsError(f"{run}: no such folder; RUN is one that `classics train` wrote.")
    card = Card.read(run)
    folder = data or source_of(card)
    screen = console()
    if target is not None or not (run / METRICS).is_file():
        if folder is None:
            what = "another --target" if target is not None else f"a run without {METRICS}"
            raise ClassicsError(f"{run}: {what} needs the images; give --data FOLDER.")
        classifier = load(run)
        with counting(screen, "reading images") as progress:
            found = judge_again(
                run, classifier, folder, batch_size=batch_size, target=target, progress=progress
            )
        found.write(run)
        found.card.write(run)
    else:
        content = read_metrics(run)
        pictures = thumbnails(content, card, data) if data else at_hand(content, card)
        write_report(run, content, dataclasses.asdict(card), thumbnails=pictures)
        if pictures is None and paths_of(content):
            screen.print("[yellow]without pictures: --data FOLDER would bring them[/]")
    screen.print(f"report: [bold]{escape(str(run / 'report.html'))}[/]", soft_wrap=True)
