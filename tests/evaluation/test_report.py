from __future__ import annotations

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from keras_classics.evaluation import report
from keras_classics.evaluation.assessment import Judged, assess
from keras_classics.evaluation.learning_curve import Point, fit_curve
from keras_classics.evaluation.report import data_uri, render, write_report
from simulated import about, history, parts

NAMES = ("a", "b", "c", "d", "e")
VOID = {"meta", "br", "img", "link", "input", "hr", "path", "circle", "rect"}
RUN = {
    "command": "classics train photos --network vgg16 --seed 7",
    "seconds": 75.0,
    "hardware": "a processor",
    "best_epoch": 3,
    "diverged": False,
}


class Page(HTMLParser):
    """The tags, texts and attributes of a page; fails where tags are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.links, self.ids = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for key, value in attributes:
            assert not key.startswith("on"), (tag, key)
            if key in {"href", "src", "srcset", "action", "data", "xlink:href"}:
                self.links.append(value)
            if key == "id":
                self.ids.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def content():
    return {**assess(parts(temperature=2.0), NAMES).content, "run": RUN}


def test_every_section_with_its_figures(content):
    page = Page(render(content, about(), thumbnails=lambda _: np.zeros((20, 30, 3), np.uint8)))
    for heading in (
        "What was trained on what",
        "Curves",
        "What is taken for what",
        "Each class",
        "Can its confidence be believed?",
        "When not to answer",
        "Labels to look at",
        "Is it better than something simple?",
        "Would more data help?",
        "Doing it again",
    ):
        assert heading in page.text
    held_out = content["held_out"]
    for figure in (
        f"{held_out['accuracy']:.1%}",
        f"{held_out['right']} of 300 images right",
        f"{content['reliability']['before']['adaptive_ece']:.1%} before",
        f"temperature {content['calibration']['temperature']:.2f}",
        f"{content['selection']['coverage']:.1%}",
        f"{held_out['classes'][2]['f1']:.1%}",
        content["suspects"][0]["path"],
        "The weights are those of epoch 3 of 4.",
        "linear probe",
        RUN["command"],
        "1 min 15 s",
        "a processor",
        "f" * 64,
        "Not measured. classics learning-curve RUN",
    ):
        assert figure in page.text, figure
    assert "Before you rely on it" in page.text
    assert len(set(page.ids)) == len(page.ids)


def test_nothing_comes_from_elsewhere(content):
    text = render(content, about(), thumbnails=lambda _: np.zeros((20, 30, 3), np.uint8))
    page = Page(text)
    assert "script" not in page.tags
    assert page.links
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert not re.search(r"url\(|@import|https?:", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_hostile_names_are_text():
    evil = (
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "a&b",
        "'",
        "{{ 7 * 7 }}",
    )
    judged = parts(60, names=lambda split, i: f"<b>{split}</b>/</style><script>{i}")
    found = assess(judged, evil).content
    run = {**RUN, "command": "classics train '<script>x</script>'"}
    card = about(evil, data={**about()["data"], "source": "</title><script>y", "skipped": ["<i>"]})
    card["versions"] = {"<script>": "</p>"}
    page = Page(render({**found, "run": run}, card, thumbnails=lambda _: None))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "i" not in page.tags
    for name in evil:
        assert " ".join(name.split()) in page.text


def test_a_run_that_was_interrupted():
    card = about(completed=False, history=history(2))
    page = Page(render({"class_names": list(NAMES), "run": {**RUN, "best_epoch": 1}}, card))
    assert "The run was interrupted" in page.text
    assert "Curves" in page.text
    assert "Each class" not in page.text
    assert RUN["command"] in page.text


def test_what_went_wrong_is_said(content):
    data = {**about()["data"], "skipped": ["x.png: truncated", "y.png: empty"]}
    page = Page(render({**content, "run": {**RUN, "diverged": True}}, about(data=data)))
    assert "The loss was no number" in page.text
    assert "2 images could not be read; first x.png: truncated" in page.text


@pytest.mark.parametrize("epochs", [0, 1, 300])
def test_any_number_of_epochs(content, epochs):
    page = Page(render(content, about(history=history(epochs))))
    assert ("Curves" in page.text) == bool(epochs)
    assert page.tags.count("tr") < 100


def test_a_perfect_network_without_validation():
    labels = np.arange(40) % 5
    p = np.eye(5, dtype=np.float32)[labels]
    paths = [f"{i}.png" for i in range(40)]
    judged = {"train": Judged(paths, labels), "test": Judged(paths, labels, p)}
    page = Page(render(assess(judged, NAMES).content, about(data={"source": None})))
    assert "100.0%" in page.text
    assert "Nothing was calibrated" in page.text
    assert "was called anything but its label" in page.text


def test_a_class_without_images_has_dashes_and_is_not_among_the_worst(content, monkeypatch):
    judged = parts(temperature=2.0)
    test = judged["test"]
    labels = np.where(test.labels == 0, 1, test.labels)
    found = assess({**judged, "test": replace(test, labels=labels)}, NAMES).content

    def table():
        page = render(found, about())
        return page[page.index("<h2>Each class</h2>") :].partition("</table>")[0]

    (row,) = (row for row in table().split("<tr>") if ">a</th>" in row)
    assert row.count("–") == 2  # recall and F1
    assert "<svg" not in row
    monkeypatch.setattr(report, "MOST_ROWS", 4)
    assert ">a</th>" not in table()
    assert "–" not in render(content, about())


def test_a_learning_curve(content):
    curve = fit_curve([Point(100, 90, 300), Point(200, 70, 300), Point(400, 55, 300)])
    page = Page(render({**content, "learning_curve": curve.to_dict()}, about()))
    assert curve.verdict in page.text
    assert "400 images: 18.3% wrong" in page.text


def test_many_classes_and_images_stay_below_two_megabytes(tmp_path):
    """1,000 classes, 5,000 held-out images, 200 epochs, large pictures."""
    names = [f"class number {i:04d} with a long name" for i in range(1000)]
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 5_000)
    called = np.where(rng.random(5_000) < 0.6, labels, rng.integers(0, 1000, 5_000))
    held = slice(0, 5_000)
    p = np.full((5_000, 1000), 0.0004, np.float16)
    p[np.arange(5_000), called] = 0.6
    paths = [f"some/folder/with/a/name/{i:08d}.jpeg" for i in range(5_000)]
    judged = {
        "train": Judged(paths, labels),
        "test": Judged(paths[held], labels, p),
    }
    found = assess(judged, names).content
    card = about(names, history=history(200))
    noise = rng.integers(0, 255, (500, 300, 3)).astype(np.uint8)
    path = write_report(tmp_path, found, card, thumbnails=lambda _: noise)
    assert path.stat().st_size < 2_000_000
    page = Page(path.read_text())
    assert "All 1,000 classes" in page.text
    assert "the 30 classes with the lowest F1" in page.text
    assert "commonest confusions" in page.text


def test_thumbnails_are_small():
    import base64

    import cv2

    uri = data_uri(np.full((400, 200, 3), (250, 10, 20), np.uint8))
    raw = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (112, 56, 3)
    np.testing.assert_allclose(image[50, 20], (20, 10, 250), atol=12)  # blue, green, red
    assert html.escape(uri) == uri
