from __future__ import annotations

import json
import shutil

import pytest

from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.cli import app
from keras_classics.evaluation.learning_curve import Point, fit_curve
from keras_classics.evaluation.saved import write_metrics
from keras_classics.training import learning_curve
from pictures import state


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run [1]"
    folder.mkdir()
    Card("vgg16", 1.0, ("a", "b"), Preprocessing((32, 32), "crop", "tf")).write(folder)
    write_metrics(folder, {})
    return folder


@pytest.fixture
def asked(monkeypatch):
    seen = []

    def measured(folder, *, fractions, listener, began):
        for fraction in fractions:
            began(fraction)
        seen.append((folder, fractions, listener))
        return fit_curve([Point(100, 90, 300), Point(200, 70, 300), Point(400, 55, 300)])

    monkeypatch.setattr(learning_curve, "learning_curve", measured)
    return seen


def test_the_verdict(capsys, run, asked):
    assert app.run(["learning-curve", str(run)]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "twice as many images (800)" in output
    assert "18.3%" in output
    assert str(run / "report.html") in output
    assert asked[0][:2] == (run, (0.125, 0.25, 0.5))


def test_json_and_other_fractions(capsys, run, asked):
    arguments = ["learning-curve", str(run), "--fraction", "0.1", "--fraction", "0.3", "--json"]
    assert app.run(arguments) == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) == 3
    assert asked[0][1] == (0.1, 0.3)


def test_no_such_run(capsys):
    assert app.run(["learning-curve", "nowhere"]) == 2
    assert "nowhere: no such run" in capsys.readouterr().err


def test_the_curve_of_a_head(capsys, head_artefact, tmp_path):
    run = shutil.copytree(head_artefact, tmp_path / "run")
    assert app.run(["learning-curve", str(run)]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "the head's curve, without fine-tuning; means of up to 5 draws" in output
    assert app.run(["learning-curve", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["of"] == "head"
    assert [point["draws"] for point in found["points"]] == [5, 5, 5, 1]


@pytest.mark.parametrize("fraction", ["0", "1", "nan"])
def test_fractions_that_cannot_be_are_one_line(capsys, head_artefact, fraction):
    before = state(head_artefact)
    assert app.run(["learning-curve", str(head_artefact), "--fraction", fraction]) == 2
    error = capsys.readouterr().err.strip()
    assert "above 0 and below 1 is needed" in error
    assert "\n" not in error
    assert state(head_artefact) == before
