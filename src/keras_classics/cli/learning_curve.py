"""`classics learning-curve`: would more data help?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options

if TYPE_CHECKING:
    from keras_classics.training.events import Event


def learning_curve(
    run: options.Run,
    fractions: Annotated[
        list[float] | None,
        typer.Option(
            "--fraction",
            help="Of the training images to train on; may be given several times.",
            show_default="1/8, 1/4 and 1/2",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Train a run anew on parts of its images, and tell whether more data would help."""
    from keras_classics.cli.backend import start

    start()
    import json

    from rich.markup import escape

    from keras_classics.card import CARD
    from keras_classics.cli.terminal import console, new_table, show_table
    from keras_classics.errors import ClassicsError
    from keras_classics.evaluation.learning_curve import FRACTIONS
    from keras_classics.training import learning_curve as measured
    from keras_classics.training.events import EpochEnd, Prepared

    if not (run / CARD).is_file():
        raise ClassicsError(f"{run}: no such run; RUN is a folder that `classics train` wrote.")
    screen = console(error=as_json)
    with screen.status("starting") as status:
        at = {"fraction": 0.0, "epochs": 0}

        def began(fraction: float) -> None:
            at["fraction"] = fraction
            status.update(f"training on {fraction:.3g} of the images")

        def show(event: Event) -> None:
            match event:
                case Prepared():
                    at["epochs"] = event.epochs
                case EpochEnd():
                    status.update(
                        f"training on {at['fraction']:.3g} of the images, epoch {event.epoch} of "
                        f"{at['epochs']}"
                    )

        curve = measured.learning_curve(
            run, fractions=tuple(fractions or FRACTIONS), listener=show, began=began
        )
    if as_json:
        typer.echo(json.dumps(curve.to_dict(), indent=2))
        return
    table = new_table([], ["training images", "wrong", "95 % interval"])
    for point in curve.points:
        low, high = point.interval
        table.add_row(f"{point.train:,}", f"{point.error:.1%}", f"{low:.1%} to {high:.1%}")
    show_table(screen, table)
    screen.print(f"[bold]{escape(curve.verdict)}[/]", soft_wrap=True)
    screen.print(f"report: {escape(str(run / 'report.html'))}", soft_wrap=True)
