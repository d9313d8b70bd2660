"""Latencies of the network explorer over real HTTP on this machine: the first time, and later.

    python benchmarks/explorer.py [--network resnet50] [--size 224] [--repeats 5]

"first" is on a picture that the server has not yet seen; "new layer" and "new cut" ask something
else about it, "again" the same once more. Milliseconds from the request to the last byte, medians.
Where playwright and a chromium are installed, the page is timed in it, too: the first request of
all is the browser's, which runs before the network is built.
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
from contextlib import contextmanager, nullcontext
from typing import Any

import cv2
import httpx
import numpy as np
import uvicorn

from keras_classics.explorer.application import application
from keras_classics.explorer.models import Models, random_network
from keras_classics.explorer.samples import samples
from keras_classics.web.server import Server, address_of, listen, serve

VIEWPORT = {"width": 1440, "height": 900}


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

    with browsing() as browser:
        since = time.perf_counter()
        held = random_network(options.network, size=options.size)
        built = time.perf_counter()
        show(f"{options.network} at {held.shape.size[0]} pixels: built in {built - since:.1f} s")
        app = application(Models([held]), samples([held]))
        with serving(app) as address, httpx.Client(base_url=address, timeout=120) as client:
            if browser:
                seen = first_view(browser, address) - built
                show(f"from the built model to the drawing in chromium, cold: {seen:.2f} s")
                since = time.perf_counter()
                seen = first_view(browser, address) - since
                show(f"the same page anew: {seen:.2f} s")
            client.post("/api/predict", json={"model": held.id, "picture": "rings"})  # warm
            if browser:
                blocks_in_the_page(browser, address, client, held)
            measure(client, held, options.repeats)


def browsing() -> Any:
    """A browser that is already running, or None."""
    chromium = shutil.which("chromium")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        return nullcontext()
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    @contextmanager
    def running() -> Any:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            browser.new_page().close()  # its processes run, too
            try:
                yield browser
            finally:
                browser.close()

    return running()


def first_view(browser: Any, address: str) -> float:
    """The moment at which the drawing is on the screen."""
    page = browser.new_page(viewport=VIEWPORT)
    page.goto(address)
    page.locator(".paper g.node").first.wait_for()
    seen = time.perf_counter()
    page.close()
    return seen


# Two frames after the large map is there, it is painted.
CHOOSE = """([name, end]) => new Promise(resolve => {
    const block = document.querySelector(`.paper g.node[data-name="${name}"]`);
    const since = performance.now();
    block.dispatchEvent(new MouseEvent("click", {bubbles: true}));
    const look = () => document.querySelector(`.map[aria-label*=" of ${end},"]`)
        ? requestAnimationFrame(() => resolve(performance.now() - since))
        : requestAnimationFrame(look);
    look();
})"""


def blocks_in_the_page(browser: Any, address: str, client: httpx.Client, held: Any) -> None:
    """From a click on a block to its feature maps on the screen, once for each block."""
    graph = client.get(f"/api/models/{held.id}/graph").json()
    ends = {block["name"]: block["end"] for block in graph["blocks"][1:]}
    page = browser.new_page(viewport=VIEWPORT)
    page.goto(f"{address}#level=blocks&repeats=1")
    page.locator(".map").wait_for()
    page.wait_for_load_state("networkidle")
    drawn = page.locator(".paper g.node[data-block='1']").evaluate_all(
        "all => all.map(one => one.dataset.name)"
    )
    shown = page.locator(".paper g.node.chosen").first.get_attribute("data-name")
    names = [name for name in drawn if held.probe.is_map(name) and name != shown]
    times = [page.evaluate(CHOOSE, [name, ends[name]]) for name in names]
    show(
        f"from choosing a block to its feature maps in chromium, {len(times)} blocks: "
        f"{statistics.median(times):.0f} ms, slowest {max(times):.0f} ms"
    )
    page.close()


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
    servers: list[Server] = []

    def server_of(config: uvicorn.Config, begun: Callable[[], None] | None) -> Server:
        servers.append(Server(config, begun))
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
