from __future__ import annotations

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
