"""A real browser for the tests of the page, which lets it ask no host but its own."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from urllib.parse import urlsplit

DESKTOP, PHONE = (1440, 900), (390, 844)


def chromium():
    """Where a chromium is, or None."""
    named = os.environ.get("CHROMIUM")
    found = (
        [named] if named else map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    )
    path = next(filter(None, found), None)
    # Without this, a machine that lost its browser would pass all tests of the page unseen.
    assert path or not os.environ.get("NEEDS_BROWSER"), "no chromium is found"
    return path


@contextmanager
def open_browser():
    """A headless browser, whose resolver knows no name but this machine's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A visit to the page: what it asked of whom, and what went wrong in it."""

    def __init__(self, browser, address, *, size=DESKTOP, scheme="light", touch=False, expected=()):
        self.address = address
        self.expected = expected  # words of errors that the test provokes
        self.foreign, self.errors = [], []
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",
            has_touch=touch,
            is_mobile=touch,
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.context.set_default_timeout(10_000)
        self.context.on("request", self._note)
        self.context.route(lambda url: not self._own(url), lambda route: route.abort())
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        # Who listens only when it is about to open may be too late: it opens unseen.
        self.page.on("filechooser", lambda _: None)

    def _own(self, url):
        parts = urlsplit(url)
        return parts.scheme in {"blob", "data"} or url.startswith(self.address)

    def _note(self, request):
        if not self._own(request.url):
            self.foreign.append(request.url)

    def _hear(self, message):
        if message.type == "error" and not any(word in message.text for word in self.expected):
            self.errors.append(message.text)

    def go(self, state=""):
        """Open the page at a state, and wait for its drawing."""
        self.page.goto(self.address + state)
        self.page.get_by_role("group", name="Drawing of").wait_for()
        return self.page

    def close(self):
        """End the visit; nothing may have gone wrong, and nobody else been asked."""
        self.context.close()
        assert self.foreign == [], self.foreign
        assert self.errors == [], self.errors


def tab(page, name):
    """Go to a tab, and give its panel."""
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel", name=name)


def top_classes(page, name):
    """The classes of a list, the most probable first, with their probabilities."""
    items = page.get_by_role("list", name=name).get_by_role("listitem")
    items.first.wait_for()
    settled(page)
    return items.all_inner_texts()


def settled(page):
    """Wait until every question of the page is answered."""
    page.wait_for_function("() => !document.querySelector('[role=tabpanel] [aria-busy=true]')")


def focused(page):
    """The name by which the element with the focus calls itself."""
    return page.evaluate(
        """() => {
            const one = document.activeElement;
            if (one === document.body) return "";
            return one.getAttribute("aria-label") ?? one.labels?.[0]?.innerText ?? one.innerText;
        }"""
    )


def press(page, *keys):
    """Press keys, one after the other."""
    for key in keys:
        page.keyboard.press(key)


def tab_to(page, name, most=60):
    """Press the Tab key until it has come to what calls itself so."""
    seen = []
    for _ in range(most):
        press(page, "Tab")
        seen.append(focused(page))
        if seen[-1].startswith(name):
            return
    raise AssertionError(f"{name!r} is not among {seen}")


def serious(page):
    """What axe-core finds that is serious or critical: rule, and where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        (one["id"], json.dumps(node["target"]), node["failureSummary"])
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]
