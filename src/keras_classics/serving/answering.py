"""What all addresses that run a model have in common: bounds, deadlines, and being sent away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from fastapi import Depends, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from keras_classics.serving.intake import decompress, fitted
from keras_classics.serving.recording import record_of
from keras_classics.serving.settings import Settings
from keras_classics.serving.shelf import Served, Shelf
from keras_classics.web.bodies import FullError, Room, Share, body

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]
T = TypeVar("T")

FEW = 4096  # values of an answer, which are written in no time; more are written in a thread


class Refused(HTTPException):
    """A request that is not answered, and a word for the metrics."""

    def __init__(
        self, status: int, reason: str, words: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, words, headers)
        self.reason = reason


class Desk:
    """Where requests are taken in: the models, the threads that decode, the room for bodies."""

    def __init__(self, shelf: Shelf, settings: Settings) -> None:
        """A desk before a shelf of models."""
        self.shelf, self.settings = shelf, settings
        self.draining = False
        self._threads = ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode")
        self._alone = ThreadPoolExecutor(1, thread_name_prefix="json")
        self.room = Room(settings.all_bytes)

    def close(self) -> None:
        """After the last request."""
        for threads in (self._threads, self._alone):
            threads.shutdown(wait=False, cancel_futures=True)

    def deadline(self, request: Request) -> float:
        """When a request is to be answered at the latest."""
        return record_of(request).since + self.settings.timeout

    async def read(self, request: Request, share: Share, limit: int) -> bytes:
        """The body of a request, decompressed.

        Raises:
            HTTPException: If it is too large, too slow, or there is no room.
            ClassicsError: If it is not what its headers say.
        """
        words = f"the request is larger than {limit / 1024**2:g} MB."
        deadline = self.deadline(request)
        left = max(0.0, deadline - time.monotonic())
        seconds = min(self.settings.body_seconds, left)
        try:
            data = await body(request, limit, too_large=words, seconds=seconds, share=share)
        except FullError as error:
            raise self._full(error.size) from None
        record_of(request).bytes = len(data)
        encoding = request.headers.get("content-encoding")
        if encoding is None:
            return data
        work = self.in_thread(lambda: decompress(data, encoding, limit))
        whole = await within(request, deadline, work)
        if not share.take(len(whole)):
            raise self._full(len(data) + len(whole))
        return whole

    def _full(self, size: int) -> Refused:
        if size > self.room.size:  # it would never find room
            return Refused(413, "memory", f"the request has {size:,} bytes; there is no such room.")
        words = "too many large requests at a time."
        return Refused(429, "memory", words, {"retry-after": "1"})

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Some work in one of the threads that decode."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def alone(self, work: Callable[[], T]) -> T:
        """Some work that takes so much memory that it is done once at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._alone, work)

    async def rows(
        self,
        request: Request,
        served: Served,
        files: Sequence[tuple[str, bytes]] | None,
        images: Images | None = None,
    ) -> Rows:
        """Probabilities (n, classes) of image files, or of pictures of the network's size."""
        count = len(files) if files is not None else len(images if images is not None else ())
        record_of(request).images = count
        if count > self.settings.queue:
            raise Refused(
                413, "count", f"{count} pictures in a request; at most {self.settings.queue}."
            )
        with served.batcher.place(count):
            if files is not None:
                images = await self._decoded(served, files)
            assert images is not None
            return await served.batcher.ask(images)

    async def _decoded(self, served: Served, files: Sequence[tuple[str, bytes]]) -> Images:
        shape = served.card.preprocessing

        def one(name: str, data: bytes) -> Images:
            return fitted(data, name, shape, self.settings)

        tasks = [
            asyncio.ensure_future(self.in_thread(lambda name=name, data=data: one(name, data)))  # type: ignore[misc]
            for name, data in files
        ]
        try:
            return np.stack([await task for task in tasks])
        finally:
            for task in tasks:
                task.cancel()  # what is done stays done; what has not begun need not
            await asyncio.gather(*tasks, return_exceptions=True)


def desk_of(request: Request) -> Desk:
    """Of the server that was asked."""
    found = request.app.state.desk
    assert isinstance(found, Desk)
    return found


async def _asked(request: Request, model: str | None = None, version: str | None = None) -> Served:
    served = desk_of(request).shelf.find(model, version)
    record = record_of(request)
    record.model, record.version = served.place.name, served.place.version
    return served


AskedModel = Annotated[Served, Depends(_asked)]
"""The model that an address names; by default the first one, and its newest version."""


async def within(request: Request, deadline: float, work: Coroutine[Any, Any, T]) -> T:
    """Some work, as long as its sender waits for it.

    Raises:
        ClientDisconnect: If the sender is gone; the work is cancelled.
        Refused: 504 if it is not done by the deadline.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        left = max(0.0, deadline - time.monotonic())
        done, _ = await asyncio.wait(
            {task, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        if task in done:
            return task.result()
        if gone in done:
            raise ClientDisconnect
        seconds = deadline - record_of(request).since
        raise Refused(504, "timeout", f"not answered within {seconds:.3g} s.")
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
