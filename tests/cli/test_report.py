from __future__ import annotations

import json
import shutil

import pytest

from keras_classics import build
from keras_classics.classifier.artefact import write_artefact
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.cli import app
from keras_classics.data.folder import scan
from keras_classics.data.splits import assign_splits
from pictures import CLASSES, state, write_pictures
from simulated import history

PICTURE = "data:image/jpeg;base64,"
HEAT_MAP = 'alt="heat map for'


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("report") / "shapes", each=12)


@pytest.fixture(scope="module")
def old(data, tmp_path_factory):
    """The artefact of a version that wrote no figures beside it."""
    model = build("vgg16", weights=None, width=0.0625, input_shape=(32, 32, 3), classes=3)
    card = Card(
        network="vgg16",
        width=0.0625,
        class_names=CLASSES,
        preprocessing=Preprocessing(size=(32, 32), fit="crop", mode="tf"),
        recipe={"name": "quick", "seed": 0},
        data={"source": "gone", "fingerprint": "f", "images": {}, "skipped": []},
        history=history(),
    )
    folder = tmp_path_factory.mktemp("old")
    write_artefact(folder, model, card, assign_splits(scan(data), seed=0))
    return folder


@pytest.fixture
def run(old, tmp_path):
    return shutil.copytree(old, tmp_path / "run [1]")


def test_an_old_artefact_is_judged_from_its_images(capsys, run, data):
    before = state(data)
    assert app.run(["report", str(run), "--data", str(data)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert PICTURE in (run / "report.html").read_text()
    card = json.loads((run / "artefact.json").read_text())
    content = json.loads((run / "metrics.json").read_text())
    assert card["calibration"] == content["calibration"]
    assert card["figures"]["accuracy"] == content["held_out"]["accuracy"]
    assert state(data) == before


def test_again_without_images_and_with_another_target(capsys, run, data):
    app.run(["report", str(run), "--data", str(data)])
    first = (run / "report.html").read_text()
    capsys.readouterr()
    assert app.run(["report", str(run)]) == 0
    assert "without pictures" in capsys.readouterr().out
    without = (run / "report.html").read_text()
    assert PICTURE not in without
    assert "The images are not available" in without
    assert app.run(["report", str(run), "--data", str(data)]) == 0
    again = (run / "report.html").read_text()
    assert again.count(PICTURE) == first.count(PICTURE)
    assert again.count(HEAT_MAP) == first.count(HEAT_MAP) > 0
    assert app.run(["report", str(run), "--data", str(data), "--target", "0.99"]) == 0
    assert json.loads((run / "metrics.json").read_text())["calibration"]["target"] == 0.99
    assert HEAT_MAP in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such folder"),
        (["run"], "without metrics.json needs the images"),
        (["run", "--target", "2"], "above 0 and at most 1"),
        (["run", "--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be(capsys, old, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(old)
    before = state(old)
    assert app.run(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert state(old) == before
