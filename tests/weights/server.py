"""A web server on this machine whose answers a test scripts, path by path."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """One answer; the defaults are those of a good server of files."""

    content: bytes = b""
    status: int | None = None
    etag: str | None = '"v1"'
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    length: bool = True  # whether the length of the body is told
    longest: int | None = None  # bytes in one answer to a range
    cut: int | None = None  # nothing comes from this byte of the file on
    hold: Event | None = None  # what must happen before the connection is closed at the cut
    pause: float = 0.0  # seconds between pieces of a thousand bytes


class Server(ThreadingHTTPServer):
    """Answers with the replies of a path one after the other, and again and again with the last."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.script: dict[str, list[Reply]] = {}
        self.requests: list[dict[str, str]] = []  # their headers

    def handle_error(self, request, client_address):
        """A client that went away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        replies = self.server.script[urlsplit(self.path).path]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        self.server.requests.append(dict(self.headers))
        start, end = 0, len(reply.content)
        status = reply.status or 200
        headers = {"ETag": reply.etag} if reply.etag else {}
        current = self.headers.get("If-Range") in (reply.etag, reply.headers.get("Last-Modified"))
        if "Range" in self.headers and reply.ranges and current and reply.status is None:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            status, end = 206, min(end, start + (reply.longest or end))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(reply.content)}"
        if reply.length:
            headers["Content-Length"] = str(end - start)
        self.send_response(status)
        for name, value in (headers | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        stop = end if reply.cut is None else min(reply.cut, end)
        for first in range(start, stop, 1000):
            self.wfile.write(reply.content[first : min(first + 1000, stop)])
            time.sleep(reply.pause)
        if reply.hold:
            reply.hold.wait()

    def log_message(self, *_):
        """Quiet."""
