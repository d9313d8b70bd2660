"""Hot reload: a folder that changed is opened beside the old one, and takes its place if sound."""

from __future__ import annotations

import asyncio

from keras_classics.errors import ClassicsError
from keras_classics.serving.journal import Journal
from keras_classics.serving.metrics import Metrics
from keras_classics.serving.places import Place
from keras_classics.serving.shelf import (
    Open,
    Opened,
    Served,
    Shelf,
    Signature,
    open_place,
    signature,
)


class Reloader:
    """Watches the folders of the models on a shelf."""

    def __init__(self, shelf: Shelf, open_engine: Open, metrics: Metrics, journal: Journal) -> None:
        """A watcher; `watch` begins."""
        self._shelf, self._open = shelf, open_engine
        self._metrics, self._journal = metrics, journal
        self._seen: dict[Place, Signature] = {}  # at the last look
        self._refused: dict[Place, Signature] = {}
        self._at_work = asyncio.Lock()

    async def watch(self, seconds: float) -> None:
        """Look at the folders for ever, every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.look()
            except Exception as error:  # the next look may find it better
                words = f"{type(error).__name__}: {error} (this is a bug)"
                self._journal.note("reload", result="failed", error=words)

    async def look(self, *, again: bool = False) -> None:
        """Reload what changed since it was opened, and did not since the last look.

        Args:
            again: Also what was refused, and without waiting for a second look, as somebody asks.
        """
        async with self._at_work:
            for served in list(self._shelf):
                place = served.place
                now = await asyncio.to_thread(signature, place.path)
                settled = now == self._seen.get(place, served.signature)
                self._seen[place] = now
                changed = now != served.signature
                known = place in self._refused and now == self._refused[place]
                if changed and ((settled and not known) or again):
                    await self._reload(place, now)

    async def _reload(self, place: Place, now: Signature) -> None:
        facts = {"model": place.name, "version": place.version}
        try:
            opened = await asyncio.to_thread(open_place, place, self._open)
        except Exception as error:  # whatever is wrong with the new one, the old one goes on
            known = isinstance(error, ClassicsError)
            words = str(error) if known else f"{type(error).__name__}: {error} (this is a bug)"
            self._refused[place] = now
            self._metrics.reloads.labels(place.name, place.version, "refused").inc()
            self._journal.note("reload", **facts, result="refused", error=words)
            return
        self._refused.pop(place, None)
        self._seen[place] = opened.signature
        self._shelf.exchange(opened)
        self._metrics.reloads.labels(place.name, place.version, "swapped").inc()
        self._journal.note("reload", **engine_facts(opened), result="swapped")


def engine_facts(model: Opened | Served) -> dict[str, str | None]:
    """What the log says of a model that is served: what it runs on, and why on that."""
    place, engine = model.place, model.engine
    return {
        "model": place.name,
        "version": place.version,
        "engine": engine.name,
        "precision": engine.precision,
        "why": engine.why or None,
    }
