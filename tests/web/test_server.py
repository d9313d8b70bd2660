from __future__ import annotations

import errno
import socket
import time

import pytest

from keras_classics.errors import ClassicsError
from keras_classics.web import server
from keras_classics.web.server import address_of, listen


async def nothing(scope, _, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def test_addresses():
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert address_of(listening, "127.0.0.1") == f"http://127.0.0.1:{port}/"
        assert address_of(listening, "localhost") == f"http://localhost:{port}/"
        assert address_of(listening, "0.0.0.0") == f"http://127.0.0.1:{port}/"
        assert address_of(listening, "::1") == f"http://[::1]:{port}/"


def test_a_port_that_is_taken():
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(ClassicsError, match=f"port={port}: another program listens there"):
            listen("127.0.0.1", port)


def test_the_usual_port_or_another_one(monkeypatch):
    with listen("127.0.0.1", 0) as taken:
        monkeypatch.setattr(server, "DEFAULT_PORT", taken.getsockname()[1])
        with listen("127.0.0.1", None) as other:
            assert other.getsockname()[1] not in (0, server.DEFAULT_PORT)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("no-such-name.invalid", "host=no-such-name.invalid: no name or address"),
        ("192.0.2.1", "host=192.0.2.1: no address of this machine"),
        ("x" * 300, "no name or address of this machine"),
    ],
)
def test_hosts_that_are_not_here(host, message):
    with pytest.raises(ClassicsError, match=message):
        listen(host, 0)


def test_a_port_that_is_not_allowed():
    error = PermissionError(errno.EACCES, "Permission denied")
    assert server._reason(error, "127.0.0.1", 80).startswith("port=80: not allowed")


def test_who_asks_nothing_is_hung_up_on(serving, monkeypatch):
    monkeypatch.setattr(server.Connection, "head_seconds", 0.3)
    with serving(nothing) as address:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        for begin in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(begin)
                since = time.monotonic()
                assert connection.recv(1000) == b""
                assert time.monotonic() - since < 5


def test_a_further_request_is_not_waited_for_either(serving, monkeypatch):
    monkeypatch.setattr(server.Connection, "head_seconds", 0.3)
    with serving(nothing) as address:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        whole = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            for _ in range(2):  # in time, each
                connection.sendall(whole)
                assert connection.recv(1000).startswith(b"HTTP/1.1 204")
                time.sleep(0.4)
            connection.sendall(whole[:20])
            assert connection.recv(1000) == b""


def test_who_asks_in_time_is_not(serving, monkeypatch):
    import httpx

    monkeypatch.setattr(server.Connection, "head_seconds", 0.2)
    with serving(nothing) as address, httpx.Client() as client:
        assert client.get(address).status_code == 204
        time.sleep(0.4)
        assert client.get(address).status_code == 204


def test_who_fetches_the_answer_slowly_but_steadily_gets_all_of_it(serving, monkeypatch):
    monkeypatch.setattr(server.Connection, "head_seconds", 0.3)
    size = 4 * 1024**2

    async def much(scope, _, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bytes(size)})

    with serving(much) as address, socket.socket() as connection:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.settimeout(10)
        connection.connect((host, int(port)))
        connection.sendall(f"GET / HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        found = 0
        while part := connection.recv(256 * 1024):
            found += len(part)
            time.sleep(len(part) / size)
        assert found > size


def test_what_is_no_http(serving, capfd):
    with serving(nothing) as address:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000)
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
    assert capfd.readouterr().err == ""


def test_small_answers_are_sent_at_once():
    """With the protocol said, asyncio sets TCP_NODELAY on what it accepts."""
    with listen("127.0.0.1", 0) as opened:
        assert opened.proto == socket.IPPROTO_TCP
