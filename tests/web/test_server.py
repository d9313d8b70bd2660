from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from contextlib import ExitStack

import httpx
import pytest

from keras_classics.errors import ClassicsError
from keras_classics.web import server
from keras_classics.web.server import address_of, listen


async def nothing(scope, _, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def connected(address):
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def head(*lines, method="POST"):
    return "\r\n".join([f"{method} / HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def heard(connection):
    """All that is answered, until the server hangs up."""
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer


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
    monkeypatch.setattr(server._Connection, "head_seconds", 0.3)
    with serving(nothing) as address:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        for begin in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(begin)
                since = time.monotonic()
                assert connection.recv(1000) == b""
                assert time.monotonic() - since < 5


def test_a_further_request_is_not_waited_for_either(serving, monkeypatch):
    monkeypatch.setattr(server._Connection, "head_seconds", 0.3)
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
    monkeypatch.setattr(server._Connection, "head_seconds", 0.2)
    with serving(nothing) as address, httpx.Client() as client:
        assert client.get(address).status_code == 204
        time.sleep(0.4)
        assert client.get(address).status_code == 204


def test_who_fetches_the_answer_slowly_but_steadily_gets_all_of_it(serving, monkeypatch):
    monkeypatch.setattr(server._Connection, "head_seconds", 0.3)
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


CLOSE = b"connection: close\r\n"


def test_whoever_is_there_at_the_end_is_answered_and_told(serving):
    """Busy, idle, and let in by the system alone while the server had no time to look."""
    servers, stuck, go = [], threading.Event(), threading.Event()

    async def app(scope, receive, send):
        if scope["type"] == "http" and scope["method"] == "PUT":
            stuck.set()
            go.wait(10)  # in the loop itself
        await nothing(scope, receive, send)

    with serving(app, servers) as address, ExitStack() as stack:
        busy, *others = [stack.enter_context(connected(address)) for _ in range(20)]
        for each in (busy, *others):
            each.sendall(head(method="GET"))
            assert CLOSE not in each.recv(1000)
        busy.sendall(head(method="PUT"))
        assert stuck.wait(10)
        late = [stack.enter_context(connected(address)) for _ in range(20)]
        for each in late:
            each.sendall(head(method="GET"))
        servers[0].should_exit = True
        go.set()
        assert CLOSE in heard(busy)
        for each in others:  # and who asks a moment later
            each.sendall(head(method="GET"))
        for each in (*others, *late):
            answer = heard(each)
            assert answer.startswith(b"HTTP/1.1 204")
            assert CLOSE in answer


def test_who_asks_nothing_does_not_hold_the_end_up(serving):
    servers = []
    with serving(nothing, servers) as address, connected(address) as idle:
        idle.sendall(head(method="GET"))
        idle.recv(1000)
        since = time.monotonic()
        servers[0].should_exit = True
        assert heard(idle) == b""
        with pytest.raises(ConnectionRefusedError):
            connected(address)
        assert time.monotonic() - since < 3


def test_while_it_leaves_it_takes_in_and_tells(serving):
    servers = []
    with serving(nothing, servers) as address, connected(address) as before:
        servers[0].leaving = True
        for each in (before, connected(address)):
            with each:
                each.sendall(head(method="GET") * 2)
                assert heard(each).count(CLOSE) == 1


def test_who_asks_whether_to_send_is_told_the_answer(serving):
    """`Expect: 100-continue`: who is answered at once need not send, and may not ask again."""
    with serving(nothing) as address:
        for wish, last in (("100-continue", True), ("something", False)):
            with connected(address) as connection:
                connection.sendall(head(f"Expect: {wish}", "Content-Length: 5000000"))
                answer = connection.recv(1000)
                assert answer.startswith(b"HTTP/1.1 204")
                assert (CLOSE in answer) == last
                if last:
                    assert heard(connection) == b""

    async def reads(scope, receive, send):
        if scope["type"] == "http":
            await receive()
        await nothing(scope, receive, send)

    with serving(reads) as address, connected(address) as connection:
        for _ in range(2):
            connection.sendall(head("Expect: 100-continue", "Content-Length: 3"))
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"abc")
            assert connection.recv(1000).startswith(b"HTTP/1.1 204")


def test_who_still_sends_hears_the_last_answer(serving):
    """What nobody has read when a socket is closed would reset the connection."""
    servers = []
    with serving(nothing, servers) as address:
        servers[0].leaving = True
        for begin in (head("Content-Length: 9000000"), b"no HTTP at all\r\n\r\n"):
            with connected(address) as connection:
                connection.sendall(begin)
                time.sleep(0.1)
                for _ in range(90):
                    connection.sendall(bytes(100_000))
                connection.shutdown(socket.SHUT_WR)
                assert heard(connection).startswith(b"HTTP/1.1")


def test_who_never_stops_sending_is_hung_up_on(serving, monkeypatch):
    monkeypatch.setattr(server._Connection, "last_seconds", 0.2)
    servers = []
    with serving(nothing, servers) as address, connected(address) as connection:
        servers[0].leaving = True
        connection.sendall(head("Content-Length: 999999999999"))
        with pytest.raises(ConnectionError):
            for _ in range(100):
                connection.sendall(b"x")
                time.sleep(0.05)


def test_two_lengths(serving):
    """What came between may have believed the other one (RFC 9112, 6.1)."""
    with serving(nothing) as address, connected(address) as connection:
        both = head("Content-Length: 3", "Transfer-Encoding: chunked")
        connection.sendall(both + b"0\r\n\r\n" + head(method="GET"))
        answer = heard(connection)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert CLOSE in answer


def test_no_file_is_left_for_a_connection(serving, monkeypatch):
    """It is taken in when there is one again."""
    monkeypatch.setattr(server, "_PAUSE", 0.1)
    accept, failed = socket.socket.accept, []

    def accepting(opened):
        if len(failed) < 3:
            failed.append(opened)
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(opened)

    monkeypatch.setattr(socket.socket, "accept", accepting)
    with serving(nothing) as address:
        assert httpx.get(address).status_code == 204
    assert len(failed) == 3


def test_who_connects_and_is_gone_leaves_nothing_behind(serving, monkeypatch):
    connect, failed = asyncio.SelectorEventLoop.connect_accepted_socket, []

    async def connecting(loop, factory, connection):
        if not failed:
            failed.append(connection)
            raise OSError(errno.EINVAL, "Invalid argument")
        return await connect(loop, factory, connection)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "connect_accepted_socket", connecting)
    with serving(nothing) as address:
        with connected(address) as gone:
            assert gone.recv(100) == b""
        assert httpx.get(address).status_code == 204
    assert failed[0].fileno() == -1
