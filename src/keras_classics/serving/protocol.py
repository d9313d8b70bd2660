"""The addresses of the Open Inference Protocol v2, as Triton's clients ask for them.

https://github.com/open-inference/open-inference-protocol and the extensions "binary tensor data",
"classification" and "model configuration" of Triton Inference Server.
"""

from __future__ import annotations

import dataclasses
import gzip
import zlib
from functools import partial

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from keras_classics import __version__
from keras_classics.serving import messages
from keras_classics.serving.answering import FEW, Desk, Rows, within
from keras_classics.serving.recording import record_of
from keras_classics.serving.shelf import Served
from keras_classics.serving.tensors import (
    FILE,
    HEADER,
    IMAGE,
    PROBABILITIES,
    SMALL_JSON,
    Inference,
    json_length,
    read_inference,
    write_inference,
)

# PROJECT_FORMAT, as the protocol wants it; it has a name of its own for ONNX alone.
PLATFORMS = {"keras": "keras_keras", "openvino": "openvino_ir", "onnxruntime": "onnx_onnxv1"}
# Triton has a name of its own for ONNX, too, and for the others only that of the backend.
_TRITONS = {"onnxruntime": "onnxruntime_onnx"}
_ONE_OF = {"optional": True, "one_of": [IMAGE, FILE]}
_WORTH_COMPRESSING = 512  # bytes


class Protocol:
    """What the addresses below /v2 do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def server(self, _: Request) -> Response:
        """What the server is."""
        extensions = ["binary_tensor_data", "classification", "model_configuration"]
        return answer(
            messages.ServerMetadata(
                name="keras-classics", version=__version__, extensions=extensions
            )
        )

    async def live(self, _: Request) -> Response:
        """Whether the server runs."""
        return answer(messages.Live(live=True))

    async def ready(self, _: Request) -> Response:
        """Whether the server takes requests."""
        ready = not self._desk.draining
        return answer(messages.Ready(ready=ready), 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        """What a model takes and gives."""
        served = self._served(request)
        height, width = served.card.preprocessing.size
        classes = len(served.card.class_names)
        calibration = served.card.fitted
        return answer(
            messages.ModelMetadata(
                name=served.place.name,
                versions=self._desk.shelf.versions(served.place.name),
                platform=PLATFORMS[served.engine.name],
                inputs=[
                    messages.InputMetadata(
                        name=IMAGE,
                        datatype="UINT8",
                        shape=[-1, height, width, 3],
                        parameters=_ONE_OF,
                    ),
                    messages.InputMetadata(
                        name=FILE, datatype="BYTES", shape=[-1], parameters=_ONE_OF
                    ),
                ],
                outputs=[
                    messages.TensorMetadata(
                        name=PROBABILITIES, datatype="FP32", shape=[-1, classes]
                    )
                ],
                parameters={
                    "class_names": list(served.card.class_names),
                    "network": served.card.network,
                    "fit": dataclasses.asdict(served.card.preprocessing)["fit"],
                    "engine": served.engine.name,
                    "precision": served.engine.precision,
                    "threshold": None if calibration is None else calibration.threshold,
                },
            )
        )

    async def model_ready(self, request: Request) -> Response:
        """Whether a model takes requests."""
        served = self._served(request)
        ready = not self._desk.draining
        return answer(
            messages.ModelReady(name=served.place.name, ready=ready), 200 if ready else 503
        )

    async def config(self, request: Request) -> Response:
        """The settings of a model, as Triton writes them."""
        served, settings = self._served(request), self._desk.settings
        height, width = served.card.preprocessing.size
        return answer(
            messages.ModelConfig(
                name=served.place.name,
                platform=_TRITONS.get(served.engine.name, ""),
                backend=served.engine.name,
                max_batch_size=settings.queue,
                input=[
                    messages.InputConfig(
                        name=IMAGE,
                        data_type="TYPE_UINT8",
                        format="FORMAT_NHWC",
                        dims=[height, width, 3],
                        optional=True,
                    ),
                    messages.InputConfig(
                        name=FILE,
                        data_type="TYPE_STRING",
                        format="FORMAT_NONE",
                        dims=[],
                        optional=True,
                    ),
                ],
                output=[
                    messages.OutputConfig(
                        name=PROBABILITIES,
                        data_type="TYPE_FP32",
                        dims=[len(served.card.class_names)],
                    )
                ],
                dynamic_batching=messages.Batching(
                    preferred_batch_size=[settings.batch_size],
                    max_queue_delay_microseconds=round(settings.delay * 1e6),
                ),
            )
        )

    async def index(self, _: Request) -> Response:
        """All that is served."""
        return answer(
            messages.Index(
                [
                    messages.IndexEntry(
                        name=served.place.name,
                        version=served.place.version,
                        state="READY",
                        reason="",
                    )
                    for served in self._desk.shelf
                ]
            )
        )

    async def infer(self, request: Request) -> Response:
        """Probabilities of pictures."""
        desk = self._desk
        deadline = desk.deadline(request)
        with self._served(request).in_use() as served, desk.room.share() as share:
            body = await desk.read(request, share, desk.settings.request_bytes)
            asked = await within(request, deadline, self._asked(request, served, body))
            if asked.seconds is not None:
                deadline = min(deadline, record_of(request).since + asked.seconds)
            return await within(request, deadline, self._answer(request, served, asked))

    async def _asked(self, request: Request, served: Served, body: bytes) -> Inference:
        desk, header = self._desk, request.headers.get(HEADER)
        card = served.card
        work = partial(
            read_inference,
            body,
            header,
            card.preprocessing.size,
            len(card.class_names),
            desk.settings,
        )
        small = json_length(body, header) <= SMALL_JSON
        return await (desk.in_thread(work) if small else desk.alone(work))

    async def _answer(self, request: Request, served: Served, asked: Inference) -> Response:
        named = None
        if asked.files is not None:
            named = [(f"{FILE}[{i}]", data) for i, data in enumerate(asked.files)]
        rows = await self._desk.rows(request, served, named, asked.images)
        work = partial(_tensors, request.headers.get("accept-encoding", ""), served, asked, rows)
        return work() if rows.size <= FEW else await self._desk.in_thread(work)

    def _served(self, request: Request) -> Served:
        path = request.path_params
        served = self._desk.shelf.find(path["model"], path.get("version"))
        record = record_of(request)
        record.model, record.version = served.place.name, served.place.version
        return served


def answer(message: BaseModel, status: int = 200) -> Response:
    """A message as JSON."""
    return Response(message.model_dump_json(by_alias=True), status, media_type="application/json")


def _tensors(accepted: str, served: Served, asked: Inference, rows: Rows) -> Response:
    place = served.place
    content, length = write_inference(
        place.name, place.version, asked, rows, served.card.class_names
    )
    headers: dict[str, str] = {}
    if length is not None:
        headers[HEADER] = str(length)
    if len(content) >= _WORTH_COMPRESSING:
        codings = _codings(accepted)
        if "gzip" in codings:
            content, headers["content-encoding"] = gzip.compress(content, 1), "gzip"
        elif "deflate" in codings:
            content, headers["content-encoding"] = zlib.compress(content, 1), "deflate"
    kind = "application/json" if length is None else "application/octet-stream"
    return Response(content, headers=headers, media_type=kind)


def _codings(accepted: str) -> set[str]:
    """The codings of `Accept-Encoding` that are not ruled out by a weight of 0."""
    found = set()
    for part in accepted.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        weights = [each.partition("=")[2] for each in parameters if each.startswith("q=")]
        if not any(weight.strip("0.") == "" for weight in weights):
            found.add(coding)
    return found
