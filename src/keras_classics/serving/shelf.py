"""The models that are served: opened, looked up, exchanged while requests go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from keras_classics.classifier.card import CARD
from keras_classics.engines.engine import Engine
from keras_classics.errors import ClassicsError, out_of_memory
from keras_classics.exporting.exported import EXPORT
from keras_classics.serving.batching import Batcher, are_probabilities
from keras_classics.serving.metrics import Metrics
from keras_classics.serving.places import Place, newest_first
from keras_classics.serving.settings import Settings

MODEL = "model"  # stem of the files of all models

Open = Callable[[Path], Engine]
Signature = tuple[tuple[str, int, int, int], ...] | None


@dataclass(frozen=True)
class Opened:
    """An engine that has answered once, and the state of the folder that it came from."""

    place: Place
    engine: Engine
    signature: Signature


class UnknownModelError(Exception):
    """No model, or no version of it, is called so."""


class Served:
    """One version of a model, with its queue."""

    def __init__(self, opened: Opened, settings: Settings, metrics: Metrics) -> None:
        """Ready to be asked."""
        self.place = opened.place
        self.engine = opened.engine
        self.card = opened.engine.card
        self.signature = opened.signature
        self.batcher = Batcher(
            opened.engine.probabilities,
            classes=len(self.card.class_names),
            batch_size=settings.batch_size,
            delay=settings.delay,
            places=settings.queue,
            at_a_time=opened.engine.requests,
            patience=settings.timeout,
            batched=partial(metrics.batched, opened.place),
            counted=metrics.queue.labels(opened.place.name, opened.place.version).set,
        )
        self._used = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @contextmanager
    def in_use(self) -> Iterator[Served]:
        """While a request needs it, it is not closed."""
        self._used += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._used -= 1
            if not self._used:
                self._unused.set()

    async def close(self) -> None:
        """Once nobody needs it any more."""
        await self._unused.wait()
        await self.batcher.close()
        await asyncio.to_thread(self.engine.close)


class Shelf:
    """All models by name and version."""

    def __init__(self, opened: Sequence[Opened], settings: Settings, metrics: Metrics) -> None:
        """The models that a server begins with."""
        self._settings, self._metrics = settings, metrics
        self._models: dict[str, dict[str, Served]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        for each in opened:
            self._put(each)

    def __iter__(self) -> Iterator[Served]:
        return iter([served for versions in self._models.values() for served in versions.values()])

    def versions(self, name: str) -> list[str]:
        """The versions of a model, the newest first.

        Raises:
            UnknownModelError: If no model is called so.
        """
        if name not in self._models:
            known = ", ".join(self._models)
            raise UnknownModelError(f"model {name[:64]!r} is not served; {known} can be had.")
        return sorted(self._models[name], key=newest_first, reverse=True)

    def find(self, name: str | None, version: str | None = None) -> Served:
        """A model; by default the newest version, and the first model.

        Raises:
            UnknownModelError: If nothing is called so.
        """
        name = next(iter(self._models)) if name is None else name
        versions = self.versions(name)
        wanted = versions[0] if version is None else version
        if wanted not in versions:
            raise UnknownModelError(
                f"version {wanted[:64]!r} of {name} is not served; {', '.join(versions)} can be "
                "had."
            )
        return self._models[name][wanted]

    def exchange(self, opened: Opened) -> None:
        """Put a new one in the old one's place; the old one answers what it was asked, and goes."""
        place = opened.place
        old = self._models[place.name][place.version]
        self._metrics.closed(place, old.engine)
        self._put(opened)
        task = asyncio.get_running_loop().create_task(old.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Close all of them."""
        await asyncio.gather(*self._leaving, *(served.close() for served in self))

    def _put(self, opened: Opened) -> None:
        place = opened.place
        served = Served(opened, self._settings, self._metrics)
        self._models.setdefault(place.name, {})[place.version] = served
        self._metrics.opened(place, opened.engine)


def open_place(place: Place, open_engine: Open) -> Opened:
    """Open a model and ask it once, so that the first request does not wait, nor fail.

    Raises:
        ClassicsError: If it cannot be opened, does not answer, or changes meanwhile.
    """
    before = signature(place.path)
    if before is None:
        raise ClassicsError(f"{place.path}: no such artefact or export.")
    engine = open_engine(place.path)
    try:
        size = engine.card.preprocessing.size
        rows = engine.probabilities(np.zeros((1, *size, 3), np.uint8))
    except Exception as error:
        engine.close()
        if out_of_memory(error):
            raise ClassicsError(f"{place.path}: not enough memory to run it.") from error
        words = " ".join(str(error).split())[:200]
        raise ClassicsError(
            f"{place.path}: does not answer ({type(error).__name__}: {words})."
        ) from error
    if not are_probabilities(rows, (1, len(engine.card.class_names))):
        engine.close()
        raise ClassicsError(f"{place.path}: corrupt: its outputs are not probabilities.")
    if signature(place.path) != before:
        engine.close()
        raise ClassicsError(f"{place.path}: changed while it was opened.")
    return Opened(place, engine, before)


def signature(folder: Path) -> Signature:
    """The state of the files that make a model: names, times, sizes and places on disk.

    A run's folder holds others that change without it, such as checkpoints and reports.

    Returns:
        None if the folder is gone.
    """
    try:
        files = sorted(path for path in folder.iterdir() if _belongs(path.name))
        states = [(path.name, path.stat()) for path in files]
    except OSError:
        return None
    return tuple((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in states)


def _belongs(name: str) -> bool:
    return name in (CARD, EXPORT) or name.partition(".")[0] == MODEL
