from __future__ import annotations

from keras_classics import CATALOG
from keras_classics.cli import app


def test_the_catalog_with_measured_figures(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert app.run(["networks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    rows = {words[0]: words[1:] for words in map(str.split, lines) if words[:1]}
    # In the order of the papers; tests/test_readme.py compares the figures with the live networks.
    assert [name for name in rows if name in CATALOG] == list(CATALOG)
    assert rows["vgg16"] == ["1409.1556", "2014", "138,357,544", "15.470", "224", "32"]
    assert rows["resnet50"] == ["1512.03385", "2015", "25,636,712", "3.858", "224", "32"]
    assert rows["inception_v3"] == ["1512.00567", "2015", "23,851,784", "5.713", "299", "75"]


def test_nothing_is_built_for_it(monkeypatch):
    monkeypatch.setattr("keras_classics.architectures.frame.build", None)
    assert app.run(["networks"]) == 0
