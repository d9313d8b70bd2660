from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from keras_classics.errors import ArtefactError, OutputError
from keras_classics.evaluation import saved
from keras_classics.evaluation.assessment import assess
from simulated import history, parts

NAMES = ("a", 'b "quoted", and more', "c\r", "d", "ü")


@pytest.fixture(scope="module")
def judged():
    return parts(
        60, temperature=2.0, names=lambda split, i: f"{split}/{'x, y' if i else 'ß'} {i}.png"
    )


@pytest.fixture(scope="module")
def assessment(judged):
    return assess(judged, NAMES)


@pytest.fixture
def folder(tmp_path, judged, assessment):
    saved.write_assessment(tmp_path, assessment, judged)
    saved.write_metrics(tmp_path, {**assessment.content, "fingerprint": "f"})
    saved.write_history(tmp_path, history())
    return tmp_path


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predictions_hold_every_probability(folder, judged, assessment):
    found = rows(folder / "predictions.csv")
    assert len(found) == 120
    assert {row["split"] for row in found} == {"val", "test"}
    test = [row for row in found if row["split"] == "test"]
    p = np.array([[float(row[f"p:{name}"]) for name in NAMES] for row in test])
    expected = assessment.calibrated(judged["test"])
    np.testing.assert_allclose(p, expected, rtol=1e-5)
    assert [row["path"] for row in test] == list(judged["test"].paths)
    for row, probabilities, label in zip(test, expected, judged["test"].labels, strict=True):
        assert row["label"] == NAMES[label]
        assert row["called"] == NAMES[probabilities.argmax()]
        assert float(row["confidence"]) == pytest.approx(probabilities.max(), rel=1e-5)
        assert float(row["loss"]) == pytest.approx(-np.log(probabilities[label]), rel=1e-4)


def test_too_many_probabilities_are_left_out(folder, judged, assessment, monkeypatch):
    monkeypatch.setattr(saved, "MOST_VALUES", 599)
    saved.write_assessment(folder, assessment, judged)
    assert list(rows(folder / "predictions.csv")[0]) == list(saved.FIELDS)


def test_classes_and_confusions(folder, assessment):
    judgement = assessment.judgement
    for row, figures in zip(rows(folder / "classes.csv"), judgement.classes, strict=True):
        assert row["class"] == figures.name
        assert float(row["f1"]) == pytest.approx(figures.f1, rel=1e-5)
        assert float(row["recall_low"]) == pytest.approx(figures.recall_interval[0], rel=1e-5)
        assert int(row["held_out_images"]) == figures.support
    matrix = [[int(row[name]) for name in NAMES] for row in rows(folder / "confusion.csv")]
    assert matrix == [list(row) for row in judgement.confusion]


def test_a_class_without_images_has_empty_cells(tmp_path, judged):
    test = judged["test"]
    without = {**judged, "test": replace(test, labels=np.where(test.labels == 4, 3, test.labels))}
    found = assess(without, NAMES)
    saved.write_assessment(tmp_path, found, without)
    saved.write_metrics(tmp_path, found.content)
    *others, absent = rows(tmp_path / "classes.csv")
    assert absent["held_out_images"] == "0"
    empty = {f"{name}{end}" for name in ("recall", "f1") for end in ("", "_low", "_high")}
    assert {key for key, value in absent.items() if not value} == empty
    assert all(value for row in others for value in row.values())
    figures = saved.read_metrics(tmp_path)["held_out"]["classes"][4]
    assert figures["f1"] is figures["recall"] is figures["recall_interval"] is None
    assert figures["precision"] == 0.0


def test_history(folder):
    found = rows(folder / "history.csv")
    assert [row["epoch"] for row in found] == ["1", "2", "3", "4"]
    assert [float(row["val_loss"]) for row in found] == [e["val_loss"] for e in history()]


def test_answers_are_those_on_held_out_images(folder, judged, assessment):
    answers = saved.read_answers(folder)
    assert list(answers.answers) == list(judged["test"].paths)
    right = sum(label == called for label, called in answers.answers.values())
    assert right == assessment.judgement.right
    assert answers.class_names == NAMES
    assert answers.fingerprint == "f"
    assert answers.name == str(folder)


def test_json_is_json(folder):
    content = json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert content == saved.read_metrics(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.csv",
        "confusion.csv",
        "history.csv",
        "metrics.json",
        "predictions.csv",
    ]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_torn_metrics(folder, text):
    (folder / "metrics.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"metrics\.json: not the figures"):
        saved.read_metrics(folder)


def test_what_is_not_there(folder, tmp_path):
    with pytest.raises(ArtefactError, match=r"classics report .* --data FOLDER"):
        saved.read_metrics(tmp_path / "other")
    (folder / "predictions.csv").unlink()
    with pytest.raises(ArtefactError, match=r"predictions\.csv: no such file"):
        saved.read_answers(folder)
    (folder / "predictions.csv").write_text("path,split\nx,test\n")
    with pytest.raises(ArtefactError, match="not the predictions"):
        saved.read_answers(folder)


def test_a_file_is_whole_or_not_there(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        saved.write_text(tmp_path / "no" / "file.txt", "text")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        saved.write_text(tmp_path / "taken", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
