"""Prediction of images in any number: with an engine of choice, into memory or into a file."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from keras_classics.classifier.prediction import Prediction, Predictions, predicted
from keras_classics.data.image_list import ImageList
from keras_classics.data.sources import Paths, Source
from keras_classics.engines.deployment import Deployment
from keras_classics.engines.engine import Engine
from keras_classics.engines.partial import Asked, Job, Partial, folder_of, partial
from keras_classics.engines.rows import Rows, rows_for
from keras_classics.errors import DataError, ImageError, OutputError, one_line
from keras_classics.host.interrupts import handled
from keras_classics.host.staging import check_file

COMMIT_EVERY = 1.0  # seconds of work that a kill costs

Progress = Callable[[int, int | None], None]  # images so far, in all where known


@dataclass(frozen=True)
class Options:
    """How images are predicted, whatever the model.

    Attributes:
        top_k: how many classes to name.
        batch_size: images that the engine is asked for at a time.
        threads: that decode; None for one a processor.
    """

    top_k: int = 5
    batch_size: int = 32
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.top_k < 1 or self.batch_size < 1 or (self.threads is not None and self.threads < 1):
            raise ValueError(
                f"top_k={self.top_k}, batch_size={self.batch_size}, threads={self.threads}: at "
                "least 1 is needed."
            )


DEFAULTS = Options()


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
    engine: Engine, sources: Iterable[Source], options: Options = DEFAULTS
) -> Generator[Prediction | ImageError, None, None]:
    """A prediction or an error for each source, in order, in the memory of a few batches.

    It is to be closed before the engine is: its threads ask it.
    """
    return predicted(
        sources,
        engine.card,
        engine.probabilities,
        top_k=options.top_k,
        batch_size=options.batch_size,
        threads=options.threads,
        requests=engine.requests,
    )


def each(
    model: Deployment | str | os.PathLike[str],
    paths: Paths,
    options: Options = DEFAULTS,
    *,
    progress: Progress | None = None,
    begins: Callable[[Engine], None] | None = None,
) -> Generator[Prediction | ImageError, None, None]:
    """Classify any number of image files, one after the other.

    Args:
        model: What runs; a folder runs with the engine that `Deployment` chooses.
        paths: Files, folders, zip archives and patterns, as `find_images` takes them.
        options: How.
        progress: Called with the number of images found or done, and their total once known.
        begins: Told the engine that was chosen.

    Yields:
        A prediction or an error for each image, in the order of `find_images`.

    Raises:
        ClassicsError: As `Deployment.open` and `find_images`, or, at the end, if no image can be
            read.
    """
    model = _deployment(model)
    model.fingerprint()
    first_error: ImageError | None = None
    with tempfile.TemporaryDirectory(prefix="keras-classics-") as folder:
        images = ImageList.write(Path(folder, "images"), paths, _finding(progress))
        with (
            model.open(images=images.images) as engine,
            closing(stream(engine, images.sources(), options)) as answers,
        ):
            if begins:
                begins(engine)
            readable = 0
            for done, found in enumerate(answers, 1):
                if isinstance(found, ImageError):
                    first_error = first_error or found
                else:
                    readable += 1
                if progress and (done % options.batch_size == 0 or done == images.images):
                    progress(done, images.images)
                yield found
    if not readable:
        raise DataError(f"none of the {images.images} images can be read; first {first_error}")


def predict(
    model: Deployment | str | os.PathLike[str],
    paths: Paths,
    options: Options = DEFAULTS,
    *,
    progress: Progress | None = None,
    begins: Callable[[Engine], None] | None = None,
) -> Predictions:
    """Classify image files into memory; as `each`."""
    items: list[Prediction] = []
    skipped: list[ImageError] = []
    with closing(each(model, paths, options, progress=progress, begins=begins)) as answers:
        for found in answers:
            if isinstance(found, ImageError):
                skipped.append(found)
            else:
                items.append(found)
    return Predictions(tuple(items), tuple(skipped))


def predict_to(
    out: str | os.PathLike[str],
    model: Deployment | str | os.PathLike[str],
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
    with partial(out) as place, _explained(place), handled(signal.SIGTERM) as interrupts:
        _prepare(place, asked, overwrite=overwrite)
        try:
            if place.job is None or place.done.images < place.job.images:
                _work(
                    place,
                    asked,
                    model=model,
                    given=given,
                    options=options,
                    overwrite=overwrite,
                    progress=progress,
                    begins=begins,
                )
            whole = _whole(place)
        except KeyboardInterrupt:
            place.commit()
            return _written(place, stopped=interrupts.signal)
        interrupts.at_once = False  # it is over in a moment
        written = _written(place)
        if whole is not None:
            place.publish(whole)
        place.discard()
        return written


def _deployment(model: Deployment | str | os.PathLike[str]) -> Deployment:
    return model if isinstance(model, Deployment) else Deployment(model)


def _check_place(out: Path, given: list[str | os.PathLike[str]]) -> None:
    """Refuse what is no place for the file, or lies among the images."""
    try:
        check_file(out, "", "", data=None)
        # Unlike `Path.is_dir` this takes what is too long for a name, as a pattern may be.
        for folder in filter(os.path.isdir, given):
            check_file(out, "", "", data=Path(folder))
    except OSError as error:
        raise OutputError(
            one_line(f"{out}: cannot be written ({error.strerror or error}).")
        ) from None


def _prepare(place: Partial, asked: Asked, *, overwrite: bool) -> None:
    """Look at what there is of the job, and refuse what is in its way."""
    out = place.out
    try:
        place.read()
    except OutputError:
        if not overwrite:
            raise
        place.discard()
    differs = place.job.asked.differs(asked) if place.job else ""
    if differs and not overwrite:
        raise OutputError(
            one_line(f"{folder_of(out)}: is half of another job (not the same {differs}); ")
            + "finish that one by its own command, or give it up by --overwrite."
        )
    if differs:
        place.discard()
    may = overwrite or (place.job is not None and (place.job.overwrite or place.is_over))
    if out.exists() and not may:
        raise OutputError(one_line(f"{out}: exists; choose another -o, or --overwrite it."))


def _work(
    place: Partial,
    asked: Asked,
    *,
    model: Deployment,
    given: list[str | os.PathLike[str]],
    options: Options,
    overwrite: bool,
    progress: Progress | None,
    begins: Callable[[Engine, int], None] | None,
) -> None:
    """Append the rows that are missing, from the first to the last."""
    job, first = place.job, place.done.images
    if job is None:
        images = ImageList.write(place.list_file, given, _finding(progress))
    else:
        images = place.images(job)
        model = dataclasses.replace(model, engine=job.engine, precision=job.precision)
    with model.open(images=images.images) as engine:
        top = min(options.top_k, len(engine.card.class_names))
        rows = rows_for(place.out, top)
        place.begin(
            job
            or Job(
                asked, engine.name, engine.precision, top, images.images, images.size, overwrite
            ),
            rows.head(),
        )
        if begins:
            begins(engine, first)
        with closing(stream(engine, images.sources(first), options)) as found:
            _append(place, rows, found, options, progress)


def _append(
    place: Partial,
    rows: Rows,
    found: Iterator[Prediction | ImageError],
    options: Options,
    progress: Progress | None,
) -> None:
    """Append rows, batch by batch, so that another process begins with a whole one."""
    assert place.job is not None
    total = place.job.images
    if progress:
        progress(place.done.images, total)
    certain = time.monotonic()
    while batch := list(islice(found, options.batch_size)):
        unreadable = sum(isinstance(each, ImageError) for each in batch)
        place.append(b"".join(map(rows.row, batch)), len(batch), unreadable)
        if progress:
            progress(place.done.images, total)
        if time.monotonic() - certain >= COMMIT_EVERY or place.done.images == total:
            place.commit()
            certain = time.monotonic()


def _whole(place: Partial) -> Path | None:
    """The finished file, made of the rows; None where it is in its place already."""
    assert place.job is not None
    if place.is_over:
        return None
    return rows_for(place.out, place.job.top).whole(place.rows, place.table)


def _written(place: Partial, *, stopped: int | None = None) -> Written:
    images = place.job.images if place.job else 0
    return Written(place.out, images, place.done.images, place.done.unreadable, stopped)


@contextmanager
def _explained(place: Partial) -> Iterator[None]:
    """Where the disk refuses, say so, and how to go on."""
    try:
        yield
    except OSError as error:
        kept = (
            f"{place.certain.images:,} images are done; run the same command to resume."
            if place.job
            else "nothing is done yet."
        )
        raise OutputError(
            one_line(f"{place.out}: cannot be written ({error.strerror or error}); ") + kept
        ) from error


def _finding(progress: Progress | None) -> Callable[[int], None] | None:
    """What is told while images are listed."""
    return None if progress is None else lambda found: progress(found, None)


def _hash(given: list[str | os.PathLike[str]]) -> str:
    """What identifies paths: as they were named, which the rows repeat, and where that leads."""
    whole = [os.path.abspath(path) for path in given]  # noqa: PTH100 - links and patterns stay
    parts = [os.fsencode(path) for path in (*given, *whole)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
