"""The addresses of the Open Inference Protocol v2, as Triton's clients ask for them.

https://github.com/open-inference/open-inference-protocol and the extensions "binary tensor data",
"classification" and "model configuration" of Triton Inference Server.
"""

from __future__ import annotations

import dataclasses
import gzip
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from keras_classics import __version__
from keras_classics.serving import messages
from keras_classics.serving.answering import (
    FEW,
    AskedModel,
    Desk,
    Rows,
    desk_of,
    within,
)
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


health = APIRouter()
router = APIRouter()
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: messages.PROBLEMS[404]}


def _of_a_model(method: str, part: str, **options: Any) -> Callable[[Any], Any]:
    """What is asked of a model has two addresses: with a version, and without."""

    def at_both(endpoint: Any) -> Any:
        for base, suffix in (("", ""), ("/versions/{version}", "_version")):
            router.add_api_route(
                f"/v2/models/{{model}}{base}{part}",
                endpoint,
                methods=[method],
                name=endpoint.__name__ + suffix,
                **options,
            )
        return endpoint

    return at_both


@router.get("/v2", name="server")
@router.get("/v2/", name="server_")  # as the protocol's own OpenAPI document writes it
async def server() -> messages.ServerMetadata:
    """What the server is."""
    extensions = ["binary_tensor_data", "classification", "model_configuration"]
    return messages.ServerMetadata(
        name="keras-classics", version=__version__, extensions=extensions
    )


@health.get("/v2/health/live")
async def live() -> messages.Live:
    """Whether the server runs."""
    return messages.Live(live=True)


@health.get("/v2/health/ready", responses={503: {"model": messages.Ready}})
async def ready(request: Request, response: Response) -> messages.Ready:
    """Whether the server takes requests."""
    return messages.Ready(ready=_is_ready(request, response))


@router.post("/v2/repository/index")
async def index(request: Request) -> messages.Index:
    """All models and versions."""
    return messages.Index(
        [
            messages.IndexEntry(
                name=served.place.name, version=served.place.version, state="READY", reason=""
            )
            for served in desk_of(request).shelf
        ]
    )


@_of_a_model("GET", "", responses=_UNKNOWN)
async def model(request: Request, served: AskedModel) -> messages.ModelMetadata:
    """What a model takes and gives."""
    height, width = served.card.preprocessing.size
    classes = len(served.card.class_names)
    calibration = served.card.fitted
    return messages.ModelMetadata(
        name=served.place.name,
        versions=desk_of(request).shelf.versions(served.place.name),
        platform=PLATFORMS[served.engine.name],
        inputs=[
            messages.InputMetadata(
                name=IMAGE, datatype="UINT8", shape=[-1, height, width, 3], parameters=_ONE_OF
            ),
            messages.InputMetadata(name=FILE, datatype="BYTES", shape=[-1], parameters=_ONE_OF),
        ],
        outputs=[messages.TensorMetadata(name=PROBABILITIES, datatype="FP32", shape=[-1, classes])],
        parameters={
            "class_names": list(served.card.class_names),
            "network": served.card.network,
            "fit": dataclasses.asdict(served.card.preprocessing)["fit"],
            "engine": served.engine.name,
            "precision": served.engine.precision,
            "threshold": None if calibration is None else calibration.threshold,
        },
    )


@_of_a_model("GET", "/ready", responses=_UNKNOWN | {503: {"model": messages.ModelReady}})
async def model_ready(
    request: Request, served: AskedModel, response: Response
) -> messages.ModelReady:
    """Whether a model takes requests."""
    return messages.ModelReady(name=served.place.name, ready=_is_ready(request, response))


@_of_a_model("GET", "/config", responses=_UNKNOWN)
async def config(request: Request, served: AskedModel) -> messages.ModelConfig:
    """The settings of a model, as Triton writes them."""
    settings = desk_of(request).settings
    height, width = served.card.preprocessing.size
    return messages.ModelConfig(
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
                name=FILE, data_type="TYPE_STRING", format="FORMAT_NONE", dims=[], optional=True
            ),
        ],
        output=[
            messages.OutputConfig(
                name=PROBABILITIES, data_type="TYPE_FP32", dims=[len(served.card.class_names)]
            )
        ],
        dynamic_batching=messages.Batching(
            preferred_batch_size=[settings.batch_size],
            max_queue_delay_microseconds=round(settings.delay * 1e6),
        ),
    )


_BINARY = {"application/octet-stream": {"schema": {"type": "string"}}}
_JSON = {"application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}}}


@_of_a_model(
    "POST",
    "/infer",
    response_model=messages.InferResponse,
    responses=messages.PROBLEMS | {200: {"content": _BINARY}},
    openapi_extra={"requestBody": {"required": True, "content": _JSON | _BINARY}},
)
async def infer(request: Request, found: AskedModel) -> Response:
    """Probabilities of pictures.

    With binary data the body is the JSON, as long as the header Inference-Header-Content-Length
    says, and the data of the tensors behind it.
    """
    found.batcher.check(1)  # before its body is read
    desk = desk_of(request)
    deadline = desk.deadline(request)
    with found.in_use() as served, desk.room.share() as share:
        body = await desk.read(request, share, desk.settings.request_bytes)
        asked = await within(request, deadline, _read(request, desk, served, body))
        if asked.seconds is not None:
            deadline = min(deadline, record_of(request).since + asked.seconds)
        return await within(request, deadline, _answer(request, desk, served, asked))


async def _read(request: Request, desk: Desk, served: Served, body: bytes) -> Inference:
    card, header = served.card, request.headers.get(HEADER)
    size, classes = card.preprocessing.size, len(card.class_names)
    work = partial(read_inference, body, header, size, classes, desk.settings)
    small = json_length(body, header) <= SMALL_JSON
    return await (desk.in_thread(work) if small else desk.alone(work))


async def _answer(request: Request, desk: Desk, served: Served, asked: Inference) -> Response:
    named = None
    if asked.files is not None:
        named = [(f"{FILE}[{i}]", data) for i, data in enumerate(asked.files)]
    rows = await desk.rows(request, served, named, asked.images)
    work = partial(_tensors, request.headers.get("accept-encoding", ""), served, asked, rows)
    return work() if rows.size <= FEW else await desk.in_thread(work)


def _is_ready(request: Request, response: Response) -> bool:
    draining = desk_of(request).draining
    if draining:
        response.status_code = 503
    return not draining


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
