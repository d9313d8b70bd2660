from __future__ import annotations

import hashlib
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import platformdirs
import pytest

from keras_classics.errors import WeightsError
from keras_classics.weights import download
from keras_classics.weights.download import RemoteFile, cache_folder, cached, fetch
from weights.server import Reply, Server

DATA = random.Random(0).randbytes(10_000)
OTHER = random.Random(1).randbytes(10_000)
FOREIGN = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE")

CHILD = """
import sys
from keras_classics.weights.download import RemoteFile, fetch
print("begin", flush=True)
print(fetch(RemoteFile(sys.argv[1], sys.argv[2])), flush=True)
"""


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """Empty caches, no proxy, and no patience."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))  # no certificates, which take time to read
    monkeypatch.setenv("KERAS_CLASSICS_HOME", str(tmp_path / "ours"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(download, "READ_TIMEOUT", 20.0)
    monkeypatch.setattr(download, "ATTEMPTS", 3)
    monkeypatch.setattr(download, "BACK_OFF", 0.01)
    return tmp_path / "ours"


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def event():
    event = threading.Event()
    yield event
    event.set()  # lets the server's threads end


@pytest.fixture
def slept(monkeypatch):
    """The waits of the downloads, which do not wait, on a clock that stands."""
    waits = []
    clock = SimpleNamespace(sleep=waits.append, time=lambda: 1_000_000_000.0)
    monkeypatch.setattr(download, "time", clock)
    return waits


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def md5(content):
    return f"md5:{hashlib.md5(content).hexdigest()}"


def publish(server, *replies, content=DATA, path="/some/net.h5", size=None):
    """A file with this content, for which the server gives these replies."""
    server.script[path] = [*replies]
    return RemoteFile(server.address + path, sha256(content), size)


def refusal(file):
    """The message with which a file cannot be had; it must help in any case."""
    with pytest.raises(WeightsError) as caught:
        fetch(file)
    message = str(caught.value)
    assert "\n" not in message
    assert file.url in message
    assert f"with a copy of it ({file.identity}) at " in message
    assert str(cache_folder() / "weights") in message
    assert files("*/net.h5") == []
    return message


def files(pattern):
    return sorted((cache_folder() / "weights").glob(pattern))


def ranges(server):
    return [(headers.get("Range"), headers.get("If-Range")) for headers in server.requests]


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def child(file, code=CHILD):
    return subprocess.Popen(
        [sys.executable, "-c", code, file.url, file.digest], stdout=subprocess.PIPE, text=True
    )


# Files and their digests


@pytest.mark.parametrize(
    ("digest", "right"),
    [
        (sha256(DATA), True),
        (sha256(DATA)[: len("sha256:") + 8], True),
        (md5(DATA), True),
        (sha256(OTHER), False),
        (sha256(OTHER)[: len("sha256:") + 8], False),
        (md5(OTHER), False),
        (sha256(DATA)[:-1] + ("0" if sha256(DATA)[-1] != "0" else "1"), False),
    ],
)
def test_a_file_matches_by_digest_or_its_beginning(tmp_path, digest, right):
    path = tmp_path / "x"
    path.write_bytes(DATA)
    assert RemoteFile("https://host/net.h5", digest).matches(path) is right


def test_what_is_no_file_never_matches(tmp_path):
    file = RemoteFile("https://host/net.h5", sha256(b""))
    assert not file.matches(tmp_path / "missing")
    assert not file.matches(tmp_path)


def test_the_file_name_is_the_last_part_of_the_path():
    file = RemoteFile("https://host/a/net-0123abcd.pth?download=1/2#3", sha256(b""))
    assert file.file_name == "net-0123abcd.pth"


@pytest.mark.parametrize(
    "digest", ["", "sha1:" + 40 * "0", "md5:0123abcd", "sha256:0123abc", "sha256:" + 65 * "0"]
)
def test_a_digest_that_identifies_nothing_is_refused(digest):
    with pytest.raises(ValueError, match=f"digest='{digest}'"):
        RemoteFile("https://host/net.h5", digest)


@pytest.mark.parametrize("url", ["https://host", "https://host/", "https://host/a/.."])
def test_an_address_without_a_file_name_is_refused(url):
    with pytest.raises(ValueError, match="name of a file"):
        RemoteFile(url, sha256(b""))


# The caches


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "ours"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_CLASSICS_HOME", "~/mine")
    assert cache_folder() == Path("~/mine").expanduser()
    monkeypatch.setenv("KERAS_CLASSICS_HOME", "")
    system = Path(platformdirs.user_cache_dir("keras-classics", appauthor=False))
    assert cache_folder() == system
    assert system.name == "keras-classics" or system.parent.name == "keras-classics"


OTHER_CACHES = [
    ("KERAS_HOME", "models"),
    ("TORCH_HOME", "hub/checkpoints"),
    ("XDG_CACHE_HOME", "torch/hub/checkpoints"),
]


@pytest.fixture(params=OTHER_CACHES, ids=[variable for variable, _ in OTHER_CACHES])
def place_elsewhere(request, monkeypatch, tmp_path):
    """A file's place in another cache."""
    variable, folder = request.param
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    path = tmp_path / "elsewhere" / folder / "net.h5"
    path.parent.mkdir(parents=True)
    return path


def test_files_of_keras_and_torch_are_used_where_they_lie(server, place_elsewhere):
    file = publish(server, Reply(DATA))
    assert cached(file) is None
    place_elsewhere.write_bytes(DATA)
    assert cached(file) == place_elsewhere
    assert fetch(file) == place_elsewhere
    assert server.requests == []
    assert files("*") == []


def test_another_file_of_the_same_name_there_is_ignored_and_left(server, place_elsewhere):
    file = publish(server, Reply(DATA))
    place_elsewhere.write_bytes(OTHER)
    assert cached(file) is None
    assert fetch(file).read_bytes() == DATA
    assert place_elsewhere.read_bytes() == OTHER


def test_keras_and_torch_put_their_files_where_we_look(monkeypatch, tmp_path):
    for name in ("KERAS_HOME", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    net = tmp_path / "net.h5"
    net.write_bytes(DATA)
    code = """
import sys
import keras
import torch
print(keras.utils.get_file("k.h5", sys.argv[1], cache_subdir="models"))
print(torch.hub.get_dir())
"""
    with child(RemoteFile(net.as_uri(), sha256(DATA)), code) as process:
        path, hub = process.communicate(timeout=60)[0].splitlines()[-2:]
    assert process.returncode == 0
    assert cached(RemoteFile("https://host/k.h5", sha256(DATA))) == Path(path)
    checkpoint = Path(hub, "checkpoints", "t.pth")
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(DATA)
    assert cached(RemoteFile("https://host/t.pth", sha256(DATA))) == checkpoint


def test_two_files_of_the_same_name_do_not_clash(server):
    first = publish(server, Reply(DATA), path="/one/net.h5")
    second = publish(server, Reply(OTHER), content=OTHER, path="/two/net.h5")
    paths = [fetch(first), fetch(second)]
    assert [path.name for path in paths] == ["net.h5", "net.h5"]
    assert [path.read_bytes() for path in paths] == [DATA, OTHER]
    assert [cached(first), cached(second)] == paths


def test_a_damaged_file_in_the_cache_is_replaced(server):
    file = publish(server, Reply(DATA))
    path = fetch(file)
    path.write_bytes(DATA[:-1])
    assert cached(file) is None
    assert fetch(file) == path
    assert path.read_bytes() == DATA


def test_a_file_put_there_by_hand_is_accepted(server):
    file = publish(server, Reply(status=404))
    message = refusal(file)
    assert "another file" not in message
    path = Path(re.search(r" at (\S+) no download is needed", message)[1])
    path.write_bytes(OTHER)
    with pytest.raises(WeightsError, match=r"net\.h5 \(what lies there now is another file\) no"):
        fetch(file)
    path.write_bytes(DATA)
    before = len(server.requests)
    assert fetch(file) == path
    assert len(server.requests) == before


# Downloads that go well


@pytest.mark.parametrize("digest", [sha256, md5])
@pytest.mark.parametrize("size", [None, len(DATA)])
def test_a_download_reports_its_progress_and_happens_once(server, digest, size):
    server.script["/net.h5"] = [Reply(DATA, length=size is None)]
    file = RemoteFile(f"{server.address}/net.h5", digest(DATA), size)
    seen = []
    path = fetch(file, progress=lambda *now: seen.append(now))
    assert path.read_bytes() == DATA
    assert path.name == "net.h5"
    assert path.is_relative_to(cache_folder() / "weights")
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {len(DATA)}
    assert seen[-1] == (len(DATA), len(DATA))
    assert fetch(file) == path
    assert len(server.requests) == 1
    assert ranges(server) == [(None, None)]
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert files("*/*.partial") == files("*/*.validator") == []


def test_a_length_that_nobody_tells_is_reported_as_unknown(server):
    seen = []
    fetch(publish(server, Reply(DATA, length=False)), progress=lambda *now: seen.append(now))
    assert seen[-1] == (len(DATA), None)


def test_a_redirect_is_followed(server):
    publish(server, Reply(DATA), path="/there")
    file = publish(server, Reply(status=302, headers={"Location": "/there"}))
    assert fetch(file).read_bytes() == DATA
    assert len(server.requests) == 2


def test_a_slow_server_is_borne_with(server, monkeypatch):
    monkeypatch.setattr(download, "READ_TIMEOUT", 1.0)
    file = publish(server, Reply(DATA, pause=0.15))  # longer in all than the timeout
    assert fetch(file).read_bytes() == DATA
    assert len(server.requests) == 1


def test_the_proxy_of_the_environment_is_used(server, monkeypatch):
    publish(server, Reply(DATA), path="/net.h5")
    monkeypatch.setenv("HTTP_PROXY", server.address)
    assert fetch(RemoteFile("http://localhost:9/net.h5", sha256(DATA))).read_bytes() == DATA
    assert server.requests[0]["Host"] == "localhost:9"


# Downloads that break off


def test_a_download_goes_on_where_the_connection_broke(server):
    file = publish(server, Reply(DATA, cut=6000), Reply(DATA))
    seen = []
    assert fetch(file, progress=lambda *now: seen.append(now)).read_bytes() == DATA
    assert ranges(server) == [(None, None), ("bytes=6000-", '"v1"')]
    assert seen == sorted(seen)
    assert seen[-1] == (len(DATA), len(DATA))


def test_only_attempts_that_bring_nothing_are_counted(server):
    file = publish(server, *(Reply(DATA, cut=cut) for cut in range(1000, 10_001, 1000)))
    assert fetch(file).read_bytes() == DATA
    assert len(server.requests) == 10 > download.ATTEMPTS


def test_a_body_without_length_that_ends_early_goes_on_where_the_size_is_known(server):
    replies = Reply(DATA, length=False, cut=6000), Reply(DATA)
    assert fetch(publish(server, *replies, size=len(DATA))).read_bytes() == DATA
    assert ranges(server)[1] == ("bytes=6000-", '"v1"')


def test_answers_that_bring_a_part_of_what_is_missing_are_joined(server):
    file = publish(server, Reply(DATA, cut=1000), Reply(DATA, longest=3000))
    assert fetch(file).read_bytes() == DATA
    assert [asked for asked, _ in ranges(server)[1:]] == [
        "bytes=1000-",
        "bytes=4000-",
        "bytes=7000-",
    ]


@pytest.mark.parametrize(
    ("etag", "modified", "validator"),
    [
        ('"strong"', "Mon, 01 Jan 2024 00:00:00 GMT", '"strong"'),
        ('W/"weak"', "Mon, 01 Jan 2024 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 GMT"),
        (None, "Mon, 01 Jan 2024 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ('W/"weak"', None, None),
        (None, None, None),
        ('"\xfcmlaut"', None, None),
    ],
)
def test_a_range_is_asked_for_only_with_a_strong_validator(server, etag, modified, validator):
    headers = {"Last-Modified": modified} if modified else {}
    whole = Reply(DATA, etag=etag, headers=headers)
    file = publish(server, Reply(DATA, etag=etag, headers=headers, cut=6000), whole)
    assert fetch(file).read_bytes() == DATA
    assert ranges(server)[1] == ("bytes=6000-" if validator else None, validator)


def test_a_server_that_ignores_ranges_sends_all_again(server):
    file = publish(server, Reply(DATA, cut=6000), Reply(DATA, ranges=False))
    assert fetch(file).read_bytes() == DATA
    assert len(server.requests) == 2


def test_a_whole_file_with_a_range_in_its_headers_is_a_whole_file(server):
    stray = Reply(DATA, status=200, headers={"Content-Range": "bytes 6000-9999/10000"})
    assert fetch(publish(server, Reply(DATA, cut=6000), stray)).read_bytes() == DATA
    assert len(server.requests) == 2


def test_a_changed_file_is_downloaded_from_the_beginning(server):
    replies = Reply(OTHER, cut=6000), Reply(DATA, etag='"v2"')
    assert fetch(publish(server, *replies)).read_bytes() == DATA
    assert ranges(server) == [(None, None), ("bytes=6000-", '"v1"')]


@pytest.mark.parametrize(
    "odd",
    [
        Reply(status=416, headers={"Content-Range": "bytes */10000"}),
        Reply(DATA[5000:], status=206, headers={"Content-Range": "bytes 5000-9999/10000"}),
        Reply(DATA[6000:], status=206, headers={"Content-Range": "6000-"}),
        Reply(DATA[6000:], status=206),
    ],
    ids=["416", "another range", "malformed", "missing"],
)
def test_after_a_refused_or_a_wrong_range_it_begins_again(server, odd):
    file = publish(server, Reply(DATA, cut=6000), odd, Reply(DATA))
    seen = []
    assert fetch(file, progress=lambda now, _: seen.append(now)).read_bytes() == DATA
    assert max(seen) == len(DATA)  # nothing was appended that does not belong there
    assert ranges(server) == [(None, None), ("bytes=6000-", '"v1"'), (None, None)]


@pytest.mark.parametrize("reply", [Reply(DATA, cut=6000), Reply(DATA, cut=6000, ranges=False)])
def test_a_download_that_always_ends_at_one_byte_is_given_up_and_kept(server, reply):
    file = publish(server, reply)
    message = refusal(file)
    assert "truncated after 6,000 of 10,000 bytes" in message
    assert len(server.requests) == 1 + download.ATTEMPTS
    [partial] = files("*/*.partial")
    assert partial.read_bytes() == DATA[:6000]
    server.script["/some/net.h5"] = [Reply(DATA)]
    assert fetch(file).read_bytes() == DATA
    assert ranges(server)[-1] == ("bytes=6000-", '"v1"')


def test_a_server_that_begins_again_and_again_is_given_up(server):
    longer, shorter = (Reply(DATA, cut=cut, ranges=False) for cut in (6000, 3000))
    assert "truncated" in refusal(publish(server, *[longer, shorter] * 9, Reply(DATA)))
    assert len(server.requests) == 1 + download.ATTEMPTS


def test_a_stalled_server_is_given_up(server, monkeypatch, event):
    monkeypatch.setattr(download, "READ_TIMEOUT", 0.3)
    file = publish(server, Reply(DATA, cut=6000, hold=event))
    message = refusal(file)
    assert "nothing came for 0.3 s" in message
    assert len(server.requests) >= download.ATTEMPTS


def test_an_interrupt_keeps_what_has_arrived(server):
    def interrupt(*_):
        raise KeyboardInterrupt

    file = publish(server, Reply(DATA))
    with pytest.raises(KeyboardInterrupt):
        fetch(file, progress=interrupt)
    [partial] = files("*/*.partial")
    begun = partial.read_bytes()
    assert begun
    assert DATA.startswith(begun)
    partial.write_bytes(DATA[:6000])  # however much one read brought
    assert fetch(file).read_bytes() == DATA
    assert ranges(server)[1] == ("bytes=6000-", '"v1"')


@pytest.mark.parametrize("note", [b"\0\0\0", b"\xff", b'"v1"\r\nX: y', b""])
def test_a_torn_note_of_the_validator_means_to_begin_again(server, note):
    file = publish(server, Reply(DATA, cut=6000))
    refusal(file)
    [path] = files("*/*.validator")
    path.write_bytes(note)
    server.script["/some/net.h5"] = [Reply(DATA)]
    assert fetch(file).read_bytes() == DATA
    assert ranges(server)[-1] == (None, None)


def test_what_was_whole_but_not_yet_in_place_needs_no_request(server):
    file = publish(server, Reply(DATA))
    path = fetch(file)
    path.rename(path.with_name(f"{path.name}.partial"))
    assert fetch(file) == path
    assert path.read_bytes() == DATA
    assert len(server.requests) == 1


# Bytes that are wrong


def test_where_no_hash_is_published_the_size_is_checked(server):
    server.script["/file.h5"] = [Reply(DATA), Reply(DATA[1:])]
    url = f"{server.address}/file.h5"
    path = fetch(RemoteFile(url, "", len(DATA)))
    assert path.read_bytes() == DATA
    assert path.parent.name == "no-hash"
    path.unlink()
    message = refusal(RemoteFile(url, "", len(DATA)))
    assert "wrong size: 9,999 bytes with sha256:" in message
    assert "arrived, not 10,000 bytes; with a copy of it (10,000 bytes) at " in message
    assert not path.exists()


def test_wrong_bytes_never_come_into_place(server):
    file = publish(server, Reply(OTHER))
    message = refusal(file)
    assert f"wrong hash: 10,000 bytes with {sha256(OTHER)} arrived, not {file.digest}" in message
    assert len(server.requests) == 1
    assert files("*/*.partial") == files("*/*.validator") == []


def corrupt_partial(server, file):
    server.script["/some/net.h5"] = [Reply(DATA, cut=6000)]
    refusal(file)
    [partial] = files("*/*.partial")
    partial.write_bytes(OTHER[:6000])
    server.requests.clear()


def test_a_corrupt_beginning_is_downloaded_again(server):
    file = publish(server)
    corrupt_partial(server, file)
    server.script["/some/net.h5"] = [Reply(DATA)]
    assert fetch(file).read_bytes() == DATA
    assert ranges(server) == [("bytes=6000-", '"v1"'), (None, None)]


def test_wrong_bytes_after_a_corrupt_beginning_are_refused(server):
    file = publish(server)
    corrupt_partial(server, file)
    server.script["/some/net.h5"] = [Reply(OTHER)]
    assert "wrong hash" in refusal(file)
    assert ranges(server) == [("bytes=6000-", '"v1"'), (None, None)]
    assert files("*/*.partial") == []


def test_pieces_that_never_fit_are_tried_twice(server):
    pieces = [Reply(OTHER, cut=6000), Reply(DATA)]
    assert "wrong hash" in refusal(publish(server, *pieces * 3))
    assert [asked for asked, _ in ranges(server)] == [None, "bytes=6000-"] * 2


# Refusals of servers, of the network and of the disk


@pytest.mark.parametrize("status", [404, 403, 410, 416, 204, 206])
def test_a_refusal_is_not_asked_for_twice(server, status):
    assert f"HTTP {status}" in refusal(publish(server, Reply(status=status)))
    assert len(server.requests) == 1


def test_a_server_in_trouble_is_asked_again(server):
    file = publish(server, Reply(status=503), Reply(status=500), Reply(DATA))
    assert fetch(file).read_bytes() == DATA
    assert len(server.requests) == 3


def test_a_server_that_stays_in_trouble_is_given_up(server, slept):
    assert "HTTP 503" in refusal(publish(server, Reply(status=503)))
    assert len(server.requests) == download.ATTEMPTS
    assert slept == [0.01, 0.02]  # and not once more before the error


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        ("7", 7),
        (formatdate(1_000_000_007, usegmt=True), 7),
        (formatdate(999_999_999, usegmt=True), 0.01),
        ("soon", 0.01),
        ("0", 0.01),
    ],
)
def test_the_wait_that_a_server_asks_for_is_kept(server, slept, asked, waited):
    file = publish(server, Reply(status=429, headers={"Retry-After": asked}), Reply(DATA))
    assert fetch(file).read_bytes() == DATA
    assert slept == [waited]


def test_a_server_that_asks_for_too_long_a_wait_is_quoted(server, slept):
    file = publish(server, Reply(status=429, headers={"Retry-After": "3600"}), Reply(DATA))
    assert "HTTP 429, and the server asks to wait 3600 s" in refusal(file)
    assert len(server.requests) == 1
    assert slept == []


def test_endless_redirects_end(server):
    file = publish(server, Reply(status=302, headers={"Location": "/some/net.h5"}))
    assert "redirects" in refusal(file)


@pytest.mark.parametrize("host", ["example.invalid", "127.0.0.1.example.invalid", "10.0.0.1"])
def test_http_to_another_machine_is_refused_without_a_request(server, monkeypatch, host):
    publish(server, Reply(DATA), path="/net.h5")
    monkeypatch.setenv("HTTP_PROXY", server.address)  # where a request would be seen
    file = RemoteFile(f"http://{host}/net.h5", sha256(DATA))
    assert f"http://{host}/net.h5 is not https" in refusal(file)
    assert server.requests == []


def test_a_redirect_to_http_on_another_machine_is_refused(server, monkeypatch):
    publish(server, Reply(DATA), path="/there")
    target = "http://example.invalid/there"
    file = publish(server, Reply(status=302, headers={"Location": target}))
    monkeypatch.setenv("HTTP_PROXY", server.address)
    assert f"{target} is not https" in refusal(file)
    assert len(server.requests) == 1


def test_without_a_connection_the_message_says_offline():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for host in ("http://127.0.0.1", "http://localhost", "http://[::1]", "https://127.0.0.1"):
        message = refusal(RemoteFile(f"{host}:{port}/net.h5", sha256(DATA)))
        assert "no connection, is this machine offline?" in message


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HTTPS_PROXY", "nonsense://host"), ("SSL_CERT_FILE", __file__)],
)
def test_a_wrong_variable_is_blamed(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert "a variable for proxy or certificates is wrong" in refusal(
        RemoteFile("https://127.0.0.1:9/net.h5", sha256(DATA))
    )


def test_a_cache_that_cannot_be_written_is_told(server, home):
    home.write_text("in the way")
    message = refusal(publish(server, Reply(DATA)))
    assert "cannot write in the cache" in message
    assert "KERAS_CLASSICS_HOME" in message
    assert server.requests == []


def test_a_reason_of_several_lines_becomes_one(server, monkeypatch):
    def broken(_):
        raise OSError(5, "two\nlines")

    monkeypatch.setattr(download, "FileLock", broken)
    assert "two lines" in refusal(publish(server, Reply(DATA)))


def test_a_disk_that_takes_no_more_is_told(server):
    pytest.importorskip("resource")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    caught = CHILD.replace("print(fetch", "try: print(fetch") + "except ValueError as e: print(e)"
    file = publish(server, Reply(DATA))
    with child(file, limited + caught) as process:
        _, message, *more = process.communicate(timeout=30)[0].splitlines()
    assert process.returncode == 0
    assert "cannot write in the cache (File too large;" in message
    assert more == []
    assert files("*/net.h5") == []
    assert fetch(file).read_bytes() == DATA


# Several processes


def test_processes_at_once_download_once(server, event):
    file = publish(server, Reply(DATA, cut=6000, hold=event), Reply(DATA))
    processes = [child(file) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == ["begin\n"] * 4
    wait_for(lambda: files("*/*.partial"))
    time.sleep(0.3)  # for those that do not wait for the first to betray themselves
    assert len(server.requests) == 1
    event.set()
    paths = {process.communicate(timeout=30)[0].strip() for process in processes}
    assert {process.returncode for process in processes} == {0}
    [path] = paths
    assert Path(path).read_bytes() == DATA
    assert ranges(server) == [(None, None), ("bytes=6000-", '"v1"')]


def test_after_a_killed_process_the_next_goes_on(server, event):
    file = publish(server, Reply(DATA, cut=9000, hold=event), Reply(DATA))
    with child(file) as process:
        wait_for(lambda: any(path.stat().st_size for path in files("*/*.partial")))
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    assert process.returncode != 0
    [partial] = files("*/*.partial")
    assert DATA.startswith(partial.read_bytes())
    size = partial.stat().st_size
    assert fetch(file).read_bytes() == DATA
    assert ranges(server) == [(None, None), (f"bytes={size}-", '"v1"')]
