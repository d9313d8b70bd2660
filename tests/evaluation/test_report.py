from __future__ import annotations

import base64
import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from keras_classics.evaluation import report
from keras_classics.evaluation.assessment import Judged, assess
from keras_classics.evaluation.learning_curve import Point, fit_curve
from keras_classics.evaluation.metrics import interval_of
from keras_classics.evaluation.report import data_uri, paths_of, render, write_report
from keras_classics.heat import encoded
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


def picture_of(uri):
    """The picture (h, w, 3) of a data URI."""
    raw = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.fixture(scope="module")
def content():
    return {**assess(parts(temperature=2.0), NAMES).content, "run": RUN}


def test_every_section_with_its_figures(content):
    page = Page(render(content, about(), thumbnails=lambda _: np.zeros((20, 30, 3), np.uint8)))
    for heading in (
        "Network and data",
        "Curves",
        "Confusion matrix",
        "Per class",
        "Calibration",
        "When to leave it to a person",
        "Doubtful labels",
        "Baselines",
        "Would more data help?",
        "Reproduce this run",
    ):
        assert heading in page.text
    held_out = content["held_out"]
    for figure in (
        f"{held_out['accuracy']:.1%}",
        f"{held_out['right']} of 300 images correct",
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
    assert "Per class" not in page.text
    assert RUN["command"] in page.text


def test_what_went_wrong_is_said(content):
    data = {**about()["data"], "skipped": ["x.png: truncated", "y.png: empty"]}
    page = Page(render({**content, "run": {**RUN, "diverged": True}}, about(data=data)))
    assert "The loss became NaN" in page.text
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
    assert "Not calibrated" in page.text
    assert "No held-out or validation image was misclassified" in page.text


def test_a_class_without_images_has_dashes_and_is_not_among_the_worst(content, monkeypatch):
    judged = parts(temperature=2.0)
    test = judged["test"]
    labels = np.where(test.labels == 0, 1, test.labels)
    found = assess({**judged, "test": replace(test, labels=labels)}, NAMES).content

    def table():
        page = render(found, about())
        return page[page.index("<h2>Per class</h2>") :].partition("</table>")[0]

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
    assert "most common confusions" in page.text


def test_thumbnails_are_small():
    uri = data_uri(np.full((400, 200, 3), (250, 10, 20), np.uint8))
    image = picture_of(uri)
    assert image.shape == (112, 56, 3)
    np.testing.assert_allclose(image[50, 20], (250, 10, 20), atol=12)
    assert html.escape(uri) == uri


LITE = "the ImageNet weights efficientnet_lite0-google"


@pytest.mark.parametrize(
    ("network", "weights", "sentence", "fact"),
    [
        ("vgg16", None, "random weights", "random weights"),
        ("efficientnet_lite0", "imagenet", LITE, f"{LITE}, licence: Apache-2.0"),
        ("efficientnet_lite0", "efficientnet_lite0-google", LITE, f"{LITE}, licence: Apache-2.0"),
        ("vgg16", "my/run <1>", "the weights of my/run <1>", "the weights of my/run <1>"),
        # Of a network of another version that has none.
        ("vgg16_sequential", "imagenet", "the weights of imagenet", "the weights of imagenet"),
    ],
)
def test_where_a_run_began(content, network, weights, sentence, fact):
    card = about(network=network, recipe={**about()["recipe"], "weights": weights})
    text = Page(render(content, card)).text
    assert (
        f"Started from {sentence}. Network and" in text
        or f"Started from {sentence}. accuracy" in text
    )
    assert f"initial weights {fact} input" in text


@pytest.mark.parametrize(
    ("began_with", "sentence"),
    [("efficientnet_lite0-google", LITE), ("runs/photos", "the weights of runs/photos")],
)
def test_what_the_head_was_fitted_on_is_what_a_run_began_with(content, began_with, sentence):
    told = {**content, "transfer": transfer(began_with=began_with)}
    assert f"Started from {sentence}. The fine-tuned" in Page(render(told, about())).text


def figures(images, right):
    low, high = interval_of(right, images)
    return {
        "images": images, "right": right, "accuracy": right / images,
        "accuracy_interval": [low, high],
    }  # fmt: skip


def transfer(**changes):
    """What a run says of its head and of its fine-tuned network."""
    return {
        "began_with": "efficientnet_lite0-google",
        "kept": "fine-tuned",
        "why": "it is better on the validation part",
        "head": {"val": figures(40, 37), "test": figures(150, 141), "seconds": 12.0, "epochs": 0},
        "fine_tuned": {
            "val": figures(40, 39), "test": figures(150, 144), "seconds": 125.0, "epochs": 4,
        },
        "regularisation": 0.3,
        "features": 1280,
        **changes,
    }  # fmt: skip


def from_weights():
    recipe = {**about()["recipe"], "weights": "imagenet"}
    return about(network="efficientnet_lite0", recipe=recipe)


def section(page, heading):
    """The HTML of a section."""
    return page[page.index(f"<h2>{heading}</h2>") :].partition("</section>")[0]


def rows_of(page, heading):
    """The texts of the rows of a section's table."""
    rows = re.findall("<tr.*?</tr>", section(page, heading), re.DOTALL)
    return [" ".join(re.sub("<[^>]*>", " ", row).split()) for row in rows]


def test_the_head_and_the_fine_tuned_network_side_by_side(content):
    page = render({**content, "transfer": transfer()}, from_weights())
    text = Page(page).text
    assert f"Started from {LITE}. The fine-tuned network was kept." in text
    assert "The fine-tuned network was kept : it is better on the validation part." in text
    assert "logistic regression on 1,280 features" in text
    assert "C = 0.3" in text
    assert "The scales run from 80% to 100%." in text
    assert rows_of(page, "Head and fine-tuning") == [
        "validation 40 images held out 150 images",
        (
            "head alone on frozen features 12 s "
            "92.5% 80.1 to 97.4% 37 correct 94.0% 89.0 to 96.8% 141 correct"
        ),
        (
            "fine-tuned kept 4 epochs 2 min 5 s "
            "97.5% 87.1 to 99.6% 39 correct 96.0% 91.5 to 98.2% 144 correct"
        ),
    ]


def test_a_head_that_was_kept(content):
    changes = {"kept": "head", "why": "fine-tuning was off.", "fine_tuned": None}
    changes["regularisation"] = None  # of a head that was fitted in another way
    run = {**RUN, "best_epoch": 0}
    card = {**from_weights(), "history": []}
    page = render({**content, "run": run, "transfer": transfer(**changes)}, card)
    text = Page(page).text
    assert "The head was kept : fine-tuning was off." in text
    assert "on 1,280 features of the frozen network." in text
    assert "which of the two" not in text
    assert "Curves" not in text
    header, head = rows_of(page, "Head and fine-tuning")
    assert header == "validation 40 images held out 150 images"
    assert head.startswith("head alone kept on frozen features 12 s 92.5%")


@pytest.mark.parametrize(
    ("val", "test", "header"),
    [
        (True, True, "validation 1 image held out 2 images"),
        (False, True, "held out 2 images"),  # there is no validation part
        (True, False, "validation 1 image"),  # the run was interrupted
        (False, False, ""),
    ],
)
def test_parts_that_nothing_was_judged_on(val, test, header):
    one = {
        "val": figures(1, 0) if val else None,
        "test": figures(2, 2) if test else None,
        "seconds": 1.0,
    }
    told = transfer(head={**one, "epochs": 0}, fine_tuned={**one, "epochs": 1})
    card = {**from_weights(), "completed": False}
    page = render({"class_names": ["a"], "run": RUN, "transfer": told}, card)
    assert Page(page)
    rows = rows_of(page, "Head and fine-tuning")
    assert rows[0] == header
    assert rows[2].startswith("fine-tuned kept 1 epoch 1 s")


@pytest.mark.parametrize(("best", "words"), [(0, "before fine-tuning"), (3, "epoch 3 of 4")])
def test_the_curves_of_fine_tuning_begin_with_the_head(content, best, words):
    told = {**content, "run": {**RUN, "best_epoch": best}, "transfer": transfer()}
    curves = section(render(told, from_weights()), "Curves")
    assert words in curves
    assert "Epoch 0 is the head." in curves
    loss, accuracy = re.findall("<svg.*?</svg>", curves)
    points = [
        [path.count("L") + 1 for path in re.findall('line" d="([^"]*)"', chart)]
        for chart in (loss, accuracy)
    ]
    assert points == [[4, 4], [4, 5]]  # training, validation
    (at,) = {re.search('class="mark" d="M([^ ]*)', chart)[1] for chart in (loss, accuracy)}
    left, width = 46, 460 - 76 - 46
    assert float(at) == pytest.approx(left + best / 4 * width, abs=0.1)
    plain = section(render({**told, "transfer": None}, about()), "Curves")
    assert "Epoch 0" not in plain


def looked_at(*rows):
    """Images of right or wrong answers, whose maps are warm in the corner at the top left."""
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 3
    return {
        "method": "Grad-CAM",
        "layer": "top",
        "images": [
            {
                "path": path, "label": "a", "predicted": "a" if right else "<b>",
                "confidence": 0.875, "right": right, "map": encoded(heat),
            }
            for path, right in rows
        ],
    }  # fmt: skip


def pictures_at(*paths, shape=(300, 200, 3)):
    """Grey pictures of paths that are at hand."""
    return lambda path: np.full(shape, 90, np.uint8) if path in paths else None


BOTH = looked_at(("right.png", True), ("wrong.png", False))
LOOKED = "What the network looked at"


def test_heat_maps_lie_over_the_pictures_where_the_network_looked(content):
    told = {**content, "looked_at": BOTH}
    assert {"right.png", "wrong.png"} < paths_of(told)
    page = render(told, about(), thumbnails=pictures_at("right.png", "wrong.png"))
    shown = Page(section(page, LOOKED))
    assert "Correct a , 87.5% right.png" in shown.text
    assert "Wrong labelled a predicted <b> , 87.5% wrong.png" in shown.text
    assert "Grad-CAM in layer top, 4 × 4 places." in shown.text
    assert len(shown.links) == 4
    for picture, heat in (map(picture_of, shown.links[i : i + 2]) for i in (0, 2)):
        assert picture.shape == heat.shape == (192, 128, 3)
        np.testing.assert_allclose(picture, 90, atol=3)
        assert np.ptp(heat[:10, :10].reshape(-1, 3), axis=1).min() > 60  # coloured
        assert np.ptp(heat[100:, 70:].reshape(-1, 3), axis=1).max() < 12  # grey


def test_small_pictures_are_enlarged_so_that_heat_maps_are_smooth(content):
    thumbnails = pictures_at("right.png", "wrong.png", shape=(8, 8, 3))
    page = render({**content, "looked_at": BOTH}, about(), thumbnails=thumbnails)
    for link in Page(section(page, LOOKED)).links:
        assert picture_of(link).shape == (192, 192, 3)


@pytest.mark.parametrize(
    ("rows", "right", "there", "absent"),
    [
        ([("x", True)], 300, "No held-out image was predicted incorrectly.", "labelled"),
        ([("x", False)], 0, "No held-out image was predicted correctly.", "a , 87.5%"),
        ([("x", True), ("gone", False)], 200, "Correct a , 87.5% x", "Wrong"),
        ([("gone", True), ("gone", False)], 200, "classics report RUN --data FOLDER", "Predicted"),
    ],
)
def test_only_right_ones_only_wrong_ones_and_pictures_that_are_gone(
    content, rows, right, there, absent
):
    held_out = {**content["held_out"], "right": right}
    told = {**content, "held_out": held_out, "looked_at": looked_at(*rows)}
    text = Page(section(render(told, about(), thumbnails=pictures_at("x")), LOOKED)).text
    assert there in text
    assert absent not in text


def test_heat_maps_without_pictures_at_hand_and_content_without_heat_maps(content):
    page = render({**content, "looked_at": BOTH}, about())
    assert "The images are not available" in section(page, LOOKED)
    assert "<img" not in page
    assert LOOKED not in render(content, about())
