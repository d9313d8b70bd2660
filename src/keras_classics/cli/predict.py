"""`classics predict`: the classes of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options

if TYPE_CHECKING:
    from keras_classics.prediction import Predictions


def predict(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[ARTEFACT] PATHS...",
            help="The folder that `classics train` wrote, unless there are --weights; then files, "
            "folders and .zip archives (all images inside) and patterns.",
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(help="Published weights, see `classics weights`: ImageNet's classes."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 3,
    batch_size: options.ImagesAtATime = 32,
    as_json: options.Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row an image.")] = False,
) -> None:
    """Classify images; those that cannot be read are named, counted and skipped."""
    from keras_classics.cli.backend import start

    start()
    from keras_classics.artefact import load
    from keras_classics.cli.terminal import console, counting, show_skipped
    from keras_classics.cli.weights import classifier_of
    from keras_classics.errors import ClassicsError

    if as_json and as_csv:
        raise ClassicsError("--json and --csv: choose one of the two.")
    remarks = console(error=True)
    if weights:
        classifier, paths = classifier_of(weights), places
    else:
        artefact, *paths = places
        if not paths:
            raise ClassicsError("an ARTEFACT and PATHS are needed, or --weights and PATHS.")
        with remarks.status("loading"):
            classifier = load(artefact)
    with counting(remarks, "images") as progress:
        predictions = classifier.predict(paths, top_k=top, batch_size=batch_size, progress=progress)
    if as_json:
        typer.echo(_json(predictions))
    elif as_csv:
        typer.echo(_csv(predictions, min(top, len(classifier.card.class_names))), nl=False)
    else:
        _show(predictions)
    if not as_json:
        show_skipped(remarks, predictions.skipped)


def _json(predictions: Predictions) -> str:
    import json

    return json.dumps(
        {
            "predictions": [
                {
                    "path": str(prediction.path),
                    "class": prediction.class_name,
                    "confidence": prediction.confidence,
                    "accepted": prediction.accepted,
                    "top": [{"class": name, "probability": p} for name, p in prediction.top],
                }
                for prediction in predictions
            ],
            "skipped": [
                {"path": str(error.path), "reason": error.reason} for error in predictions.skipped
            ],
        },
        indent=2,
    )


def _csv(predictions: Predictions, top: int) -> str:
    import csv
    import io

    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    headings = (heading for k in range(1, top + 1) for heading in (f"class_{k}", f"p_{k}"))
    rows.writerow(["path", *headings, "accepted"])
    for prediction in predictions:
        rows.writerow(
            [
                prediction.path,
                *(value for name, p in prediction.top for value in (name, f"{p:.6f}")),
                {None: "", True: "yes", False: "no"}[prediction.accepted],
            ]
        )
    return text.getvalue()


def _show(predictions: Predictions) -> None:
    from rich.text import Text

    from keras_classics.cli.terminal import console, new_table, show_table

    table = new_table(["image", "class", "then"], ["confidence"])
    table.columns[0].no_wrap = False
    table.columns[0].overflow = "fold"  # a path that is cut cannot be copied
    marked = any(prediction.accepted is False for prediction in predictions)
    for prediction in predictions:
        unsure = prediction.accepted is False
        others = ", ".join(f"{name} {p:.1%}" for name, p in prediction.top[1:])
        table.add_row(
            Text(str(prediction.path)),
            Text(prediction.class_name, style="yellow" if unsure else "bold"),
            Text(others, style="dim"),
            f"{prediction.confidence:.1%}{' ?' if unsure else '  ' if marked else ''}",
        )
    screen = console()
    show_table(screen, table)
    if marked:
        screen.print("? below the threshold of the run: better not answered, or looked at")
