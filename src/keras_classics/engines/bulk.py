"""Prediction of images in any number: with an engine of choice, into memory or into a file."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from keras_classics.classifier.prediction import (
    DEFAULTS,
    Answers,
    Options,
    Predictions,
    Progress,
    gathered,
)
from keras_classics.data.image_list import ImageList
from keras_classics.data.sources import Paths, each_image
from keras_classics.engines.deployment import Deployment
from keras_classics.engines.engine import Engine
from keras_classics.engines.journal import Asked, Job, Journal, journal
from keras_classics.engines.rows import Rows, rows_for
from keras_classics.errors import ImageError, OutputError
from keras_classics.host.files import write_atomically
from keras_classics.host.interrupts import Interrupts, handled
from keras_classics.host.staging import check_file

Model = Deployment | str | os.PathLike[str]


@dataclass(frozen=True)
class Written:
    """What came of a job.

    Attributes:
        out: the file.
        images: that were to be predicted; 0 where it was stopped before they were listed for good.
        done: how many of them are.
        unreadable: how many of those cannot be read.
        signal: that stopped it, so that it waits to go on; None where all is done.
    """

    out: Path
    images: int
    done: int
    unreadable: int
    signal: int | None = None


def stream(
    model: Model,
    paths: Paths,
    options: Options = DEFAULTS,
    *,
    progress: Progress | None = None,
    begins: Callable[[Engine], None] | None = None,
) -> Answers:
    """Classify any number of image files, a batch after the other.

    Args:
        model: What runs; a folder runs with the engine that `Deployment` chooses.
        paths: Files, folders, zip archives and patterns, as `find_images` takes them.
        options: How.
        progress: Called with the number of images found or done, and their total once known.
        begins: Told the engine that was chosen.

    Yields:
        A prediction or an error for each image, in the order of `find_images`.

    Raises:
        ClassicsError: As `Deployment.open` and `find_images`.
    """
    model = _deployment(model)
    model.fingerprint()
    with closing(ImageList()) as images:
        images.add(each_image(paths), progress)
        with model.open(images=len(images)) as engine:
            if begins:
                begins(engine)
            yield from engine.predicted(images, options, progress=progress)


def predict(
    model: Model,
    paths: Paths,
    options: Options = DEFAULTS,
    *,
    progress: Progress | None = None,
    begins: Callable[[Engine], None] | None = None,
) -> Predictions:
    """Classify image files into memory; as `stream`, and DataError if no image can be read."""
    return gathered(stream(model, paths, options, progress=progress, begins=begins))


def predict_to(
    out: str | os.PathLike[str],
    model: Model,
    paths: Paths,
    options: Options = DEFAULTS,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    begins: Callable[[Engine, int], None] | None = None,
) -> Written:
    """Classify any number of image files into a CSV, JSON lines or Parquet file.

    The images are listed once, at the beginning. A row for each of them, in the order of
    `find_images`, goes to `OUT.partial`, and the file appears when all rows are there. The same
    call goes on behind the last certain row after Ctrl-C, SIGTERM, a kill or a power cut; what it
    writes does not depend on how often it was stopped, as long as it gets the same options. Images
    that cannot be read have a row that says why.

    Args:
        out: The file; its ending, .csv, .jsonl or .parquet, names the format.
        model: What runs; a folder runs with the engine that `Deployment` chooses.
        paths: Files, folders, zip archives and patterns, as `find_images` takes them.
        options: How.
        overwrite: Replace the file that is there, and give up what another job has half done; what
            this one has half done goes on all the same.
        progress: Called with the number of images found or done, and their total once known.
        begins: Told the engine that was chosen, and how many images had been done before.

    Raises:
        OutputError: If the file is there, is being written, cannot be written, or is half done by
            another job.
        ClassicsError: As `Deployment.open` and `find_images`.
    """
    out = Path(out)
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    rows_for(out, options.top_k)
    _check_place(out, given)
    model = _deployment(model)
    asked = Asked(model.fingerprint(), model.engine, model.precision, _hash(given), options.top_k)

    with (
        handled(signal.SIGTERM) as interrupts,
        journal(out, asked, overwrite=overwrite) as here,
    ):
        try:
            job = here.job
            if job is None:
                here.images.add(each_image(given), progress)
            else:
                model = dataclasses.replace(model, engine=job.engine, precision=job.precision)
            if job is None or here.certain < len(here.images):
                with model.open(images=len(here.images)) as engine:
                    if job is None:
                        top = min(options.top_k, len(engine.card.class_names))
                        here.begin(Job(asked, engine.name, engine.precision, top, overwrite))
                    if begins:
                        begins(engine, here.certain)
                    _append(here, engine.predicted(here.images, options, here.certain, progress))
            if not here.is_over:
                _publish(here, interrupts)
        except KeyboardInterrupt:
            return _written(here, stopped=interrupts.signal)
        interrupts.at_once = False  # it is over in a moment
        written = _written(here)
        here.discard()
        return written


def _deployment(model: Model) -> Deployment:
    return model if isinstance(model, Deployment) else Deployment(model)


def _check_place(out: Path, given: list[str | os.PathLike[str]]) -> None:
    """Refuse what is no place for the file, or lies among the images."""
    try:
        check_file(out, "", "", data=None)
        # Unlike `Path.is_dir` this takes what is too long for a name, as a pattern may be.
        for folder in filter(os.path.isdir, given):
            check_file(out, "", "", data=Path(folder))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}).") from None


def _append(here: Journal, answers: Answers) -> None:
    """Append rows, batch by batch, so that another process begins with a whole one."""
    rows = _rows(here)
    with closing(answers):
        for batch in answers:
            unreadable = sum(isinstance(each, ImageError) for each in batch)
            here.append(b"".join(map(rows.row, batch)), len(batch), unreadable)
    here.commit()


def _publish(here: Journal, interrupts: Interrupts) -> None:
    """Make the file of the rows, and put it in its place."""
    with write_atomically(here.place, durable=True, part=here.part) as part, here.explaining():
        _rows(here).write(part, here.rows())
        interrupts.at_once = False
        here.finish(part)


def _rows(here: Journal) -> Rows:
    assert here.job is not None
    return rows_for(here.out, here.job.top)


def _written(here: Journal, *, stopped: int | None = None) -> Written:
    if here.job is None:
        return Written(here.out, 0, 0, 0, stopped)
    here.commit()
    return Written(here.out, len(here.images), *here.done, stopped)


def _hash(given: list[str | os.PathLike[str]]) -> str:
    """What identifies paths: as they were named, which the rows repeat, and where that leads."""
    whole = [os.path.abspath(path) for path in given]  # noqa: PTH100 - links and patterns stay
    parts = [os.fsencode(path) for path in (*given, *whole)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
