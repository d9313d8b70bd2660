from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import keras
import pytest

from keras_classics import build, load
from keras_classics.artefact import folder_id, write_artefact
from keras_classics.card import Card, Preprocessing
from keras_classics.data.folder import scan
from keras_classics.data.listing import fingerprint
from keras_classics.data.splits import assign_splits
from keras_classics.errors import ArtefactError, DataError, ImageError
from keras_classics.evaluation.report import REPORT
from keras_classics.evaluation.saved import read_answers, read_metrics
from keras_classics.training.config import TrainConfig
from keras_classics.training.judging import command, conclude, hardware, judge_again, thumbnails
from pictures import CLASSES, state, write_pictures
from simulated import history, parts


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("judging") / "shapes", each=20)


@pytest.fixture(scope="module")
def judged(data, tmp_path_factory):
    """A network that learnt nothing, with an artefact around it, and its conclusion."""
    keras.utils.set_random_seed(0)
    model = build("vgg16", weights=None, width=0.0625, input_shape=(32, 32, 3), classes=3)
    listing = assign_splits(scan(data), seed=0)
    counts = {s: sum(item.split == s for item in listing.items) for s in ("train", "val", "test")}
    card = Card(
        network="vgg16",
        width=0.0625,
        class_names=CLASSES,
        preprocessing=Preprocessing(size=(32, 32), fit="crop", mode="tf"),
        recipe={"name": "quick", "seed": 0},
        data={
            "source": str(data),
            "fingerprint": fingerprint(listing),
            "folder": folder_id(data),
            "images": counts,
            "skipped": [],
        },
        history=history(),
    )
    folder = tmp_path_factory.mktemp("judging-run")
    write_artefact(folder, model, card, listing)
    conclusion = judge_again(folder, load(folder), data)
    conclusion.write(folder)
    conclusion.card.write(folder)
    return folder, conclusion


def test_all_say_the_same(judged, data):
    """Report, evaluation and prediction show one accuracy and one confidence."""
    folder, conclusion = judged
    classifier = load(folder)
    assert classifier.calibration == conclusion.assessment.calibration
    evaluation = classifier.evaluate(data)
    assert evaluation.judgement.accuracy == conclusion.judgement.accuracy
    assert evaluation.judgement.log_loss == pytest.approx(conclusion.judgement.log_loss, rel=1e-4)
    assert read_metrics(folder)["held_out"]["accuracy"] == conclusion.judgement.accuracy
    answers = read_answers(folder).answers
    predictions = classifier.predict([data / path for path in answers])
    threshold = classifier.calibration.threshold
    for prediction, (path, (_, called)) in zip(predictions, answers.items(), strict=True):
        assert prediction.path == data / path
        assert prediction.class_name == called
        assert prediction.accepted == (prediction.confidence >= threshold)


def test_the_calibration_is_that_of_the_network_not_of_a_calibrated_one(judged, data):
    folder, conclusion = judged
    again = judge_again(folder, load(folder), data)
    assert again.assessment.calibration == conclusion.assessment.calibration


def test_files(judged):
    folder, conclusion = judged
    names = {path.name for path in folder.iterdir()}
    assert {
        "report.html",
        "metrics.json",
        "history.csv",
        "predictions.csv",
        "classes.csv",
        "confusion.csv",
    } <= names
    assert not any(name.startswith(".") for name in names)
    assert Card.read(folder).figures == json.loads(json.dumps(conclusion.judgement.to_dict()))
    page = (folder / REPORT).read_text()
    assert page.count("data:image/jpeg") == len(conclusion.content["suspects"]) > 0


def test_nothing_is_written_in_the_data(judged, data):
    folder, _ = judged
    before = state(data)
    judge_again(folder, load(folder), data)
    thumbnails(read_metrics(folder), Card.read(folder), data)
    assert state(data) == before


def test_thumbnails_come_from_the_folder(judged, data):
    _, conclusion = judged
    pictures = thumbnails(conclusion.content, conclusion.card, data)
    path = conclusion.content["suspects"][0]["path"]
    assert pictures(path).shape == (112, 112, 3)
    assert pictures("no/such.png") is None


def test_what_is_known_of_the_run_is_kept(judged, data, tmp_path):
    folder, conclusion = judged
    content = {**conclusion.content, "run": {"command": "x"}, "learning_curve": {"y": 1}}
    dataclasses.replace(conclusion, content=content)
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    (tmp_path / "split.csv").write_text((folder / "split.csv").read_text())
    again = judge_again(tmp_path, load(folder), data, target=0.9)
    assert again.content["run"] == {"command": "x"}
    assert again.content["learning_curve"] == {"y": 1}
    assert again.assessment.calibration.target == 0.9


def test_images_of_another_run(judged, tmp_path):
    folder, _ = judged
    other = write_pictures(tmp_path / "other", each=2)
    for path in list(other.glob("*/*")):
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(DataError, match="holds none of the images"):
        judge_again(folder, load(folder), other)
    with pytest.raises(ArtefactError, match=r"has no split\.csv"):
        judge_again(tmp_path, load(folder), other)


def test_conclude_at_the_end_of_a_run():
    card = Card(
        network="vgg16",
        width=1.0,
        class_names=tuple("abcde"),
        preprocessing=Preprocessing(size=(32, 32), fit="crop", mode="tf"),
        history=history(),
        completed=False,
    )
    config = TrainConfig(folder=Path("photos"), network="vgg16", epochs=3)
    found = conclude(card, parts(60), config=config, seconds=9.0, best_epoch=2)
    assert found.card.completed
    assert found.card.figures["accuracy"] == found.judgement.accuracy
    assert found.card.calibration["fitted_on"] == 60
    run = found.content["run"]
    assert run["command"] == "classics train photos --network vgg16 --epochs 3 --seed 0"
    assert run["config"]["folder"] == "photos"
    assert run["best_epoch"] == 2
    json.dumps(found.content, allow_nan=False)


def test_an_interrupted_run_has_a_report_without_figures(tmp_path):
    card = Card(
        network="vgg16",
        width=1.0,
        class_names=("a", "b"),
        preprocessing=Preprocessing(size=(32, 32), fit="crop", mode="tf"),
        history=history(2),
        completed=False,
    )
    found = conclude(card, None, config=TrainConfig(), best_epoch=1)
    assert found.judgement is None
    assert not found.card.completed
    found.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "history.csv",
        "metrics.json",
        "report.html",
    ]
    assert "interrupted" in (tmp_path / REPORT).read_text()


def test_a_picture_that_is_gone_is_left_out_of_the_report(tmp_path):
    def gone(_):
        raise ImageError(Path("x.png"), "no such file")

    card = Card(
        network="vgg16",
        width=1.0,
        class_names=tuple("abcde"),
        preprocessing=Preprocessing(size=(32, 32), fit="crop", mode="tf"),
        history=history(),
    )
    judged = {k: dataclasses.replace(v, pictures=gone) for k, v in parts(60).items()}
    conclude(card, judged).write(tmp_path)
    page = (tmp_path / REPORT).read_text()
    assert "labelled" in page
    assert "data:image" not in page


def test_the_command_is_quoted_and_complete():
    config = TrainConfig(
        folder=Path("my photos; rm -rf"), width=0.5, learning_rate=1e-3, seed=3, out=Path("x")
    )
    text = command(config)
    assert shlex.split(text) == [
        "classics",
        "train",
        "my photos; rm -rf",
        "--network",
        "resnet50",
        "--width",
        "0.5",
        "--learning-rate",
        "0.001",
        "--seed",
        "3",
    ]
    assert command(TrainConfig()) == "classics train --network resnet50 --seed 0"


def test_the_hardware_has_a_name():
    assert "processors" in hardware()
