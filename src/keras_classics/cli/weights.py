"""`classics weights`: the published weights, and `classics weights fetch`, which gets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from keras_classics.classifier.artefact import Classifier
    from keras_classics.weights.records import PublishedWeights


def weights(
    context: typer.Context,
    as_json: options.Json = False,
) -> None:
    """List the published weights with accuracy, evaluation protocol and size."""
    if context.invoked_subcommand:
        return
    from keras_classics.cli.terminal import console, new_table, show_table
    from keras_classics.weights.download import PackagedFile, cached
    from keras_classics.weights.records import RECORDS

    if as_json:
        import json

        typer.echo(json.dumps([_plain(record) for record in RECORDS.values()], indent=2))
        return
    screen = console()
    table = new_table(["name"], ["top-1", "top-5", "pixels", "MB", "from", "here"])
    with screen.status("looking into the caches"):
        for record in RECORDS.values():
            size = f"{record.file.size / 1e6:.0f}" if record.file.size else "?"
            table.add_row(
                record.name,
                f"{record.top1:.2f}",
                "–" if record.top5 is None else f"{record.top5:.2f}",
                f"{record.protocol.resize} → {record.protocol.crop}",
                size,
                "pip" if isinstance(record.file, PackagedFile) else "web",
                "yes" if cached(record.file) else "",
            )
    show_table(screen, table)
    screen.print(
        "top-1, top-5: per cent of ImageNet's validation images, as published; pixels: of the "
        "shorter side, and of the central square that was cut out; from: a pip package, or "
        "downloaded. "
        "`classics weights show NAME` tells licence, address and hash."
    )


def show(name: Annotated[str, typer.Argument(help="Name listed by `classics weights`.")]) -> None:
    """Show everything known about one set of weights."""
    from rich.markup import escape

    from keras_classics.cli.terminal import console
    from keras_classics.weights.records import find

    screen = console()
    for key, value in _plain(find(name)).items():
        if value not in (None, ""):
            screen.print(f"[bold]{key:<14}[/] {escape(str(value))}", soft_wrap=True)


def fetch(
    names: Annotated[list[str], typer.Argument(help="Names listed by `classics weights`.")],
    without_top: Annotated[
        bool,
        typer.Option(
            "--without-top", help="Get the file without the classifier, where there is one."
        ),
    ] = False,
) -> None:
    """Download weights unless they are installed or cached, verify them, print their paths."""
    from keras_classics.weights import download
    from keras_classics.weights.records import find

    for record in [find(name) for name in names]:
        file = record.file_for(include_top=not without_top)
        with downloading(file.file_name) as progress:
            path: Path = download.fetch(file, progress=progress)
        typer.echo(str(path))


@contextmanager
def downloading(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar over bytes on standard error; it appears with the first byte."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from keras_classics.cli.terminal import console, running

    remarks: Console = console(error=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=remarks,
        transient=True,
    )
    with running(progress):
        task = progress.add_task(what, total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def model_and_images(
    places: list[str], weights: str | None, *, needs_images: bool = True
) -> tuple[str | None, list[str]]:
    """The model and the images that a command is given; where no model is, there are weights.

    A wrong path must not lead to the installed weights: the first of several is a model unless it
    is certain to be images, and so is one that stands alone where none are needed.

    Args:
        places: As they are named, an artefact or export first or none.
        weights: Published ones, in the place of a model.
        needs_images: Whether there have to be images.

    Returns:
        The folder of the model, or None for published weights, and the images.

    Raises:
        ClassicsError: If there is no model or no image in what is named.
    """
    from keras_classics.errors import ClassicsError
    from keras_classics.weights.records import DEFAULT

    first = None if weights or not places else places[0]
    if first is not None and not _is_model(first):
        if not _is_images(first) and (len(places) > 1 or not needs_images):
            if Path(first).is_dir():
                raise ClassicsError(
                    f"{first}: not an artefact, nor an export; for ImageNet's classes of its "
                    f"images add --weights {DEFAULT}."
                )
            raise ClassicsError(f"{first}: no such artefact or export, and no image.")
        first = None
    images = places if first is None else places[1:]
    if needs_images and not images:
        what = f"{first}: of which images? Name" if first else "images are needed: name"
        raise ClassicsError(f"{what} files, folders, .zip archives or patterns.")
    return first, images


def say_installed() -> None:
    """Say that no model was named, and which stands in its place."""
    from keras_classics.cli.terminal import console
    from keras_classics.weights.records import DEFAULT, find

    classes = f"ImageNet's {len(find(DEFAULT).class_names):,} classes ({DEFAULT})"
    console(error=True).print(f"no artefact named: {classes}", style="dim", soft_wrap=True)


def _is_model(place: str) -> bool:
    """Whether it is the folder of an artefact or export, or what is left of one."""
    from keras_classics.classifier.card import CARD, MODEL, RECORD
    from keras_classics.exporting.exported import EXPORT

    return any((Path(place) / name).is_file() for name in (CARD, MODEL, RECORD, EXPORT))


def _is_images(place: str) -> bool:
    """Whether it is certain to be a file or archive of images, or a pattern."""
    import glob

    from keras_classics.data.storage import is_image_name

    path = Path(place)
    if path.is_file():
        return is_image_name(path) or path.suffix.lower() == ".zip"
    return glob.has_magic(place) and not path.exists()


def classifier_of(weights: str) -> Classifier:
    """Published weights as a classifier, downloaded before our eyes if need be."""
    from keras_classics.classifier.published import published, published_record
    from keras_classics.cli.terminal import console
    from keras_classics.weights.download import fetch as fetch_file
    from keras_classics.weights.records import RECORDS

    if weights in RECORDS:
        with downloading(weights) as progress:
            fetch_file(published_record(weights).file, progress=progress)
    with console(error=True).status("loading"):
        return published(weights)


def _plain(record: PublishedWeights) -> dict[str, str | int | float | bool | None]:
    """A record as plain values, with the names of its fields."""
    from keras_classics.weights.download import PackagedFile, RemoteFile

    file, notop = record.file, record.notop
    return {
        "name": record.name,
        "network": record.network,
        "source": record.source,
        "url": file.url if isinstance(file, RemoteFile) else None,
        "pip_package": file.package if isinstance(file, PackagedFile) else None,
        "path": file.path if isinstance(file, PackagedFile) else None,
        "hash": file.digest or None,
        "bytes": file.size,
        "url_notop": notop.url if isinstance(notop, RemoteFile) else None,
        "hash_notop": notop.digest or None if notop else None,
        "bytes_notop": notop.size if notop else None,
        "licence": record.licence,
        "preprocessing": record.preprocessing,
        "classes": len(record.class_names),
        "auxiliary": record.auxiliary,
        "top1": record.top1,
        "top5": record.top5,
        "resize": record.protocol.resize,
        "crop": record.protocol.crop,
        "interpolation": record.protocol.interpolation,
        "measured": record.protocol.source,
        "note": record.note,
    }
