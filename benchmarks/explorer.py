"""Latencies of the network explorer over real HTTP on this machine: the first time, and later.

    python benchmarks/explorer.py [--network resnet50] [--size 224] [--repeats 5]

"first" is on a picture that the server has not yet seen; "new layer" and "new cut" ask something
else about it, "again" the same once more. Milliseconds from the request to the last byte, medians.
Where playwright and a chromium are installed, the page's first view is timed in it, too.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import cv2
import httpx
import numpy as np
import uvicorn

from keras_classics.explorer.application import application
from keras_classics.explorer.models import Models, random_network
from keras_classics.explorer.samples import samples
from keras_classics.web.server import address_of, listen, serve


def show(line: str) -> None:
    """A line of the table."""
    sys.stdout.write(f"{line}\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--size", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    since = time.perf_counter()
    held = random_network(options.network, size=options.size)
    built = time.perf_counter() - since
    since = time.perf_counter()
    app = application(Models([held]), samples([held]))
    with serving(app) as address, httpx.Client(base_url=address, timeout=120) as client:
        client.get("/").read()
        assert client.get("/api/models").status_code == 200
        assert client.get(f"/api/models/{held.id}/graph").status_code == 200
        drawing = f"/api/models/{held.id}/drawing.svg?level=stages&standalone=0"
        assert client.get(drawing).status_code == 200
        view = time.perf_counter() - since
        show(
            f"{options.network} at {held.shape.size[0]} pixels: built in {built:.1f} s; "
            f"samples, server, page, graph and drawing {view:.2f} s later"
        )
        first_view(address)
        client.post("/api/predict", json={"model": held.id, "picture": "rings"})  # warm
        measure(client, held, options.repeats)


def first_view(address: str) -> None:
    """From the address to the drawing on the screen, in a browser that is already running."""
    chromium = shutil.which("chromium")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        since = time.perf_counter()
        page.goto(address)
        page.locator("svg g.node").first.wait_for()
        show(f"first view in chromium: {time.perf_counter() - since:.2f} s")
        browser.close()


def measure(client: httpx.Client, held: Any, repeats: int) -> None:
    """A row for each kind of question."""
    graph = client.get(f"/api/models/{held.id}/graph").json()
    layers = [each["name"] for each in graph["layers"]]
    merges = [each for each in graph["layers"] if len(each["inputs"]) > 1]
    maps = [name for name in layers if held.probe.is_map(name) and name != held.probe.input]
    blocks = [each["name"] for each in graph["blocks"][1:] if held.probe.is_map(each["name"])]

    def ask(path: str, picture: str, **more: Any) -> float:
        message = {"model": held.id, "picture": picture, **more}
        since = time.perf_counter()
        answer = client.post(path, json=message)
        assert answer.status_code == 200, answer.text
        return 1000 * (time.perf_counter() - since)

    def new_picture(number: int) -> str:
        rng = np.random.default_rng(number)
        _, data = cv2.imencode(".png", rng.integers(0, 256, (320, 320, 3)).astype(np.uint8))
        picture: str = client.post("/api/pictures", content=bytes(data)).json()["id"]
        return picture

    numbers = iter(range(10_000))
    rows: list[tuple[str, Callable[[str], float]]] = [
        ("predict, new picture", lambda _: ask("/api/predict", new_picture(next(numbers)))),
        ("feature maps, new picture",
         lambda _: ask("/api/maps", new_picture(next(numbers)), layer=maps[len(maps) // 2])),
        ("feature maps, new layer", lambda p: ask("/api/maps", p, layer=maps[next(numbers)])),
        ("feature maps, again", lambda p: ask("/api/maps", p, layer=maps[0])),
        ("CAM of all outer blocks, new class",
         lambda p: ask("/api/cam", p, class_index=next(numbers))),
        (f"CAM of all {len(blocks[:64])} blocks, new class",
         lambda p: ask("/api/cam", p, class_index=next(numbers), layers=blocks[:64])),
        ("CAM beside its control, new class",
         lambda p: ask("/api/cam", p, class_index=next(numbers), control=True)),
        ("CAM, again", lambda p: ask("/api/cam", p, class_index=0)),
        ("deletion and insertion, new class",
         lambda p: ask("/api/curves", p, layer=held.probe.ends[-1], class_index=next(numbers))),
    ]  # fmt: skip
    if merges:

        def cut(p: str) -> float:
            one = {"layer": merges[next(numbers) % len(merges)]["name"], "operand": 0}
            return ask("/api/predict", p, cuts=[one])

        rows += [
            ("ledger, after a prediction", lambda p: ask("/api/ledger", p)),
            ("predict with a new cut", cut),
        ]
    show(f"{'':42}{'median':>9}{'slowest':>9}  ms")
    for name, question in rows:
        numbers = iter(range(10_000))
        picture = new_picture(12_345)
        ask("/api/predict", picture)
        times = [question(picture) for _ in range(repeats)]
        show(f"{name:42}{statistics.median(times):9.0f}{max(times):9.0f}")


@contextmanager
def serving(app: Any) -> Any:
    """The address of a server in a thread."""
    servers: list[uvicorn.Server] = []

    def server_of(config: uvicorn.Config) -> uvicorn.Server:
        servers.append(uvicorn.Server(config))
        return servers[0]

    ready = threading.Event()
    with listen("127.0.0.1", 0) as listening:
        kwargs = {"started": ready.set, "server_of": server_of}
        thread = threading.Thread(target=serve, args=(app, listening), kwargs=kwargs)
        thread.start()
        ready.wait()
        try:
            yield address_of(listening, "127.0.0.1")
        finally:
            servers[0].should_exit = True
            thread.join()


if __name__ == "__main__":
    main()
