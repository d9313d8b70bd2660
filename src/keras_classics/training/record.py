"""What a run writes down when it begins, so that another process can go on with it."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras

from keras_classics.classifier.card import CARD, RECORD
from keras_classics.errors import ClassicsError
from keras_classics.host.files import write_text
from keras_classics.training import recipes
from keras_classics.training.config import TrainConfig
from keras_classics.training.recipe import Recipe
from keras_classics.training.task import Task

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """A run that has begun."""

    config: TrainConfig
    recipe: Recipe
    fingerprint: str | None  # of the images; None for the digits
    policy: str  # the dtype policy of the network
    data_format: str
    versions: Mapping[str, str]
    here: str  # the folder that relative paths of the config are relative to
    planned: int | None = None  # epochs of fine-tuning, once it is known how many there will be

    @classmethod
    def of(cls, task: Task, policy: str, *packages: str) -> Record:
        """That of a task which begins now; `packages` is as in `versions`."""
        return cls(
            config=task.config,
            recipe=task.recipe,
            fingerprint=task.fingerprint,
            policy=policy,
            data_format=keras.config.image_data_format(),
            versions=versions(*packages),
            here=str(Path.cwd()),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """From the plain values of a JSON file, which may hold more.

        Raises:
            KeyError, TypeError, ValueError: If they are not those of a record.
        """
        names = ("fingerprint", "policy", "data_format", "here")
        return cls(
            config=TrainConfig.from_dict(values["config"]),
            recipe=recipes.from_dict(values["recipe"]),
            versions=dict(values["versions"]),
            planned=values.get("planned"),
            **{name: values[name] for name in names},
        )

    def write(self, folder: Path) -> None:
        """Write it into the folder of the run."""
        values = {"format": FORMAT, **dataclasses.asdict(self)}
        write_text(folder / RECORD, json.dumps(values, indent=2, default=os.fspath), "\n")

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read that of a folder.

        Raises:
            ClassicsError: If there is none, or nothing can be made of it.
        """
        path = folder / RECORD
        if not folder.is_dir():
            raise ClassicsError(f"{folder}: no such folder; --resume takes the folder of a run.")
        if not path.is_file():
            finished = (folder / CARD).is_file()
            what = (
                "the run is finished; there is nothing to resume"
                if finished
                else ("not the folder of a run; --resume takes one that was interrupted")
            )
            raise ClassicsError(f"{folder}: {what}.")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") > FORMAT:
                raise ClassicsError(f"{path}: of a later version; upgrade keras-classics.")
            return cls.from_dict(values)
        except ClassicsError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClassicsError(f"{path}: not the record of a run, or corrupt.") from error

    def placed(self) -> TrainConfig:
        """The config with absolute paths, wherever this process runs."""
        folder, weights = self.config.folder, self.config.weights
        if folder is not None:
            folder = Path(self.here, folder)
        if weights is not None and Path(self.here, weights).exists():
            weights = str(Path(self.here, weights))
        root = self.config.root
        if root is not None:
            root = Path(self.here, root)
        return dataclasses.replace(self.config, folder=folder, root=root, weights=weights)

    def check_here(self) -> tuple[str, ...]:
        """What differs from when the run began; the run may not be the same bit for bit then.

        Raises:
            ClassicsError: If it cannot go on here at all.
        """
        for name, then, now in (
            ("backend", self.versions.get("backend"), keras.backend.backend()),
            ("image data format", self.data_format, keras.config.image_data_format()),
        ):
            if then != now:
                raise ClassicsError(
                    f"the run started with the {name} {then}, not {now}; use {then}."
                )
        return tuple(
            f"{name} {self.versions.get(name)} is now {now}"
            for name, now in versions(*self.versions).items()
            if self.versions.get(name) != now
        )

    def check_images(self, task: Task) -> None:
        """Refuse other images than those that the run began with.

        Raises:
            ClassicsError: If they are others.
        """
        if task.fingerprint != self.fingerprint:
            raise ClassicsError(
                f"{task.config.folder}: the images have changed since the run started; restore "
                "them, or start a new run."
            )


def versions(*packages: str) -> dict[str, str]:
    """Of all that decides what a run computes, and of more packages."""
    backend = keras.backend.backend()
    found = {"python": platform.python_version(), "backend": backend}
    for package in ("keras-classics", "keras", backend, "numpy", *packages):
        if package in found:
            continue
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"  # such as tensorflow-cpu under another name
    return found
