from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil

import pytest

from keras_classics import load
from keras_classics.classifier.published import published
from keras_classics.cli import app
from keras_classics.weights import records
from keras_classics.weights.download import RemoteFile


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


def test_figures_of_classes_without_pictures_are_undefined(capsys, artefact, shapes, tmp_path):
    shutil.copytree(shapes / "cross", tmp_path / "cross")
    assert app.run(["evaluate", str(artefact), str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    circle = next(line.split() for line in printed if line.strip().startswith("circle"))
    assert circle[-3:] == ["–", "–", "0"]
    assert app.run(["evaluate", str(artefact), str(tmp_path), "--json"]) == 0
    circle, cross, _ = json.loads(capsys.readouterr().out)["classes"]
    assert circle["recall"] is circle["f1"] is circle["recall_interval"] is None
    assert cross["recall"] > 0


def test_a_part_that_is_not_there(capsys, artefact, tmp_path):
    from pictures import write_pictures

    data = write_pictures(tmp_path / "new", each=2)
    assert app.run(["evaluate", str(artefact), str(data), "--split", "val"]) == 2
    assert "has no val part" in capsys.readouterr().err


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A file with the weights of a whole ResNet50 for ImageNet's classes, drawn at random."""
    from keras_classics import build

    path = tmp_path_factory.mktemp("weights") / "resnet50.weights.h5"
    build("resnet50", weights=None).save_weights(path)
    return path


@pytest.fixture
def record(resnet, tmp_path, monkeypatch):
    """The record of resnet50-keras, whose file lies in the cache already."""
    content = resnet.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    place = tmp_path / "cache" / "weights" / digest[:8]
    place.mkdir(parents=True)
    (place / resnet.name).symlink_to(resnet)
    monkeypatch.setenv("KERAS_CLASSICS_HOME", str(tmp_path / "cache"))
    record = dataclasses.replace(
        records.RECORDS["resnet50-keras"],
        file=RemoteFile(f"https://example.invalid/{resnet.name}", f"sha256:{digest}"),
        notop=None,
    )
    monkeypatch.setattr(records, "RECORDS", {**records.RECORDS, record.name: record})
    return record


@pytest.fixture
def synsets(tmp_path):
    from pictures import write_pictures

    return write_pictures(tmp_path / "val", each=3, classes=("n01440764", "n02504458"))


def test_published_weights_by_their_own_protocol(capsys, record, synsets):
    assert app.run(["evaluate", "--weights", record.name, str(synsets)]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "6 images" in output
    assert "74.90%" in output
    assert "92.10%" in output
    assert "resized to 256 pixels (opencv-cubic), the central 224 × 224 cut out" in output
    assert app.run(["evaluate", "--weights", record.name, str(synsets), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    judgement = published(record.name).evaluate(synsets).judgement
    assert printed["accuracy"] == judgement.accuracy
    assert printed["top5_accuracy"] == judgement.top5_accuracy
    assert f"top-1 {judgement.accuracy:.2%}" in output
    assert f"top-5 {judgement.top5_accuracy:.2%}" in output


def test_predictions_of_published_weights(capsys, record, synsets):
    image = synsets / "n01440764" / "000.png"
    assert app.run(["predict", "--weights", record.name, str(image), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["predictions"]
    assert [entry["path"] for entry in printed] == [str(image)]
    assert printed[0]["class"] in {each.name for each in record.class_names}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "only-one"], "an ARTEFACT and a FOLDER are needed"),
        (["evaluate", "--weights", "resnet50-keras", "one", "two"], "one FOLDER is needed"),
        (["evaluate", "--weights", "resnet-keras", "one"], "did you mean 'resnet50-keras'?"),
        (["predict", "only-one"], "only-one: no such file or folder."),
    ],
)
def test_what_is_missing_is_said(capsys, arguments, message):
    assert app.run(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_other_names_than_synsets(capsys, record, shapes):
    assert app.run(["evaluate", "--weights", record.name, str(shapes)]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert "circle" in error
