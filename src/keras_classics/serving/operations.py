"""Every address: what it takes, what it answers, and how it is called in the metrics.

The application is wired from this table, and the OpenAPI document is made of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from keras_classics.serving import messages
from keras_classics.serving.classify import Classify
from keras_classics.serving.protocol import Protocol

Endpoint = Callable[[Request], Awaitable[Response]]

BUSY, SLOW, BROKEN = (429, 507), (408, 504), (400, 413, 415, 422)


@dataclass(frozen=True)
class Operation:
    """One address with one method."""

    method: str
    path: str
    name: str  # in metrics and document
    summary: str
    endpoint: Endpoint
    answer: type[BaseModel] | str  # a message of JSON, or a media type
    problems: tuple[int, ...] = ()  # statuses with a `Problem`
    otherwise: tuple[int, ...] = ()  # statuses with the usual answer
    takes: str | None = None  # "pictures" or "tensors"


def operations(
    *,
    protocol: Protocol,
    classify: Classify,
    metrics: Endpoint,
    document: Endpoint,
    docs: Endpoint,
    page: Endpoint,
) -> tuple[Operation, ...]:
    """All of them, in the order of the document."""
    asked = (*BROKEN, 404, *SLOW, *BUSY, 500)
    found: list[Operation] = []
    for path, name in (("/classify", "classify"), ("/classify/{model}", "classify_model")):
        which = "a model" if "{" in path else "the first model"
        found.append(
            Operation(
                "POST", path, name, f"What pictures show, by {which}", classify.classify,
                messages.Classification, asked, takes="pictures",
            )
        )  # fmt: skip
    found += [
        Operation("GET", "/v2", "server", "What the server is", protocol.server,
                  messages.ServerMetadata),
        Operation("GET", "/v2/", "server_", "The same", protocol.server,
                  messages.ServerMetadata),  # as the protocol's own OpenAPI document writes it
        Operation("GET", "/v2/health/live", "live", "Whether the server runs", protocol.live,
                  messages.Live),
        Operation("GET", "/v2/health/ready", "ready", "Whether the server takes requests",
                  protocol.ready, messages.Ready, otherwise=(503,)),
        Operation("POST", "/v2/repository/index", "index", "All models and versions",
                  protocol.index, messages.Index),
    ]  # fmt: skip
    for part, suffix, of in (
        ("", "", "the newest version of a model"),
        ("/versions/{version}", "_version", "a version of a model"),
    ):
        base = f"/v2/models/{{model}}{part}"
        found += [
            Operation("GET", base, f"model{suffix}", f"What {of} takes and gives",
                      protocol.model, messages.ModelMetadata, (404,)),
            Operation("GET", f"{base}/ready", f"model_ready{suffix}",
                      f"Whether {of} takes requests", protocol.model_ready,
                      messages.ModelReady, (404,), otherwise=(503,)),
            Operation("GET", f"{base}/config", f"config{suffix}",
                      f"The settings of {of}, as Triton writes them", protocol.config,
                      messages.ModelConfig, (404,)),
            Operation("POST", f"{base}/infer", f"infer{suffix}",
                      f"Probabilities of pictures, by {of}", protocol.infer,
                      messages.InferResponse, asked, takes="tensors"),
        ]  # fmt: skip
    return (
        *found,
        Operation("GET", "/metrics", "metrics", "What Prometheus collects", metrics, "text/plain"),
        Operation("GET", "/openapi.json", "document", "This document", document,
                  "application/json"),
        Operation("GET", "/docs", "docs", "This document to read", docs, "text/html"),
        Operation("GET", "/", "page", "A page to drop an image on", page, "text/html"),
    )  # fmt: skip
