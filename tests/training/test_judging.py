from __future__ import annotations

import dataclasses
import json
import logging
import shlex
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from keras_classics import build, load
from keras_classics.classifier.artefact import folder_id, write_artefact
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.data.fit import CentralCrop, fit_bytes
from keras_classics.data.folder import scan
from keras_classics.data.listing import fingerprint
from keras_classics.data.splits import assign_splits
from keras_classics.errors import ArtefactError, DataError, ImageError
from keras_classics.evaluation.assessment import Judged
from keras_classics.evaluation.report import REPORT, paths_of
from keras_classics.evaluation.saved import read_answers, read_metrics
from keras_classics.heat import decoded
from keras_classics.training.config import TrainConfig
from keras_classics.training.judging import command, conclude, hardware, judge_again
from keras_classics.training.thumbnails import at_hand, thumbnails
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
    suspects, looked_at = conclusion.content["suspects"], conclusion.content["looked_at"]
    assert len(suspects) > 0
    assert {row["right"] for row in looked_at["images"]} == {True, False}
    assert page.count("data:image/jpeg") == len(suspects) + 2 * len(looked_at["images"])


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
    assert pictures(path).shape == (192, 192, 3)
    assert pictures("no/such.png") is None
    for path in paths_of(conclusion.content):
        assert at_hand(conclusion.content, conclusion.card)(path).shape == (192, 192, 3)
    gone = dataclasses.replace(conclusion.card, data={"source": str(data / "gone")})
    assert at_hand(conclusion.content, gone) is None


@pytest.mark.parametrize(
    ("size", "fit"),
    [((32, 32), CentralCrop(40, "bilinear")), ((32, 24), "crop"), ((32, 32), "pad")],
)
def test_thumbnails_show_what_the_network_sees(judged, data, size, fit):
    """So that heat maps lie where they belong, whatever the way to the network's size."""
    _, conclusion = judged
    card = dataclasses.replace(
        conclusion.card, preprocessing=Preprocessing(size=size, fit=fit, mode="tf")
    )
    (path, *_) = sorted(paths_of(conclusion.content))
    large = thumbnails(conclusion.content, card, data)(path)
    seen = fit_bytes((data / path).read_bytes(), data / path, size, fit)
    assert max(large.shape) == 192
    small = cv2.resize(large, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - seen).mean() < 12


def test_what_is_known_of_the_run_is_kept(judged, data, tmp_path):
    folder, conclusion = judged
    known = {"run": {"command": "x"}, "learning_curve": {"y": 1}, "transfer": {"kept": "head"}}
    content = {**conclusion.content, **known}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    (tmp_path / "split.csv").write_text((folder / "split.csv").read_text())
    again = judge_again(tmp_path, load(folder), data, target=0.9)
    assert {key: again.content[key] for key in known} == known
    assert again.content["looked_at"].keys() == conclusion.content["looked_at"].keys()
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
    assert not {"transfer", "looked_at"} & set(found.content)
    json.dumps(found.content, allow_nan=False)
    told = conclude(card, parts(60), transfer={"kept": "head", "why": "x"})
    assert told.content["transfer"] == {"kept": "head", "why": "x"}


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
        "--width",
        "0.5",
        "--learning-rate",
        "0.001",
        "--seed",
        "3",
    ]
    assert command(TrainConfig()) == "classics train --seed 0"
    settled = TrainConfig(network="resnet50", recipe="quick", weights="none")
    assert command(settled) == (
        "classics train --network resnet50 --recipe quick --weights none --seed 0"
    )


def test_the_hardware_has_a_name():
    assert "processors" in hardware()


@pytest.fixture(scope="module")
def seer():
    """A network that calls red pictures red and blue ones blue, by how much there is of each."""
    x = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(2, 4, strides=4, use_bias=False, activation="relu", name="maps")(x)
    y = keras.layers.GlobalAveragePooling2D()(maps)
    y = keras.layers.Dense(2, use_bias=False, activation="softmax", name="predictions")(y)
    model = keras.Model(x, y)
    kernel = np.zeros((4, 4, 3, 2), np.float32)
    kernel[..., 0, 0] = kernel[..., 2, 1] = 1 / 16
    model.get_layer("maps").set_weights([kernel])
    model.get_layer("predictions").set_weights([np.eye(2, dtype=np.float32) * 20])
    return model


CORNERS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def in_corners(model, labels, colours):
    """A part of black pictures with a square of a colour in a corner, as the network answers."""
    pictures = np.zeros((len(labels), 32, 32, 3), np.uint8)
    for i, colour in enumerate(colours):
        top, left = (24 * side for side in CORNERS[i % 4])
        pictures[i, top : top + 8, left : left + 8, 2 * colour] = 250 - i
    return Judged(
        paths=[f"{i}.png" for i in range(len(labels))],
        labels=np.array(labels),
        probabilities=keras.ops.convert_to_numpy(model(pictures.astype("float32") / 127.5 - 1)),
        pictures=lambda places: pictures[np.asarray(places)],
    )


def concluded(model, test, **changes):
    """What a run is found to be whose network is `model`."""
    card = Card(
        network="vgg16",
        width=1.0,
        class_names=("red", "blue"),
        preprocessing=Preprocessing(size=(32, 32), fit="crop", mode="tf"),
    )
    train = Judged(paths=test.paths, labels=test.labels)
    return conclude(card, {"train": train, "test": test}, model=model, **changes)


@pytest.mark.backends
def test_heat_maps_show_where_the_predicted_class_is(seer, tmp_path):
    """Seven right answers and four wrong ones; in each picture one corner alone speaks for it."""
    colours = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    labels = [0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1]
    found = concluded(seer, in_corners(seer, labels, colours))
    looked_at = found.content["looked_at"]
    assert (looked_at["method"], looked_at["layer"]) == ("Grad-CAM", "maps")
    rows = looked_at["images"]
    assert [row["path"] for row in rows] == [f"{i}.png" for i in (0, 1, 2, 7, 8, 9)]
    assert [row["right"] for row in rows] == [True] * 3 + [False] * 3
    assert [row["label"] for row in rows] == ["red", "blue", "red", "red", "blue", "red"]
    assert [row["predicted"] for row in rows] == ["red", "blue", "red", "blue", "red", "blue"]
    for row in rows:
        heat = decoded(row["map"])
        assert heat.shape == (8, 8)
        top, left = (6 * side for side in CORNERS[int(row["path"][:-4]) % 4])
        assert heat[top : top + 2, left : left + 2].min() > 0
        assert heat.sum() == pytest.approx(heat[top : top + 2, left : left + 2].sum())
        assert row["confidence"] > 0.5
    found.write(tmp_path)
    assert (tmp_path / REPORT).read_text().count('alt="heat map for') == 6


@pytest.mark.parametrize(
    ("labels", "colours", "right"),
    [
        ([0, 1, 0, 1, 1], [0, 1, 0, 1, 1], [True] * 3),
        ([1, 0, 1, 0, 0], [0, 1, 0, 1, 1], [False] * 3),
        ([1, 0], [1, 1], [True, False]),
        ([0], [0], [True]),
        ([0], [1], [False]),
    ],
)
def test_heat_maps_of_few_answers(seer, labels, colours, right, tmp_path):
    found = concluded(seer, in_corners(seer, labels, colours))
    assert [row["right"] for row in found.content["looked_at"]["images"]] == right
    found.write(tmp_path)
    page = (tmp_path / REPORT).read_text()
    assert page.count('alt="heat map for') == len(right)
    assert ("No held-out image was predicted incorrectly." in page) == (False not in right)
    assert ("No held-out image was predicted correctly." in page) == (True not in right)


def test_heat_maps_of_a_calibrated_network_have_its_confidence(seer):
    labels = [0, 1] * 10 + [1, 0]
    test = in_corners(seer, labels, [0, 1] * 11)
    card = dataclasses.replace(concluded(seer, test).card, calibration=None)
    parts = {"train": test, "val": test, "test": test}
    found = conclude(card, parts, model=seer)
    calibrated = found.assessment.calibrated(test)
    for row in found.content["looked_at"]["images"]:
        place = test.paths.index(row["path"])
        assert row["confidence"] == pytest.approx(calibrated[place].max())
    assert not np.allclose(calibrated, test.probabilities)


def test_pictures_that_are_gone_have_no_heat_map(seer, tmp_path):
    test = in_corners(seer, [0, 1, 0, 1], [0, 1, 0, 0])

    def pictures(places):
        if 1 in places:
            raise ImageError(Path("1.png"), "no such file")
        return test.pictures(places)

    found = concluded(seer, dataclasses.replace(test, pictures=pictures))
    assert [row["path"] for row in found.content["looked_at"]["images"]] == [
        "0.png", "2.png", "3.png",
    ]  # fmt: skip
    found.write(tmp_path)

    def gone(_):
        raise ImageError(Path("x.png"), "no such file")

    for none in (gone, None):
        found = concluded(seer, dataclasses.replace(test, pictures=none))
        assert "looked_at" not in found.content


def test_a_network_without_feature_maps_has_no_heat_maps_and_the_log_says_so(seer, caplog):
    x = keras.Input((32, 32, 3))
    y = keras.layers.Flatten()(x)
    flat = keras.Model(x, keras.layers.Dense(2, activation="softmax")(y))
    test = in_corners(seer, [0, 1, 0, 1], [0, 1, 0, 0])
    with caplog.at_level(logging.INFO, logger="keras_classics"):
        found = concluded(flat, test)
    assert "looked_at" not in found.content
    (record,) = caplog.records
    assert "no heat maps" in record.getMessage()
    assert "no feature maps to explain" in record.getMessage()
