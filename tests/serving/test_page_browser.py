"""The page to drop an image on, in a real browser that can reach no other host."""

from __future__ import annotations

import base64
import threading

import numpy as np
import pytest

from explorer.browser import DESKTOP, PHONE, Visit, chromium, open_browser, serious
from serving.fakes import (
    NAMES,
    FakeEngine,
    encoded,
    expected,
    opened,
    pictures,
    running,
)

pytest.importorskip("playwright", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(chromium() is None, reason="no chromium is found")

KEY = "a-key-of-more-than-16"


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(serving):
    with running(serving, opened("ants"), opened("bees", "7", FakeEngine(seed=3))) as server:
        yield server


@pytest.fixture
def visit(browser):
    visits = []

    def visit(server, path="", **options):
        visits.append(Visit(browser, server.address, **options))
        page = visits[-1].page
        page.goto(server.address + path)
        return page

    yield visit
    for one in visits:
        one.close()


def choose(page, image, name="mine.png"):
    file = {"name": name, "mimeType": "image/png", "buffer": encoded(image)}
    page.get_by_label("Choose an image").set_input_files([file])


def shown(page):
    page.get_by_role("region", name="Result").wait_for()
    return page.get_by_role("list").get_by_role("listitem").all_inner_texts()


def wanted(image, seed=0):
    row = expected(image[None], seed)[0]
    return [f"{NAMES[i]}\n{100 * row[i]:.1f} %" for i in np.argsort(-row) if row[i] >= 0.0005]


def test_a_picture_is_chosen(server, visit):
    page = visit(server)
    image = pictures(1)[0]
    choose(page, image)
    found = shown(page)
    assert found[: len(wanted(image))] == wanted(image)
    assert page.get_by_text("mine.png, by ants, version 1").is_visible()
    alt = page.get_by_role("img").get_attribute("alt")
    assert alt == f"The image, called {found[0].splitlines()[0]}"
    assert page.get_by_role("status").inner_text().startswith(found[0].splitlines()[0])


DROP = """([data, kind]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
    const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
        : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
}"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(server, visit, kind):
    page = visit(server)
    image = pictures(1, seed=8)[0]
    page.evaluate(DROP, [base64.b64encode(encoded(image)).decode(), kind])
    assert shown(page)[0] == wanted(image)[0]
    assert page.get_by_text("dropped.png, by ants, version 1").is_visible()


@pytest.mark.slow
def test_another_model_is_chosen(server, visit):
    page = visit(server)
    page.get_by_label("Model").select_option("bees")
    image = pictures(1)[0]
    choose(page, image)
    assert shown(page)[0] == wanted(image, 3)[0]
    assert page.get_by_text("by bees, version 7").is_visible()


@pytest.mark.slow
def test_one_model_needs_no_choice(serving, visit):
    with running(serving) as server:
        page = visit(server)
        choose(page, pictures(1)[0])
        shown(page)
        assert page.get_by_label("Model").is_hidden()


@pytest.mark.slow
def test_what_is_not_sure_enough(server, visit):
    images = pictures(300, seed=3)
    page = visit(server)
    best = expected(images).max(axis=1)
    for image, sure in ((images[best.argmin()], False), (images[best.argmax()], True)):
        choose(page, image)
        shown(page)
        assert page.get_by_text("better not believed").is_visible() is not sure
        assert ("not sure enough" in page.get_by_role("status").inner_text()) is not sure


@pytest.mark.slow
def test_what_is_no_picture(server, visit):
    page = visit(server, expected=("415",))
    file = {"name": "notes<b>.txt", "mimeType": "text/plain", "buffer": b"hello"}
    page.get_by_label("Choose an image").set_input_files([file])
    page.get_by_text("notes<b>.txt: not an image.").wait_for()
    assert page.get_by_role("region", name="Result").is_hidden()
    choose(page, pictures(1)[0])
    assert shown(page)


@pytest.mark.slow
def test_names_of_classes_are_text_and_no_markup(serving, visit):
    names = ("<img src=x onerror=alert(1)>", "b", "c", "d", "e")
    with running(serving, opened(engine=FakeEngine(class_names=names))) as server:
        page = visit(server)
        choose(page, pictures(1)[0], "<script>alert(1)</script>.png")
        assert any(names[0] in line for line in shown(page))
        assert page.locator("img").count() == 1


@pytest.mark.slow
def test_a_later_picture_overtakes_an_earlier_one(serving, visit):
    gate = threading.Event()
    engine = FakeEngine(gate=gate, requests=2)
    first, second = pictures(2)
    with running(serving, opened(engine=engine), batch_size=1) as server:
        page = visit(server)
        choose(page, first, "first.png")
        page.get_by_text("first.png is being looked at").wait_for()
        choose(page, second, "second.png")
        page.get_by_text("second.png is being looked at").wait_for()
        gate.set()
        assert shown(page)[0] == wanted(second)[0]


@pytest.mark.slow
def test_a_key_is_asked_for(serving, visit):
    with running(serving, keys=(KEY,)) as server:
        page = visit(server, expected=("401",))
        choose(page, pictures(1)[0])
        page.get_by_text("an API key is needed").wait_for()
        page.get_by_label("API key").fill(KEY)
        choose(page, pictures(1)[0])
        assert shown(page)
        assert page.evaluate("localStorage.length + sessionStorage.length") == 0


@pytest.mark.slow
def test_by_keyboard(server, visit):
    page = visit(server)
    page.get_by_label("Model").wait_for()  # as soon as the server has said which there are
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "openapi.json"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "model"
    page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    assert chooser.value.element.get_attribute("id") == "file"


@pytest.mark.slow
@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_axe_finds_nothing_serious(server, visit, scheme, size):
    page = visit(server, size=size, scheme=scheme)
    assert not serious(page)
    choose(page, pictures(1)[0])
    shown(page)
    assert not serious(page)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= size[0]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(21, 22, 26)") is (scheme == "dark")
