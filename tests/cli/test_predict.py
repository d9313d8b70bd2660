from __future__ import annotations

import csv
import io
import json
import shutil

import pytest

from keras_classics import load
from keras_classics.cli import app


def run(capsys, *arguments):
    assert app.run([str(argument) for argument in arguments]) == 0
    return capsys.readouterr()


def test_table(capsys, artefact, shapes):
    image = shapes / "circle" / "000.png"
    output = run(capsys, "predict", artefact, image).out
    prediction = load(artefact).predict(image)[0]
    assert prediction.class_name in output
    assert f"{prediction.confidence:.1%}" in output


def test_json_agrees_with_python(capsys, artefact, shapes, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    printed = json.loads(
        run(capsys, "predict", artefact, shapes / "cross", tmp_path, "--json", "--top", 2).out
    )
    predictions = load(artefact).predict([shapes / "cross"], top_k=2)
    assert [p["path"] for p in printed["predictions"]] == [str(p.path) for p in predictions]
    assert [p["class"] for p in printed["predictions"]] == [p.class_name for p in predictions]
    assert printed["predictions"][0]["confidence"] == pytest.approx(predictions[0].confidence)
    assert [len(p["top"]) for p in printed["predictions"]] == [2] * 20
    assert [error["path"] for error in printed["skipped"]] == [str(tmp_path / "torn.png")]


def test_csv(capsys, artefact, shapes):
    captured = run(capsys, "predict", artefact, f"{shapes}/*/00[01].png", "--csv", "--top", 9)
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert len(rows) == 6
    assert list(rows[0]) == [
        "path",
        "class_1",
        "p_1",
        "class_2",
        "p_2",
        "class_3",
        "p_3",
        "accepted",
    ]
    assert sum(float(rows[0][f"p_{k}"]) for k in (1, 2, 3)) == pytest.approx(1, abs=1e-5)


def test_data_go_to_output_and_remarks_elsewhere(capsys, artefact, shapes, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    captured = run(capsys, "predict", artefact, shapes / "cross", tmp_path, "--csv")
    assert len(captured.out.splitlines()) == 21
    assert "skipped 1 image that cannot be read" in captured.err
    assert "torn.png" in captured.err


def test_json_and_csv_exclude_each_other(capsys, artefact, shapes):
    assert app.run(["predict", str(artefact), str(shapes), "--json", "--csv"]) == 2
    assert "choose one" in capsys.readouterr().err


def with_threshold(artefact, folder, threshold):
    copy = shutil.copytree(artefact, folder)
    card = json.loads((copy / "artefact.json").read_text())
    card["calibration"] = {
        "temperature": (card["calibration"] or {}).get("temperature", 1.0),
        "threshold": threshold,
        "target": 0.9,
        "promised": True,
        "fitted_on": 300,
        "warning": None,
    }
    (copy / "artefact.json").write_text(json.dumps(card))
    return copy


def test_what_is_below_the_threshold_is_marked(capsys, artefact, shapes, tmp_path):
    confidence = sorted(p.confidence for p in load(artefact).predict(shapes / "cross"))
    copy = with_threshold(artefact, tmp_path / "copy", (confidence[9] + confidence[10]) / 2)
    rows = csv.DictReader(io.StringIO(run(capsys, "predict", copy, shapes / "cross", "--csv").out))
    assert sorted(row["accepted"] for row in rows) == ["no"] * 10 + ["yes"] * 10
    printed = json.loads(run(capsys, "predict", copy, shapes / "cross", "--json").out)
    assert sum(p["accepted"] for p in printed["predictions"]) == 10
    table = run(capsys, "predict", copy, shapes / "cross").out
    assert table.count("% ?") == 10
    assert "below the threshold" in table


def test_without_a_threshold_nothing_is_marked(capsys, artefact, shapes, tmp_path):
    copy = with_threshold(artefact, tmp_path / "copy", 0.5)
    card = json.loads((copy / "artefact.json").read_text())
    (copy / "artefact.json").write_text(json.dumps({**card, "calibration": None}))
    printed = json.loads(run(capsys, "predict", copy, shapes / "cross", "--json").out)
    assert {p["accepted"] for p in printed["predictions"]} == {None}
    assert "?" not in run(capsys, "predict", copy, shapes / "cross").out
