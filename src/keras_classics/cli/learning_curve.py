"""`classics learning-curve`: would more data help?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from rich.status import Status

    from keras_classics.evaluation.learning_curve import LearningCurve
    from keras_classics.training.events import Event


def learning_curve(
    run: options.Run,
    fractions: Annotated[
        list[float] | None,
        typer.Option(
            "--fraction",
            help="Fraction of the training images; repeatable.",
            show_default="1/8, 1/4 and 1/2",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Train on parts of a run's images to estimate whether more data would help."""
    import json

    from rich.markup import escape

    from keras_classics.classifier.card import CARD
    from keras_classics.cli.terminal import console, new_table, show_table
    from keras_classics.errors import ClassicsError
    from keras_classics.evaluation.learning_curve import FRACTIONS
    from keras_classics.training import head_curve

    if not (run / CARD).is_file():
        raise ClassicsError(f"{run}: no such run; RUN is a folder that `classics train` wrote.")
    screen = console(error=as_json)
    with screen.status("starting") as status:
        asked = tuple(fractions or FRACTIONS)

        def began(fraction: float) -> None:
            status.update(f"fitting heads to {fraction:.3g} of the images")

        # On kept features neither network nor backend is needed.
        curve = head_curve.head_curve(run, fractions=asked, began=began) or _trained(
            run, asked, status
        )
    if as_json:
        typer.echo(json.dumps(curve.to_dict(), indent=2))
        return
    if curve.of == "head":
        draws = max(point.draws for point in curve.points)
        screen.print(
            f"the head's curve, without fine-tuning; means of up to {draws} draws", soft_wrap=True
        )
    table = new_table([], ["training images", "wrong", "95 % interval"])
    for point in curve.points:
        low, high = point.interval
        table.add_row(f"{point.train:,}", f"{point.error:.1%}", f"{low:.1%} to {high:.1%}")
    show_table(screen, table)
    screen.print(f"[bold]{escape(curve.verdict)}[/]", soft_wrap=True)
    screen.print(f"report: {escape(str(run / 'report.html'))}", soft_wrap=True)


def _trained(run: Path, fractions: tuple[float, ...], status: Status) -> LearningCurve:
    """The curve, where networks are trained for it, or features computed anew."""
    from keras_classics.cli.backend import start

    start()
    from keras_classics.training import learning_curve as measured
    from keras_classics.training.events import EpochEnd, Features, Prepared

    at = {"fraction": 0.0, "epochs": 0}

    def began(fraction: float) -> None:
        at["fraction"] = fraction
        status.update(f"learning from {fraction:.3g} of the images")

    def show(event: Event) -> None:
        match event:
            case Prepared():
                at["epochs"] = event.epochs
            case Features():
                status.update(f"computing features again, {event.done:,} of {event.total:,} images")
            case EpochEnd():
                status.update(
                    f"learning from {at['fraction']:.3g} of the images, epoch {event.epoch} of "
                    f"{at['epochs']}"
                )

    return measured.learning_curve(run, fractions=fractions, listener=show, began=began)
