"""`classics find-rate`, as a person meets it."""

from __future__ import annotations

import json

import pytest

from keras_classics.cli import app
from pictures import state

SMALL = [
    "--network",
    "vgg16",
    "--weights",
    "none",
    "--width",
    "0.0625",
    "--size",
    "32",
    "--batch-size",
    "8",
]
SHORT = ["--steps", "30", "--lowest", "1e-4", "--highest", "1"]


def test_a_rate_is_suggested_and_drawn(capsys, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = state(shapes)
    assert app.run(["find-rate", str(shapes), *SMALL, *SHORT, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chart"] == "find-rate.svg"
    assert found["own_rate"] == 5e-4
    assert len(found["rates"]) == len(found["losses"]) <= 30
    assert app.run(["find-rate", str(shapes), *SMALL, *SHORT]) == 0
    said = capsys.readouterr().out
    assert "chart: find-rate-2.svg" in said
    assert f"next: classics train {shapes} --network vgg16" in said or "fell at no rate" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["find-rate-2.svg", "find-rate.svg"]
    assert (tmp_path / "find-rate.svg").read_text().startswith("<?xml")
    assert state(shapes) == before


def test_the_command_that_comes_next_has_the_options(capsys, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ["--group-by", r"(\d+)\.", "--balance", "weights", "--preprocessing", "torch"]
    arguments = [*SMALL, *SHORT, *more, "--fit", "pad", "--json"]
    assert app.run(["find-rate", str(shapes), *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"].startswith(f"classics train {shapes} --network vgg16")
    for words in (
        "--balance weights",
        "--preprocessing torch",
        "--fit pad",
        r"--group-by '(\d+)\.'",
        f"--learning-rate {found['suggestion']:g}" if found["suggestion"] else "",
    ):
        assert words in found["command"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "3"], "--steps"),
        (["--lowest", "2", "--highest", "1"], "lowest=2, highest=1"),
        (["--batch-size", "many"], "batch_size='many'"),
        (["--recipe", "nonesuch"], "recipe 'nonesuch'"),
        (["-o", "nowhere/x.svg"], "nowhere/x.svg: cannot be written"),
        (["-o", "."], "cannot be written"),
        (["--unfreeze", "stage"], "unfreeze='stage': needs trained weights"),
    ],
)
def test_bad_arguments_are_one_line(capsys, shapes, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert app.run(["find-rate", str(shapes), *SMALL, *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_where_the_images_are(capsys, shapes, monkeypatch):
    before = state(shapes)
    monkeypatch.chdir(shapes)
    assert app.run(["find-rate", ".", *SMALL]) == 2
    assert "lies in the folder of the images" in capsys.readouterr().err
    assert state(shapes) == before


def test_trained_weights(capsys, shapes, artefact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ["--weights", str(artefact), "--batch-size", "8", "--steps", "20"]
    assert app.run(["find-rate", str(shapes), *more, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipe"] == "transfer"
    assert "--network" not in found["command"]
    assert app.run(["find-rate", str(shapes), *more, "--unfreeze", "none"]) == 2
    error = capsys.readouterr().err
    assert "unfreeze='none': only a head is fitted" in error
    assert error.count("\n") == 1
