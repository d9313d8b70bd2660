"""Checkpoints from which a run goes on as if it had never stopped.

A checkpoint is two files: arrays (safetensors), and a description (JSON) that holds the arrays'
hash and is written last. One whose writing was cut off has no description, or another hash: it is
passed over for the one before. The best weights so far, which change seldom, are a third file that
several checkpoints share.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from keras_classics.errors import ClassicsError
from keras_classics.host.files import write_atomically, write_text

FORMAT = 1
KEPT = 2  # the last one, and the one before it in case the last is damaged
SHARE = 0.05  # of the time that goes into checkpoints, at most

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        epoch: epochs that are over.
        step: steps of the next one that are done.
        history: the figures of each epoch.
        best_epoch: from 1; 0 where there is none yet.
        best: the weights at its end, in the model's order.
        arrays: everything else that decides what comes next: weights, optimiser, the state of
            random numbers, metrics.
    """

    epoch: int = 0
    step: int = 0
    history: tuple[dict[str, float], ...] = ()
    best_epoch: int = 0
    best: tuple[npt.NDArray[Any], ...] = ()
    arrays: Arrays = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of a run, in a folder of their own.

    Args:
        folder: Made when the first one is written.
        every: Seconds between two; they come more seldom where writing one takes long.
    """

    def __init__(self, folder: Path, *, every: float) -> None:
        self.folder = folder
        self.every = every
        self._last = time.monotonic()
        self._cost = 0.0
        self._best_written = 0  # its epoch; what an earlier process wrote is written again

    def due(self) -> bool:
        """Whether it is time for the next one."""
        since = time.monotonic() - self._last
        return since >= self.every and since * SHARE >= self._cost * (self.every > 0)

    def write(self, progress: Progress) -> None:
        """Write one, and remove those that are not needed any more.

        Raises:
            OSError, OutputError: If it cannot be written; those before are still there.
        """
        began = time.monotonic()
        self.folder.mkdir(exist_ok=True)
        name = f"{progress.epoch:06d}-{progress.step:09d}"
        best = f"best-{progress.best_epoch:06d}.safetensors"
        if progress.best and self._best_written != progress.best_epoch:
            numbered = {f"{i:06d}": array for i, array in enumerate(progress.best)}
            self._place(best, numbered)
            self._best_written = progress.best_epoch
        self._place(f"{name}.safetensors", progress.arrays)
        description = {
            "format": FORMAT,
            "epoch": progress.epoch,
            "step": progress.step,
            "history": progress.history,
            "best_epoch": progress.best_epoch,
            "best": best if progress.best else None,
            "hashes": {
                file: _hash(self.folder / file)
                for file in (f"{name}.safetensors", *([best] if progress.best else []))
            },
        }
        text = json.dumps(description, allow_nan=False)
        write_text(self.folder / f"{name}.json", text, durable=True)
        self._tidy()
        self._last = time.monotonic()
        self._cost = self._last - began

    def latest(self) -> Progress | None:
        """The last one that is whole; None where there is none.

        Raises:
            ClassicsError: If it was written by a later version.
        """
        for path in sorted(self.folder.glob("*.json"), reverse=True):
            try:
                return self._read(path)
            except ClassicsError:
                raise
            except (OSError, ValueError, KeyError, TypeError, SafetensorError):
                continue  # torn
        return None

    def _read(self, path: Path) -> Progress:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] > FORMAT:
            raise ClassicsError(f"{path}: of a later version; upgrade keras-classics.")
        for file, expected in values["hashes"].items():
            if _hash(self.folder / file) != expected:
                raise ValueError(file)
        best = load_file(self.folder / values["best"]) if values["best"] else {}
        return Progress(
            epoch=values["epoch"],
            step=values["step"],
            history=tuple(values["history"]),
            best_epoch=values["best_epoch"],
            best=tuple(best[name] for name in sorted(best)),
            arrays=load_file(self.folder / f"{path.stem}.safetensors"),
        )

    def _place(self, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        # A view of a part of an array would be written with what lies beside it.
        whole = {key: np.asarray(value, order="C") for key, value in arrays.items()}
        with write_atomically(self.folder / name, durable=True) as part:
            try:
                save_file(whole, part)
            except SafetensorError as error:  # such as a full disk
                raise OSError(str(error)) from error

    def _tidy(self) -> None:
        """Remove all but the last ones, and what a writer that was killed left."""
        kept = sorted(self.folder.glob("*.json"))[-KEPT:]
        wanted = {path.name for path in kept}
        for path in kept:
            with suppress(OSError, ValueError, KeyError):
                wanted |= set(json.loads(path.read_text(encoding="utf-8"))["hashes"])
        for path in self.folder.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
