from __future__ import annotations

import json

import pytest

from keras_classics.card import CARD
from keras_classics.cli import app
from keras_classics.evaluation.learning_curve import Point, fit_curve
from keras_classics.training import learning_curve


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run [1]"
    folder.mkdir()
    (folder / CARD).touch()
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
    assert "twice the images (800)" in output
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
