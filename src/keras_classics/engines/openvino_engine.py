"""OpenVINO as an engine: one compiled model, and requests that run side by side."""

from __future__ import annotations

import queue
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_classics.engines.engine import Engine, Hint
from keras_classics.exporting import runtimes
from keras_classics.exporting.exported import Export, Precision

MODEL = "model.xml"  # as `targets.openvino` writes it, which needs Keras
PIECE = 8  # images of a request at most: more gain nothing, and a caller waits for the slowest

_HINTS = {"throughput": "THROUGHPUT", "latency": "LATENCY"}


class OpenVinoEngine(Engine):
    """An export to OpenVINO, on the processor."""

    name = "openvino"

    def __init__(
        self,
        folder: Path,
        export: Export,
        *,
        precision: Precision,
        hint: Hint = "throughput",
        threads: int | None = None,
    ) -> None:
        """Compile the model.

        Args:
            folder: Of the export.
            export: What it says of itself.
            precision: To compute in: the export's own, or bf16 where that is f32.
            hint: "throughput": as many requests at a time as there are processors, each on one;
                "latency": one at a time, on all.
            threads: Processors to use; None for all that the process may.

        Raises:
            ClassicsError: If OpenVINO is not installed.
        """
        self.card = export.card
        self.precision = precision
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": _HINTS[hint],
            # Where the processor has bf16, OpenVINO takes it if it is not told otherwise.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        core = runtimes.openvino_core()
        model = core.read_model(folder / MODEL)
        self._most = PIECE
        if export.input == "image":  # resizing to the size that a picture has changes nothing
            self._most = 1
            model.reshape([1, *self.card.preprocessing.size, 3])
        self._compiled = core.compile_model(model, "CPU", config)
        self.requests = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()  # None: there will be no more
        for _ in range(self.requests):
            self._free.put(self._compiled.create_infer_request())

    def _answers(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `Engine` says."""
        n = len(images)
        images = np.ascontiguousarray(images)
        rows = np.empty((n, len(self.card.class_names)), np.float32)
        # As many pieces as can run at a time, but none too large.
        size = min(self._most, max(1, -(-n // self.requests)))
        running: deque[tuple[Any, slice]] = deque()
        try:
            for start in range(0, n, size):
                piece = slice(start, min(start + size, n))
                request = self._request(running, rows)
                running.append((request, piece))
                request.start_async([images[piece]], share_inputs=True)
            while running:
                self._free.put(_finished(running, rows))
        finally:
            for request, _ in running:
                request.cancel()
                with suppress(RuntimeError):  # that it was cancelled
                    request.wait()
                self._free.put(request)
        return rows

    def _request(self, running: deque[tuple[Any, slice]], rows: npt.NDArray[np.float32]) -> Any:
        """A request that is free: of all callers' while this one holds none, else its own oldest.

        So nobody waits for another while others wait for him.
        """
        try:
            request = self._free.get(block=not running)
        except queue.Empty:
            return _finished(running, rows)
        if request is None:
            self._free.put(None)  # for the next who waits
            raise RuntimeError("the engine is closed")
        return request

    def close(self) -> None:
        """As `Engine` says; whoever waits for his turn gets an error."""
        while not self._free.empty():
            self._free.get()
        self._free.put(None)
        self._compiled = None


def _finished(running: deque[tuple[Any, slice]], rows: npt.NDArray[np.float32]) -> Any:
    """The oldest request, when its rows are there."""
    request, piece = running[0]
    request.wait()
    rows[piece] = request.get_output_tensor(0).data
    running.popleft()
    return request
