"""From an artefact to an export: checked before it is called done, whole or not there at all."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from keras_classics.errors import ArtefactError, ClassicsError, OutputError, nearest
from keras_classics.exporting import runtimes
from keras_classics.exporting.exported import (
    INPUTS,
    PRECISIONS,
    ExportError,
    Input,
    Precision,
    TargetName,
)
from keras_classics.exporting.targets import TARGETS
from keras_classics.host.staging import check_outside, check_space, staging

CALIBRATION_PICTURES = 300
WORKER = "keras_classics.exporting.worker"
EXPORTS = "exports"  # in the folder of a run

Tell = Callable[[str, int, int], None]
"""Called with what is going on, how much of it is done, and of how much; 0 of 0 where unknown."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be exported, and how."""

    artefact: str | None  # a folder; None for published weights
    weights: str | None  # a published name
    target: TargetName
    precision: Precision
    input: Input
    data: str | None = None
    root: str | None = None
    calibration_pictures: int = CALIBRATION_PICTURES
    accept: bool = False

    @property
    def source(self) -> str:
        """What is exported, as the user named it."""
        return self.artefact or str(self.weights)


def export(
    artefact: str | os.PathLike[str] | None = None,
    *,
    to: TargetName,
    weights: str | None = None,
    precision: Precision = "f32",
    input: Input = "image",  # noqa: A002 - the field's word
    out: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    calibration_pictures: int = CALIBRATION_PICTURES,
    accept: bool = False,
    progress: Tell | None = None,
) -> Path:
    """Write an artefact in a format that runs without Keras, and compare the two on real pictures.

    The conversion runs in a process of its own, on the backend that it needs, whichever this one
    uses. The folder appears when all is written and compared, or not at all.

    Args:
        artefact: The folder that `train` wrote.
        to: The format.
        weights: A name that `classics weights` lists, in the place of an artefact.
        precision: What the export computes in.
        input: What it takes: "image", a picture of any size; "fitted", pictures of the network's
            size; "raw", the network's own float input, with the network's own output.
        out: The folder to write; by default `exports/TARGET-PRECISION` in that of the artefact.
        data: The images that the run was trained on; by default where they were, if they still are.
        root: What the paths of a table are relative to, if not the folder that it lies in.
        calibration_pictures: By which int8 is decided.
        accept: Take bf16 and int8 even where they agree with Keras less than they should.
        progress: Told what goes on.

    Returns:
        The folder, for `read_export`.

    Raises:
        ClassicsError: If the source, the data, the place or the packages cannot be used, or the
            export does not agree with the Keras model.
    """
    asked = Request(
        artefact=None if artefact is None else os.fspath(artefact),
        weights=weights,
        target=to,
        precision=precision,
        input=input,
        data=None if data is None else os.fspath(data),
        root=None if root is None else os.fspath(root),
        calibration_pictures=calibration_pictures,
        accept=accept,
    )
    check(asked)
    place = Path(out) if out is not None else default_place(asked)
    if data is not None:
        check_outside(place, Path(data))
    with staging(place) as stage:
        if asked.artefact is not None:
            check_space(stage.folder, needed=3 * _size(Path(asked.artefact)))
        _in_another_process(asked, stage.folder, place, progress or (lambda *_: None))
        stage.publish()
        stage.kept = True
    return place


def check(asked: Request) -> None:
    """Refuse at once what cannot be.

    Raises:
        ClassicsError: If target and precision do not fit, a package or the artefact is missing.
    """
    if (asked.artefact is None) == (asked.weights is None):
        raise ExportError("an artefact or published weights are needed, and not both.")
    for what, value, known in (
        ("target", asked.target, tuple(TARGETS)),
        ("precision", asked.precision, PRECISIONS),
        ("input", asked.input, INPUTS),
    ):
        if value not in known:
            raise ExportError(
                f"{what} {value!r}: not one of {', '.join(known)}{nearest(value, known)}"
            )
    target = TARGETS[asked.target]
    reason = target.refused.get(asked.precision)
    if reason:
        raise ExportError(
            f"{asked.target} in {asked.precision}: {reason}; take "
            f"{' or '.join(p for p in PRECISIONS if p not in target.refused)}."
        )
    reason = target.fitted_only.get(asked.precision)
    if reason and asked.input == "image":
        raise ExportError(
            f"{asked.target} in {asked.precision}: takes no pictures of any size, as {reason}; "
            "take --fitted or --raw."
        )
    if asked.calibration_pictures < 1:
        raise ExportError(
            f"calibration_pictures={asked.calibration_pictures}: at least 1 is needed."
        )
    if asked.artefact is not None and not Path(asked.artefact).is_dir():
        raise ArtefactError(f"{asked.artefact}: no such artefact.")
    quantiser = target.quantiser if asked.precision == "int8" else ()
    runtimes.check_installed(target.backend, *target.packages, *quantiser)


def default_place(asked: Request) -> Path:
    """Where an export goes if nobody says."""
    kind = "" if asked.input == "image" else f"-{asked.input}"
    name = f"{asked.target}-{asked.precision}{kind}"
    if asked.artefact is not None:
        return Path(asked.artefact) / EXPORTS / name
    return Path(EXPORTS) / f"{asked.weights}-{name}"


def _size(artefact: Path) -> int:
    model = artefact / "model.keras"
    return model.stat().st_size if model.is_file() else 0


def _in_another_process(asked: Request, folder: Path, place: Path, tell: Tell) -> None:
    """Convert in a process whose Keras runs on the backend that the target needs."""
    with _worker(TARGETS[asked.target].backend) as (questions, answers):
        line = json.dumps({"request": dataclasses.asdict(asked), "folder": str(folder)})
        with suppress(BrokenPipeError):  # gone already, which the answers tell
            questions.write(line + "\n")
            questions.flush()
        for answer in map(json.loads, answers):
            if "what" in answer:
                tell(answer["what"], answer["done"], answer["total"])
            elif "error" in answer:
                raise ExportError(answer["error"])
            elif "os_error" in answer:
                raise _refused(answer["os_error"], answer.get("at", ""), folder, place)
            elif "out_of_memory" in answer:
                raise MemoryError
            elif "bug" in answer:
                raise RuntimeError(answer["bug"]) from RuntimeError(answer["trace"])
            else:
                return
    raise ExportError(
        f"{asked.source}: the conversion was killed, most often for lack of memory; nothing was "
        "written."
    )


def _refused(reason: str, at: str, folder: Path, place: Path) -> ClassicsError:
    """What a file system said of a file, in the terms of who asked for the export."""
    if at and not Path(at).is_relative_to(folder):
        return ExportError(f"{at}: {reason}.")
    return OutputError(f"{place}: cannot be written ({reason}).")


@contextmanager
def _worker(backend: str) -> Iterator[tuple[IO[str], IO[str]]]:
    """What a process reads and writes that is gone when the context ends, however it ends."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "-1",  # the same file on every machine
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    process = subprocess.Popen(
        # Not even a file in the current folder that is called as a module is imported.
        [sys.executable, "-P", "-m", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
        encoding="utf-8",
    )
    pipes = cast("tuple[IO[str], IO[str]]", (process.stdin, process.stdout))
    try:
        yield pipes
    finally:
        process.kill()
        process.wait()
        for pipe in pipes:
            with suppress(BrokenPipeError):
                pipe.close()
