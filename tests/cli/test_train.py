from __future__ import annotations

import shutil

from keras_classics import load
from keras_classics.cli import app
from pictures import write_pictures


def test_a_run_as_the_terminal_shows_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    data = write_pictures(tmp_path / "data[1]", each=8)
    out = tmp_path / "out[bold]"
    arguments = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--epochs", "2"]
    assert app.run(["train", str(data), *arguments, "--seed", "3", "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "data[1]: 3 classes, 18 images to learn from, 3 to choose" in output
    assert "VGG16, width 0.0625, 32 x 32 pixels" in output
    assert "epoch   1/2" in output
    assert "images/s" in output
    for word in ("held-out images", "accuracy", "precision", "confusion matrix", "circle"):
        assert word in output
    assert f"classics predict '{out}' IMAGES" in output
    card = load(out).card
    assert card.recipe["seed"] == 3
    assert f"accuracy {card.figures['accuracy']:.1%}" in output


def test_trained_weights_as_the_terminal_shows_them(capsys, artefact, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    data = write_pictures(tmp_path / "data", each=8, classes=("circle", "cross"))
    arguments = ["train", str(data), "--network", "vgg16", "--epochs", "3"]
    transfer = ["--weights", str(artefact), "--unfreeze", "stage", "--batch-norm", "train"]
    assert app.run([*arguments, *transfer, "--out", str(tmp_path / "out")]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any(line.endswith(f"begins with {artefact}, a new top") for line in lines)
    phases = [i for i, line in enumerate(lines) if line.startswith(("training the", "unfreezing"))]
    assert [lines[i] for i in phases] == [
        "training the new top (297 k of 528 k parameters)",
        "unfreezing block5 (408 k of 528 k parameters)",
        "unfreezing block4, block3, block2, block1 (528 k of 528 k parameters)",
    ]
    assert [lines[i + 1][:11] for i in phases] == ["epoch   1/3", "epoch   2/3", "epoch   3/3"]


def test_how_to_transfer_needs_something_to_transfer(capsys, shapes):
    for option, value in (("--unfreeze", "stage"), ("--batch-norm", "train")):
        assert app.run(["train", str(shapes), option, value]) == 2
        message = capsys.readouterr().err.strip()
        assert "give weights, too" in message
        assert "\n" not in message


def test_many_classes_show_the_commonest_confusions(capsys):
    import numpy as np

    from keras_classics.cli.terminal import console, show_judgement
    from keras_classics.evaluation.metrics import judge

    labels = np.arange(30).repeat(2)
    called = labels.copy()
    called[:2] = 7  # class 0 is twice called 7
    called[-1] = 3
    judgement = judge(np.eye(30)[called], labels, tuple(f"name{i}" for i in range(30)))
    show_judgement(console(), judgement, "many")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["name0", "name7", "2"] in lines
    assert ["name29", "name3", "1"] in lines


def test_what_the_quick_check_finds_is_said(capsys, tmp_path):
    data = write_pictures(tmp_path / "data", each=12)
    shutil.copy(data / "circle" / "000.png", data / "cross" / "same.png")
    arguments = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--epochs", "1"]
    assert app.run(["train", str(data), *arguments, "--out", str(tmp_path / "run")]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "the same picture in several classes: one of the labels is wrong" in output
    assert "circle/000.png, cross/same.png" in output
    assert "`classics check` names all of them" in output
    (tmp_path / "data" / "cross" / "same.png").unlink()
    assert app.run(["train", str(data), *arguments, "--out", str(tmp_path / "again")]) == 0
    assert "classics check" not in capsys.readouterr().out
