from __future__ import annotations

import json

import pytest

from keras_classics import load
from keras_classics.cli import app


def test_table_and_matrix(capsys, artefact, shapes):
    assert app.run(["evaluate", str(artefact), str(shapes)]) == 0
    output = capsys.readouterr().out
    judgement = load(artefact).evaluate(shapes).judgement
    assert "the test part of the run's own split" in " ".join(output.split())
    assert f"accuracy {judgement.accuracy:.1%}" in output
    for word in ("precision", "recall", "F1", "circle", "cross", "stripes", "confusion matrix"):
        assert word in output


def test_json(capsys, artefact, shapes):
    assert app.run(["evaluate", str(artefact), str(shapes), "--split", "all", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    judgement = load(artefact).evaluate(shapes, split="all").judgement
    assert printed["part"] == "all images"
    assert printed["images"] == 60
    assert printed["accuracy"] == pytest.approx(judgement.accuracy)
    assert [sum(row) for row in printed["confusion"]] == [20, 20, 20]
    assert printed["skipped"] == []


def test_a_part_that_is_not_there(capsys, artefact, tmp_path):
    from pictures import write_pictures

    data = write_pictures(tmp_path / "new", each=2)
    assert app.run(["evaluate", str(artefact), str(data), "--split", "val"]) == 2
    assert "has no val part" in capsys.readouterr().err
