from __future__ import annotations

from keras_classics.cli import app


def test_the_catalog_with_measured_figures(capsys):
    assert app.run(["networks"]) == 0
    output = capsys.readouterr().out
    for line in (
        ("vgg16", "138,357,544", "15.470", "224", "32"),
        ("resnet50", "25,636,712", "3.858", "224", "32"),
        ("resnet50_v1_5", "4.089"),
        ("resnet50_d", "4.329"),
        ("inception_v3", "23,851,784", "5.713", "299", "75"),
    ):
        row = next(row for row in output.splitlines() if row.split()[:1] == [line[0]])
        assert set(line) <= set(row.split()), row
