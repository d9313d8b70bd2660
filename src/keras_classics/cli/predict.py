"""`classics predict`: the classes of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from keras_classics.classifier.prediction import Options, Predictions
    from keras_classics.engines.deployment import Deployment
    from keras_classics.engines.engine import Engine
    from keras_classics.errors import ImageError

    Tell = Callable[[Engine], None]


def predict(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[ARTEFACT|EXPORT] PATHS...",
            help="Folder written by `classics train` or `classics export`, or none for "
            "ImageNet's classes; then files, folders and .zip archives (all images inside) and "
            "patterns.",
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="Published weights, see `classics weights`: ImageNet's classes.",
            show_default="those installed, where no artefact is named",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write one row per image to a .csv, .jsonl or .parquet file of any length; after "
            "Ctrl-C, a kill or a power cut, the same command resumes.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace FILE, and discard an unfinished job of other images or options.",
        ),
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 3,
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|keras|openvino|onnxruntime",
            help="Inference engine; auto picks the fastest one installed whose results match.",
        ),
    ] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="f32|bf16|int8",
            help="Precision of the engine; f32 unless given.",
            show_default="that of an export, else f32",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Processors to use.", show_default="all"),
    ] = None,
    batch_size: options.ImagesAtATime = 32,
    as_json: options.Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row per image.")] = False,
) -> int:
    """Classify images; unreadable files are listed and skipped."""
    from keras_classics.classifier.prediction import Options
    from keras_classics.cli.backend import start
    from keras_classics.cli.terminal import console
    from keras_classics.cli.weights import model_and_images
    from keras_classics.engines.deployment import Deployment
    from keras_classics.errors import ClassicsError
    from keras_classics.weights.records import DEFAULT

    if as_json + as_csv + (out is not None) > 1:
        raise ClassicsError("--json, --csv and -o: choose one of them.")
    if overwrite and out is None:
        raise ClassicsError("--overwrite: goes with -o FILE.")
    path, paths = model_and_images(places, weights)
    unnamed = path is None and weights is None
    if unnamed:
        weights = DEFAULT
    if weights:
        _fetch(weights)
    model = Deployment(path, weights, engine, precision, threads=threads, before_keras=start)
    tell = partial(_tell, console(error=True), unnamed=unnamed)
    how = Options(top_k=top, batch_size=batch_size, threads=threads)
    if out is not None:
        return _to_file(out, model, paths, how, tell, overwrite=overwrite)
    _to_output(model, paths, how, tell, as_json=as_json, as_csv=as_csv)
    return 0


def _fetch(weights: str) -> None:
    """Download published weights before our eyes, if need be."""
    from keras_classics.cli.weights import downloading
    from keras_classics.weights.download import fetch
    from keras_classics.weights.records import RECORDS

    if weights in RECORDS:
        with downloading(weights) as progress:
            fetch(RECORDS[weights].file, progress=progress)


def _to_file(
    out: Path, model: Deployment, paths: list[str], how: Options, tell: Tell, *, overwrite: bool
) -> int:
    """Write a file; the exit code."""
    from rich.text import Text

    from keras_classics.cli.terminal import console, counting, show_left_out
    from keras_classics.data.sources import left_out
    from keras_classics.engines.bulk import predict_to

    remarks = console(error=True)

    def begins(engine: Engine, first: int) -> None:
        tell(engine)
        if first:
            remarks.print(f"resuming after {first:,} images")

    with counting(remarks, "images") as progress:
        written = predict_to(
            out, model, paths, how, overwrite=overwrite, progress=progress, begins=begins
        )
    count = f"{written.done:,} of {written.images:,} images"
    if written.signal is not None:
        line = (
            f"interrupted: {count} are done; run the same command to resume."
            if written.images
            else "interrupted: nothing done yet."
        )
        remarks.print(Text(line), soft_wrap=True)
        return 128 + written.signal
    if written.unreadable:
        noun = "image" if written.unreadable == 1 else "images"
        remarks.print(
            f"[yellow]{written.unreadable:,} {noun} cannot be read: see the column error[/]"
        )
    show_left_out(remarks, left_out(paths))
    remarks.print(Text(f"wrote {written.images:,} rows: {out}"), soft_wrap=True)
    return 0


def _to_output(
    model: Deployment, paths: list[str], how: Options, tell: Tell, *, as_json: bool, as_csv: bool
) -> None:
    """Print predictions."""
    import json

    from keras_classics.cli.terminal import console, counting, show_left_out, show_skipped
    from keras_classics.data.sources import left_out
    from keras_classics.engines.bulk import predict
    from keras_classics.engines.rows import plain

    remarks = console(error=True)
    if as_csv:
        show_skipped(remarks, _print_csv(remarks, model, paths, how, tell))
        show_left_out(remarks, left_out(paths))
        return
    with counting(remarks, "images") as progress:
        predictions = predict(model, paths, how, progress=progress, begins=tell)
    if as_json:
        values = {
            "predictions": [plain(prediction) for prediction in predictions],
            "skipped": [
                {"path": str(error.path), "reason": error.reason} for error in predictions.skipped
            ],
        }
        typer.echo(json.dumps(values, indent=2))
        return
    _show(predictions)
    show_skipped(remarks, predictions.skipped)
    show_left_out(remarks, left_out(paths))


def _print_csv(
    remarks: Console, model: Deployment, paths: list[str], how: Options, tell: Tell
) -> list[ImageError]:
    """Print a row an image as it comes; the errors of those that cannot be read."""
    from contextlib import closing

    from keras_classics.classifier.prediction import readable
    from keras_classics.cli.terminal import counting
    from keras_classics.engines.bulk import stream
    from keras_classics.engines.rows import csv_columns, csv_line, csv_row

    skipped: list[ImageError] = []
    with counting(remarks, "images") as progress:
        answers = stream(model, paths, how, progress=progress, begins=tell)
        with closing(readable(answers, skipped)) as predictions:
            for number, found in enumerate(predictions):
                if not number:
                    typer.echo(csv_line(csv_columns(len(found.top))), nl=False)
                typer.echo(csv_line(csv_row(found)), nl=False)
    return skipped


def _tell(remarks: Console, engine: Engine, *, unnamed: bool) -> None:
    """Say what runs, and why that."""
    from rich.text import Text

    from keras_classics.cli.weights import say_installed

    if unnamed:
        say_installed()
    why = f" ({engine.why})" if engine.why else ""
    line = Text(f"engine {engine.name} in {engine.precision}{why}", style="dim")
    remarks.print(line, soft_wrap=True)


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
        screen.print("? below the confidence threshold of the run: review manually")
