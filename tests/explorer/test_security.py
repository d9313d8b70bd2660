from __future__ import annotations

import pytest

from keras_classics.web.security import Guard, is_loopback

OTHERS = ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.5", "0.0.0.0", "")


def test_only_the_server_s_own_names(server):
    port = server.client.base_url.port
    for name in ("localhost", "127.0.0.1", "[::1]", "LocalHost"):
        server.get("/api/models", headers={"Host": f"{name}:{port}"})
    for name in OTHERS:
        for path in ("/api/models", "/", "/assets/x.js"):
            message = server.get(path, headers={"Host": f"{name}:{port}"}, status=403)
            assert "open the address it printed" in message
    for host in ("localhost", f"localhost:{port + 1}", f"localhost:{port}.evil.example"):
        server.get("/api/models", headers={"Host": host}, status=403)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://{host}", "http://{host}.evil.example", ""]
)
def test_other_sites_change_nothing(server, held, origin):
    host = server.client.base_url.netloc.decode()
    headers = {"Origin": origin.format(host=host)}
    for path, body in (
        ("/api/predict", {"model": held[0].id, "picture": "flower"}),
        ("/api/models", {"network": "vgg16"}),
    ):
        message = server.post(path, body, headers=headers, status=403)
        assert "only this server's own page may ask" in message
    server.post("/api/pictures", content=b"x", headers=headers, status=403)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_learn_nothing(server, held, site):
    headers = {"Sec-Fetch-Site": site}
    server.get("/api/models", headers=headers, status=403)
    server.get(f"/api/models/{held[0].id}/drawing.svg", headers=headers, status=403)
    request = {"model": held[0].id, "picture": "flower"}
    server.post("/api/predict", request, headers=headers, status=403)
    # A link to the page from elsewhere is fine.
    assert server.client.get("/", headers=headers).status_code in (200, 503)


def test_the_page_itself_may_ask(server, held):
    host = server.client.base_url.netloc.decode()
    headers = {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    request = {"model": held[0].id, "picture": "flower"}
    server.post("/api/predict", request, headers=headers)
    server.get("/api/models", headers={"Sec-Fetch-Site": "none"})  # typed into the address line


@pytest.mark.parametrize("path", ["/", "/api/models", "/api/nowhere", "/nowhere"])
def test_every_answer_has_its_headers(server, path):
    headers = server.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_a_refusal_has_its_headers_too(server):
    headers = server.client.get("/", headers={"Host": "evil.example"}).headers
    assert headers["x-content-type-options"] == "nosniff"


def test_a_drawing_can_ask_for_nothing(server, held):
    policy = server.client.get(f"/api/models/{held[0].id}/drawing.svg?level=stages").headers[
        "content-security-policy"
    ]
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/../../pyproject.toml",
        "/%2e%2e/%2e%2e/pyproject.toml",
        "/assets/..%2f..%2f..%2f__init__.py",
        "/assets/../../application.py",
        "//etc/passwd",
        "/%00",
        "/..%5c..%5capplication.py",
        "/application.py",
    ],
)
def test_no_way_out_of_the_page(server, path):
    import socket

    url = server.client.base_url
    with socket.create_connection((url.host, url.port)) as connection:
        connection.settimeout(10)
        host = url.netloc.decode()
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert b"import" not in answer


def refused(host, port=80, listens="127.0.0.1", **headers):
    from starlette.datastructures import Headers

    guard = Guard(None, host=listens)
    scope = {"server": (listens, port)}
    return guard._refusal("GET", "/", Headers({"host": host, **headers}), scope)


def test_names_where_it_listens_elsewhere():
    assert refused("192.168.0.7:8420", 8420, "192.168.0.7") is None
    assert refused("localhost:8420", 8420, "192.168.0.7") is None
    assert refused("[fe80::1]:8420", 8420, "::") is None
    assert refused("192.168.0.9:8420", 8420, "0.0.0.0") is None
    assert refused("evil.example:8420", 8420, "0.0.0.0") is not None
    assert refused("[::1]:8420", 8420, "::1") is None
    assert refused("192.168.0.9:8420", 8420) is not None
    assert refused("localhost") is None  # port 80 is not said


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("192.168.0.7", False),
        ("example.org", False),
        ("::", False),
    ],
)
def test_which_hosts_are_this_machine_alone(host, own):
    assert is_loopback(host) is own


def test_behind_a_proxy_any_name_will_do():
    from starlette.datastructures import Headers

    guard = Guard(None, host="0.0.0.0", own_use=("/v2",), any_name=True)
    scope = {"server": ("0.0.0.0", 8000)}

    def refusal(path="/v2", **headers):
        return guard._refusal("POST", path, Headers({"host": "a.example", **headers}), scope)

    assert refusal() is None
    assert refusal(origin="https://a.example") is None
    assert "only this server's own page" in refusal(origin="https://b.example")
    assert "another site" in refusal(**{"sec-fetch-site": "cross-site"})
    assert refusal("/docs", **{"sec-fetch-site": "cross-site"}) is None
