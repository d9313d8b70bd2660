"""A corpus of what should not be sent, over real HTTP."""

from __future__ import annotations

import gzip
import io
import socket
import struct
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from keras_classics.serving import intake
from serving.fakes import busy, encoded, pictures, running, until


@pytest.fixture(scope="module")
def server(serving):
    with running(serving, pixels=1_000_000, file_bytes=300_000, request_bytes=600_000) as server:
        yield server
        # Whatever was sent, it still answers, and nothing is left over.
        assert server.classify(pictures(1)[0]).status_code == 200
        assert server.server.shelf.find("fake").batcher.taken == 0
        assert server.server.desk.room.taken == 0


IMAGE = pictures(1)[0]
LARGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def png_bomb(width, height):
    """A PNG that claims a size, with a body that would unpack to it."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data
            + struct.pack(">I", zlib.crc32(kind + data))
        )  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10**6), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated(kind):
    file = io.BytesIO()
    frames = [Image.fromarray(image) for image in pictures(3)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], lossless=True)
    return file.getvalue()


ZIP = b"PK\x03\x04" + bytes(100)
REFUSED = {
    "nothing": (b"", 422, "empty"),
    "text": (b"hello", 415, "not an image"),
    "html": (b"<html><script>alert(1)</script>", 415, "not an image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "SVG, which is not supported"),
    "pdf": (b"%PDF-1.7", 415, "not an image"),
    "zip": (ZIP, 415, "not an image"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(50), 415, "HEIC or AVIF"),
    "pickle": (b"\x80\x04\x95" + bytes(50), 415, "not an image"),
    "zeros": (bytes(5000), 415, "not an image"),
    "signature of a png": (b"\x89PNG\r\n\x1a\n", 422, ""),
    "signature of a jpeg": (b"\xff\xd8\xff", 422, ""),
    "signature of a webp": (b"RIFF\xff\xff\xff\xffWEBP", 422, ""),
    "truncated png": (encoded(LARGE)[:3000], 422, "truncated"),
    "truncated jpeg": (encoded(LARGE, "JPEG")[:600], 422, ""),
    "truncated webp": (encoded(LARGE, "WEBP", lossless=True)[:1000], 422, ""),
    "truncated tiff": (encoded(LARGE, "TIFF")[:1000], 422, ""),
    "a changed checksum": (encoded(LARGE)[:40] + b"!" + encoded(LARGE)[41:], 422, "damaged"),
    "png bomb": (png_bomb(50_000, 50_000), 413, "50000 x 50000 pixels; at most 1 million"),
    "a larger png bomb": (png_bomb(2**31 - 1, 2**31 - 1), 413, "pixels"),
    "a png that is flat": (png_bomb(2**31 - 1, 1), 413, "pixels"),
    "no width": (png_bomb(0, 5), 422, ""),
    "gif bomb": (b"GIF89a\xff\xff\xff\xff\x00\x00\x00," + bytes(20), 413, "pixels"),
    "bmp bomb": (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 65000, 65000, 1, 24, *[0] * 6),
        413,
        "pixels",
    ),
    "ppm bomb": (b"P6 60000 60000 255\n", 413, "pixels"),
    "jpeg bomb": (
        bytes.fromhex(
            "ffd8 ffc0 0011 08ff ffff ff03 0122 0002 1101 0311 01"
            "ffda 000c 0301 0002 1103 1100 3f00"
        ),
        413,
        "65535 x 65535 pixels",
    ),
    "webp bomb": (
        b"RIFF\x30\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\x3f\x00\xff\x3f\x00",
        413,
        "16384 x 16384 pixels",
    ),
    "a large file": (encoded(LARGE) + bytes(300_000), 413, "larger than 0.286102 MB"),
}  # fmt: skip


@pytest.mark.parametrize("form", [False, True], ids=["raw", "form"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(server, name, form):
    data, status, words = REFUSED[name]
    if form:
        answer = server.post("/classify", files={"file": ("a.png", data)})
    else:
        headers = {"content-type": "image/png"}
        answer = server.post("/classify", content=data, headers=headers)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    if not (form and name == "a large file"):
        assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert len(answer.json()["error"]) < 300


TAKEN = {
    "a png with a zip behind it": encoded(IMAGE) + ZIP,
    "a png with a script behind it": encoded(IMAGE) + b"<script>alert(1)</script>",
    "gif, animated": animated("GIF"),
    "png, animated": animated("PNG"),
    "webp, animated": animated("WEBP"),
    "tiff of several pages": animated("TIFF"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_polyglots_and_animations_are_their_first_picture(server, name):
    answer = server.post(
        "/classify", content=TAKEN[name], headers={"content-type": "text/html, image/png"}
    )
    assert answer.status_code == 415  # what is no image by its name
    answer = server.post("/classify", content=TAKEN[name], headers={"content-type": "image/png"})
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 1


def form_of(*parts, boundary=b"xyz", end=b"--"):
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return body + b"--" + boundary + end + b"\r\n"


def part(name=b'filename="a.png"', data=None):
    data = encoded(IMAGE) if data is None else data
    return b'Content-Disposition: form-data; name="file"; ' + name + b"\r\n\r\n" + data


FORM = "multipart/form-data; boundary=xyz"
FORMS = {
    "no boundary": (form_of(part()), "multipart/form-data", 400, "without a boundary"),
    "empty boundary": (form_of(part()), "multipart/form-data; boundary=", 400, "boundary"),
    "long boundary": (
        form_of(part()), f"multipart/form-data; boundary={'x' * 71}", 400, "boundary"
    ),
    "another boundary": (form_of(part(), boundary=b"abc"), FORM, 400, "the form is corrupt"),
    "no end": (form_of(part(), end=b""), FORM, 400, "the form is corrupt"),
    "cut off": (form_of(part())[:90], FORM, 400, "the form is corrupt"),
    "no form": (b"hello", FORM, 400, "the form is corrupt"),
    "nothing": (b"", FORM, 400, "the form is corrupt"),
    "no file": (form_of(part(b"", b"photo.jpg")), FORM, 400, "the form holds no file"),
    "nothing in it": (form_of(part(b"", b"")), FORM, 400, "the form holds no file"),
    "no file name and damaged": (form_of(part(b"", b"\x89PNG")), FORM, 415, "file: not an image"),
    "no disposition": (form_of(b"\r\nabc"), FORM, 400, "the form holds no file"),
    "an empty file": (form_of(part(data=b"")), FORM, 422, "a.png: empty"),
    "many parts": (form_of(*[part(data=b"x")] * 65), FORM, 413, "more than 64 parts"),
    "long headers": (
        form_of(b"X-Long: " + b"y" * 10_000 + b"\r\n" + part()), FORM, 400, "form"
    ),
    "many headers": (
        form_of(b"A: b\r\n" * 5000 + part()), FORM, 400, "form"
    ),
    "one bad of two": (
        form_of(part(), part(b'filename="b.txt"', b"hello")), FORM, 415, "b.txt: not an image"
    ),
    "too large": (form_of(part(data=bytes(600_000))), FORM, 413, "the request is larger"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_forms(server, name):
    body, kind, status, words = FORMS[name]
    answer = server.post("/classify", content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]


EXTENDED = "form-data; name=file; filename*="
HEADERS = {
    "plain": ('form-data; name="file"; filename="a.png"', "a.png"),
    "no file name": ('form-data; name="my picture"', "my picture"),
    "no name at all": ("form-data", "picture"),
    "no disposition": ("", "picture"),
    "extended": (EXTENDED + "UTF-8''%e2%82%ac%20rates.png", "€ rates.png"),
    "extended, quoted": (EXTENDED + "\"utf-8'en'na%C3%AFve.png\"", "naïve.png"),
    "extended, Latin 1": (EXTENDED + "iso-8859-1''%a3.png", "£.png"),
    "extended, no charset": (EXTENDED + "no-charset''a.png", "a.png"),
    "extended, no quotes": (EXTENDED + "a.png", "a.png"),
    "both": (f'form-data; name="file"; filename="a.png"; {EXTENDED[22:]}UTF-8\'\'b.png', "a.png"),
    "a path": (EXTENDED + "UTF-8''..%2f..%2fetc%2fpasswd", "passwd"),
    "controls": (EXTENDED + "UTF-8''a%00%1b%5b31m.png", "a[31m.png"),
    "in pieces": ("form-data; name=file; filename*0=a; filename*1=.png", "a.png"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_what_a_part_is_called(server, name):
    disposition, shown = HEADERS[name]
    for data, status in ((encoded(IMAGE), 200), (b"\xff\0 no image", 415)):
        lines = f"Content-Disposition: {disposition}\r\n".encode() if disposition else b"A: b\r\n"
        body = form_of(lines + b"\r\n" + data)
        answer = server.post("/classify", content=body, headers={"content-type": FORM})
        assert answer.status_code == status, answer.text
        if status == 415:
            assert answer.json()["error"] == f"{shown}: not an image."
        else:
            assert len(answer.json()["predictions"]) == 1


def test_a_number_without_end_in_a_name():
    disposition = f"form-data; filename*{'9' * 5000}*=UTF-8''a.png".encode()
    part = intake._Part({b"content-disposition": disposition}, bytearray(b"abc"))
    assert intake._file(part) == ("picture", b"abc")


def test_fields_of_text_are_left_out(server):
    files = [
        ("title", (None, "été")), ("file", ("a.png", encoded(IMAGE))), ("empty", (None, "")),
        ("other", (None, encoded(IMAGE))), ("dark", (None, encoded(0 * IMAGE, "BMP"))),
    ]  # fmt: skip
    answer = server.post("/classify", files=files)
    names = [each["file"] for each in answer.json()["predictions"]]
    assert names == ["a.png", "other", "dark"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd: not an image"),
        ("..\\..\\boot.ini", "boot.ini: not an image"),
        ("/etc/shadow", "shadow: not an image"),
        ("a\x00b\x1b[31m.png", "ab[31m.png: not an image"),
        ("a" * 500 + ".png", "a" * 80 + ": not an image"),
        ("\u202egpj.exe", "gpj.exe: not an image"),
        ("", "picture: not an image"),
        ("con", "con: not an image"),
        ("💣.png", "💣.png: not an image"),
    ],
)
def test_names_with_tricks(server, name, shown):
    disposition = b'filename="' + name.encode() + b'"'
    body = form_of(part(disposition, b"hello"))
    answer = server.post("/classify", content=body, headers={"content-type": FORM})
    assert answer.status_code == 415
    assert answer.json()["error"] == shown + "."


@pytest.mark.parametrize(
    "path",
    [
        "/classify/../../etc/passwd", "/classify/%2e%2e%2fetc", "/v2/models/..%2f..%2fx",
        "/v2/models/%00", "/v2/models/a%0d%0ab", "/classify/" + "x" * 5000, "/v2/models//ready",
        "/v2/models/fake/versions/%3Cscript%3E", "/classify/", "/docs/", "/V2", "/.git/config",
    ],
)  # fmt: skip
def test_paths_with_tricks(server, path):
    for method in ("GET", "POST"):
        answer = server.client.request(method, path)
        assert answer.status_code in (404, 405, 400, 415), (method, answer.status_code)
        assert list(answer.json()) == ["error"]
        assert len(answer.content) < 500


# Below HTTP: bytes on a socket.


def talk(server, *pieces, pause=0.0, half_close=False, seconds=15):
    """What comes back for some bytes."""
    with socket.create_connection((server.host, server.port), timeout=seconds) as connection:
        answer = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                answer += more
        except ConnectionError:
            pass
    return answer


def head(server, *lines, method="POST", path="/classify"):
    host = f"Host: {server.host}:{server.port}"
    return "\r\n".join([f"{method} {path} HTTP/1.1", host, *lines, "", ""]).encode()


PNG = "Content-Type: image/png"


def test_a_length_that_is_too_long(serving):
    with running(serving, body_seconds=0.3) as server:
        answer = talk(server, head(server, PNG, "Content-Length: 5000"), encoded(IMAGE))
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive in time" in answer
        assert b"connection: close" in answer.lower()


def test_a_length_that_is_too_short(server):
    data = encoded(IMAGE)
    request = head(server, PNG, f"Content-Length: {len(data) - 90}", "Connection: close")
    assert talk(server, request, data).startswith(b"HTTP/1.1 422")


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: -1"], ["Content-Length: many"], ["Content-Length: " + "9" * 40],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Transfer-Encoding: gzip"], ["X: " + "y" * 70_000], ["Bad Header: x"],
    ],
)  # fmt: skip
def test_heads_that_are_none(server, lines):
    answer = talk(server, head(server, PNG, "Connection: close", *lines), b"abcde\r\n\r\n")
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 422", b"HTTP/1.1 501",
                           b"HTTP/1.1 415")  # fmt: skip


def test_chunks(server):
    data = encoded(IMAGE)
    chunked = head(server, PNG, "Transfer-Encoding: chunked", "Connection: close")
    pieces = [b"%x\r\n%s\r\n" % (1, data[i : i + 1]) for i in range(len(data))]
    assert talk(server, chunked, *pieces, b"0\r\n\r\n").startswith(b"HTTP/1.1 200")
    both = head(server, PNG, "Content-Length: 5", "Transfer-Encoding: chunked", "Connection: close")
    assert talk(server, both, b"0\r\n\r\n").startswith(b"HTTP/1.1 422")  # the chunks count
    both = head(server, PNG, "Content-Length: 99000000", "Transfer-Encoding: chunked")
    answer = talk(server, both, *pieces, b"0\r\n\r\n", both)
    assert answer.startswith(b"HTTP/1.1 200")  # and nothing else is answered there
    assert (answer.count(b"HTTP/1.1"), answer.count(b"connection: close")) == (1, 1)
    assert talk(server, chunked, b"zz\r\nabc").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        ("/classify", PNG, 413), ("/classify", f"Content-Type: {FORM}", 413),
        ("/v2/models/fake/infer", "Content-Type: application/json", 413),
        ("/classify", "Content-Type: text/html", 415), ("/classify/nobody", PNG, 404),
        ("/v2", PNG, 405),
    ],
)  # fmt: skip
def test_who_asks_whether_to_send_what_is_refused(server, path, kind, status):
    asked = head(server, kind, "Expect: 100-continue", "Content-Length: 700000", path=path)
    since = time.monotonic()
    answer = talk(server, asked)
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert b"connection: close" in answer
    assert time.monotonic() - since < 5


def test_who_asks_whether_to_send_what_is_taken(server):
    data = encoded(IMAGE)
    asked = head(server, PNG, "Expect: 100-continue", f"Content-Length: {len(data)}")
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(asked)
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(data)
            answer = b""
            while not answer.endswith(b"]}]}"):
                answer += connection.recv(5000)
            assert answer.startswith(b"HTTP/1.1 200")


def test_slow_senders(serving, monkeypatch):
    from keras_classics.web import server as module

    monkeypatch.setattr(module._Connection, "head_seconds", 0.3)
    with running(serving, body_seconds=0.4) as server:
        whole = head(server, PNG, "Content-Length: 100")
        letters = [whole[i : i + 1] for i in range(30)]
        assert talk(server, *letters, pause=0.05) == b""  # hung up on, within the head
        body = [b"x"] * 5
        assert talk(server, whole, *body, pause=0.05).startswith(b"HTTP/1.1 408")
        # Meanwhile others are answered.
        stuck = [socket.create_connection((server.host, server.port)) for _ in range(50)]
        for each in stuck:
            each.sendall(whole[:40])
        assert server.classify(IMAGE).status_code == 200
        for each in stuck:
            each.close()


def test_slow_readers(serving, monkeypatch):
    """Who asks and never fetches the answers holds neither a connection nor memory."""
    from keras_classics.web import server as module

    monkeypatch.setattr(module._Connection, "head_seconds", 0.3)
    with running(serving) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((server.host, server.port))
        connection.settimeout(0.5)
        with suppress(OSError):  # it does not take all of them in
            connection.sendall(head(server, method="GET", path="/openapi.json") * 3000)
        time.sleep(2)
        with pytest.raises(ConnectionError):
            while connection.recv(2**20):
                pass
        assert server.classify(IMAGE).status_code == 200


def test_the_time_limit_holds_from_the_head_on(serving):
    with running(serving, timeout=0.4, decoders=1) as server:
        # While the body arrives,
        since = time.monotonic()
        answer = talk(server, head(server, PNG, "Content-Length: 100"), b"x")
        assert answer.startswith(b"HTTP/1.1 408")
        # and while it waits for a thread to be unpacked, taken apart or read.
        infer = {"inputs": [{"name": "file", "shape": [1], "datatype": "BYTES", "data": ["AA"]}]}
        with busy(server):
            for answer in (
                server.post("/classify", files={"file": ("a.png", encoded(IMAGE))}),
                server.post("/v2/models/fake/infer", json=infer),
                server.post(
                    "/classify", content=gzip.compress(encoded(IMAGE)),
                    headers={"content-type": "image/png", "content-encoding": "gzip"},
                ),
            ):  # fmt: skip
                assert answer.status_code == 504
                assert answer.json() == {"error": "not answered within 0.4 s."}
        assert time.monotonic() - since < 8
        until(lambda: server.classify(IMAGE).status_code == 200)


def test_half_open_connections(server):
    data = encoded(IMAGE)
    request = head(server, PNG, f"Content-Length: {len(data)}")
    for sent in (b"", request[:30], request, request + data[:20]):
        assert talk(server, sent, half_close=True) == b""
    for _ in range(100):  # gone without a word
        with socket.create_connection((server.host, server.port)) as connection:
            connection.sendall(request + data[:30])
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    until(lambda: server.classify(IMAGE).status_code == 200)


def test_several_requests_at_once_on_one_connection(server):
    data = encoded(IMAGE)
    one = head(server, PNG, f"Content-Length: {len(data)}") + data
    last = head(server, PNG, f"Content-Length: {len(data)}", "Connection: close") + data
    assert talk(server, one * 5 + last).count(b"HTTP/1.1 200") == 6


def test_bodies_have_no_room_beside_each_other(serving):
    with running(serving, all_bytes=250_000, body_seconds=5) as server:
        data = bytes(200_000)
        request = head(server, PNG, f"Content-Length: {len(data) + 1}")
        with socket.create_connection((server.host, server.port)) as first:
            first.sendall(request + data)
            until(lambda: server.server.desk.room.taken == 200_000)
            answer = server.post("/classify", content=data, headers={"content-type": "image/png"})
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "1"
        until(lambda: server.server.desk.room.taken == 0)
        assert server.classify(IMAGE).status_code == 200


def test_a_body_for_which_there_never_is_room(serving):
    with running(serving, all_bytes=50_000, request_bytes=70_000) as server:
        path = "/v2/models/fake/infer"
        answer = server.post(path, content=bytes(60_000))
        assert answer.status_code == 413
        assert "60,000 bytes; there is no such room" in answer.json()["error"]
        packed = gzip.compress(bytes(60_000))
        answer = server.post(path, content=packed, headers={"content-encoding": "gzip"})
        assert answer.status_code == 413
        assert server.server.desk.room.taken == 0
