"""The server: a socket on this machine, uvicorn on it, and an end without a traceback."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from keras_classics.errors import ClassicsError

HEAD_SECONDS = 10.0  # for a request to arrive, up to its body
SLOWEST = 32 * 1024  # bytes of an answer that its reader fetches in that time, at least
MOST_CONNECTIONS = 64
DEFAULT_PORT = 8420
_WAITING = 2048  # connections that the system keeps until they are taken in
_PAUSE = 1.0  # seconds until the next try, where no file is left for a connection
_CLOSE = (b"connection", b"close")


class _Conversation(h11.Connection):
    """HTTP on one connection, where the last answer says that it is the last."""

    def __init__(self, limit: int, is_last: Callable[[], bool]) -> None:
        super().__init__(h11.SERVER, limit)
        self._is_last = is_last

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """The bytes of an event."""
        if isinstance(event, h11.Response) and self._is_last():
            kept = [(name, value) for name, value in event.headers if name != b"connection"]
            event = h11.Response(
                status_code=event.status_code, headers=[*kept, _CLOSE], reason=event.reason
            )
        return super().send_with_data_passthrough(event)


class _Transport:
    """A transport that is closed in two steps while its sender still sends (RFC 9112, 9.6).

    What nobody has read when a socket is closed resets the connection, and the answer may be lost
    with it. So it says that nothing more comes, and for a moment drops what arrives.
    """

    def __init__(
        self, transport: asyncio.Transport, is_sending: Callable[[], bool], seconds: float
    ) -> None:
        self._transport, self._is_sending, self._seconds = transport, is_sending, seconds
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more can be answered."""
        return self.closed or self._transport.is_closing()

    def close(self) -> None:
        """Once the answer is on its way."""
        if self.is_closing():
            return
        self.closed = True
        if not self._is_sending():
            self._transport.close()
            return
        with suppress(OSError):  # it may be gone
            self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)


class _Connection(H11Protocol):
    """Hangs up where no request comes, a half of one, or nobody fetches the answer.

    uvicorn itself would wait for ever.
    It waits for the first byte of a further request no longer than `timeout_keep_alive`.
    """

    head_seconds = HEAD_SECONDS
    last_seconds = 2.0  # in which a sender may hear that the answer was the last
    transport: _Transport  # type: ignore[assignment]
    _waiting: asyncio.TimerHandle | None = None
    _fetching: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        is_leaving: Callable[[], bool],
    ) -> None:
        super().__init__(config, server_state, app_state)
        limit = config.h11_max_incomplete_event_size
        assert limit is not None
        self._is_leaving = is_leaving
        self.conn = _Conversation(limit, self._is_last)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _is_last(self) -> bool:
        """Whether nothing more is answered here."""
        if self._is_leaving() or self.conn.they_are_waiting_for_100_continue:
            return True
        # What came between may have counted the other length (RFC 9112, 6.1).
        names = {name for name, _ in self.headers or ()}
        return {b"content-length", b"transfer-encoding"} <= names

    def _is_sending(self) -> bool:
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        patient = _Transport(transport, self._is_sending, self.last_seconds)
        super().connection_made(cast(asyncio.Transport, patient))
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self.transport.closed:
            return
        super().data_received(data)
        if self.is_idle:
            self._wait()
        else:
            self._wait_no_longer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_sending():  # what is dropped
            self._wait()

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
            opened.listen(_WAITING)
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


class Server(uvicorn.Server):
    """uvicorn's, but nothing that was taken in is lost when it ends.

    Attributes:
        leaving: Whether each answer from now on is the last on its connection.
    """

    idle_seconds = 1.0  # at the end, in which who is connected may be about to ask

    def __init__(self, config: uvicorn.Config, begun: Callable[[], None] | None = None) -> None:
        """A server.

        Args:
            config: Its settings.
            begun: Called before the first connection is taken in.
        """
        super().__init__(config)
        self.leaving = False
        self._begun = begun
        self._arriving: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in who connects.

        Not by asyncio's server: when that is closed it drops whom it has accepted this moment, and
        uvicorn would not hear of who comes a moment later, and answer them until it is killed.
        """
        assert sockets
        await super().startup(sockets=[])
        (self._listening,) = sockets
        if self._begun is not None:
            self._begun()
        self._listen()

    def _listen(self) -> None:
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> bool:
        """Take in one who waits at the socket, as other processes may have time for the next."""
        loop = asyncio.get_running_loop()
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionAbortedError:
            return True
        except OSError:  # no file is left
            loop.remove_reader(self._listening)
            loop.call_later(_PAUSE, self._listen)
            return False
        connection.setblocking(False)
        task = loop.create_task(self._take(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        return True

    async def _take(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(self._connection, connection)
        except OSError:  # who connected is gone
            connection.close()

    def _connection(self) -> _Connection:
        state = self.lifespan.state
        return _Connection(self.config, self.server_state, state, self._is_leaving)

    def _is_leaving(self) -> bool:
        return self.leaving or self.should_exit

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Answer who is there, tell them that it was the last time, and end."""
        loop = asyncio.get_running_loop()
        self.leaving = True
        loop.remove_reader(self._listening)
        while self._accept():  # whom the system has let in
            pass
        self._listening.close()
        await asyncio.gather(*self._arriving)
        since = loop.time()
        while self._any_idle() and loop.time() - since < self.idle_seconds and not self.force_exit:
            await asyncio.sleep(0.02)
        if self.config.timeout_graceful_shutdown is not None:
            self.config.timeout_graceful_shutdown -= round(loop.time() - since)
        await super().shutdown()

    def _any_idle(self) -> bool:
        found = cast(set[_Connection], self.server_state.connections)
        return any(each.is_idle and not each.transport.is_closing() for each in found)


def serve(
    app: ASGIApp,
    listening: socket.socket,
    *,
    started: Callable[[], None] | None = None,
    server_of: Callable[[uvicorn.Config, Callable[[], None] | None], Server] = Server,
    connections: int = MOST_CONNECTIONS,
    ending_seconds: int = 2,
) -> None:
    """Answer requests until somebody presses Ctrl-C, or the server is told to end.

    Args:
        app: What answers.
        listening: Where.
        started: Called when requests will be answered.
        server_of: Makes the server of its settings and `started`.
        connections: At a time; more are told to come later (503).
        ending_seconds: That requests which are being answered have left at the end.
    """
    config = uvicorn.Config(
        app,
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
    server = server_of(config, started)
    with (
        suppress(KeyboardInterrupt),  # uvicorn ends in order and then passes the signal on
        # On every system one that tells when somebody waits at a socket.
        asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner,
    ):
        runner.run(server.serve(sockets=[listening]))
