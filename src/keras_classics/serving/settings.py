"""The bounds that a server keeps."""

from __future__ import annotations

import os
from dataclasses import dataclass

THREADS = ("decode", "engine", "json")
"""How the names of the threads begin, which end when the last request is answered."""


@dataclass(frozen=True)
class Settings:
    """What a server allows, and how long it waits; sizes in bytes, times in seconds."""

    batch_size: int = 8  # images that go through a network at a time
    delay: float = 0.005  # that a picture waits at most for others to share its batch
    queue: int = 64  # images of one model that are decoded, waiting or computed at a time
    timeout: float = 30.0  # from the head of a request to its answer
    body_seconds: float = 20.0  # for a body to arrive
    file_bytes: int = 20 * 1024**2  # of one picture
    request_bytes: int = 64 * 1024**2  # of one request, decompressed
    all_bytes: int = 512 * 1024**2  # of all requests that are being answered
    json_values: int = 1_000_000  # numbers, texts and lists in the JSON of one request
    pixels: int = 50_000_000  # of one picture
    watch: float = 2.0  # between two looks at the models' folders; 0 never looks
    linger: float = 0.0  # that new requests are taken in after SIGTERM, while readiness says no
    decoders: int = min(4, os.cpu_count() or 1)  # threads
    connections: int = 512

    @property
    def json_bytes(self) -> int:
        """Of the JSON of one request: room for the largest file in base64."""
        return self.file_bytes * 4 // 3 + 64 * 1024
