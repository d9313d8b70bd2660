"""The server: a socket on this machine, uvicorn on it, and an end without a traceback."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from keras_classics.errors import ClassicsError

HEAD_SECONDS = 10.0  # for a request to arrive, up to its body
SLOWEST = 32 * 1024  # bytes of an answer that its reader fetches in that time, at least
MOST_CONNECTIONS = 64
DEFAULT_PORT = 8420


class _Impatient(H11Protocol):
    """Hangs up where no request comes, a half of one, or nobody fetches the answer.

    uvicorn itself would wait for ever.
    It waits for the first byte of a further request no longer than `timeout_keep_alive`.
    """

    head_seconds = HEAD_SECONDS
    _waiting: asyncio.TimerHandle | None = None
    _fetching: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._wait_no_longer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        self._fetched()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        self._fetched()
        super().resume_writing()

    def _watch_reader(self) -> None:
        """Whose answer waits here: with it, a place among the connections, and its memory."""
        left = self.transport.get_write_buffer_size()
        self._fetching = self.loop.call_later(self.head_seconds, self._judge_reader, left)

    def _judge_reader(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < SLOWEST:
            self.transport.abort()
        else:
            self._watch_reader()

    def _fetched(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None

    def _wait(self) -> None:
        """For the rest of a request's head, however slowly it comes."""
        if self._waiting is None:
            self._waiting = self.loop.call_later(self.head_seconds, self._hang_up)

    def _wait_no_longer(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._abort_later()

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        """Who does not fetch the answer would otherwise keep it here for ever."""
        self.loop.call_later(self.head_seconds, self.transport.abort)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens.

    Args:
        host: Name or address of this machine.
        port: 0 for any that is free; None for the usual one, or any if that is taken.

    Raises:
        ClassicsError: If the port is taken, or the host is none of this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host, port or 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise ClassicsError(f"host={host}: no name or address of this machine.") from None
    for number in (DEFAULT_PORT, 0) if port is None else (port,):
        # With the protocol said, asyncio sends what is small at once (TCP_NODELAY).
        opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            # A port that was left a moment ago is free; one on which another listens is not.
            if os.name == "posix":
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((address[0], number))
            opened.listen(128)
        except OSError as error:
            opened.close()
            if error.errno == errno.EADDRINUSE and port is None and number:
                continue
            raise ClassicsError(_reason(error, host, number)) from None
        opened.setblocking(False)
        return opened
    raise AssertionError("any free port can be had, or an error says why not")


def _reason(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port={port}: another program listens there; choose another one, or 0 for any."
    if error.errno == errno.EACCES:
        return f"port={port}: not allowed; choose one from 1024 on, or 0 for any."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host={host}: no address of this machine."
    return f"host={host}, port={port}: {error.strerror or error}."


def address_of(listening: socket.socket, host: str) -> str:
    """What to open in a browser."""
    port = listening.getsockname()[1]
    everywhere = host in {"0.0.0.0", "::"}
    name = "127.0.0.1" if everywhere else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def serve(
    app: ASGIApp,
    listening: socket.socket,
    *,
    started: Callable[[], None] | None = None,
    server_of: Callable[[uvicorn.Config], uvicorn.Server] = uvicorn.Server,
    connections: int = MOST_CONNECTIONS,
    ending_seconds: int = 2,
) -> None:
    """Answer requests until somebody presses Ctrl-C, or the server is told to end.

    Args:
        app: What answers.
        listening: Where.
        started: Called once requests are answered.
        server_of: Makes the server of its settings.
        connections: At a time; more are told to come later (503).
        ending_seconds: That requests which are being answered have left at the end.
    """
    config = uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        loop="asyncio",
        log_config=None,
        log_level="critical",  # what goes wrong is answered
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=ending_seconds,
        h11_max_incomplete_event_size=16 * 1024,
    )
    server = server_of(config)

    async def run() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started and started is not None:
            started()
        await serving

    with suppress(KeyboardInterrupt):  # uvicorn ends in order and then passes the signal on
        asyncio.run(run())
