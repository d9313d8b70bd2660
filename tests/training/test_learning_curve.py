from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
from PIL import Image

from keras_classics.card import Card, Preprocessing
from keras_classics.errors import ArtefactError, ClassicsError, NothingLearntError
from keras_classics.evaluation.saved import read_metrics, write_metrics
from keras_classics.training.config import TrainConfig
from keras_classics.training.judging import conclude
from keras_classics.training.learning_curve import config_of, learning_curve
from simulated import history, parts

CONFIG = TrainConfig(network="vgg16", epochs=3, changes=("x=1",), seed=5)


@pytest.fixture
def run(tmp_path):
    card = Card(
        network="vgg16",
        width=1.0,
        class_names=tuple("abcde"),
        preprocessing=Preprocessing(size=(32, 32), fit="crop", mode="tf"),
        data={"source": "x", "fingerprint": "f", "images": {"train": 800}, "skipped": []},
        history=history(),
    )
    folder = tmp_path / "run"
    folder.mkdir()
    conclusion = conclude(card, parts(200, pictures=False), config=CONFIG)
    conclusion.write(folder)
    conclusion.card.write(folder)
    return folder


def trained(asked, card, *, judged=True, fingerprint="f"):
    """Stands for a training, whose errors fall with the number of images."""

    def train(config, listener):  # noqa: ARG001
        asked.append(config)
        images = {"train": round(800 * config.limit)}
        figures = {"images": 200, "accuracy": 1 - 0.4 * config.limit**-0.25}
        found = dataclasses.replace(
            card, data={**card.data, "images": images, "fingerprint": fingerprint}, figures=figures
        )
        return SimpleNamespace(
            judgement=object() if judged else None, classifier=SimpleNamespace(card=found)
        )

    return train


def test_the_run_s_own_configuration_on_parts_of_its_images(run):
    asked, fractions = [], []
    curve = learning_curve(run, trained=trained(asked, Card.read(run)), began=fractions.append)
    assert fractions == [0.125, 0.25, 0.5]
    assert [config.limit for config in asked] == fractions
    for config in asked:
        assert dataclasses.replace(config, limit=1.0, out=None) == CONFIG
        assert not config.out.parent.exists()  # its artefact is not kept
    assert [point.train for point in curve.points] == [100, 200, 400, 800]
    assert [point.images for point in curve.points] == [200] * 4
    content = read_metrics(run)
    assert content["learning_curve"]["verdict"] == curve.verdict
    assert content["learning_curve"] == json.loads(json.dumps(curve.to_dict()))
    assert curve.verdict in (run / "report.html").read_text()


def test_the_report_keeps_its_pictures(run):
    """They are read from where the images of the run still are."""
    card, source = Card.read(run), run.parent / "photos"
    for suspect in read_metrics(run)["suspects"]:
        path = source / "a" / suspect["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(path)
    content = read_metrics(run)
    content["suspects"] = [{**s, "path": f"a/{s['path']}"} for s in content["suspects"]]
    write_metrics(run, content)
    dataclasses.replace(card, data={**card.data, "source": str(source)}).write(run)
    learning_curve(run, trained=trained([], card))
    pictures = (run / "report.html").read_text().count("data:image/jpeg")
    assert pictures == len(content["suspects"]) > 0


def test_an_interrupted_or_changed_training_leaves_the_run_as_it_was(run):
    before = (run / "metrics.json").read_bytes()
    card = Card.read(run)
    with pytest.raises(NothingLearntError, match="interrupted"):
        learning_curve(run, trained=trained([], card, judged=False))
    with pytest.raises(ClassicsError, match="not those of the run any more"):
        learning_curve(run, trained=trained([], card, fingerprint="g"))
    with pytest.raises(ClassicsError, match="fraction=1"):
        learning_curve(run, fractions=(0.5, 1))
    assert (run / "metrics.json").read_bytes() == before


def test_a_run_that_does_not_say_how_it_was_made(run):
    with pytest.raises(ArtefactError, match="does not say how it was made"):
        config_of(run, {"run": {"config": None}})
    with pytest.raises(ArtefactError, match="another version"):
        config_of(run, {"run": {"config": {"colour": "red"}}})
