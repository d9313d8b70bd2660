"""What Prometheus is told.

With several workers each writes into files of a common folder (PROMETHEUS_MULTIPROC_DIR, set before
prometheus_client is imported), so that whichever worker is asked speaks for all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from keras_classics.engines.engine import Engine
    from keras_classics.serving.places import Place

MULTIPLE = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
_MODEL = ("model", "version")


class Metrics:
    """Counters, gauges and histograms of one server."""

    def __init__(self) -> None:
        """With a registry of its own: several servers may be in a process, as in tests."""
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "classics_requests", "Requests answered.", ("endpoint", "code"), registry=own
        )
        self.seconds = Histogram(
            "classics_request_seconds",
            "From the head of a request to the end of its answer.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=own,
        )
        self.refused = Counter(
            "classics_refused", "Requests refused, by reason.", ("reason",), registry=own
        )
        self.queue = Gauge(
            "classics_queue_images",
            "Images on their way: decoded, waiting or computed.",
            _MODEL,
            registry=own,
            multiprocess_mode="livesum",
        )
        self.batch_images = Histogram(
            "classics_batch_images", "Images in a batch.", _MODEL, buckets=_IMAGES, registry=own
        )
        self.batch_seconds = Histogram(
            "classics_batch_seconds",
            "Time of a batch in the network.",
            _MODEL,
            buckets=_SECONDS,
            registry=own,
        )
        self.info = Gauge(
            "classics_model_info",
            "1 for each model that is served.",
            (*_MODEL, "network", "engine", "precision"),
            registry=own,
            multiprocess_mode="livemax",
        )
        self.reloads = Counter(
            "classics_reloads",
            "Changed folders, and what became of them.",
            (*_MODEL, "result"),
            registry=own,
        )

    def text(self) -> bytes:
        """In the format of Prometheus."""
        if os.environ.get(MULTIPLE):
            everybody = CollectorRegistry()
            MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
            return generate_latest(everybody)
        return generate_latest(self.registry)

    def batched(self, place: Place, images: int, seconds: float) -> None:
        """A batch was computed."""
        self.batch_images.labels(place.name, place.version).observe(images)
        self.batch_seconds.labels(place.name, place.version).observe(seconds)

    def opened(self, place: Place, engine: Engine) -> None:
        """A model is served."""
        self._info(place, engine).set(1)

    def closed(self, place: Place, engine: Engine) -> None:
        """It is served no more."""
        self._info(place, engine).set(0)

    def _info(self, place: Place, engine: Engine) -> Gauge:
        labels = (place.name, place.version, engine.card.network, engine.name, engine.precision)
        return self.info.labels(*labels)
