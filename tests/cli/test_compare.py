from __future__ import annotations

import json

import numpy as np
import pytest

from keras_classics.cli import app
from keras_classics.evaluation.assessment import assess
from keras_classics.evaluation.comparison import compare
from keras_classics.evaluation.saved import read_answers, write_assessment, write_metrics
from simulated import parts

NAMES = tuple("abcde")


def write_run(folder, *, blurred=0.0, fingerprint="f", prefix=""):
    """A run on the same images; a blurred one has some answers by chance."""
    judged = parts(200, pictures=False, names=lambda split, i: f"{prefix}{split}/{i}.png")
    p = judged["test"].probabilities
    at = np.random.default_rng(1).random(200) < blurred
    p[at] = np.random.default_rng(2).dirichlet([1] * 5, at.sum())
    found = assess(judged, NAMES)
    folder.mkdir()
    write_assessment(folder, found, judged)
    write_metrics(folder, {**found.content, "fingerprint": fingerprint})
    return folder


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / "good"), write_run(tmp_path / "bad [x]", blurred=0.6)]


def test_what_is_better(capsys, runs):
    assert app.run(["compare", *map(str, runs)]) == 0
    output = " ".join(capsys.readouterr().out.split())
    difference = compare([read_answers(run) for run in runs]).differences[0]
    assert difference.verdict == "first"
    assert f"{runs[0]} is better than {runs[1]}, by more than chance" in output
    assert f"p = {difference.adjusted:.2g}" in output
    assert f"only the first is right on {difference.only_first} of 200 images" in output


def test_json(capsys, runs, tmp_path):
    third = write_run(tmp_path / "third", blurred=0.02, fingerprint="other")
    assert app.run(["compare", *map(str, [*runs, third]), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["differences"]) == 3
    assert printed == json.loads(
        json.dumps(compare([read_answers(run) for run in (*runs, third)]).to_dict())
    )
    assert any("not the same" in remark for remark in printed["differences"][1]["remarks"])


def test_cannot_tell(capsys, runs, tmp_path):
    same = write_run(tmp_path / "same", blurred=0.01)
    assert app.run(["compare", str(runs[0]), str(same)]) == 0
    assert "no significant difference" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good"], "two RUNs or more"),
        (["good", "nowhere"], "no such folder"),
        (["good", "good"], "named twice"),
        (["good", "empty"], "classics report"),
    ],
)
def test_what_cannot_be_compared(capsys, runs, tmp_path, monkeypatch, arguments, message):  # noqa: ARG001
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert app.run(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
