from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_classics import load
from keras_classics.classifier.card import FEATURES, MANIFEST, Card, Preprocessing
from keras_classics.data.folder import scan
from keras_classics.data.manifest import read_manifest
from keras_classics.data.pixels import decode_all
from keras_classics.data.splits import limited
from keras_classics.errors import ArtefactError, ClassicsError, NothingLearntError
from keras_classics.evaluation.saved import read_metrics, write_metrics
from keras_classics.forward import forward_of
from keras_classics.training.config import TrainConfig
from keras_classics.training.head_curve import MOST_DRAWS, _Heads, head_curve, kept_features
from keras_classics.training.judging import conclude
from keras_classics.training.learning_curve import config_of, learning_curve
from pictures import state, write_pictures
from simulated import history, parts

CONFIG = TrainConfig(network="vgg16", weights="none", epochs=3, changes=("x=1",), seed=5)


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
    with pytest.raises(ArtefactError, match="does not say how it was trained"):
        config_of(run, {"run": {"config": None}})
    with pytest.raises(ArtefactError, match="another version"):
        config_of(run, {"run": {"config": {"colour": "red"}}})


@pytest.fixture
def head_run(head_artefact, tmp_path):
    return shutil.copytree(head_artefact, tmp_path / "head")


def test_the_features_of_a_run_are_in_the_order_of_its_manifest(head_artefact, shapes):
    import keras

    classifier, rows = load(head_artefact), read_manifest(head_artefact / MANIFEST)
    features = kept_features(head_artefact, len(rows))
    shape = classifier.card.preprocessing
    by_name = {item.name: item for item in scan(shapes).items}
    assert len(rows) == len(by_name)
    items = [by_name[row["path"]] for row in rows]
    decoded = decode_all(scan(shapes).storage, items, shape.size, shape.fit)
    body = keras.Model(classifier.model.input, classifier.model.layers[-1].input)
    found = forward_of(body)(classifier.inputs(decoded.images))
    np.testing.assert_allclose(features, found, atol=1e-3 * np.abs(found).max())


def test_the_curve_of_a_run_from_trained_weights_is_that_of_its_head(head_run):
    fractions, kept = [], state(head_run)
    curve = learning_curve(head_run, trained=None, began=fractions.append)
    assert fractions == [0.125, 0.25, 0.5]
    assert curve.of == "head"
    assert [point.train for point in curve.points] == [6, 12, 21, 42]
    assert [point.draws for point in curve.points] == [MOST_DRAWS] * 3 + [1]
    assert [point.images for point in curve.points] == [9] * 4
    content = read_metrics(head_run)
    judged = content["transfer"]["head"]["test"]
    assert curve.points[-1].wrong == judged["images"] - judged["right"]
    assert content["learning_curve"] == json.loads(json.dumps(curve.to_dict()))
    report = (head_run / "report.html").read_text()
    assert curve.verdict in report
    assert "heads fitted to the features" in report
    changed = {name for name, was in state(head_run).items() if kept[name] != was}
    assert {str(name) for name in changed} == {"metrics.json", "report.html"}


def test_a_head_on_all_images_is_the_run_s_own(head_artefact):
    card, content = Card.read(head_artefact), read_metrics(head_artefact)
    rows = read_manifest(head_artefact / MANIFEST)
    heads = _Heads(card, content, rows, kept_features(head_artefact, len(rows)))
    assert heads._wrong(heads.parts) == heads.whole().wrong
    few = heads.point(0.25)
    drawn = [limited(heads.parts, heads.labels, 0.25, seed=seed) for seed in range(1, 6)]
    assert few.wrong == np.mean([heads._wrong(parts) for parts in drawn])
    assert len({tuple(parts) for parts in drawn}) == 5


def test_the_curve_of_a_fine_tuned_run_ends_with_its_head(head_run):
    content = read_metrics(head_run)
    content["transfer"]["kept"] = "fine-tuned"
    content["transfer"]["head"]["test"].update(images=9, right=5)
    content["held_out"]["right"] = 9
    (head_run / "metrics.json").write_text(json.dumps(content))
    assert head_curve(head_run).points[-1].wrong == 4


@pytest.mark.slow
def test_it_needs_no_backend(head_run):
    code = (
        "import sys; from pathlib import Path; from keras_classics.cli import app; "
        f"app.run(['learning-curve', {str(head_run)!r}]); "
        "assert 'keras' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the head's curve, without fine-tuning" in done.stdout


@pytest.mark.parametrize(
    "gone",
    ["torn", *(pytest.param(each, marks=pytest.mark.slow) for each in ("missing", "others"))],
)
def test_features_that_are_not_there_are_computed_anew(head_run, gone):
    whole = head_curve(head_run)
    path = head_run / FEATURES
    if gone == "missing":
        path.unlink()
    elif gone == "torn":
        path.write_bytes(path.read_bytes()[:-8])
    else:
        np.save(path, np.load(path)[:-1])
    before = path.read_bytes() if path.exists() else None
    assert head_curve(head_run) is None
    events = []
    again = learning_curve(head_run, trained=None, listener=events.append)
    assert [point.train for point in again.points] == [point.train for point in whole.points]
    assert again.points == whole.points
    assert "Features" in {type(event).__name__ for event in events}
    assert (path.read_bytes() if path.exists() else None) == before


def test_features_of_other_images_are_not_computed(head_run, tmp_path):
    (head_run / FEATURES).unlink()
    before = state(head_run)
    content = read_metrics(head_run)
    data = write_pictures(tmp_path / "others", each=20)
    for changed in ("name", "bytes"):
        if changed == "name":
            (data / "cross" / "000.png").rename(data / "cross" / "new.png")
        else:
            (data / "cross" / "new.png").rename(data / "cross" / "000.png")
            shutil.copy(data / "cross" / "001.png", data / "cross" / "000.png")
        content["run"]["config"]["folder"] = str(data)
        (head_run / "metrics.json").write_text(json.dumps(content))
        before = state(head_run)
        with pytest.raises(ClassicsError, match="others: the images are not those") as it:
            learning_curve(head_run)
        assert "\n" not in str(it.value)
        assert state(head_run) == before
    content["run"]["config"]["folder"] = str(tmp_path / "nowhere")
    (head_run / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(ClassicsError, match="nowhere: no such folder"):
        learning_curve(head_run)


def test_many_images_are_drawn_once(head_run, monkeypatch):
    monkeypatch.setattr("keras_classics.training.head_curve.DRAWN", 30)
    curve = head_curve(head_run, fractions=(0.25, 0.5, 0.75))
    assert [point.draws for point in curve.points] == [2, 1, 1, 1]
