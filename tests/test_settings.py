"""What is saved, loaded and converted is the same whatever a user has set in Keras."""

from __future__ import annotations

import re
import zipfile

import numpy as np
import pytest

from keras_classics import build, load
from keras_classics.architectures import catalog
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.explanation.explain import probe_of
from keras_classics.exporting.conversion import convert as export
from keras_classics.exporting.export import Request
from keras_classics.training.config import TrainConfig
from keras_classics.training.run import train
from keras_classics.weights.conversion import convert
from pictures import CLASSES, write_pictures
from settings import SETTINGS, set_up


def dtypes_of(file):
    """The types of numbers that a `.keras` file speaks of."""
    return set(re.findall(r"b?float\d+", zipfile.ZipFile(file).read("config.json").decode()))


def network():
    return build("vgg16", weights=None, width=0.0625, classes=3, input_shape=(32, 32, 3))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An artefact that was written with nothing set."""
    folder = tmp_path_factory.mktemp("plain")
    network().save(folder / "model.keras")
    Card("vgg16", 0.0625, CLASSES, Preprocessing((32, 32), "crop", "tf")).write(folder)
    return folder


@pytest.mark.parametrize(
    "setting",
    [one if one == "float16" else pytest.param(one, marks=pytest.mark.slow) for one in SETTINGS],
)
def test_a_run_is_saved_in_float32_and_exported(setting, tmp_path):
    data = write_pictures(tmp_path / "shapes", each=8)
    with set_up(setting):
        run = train(
            TrainConfig(
                data, network="vgg16", width=0.0625, size=32, epochs=1, out=tmp_path / "run"
            )
        )
        (tmp_path / "export").mkdir()
        asked = Request(str(run.artefact), None, "onnx", "f32", "fitted")
        made = export(asked, tmp_path / "export", lambda *_: None)
        found = load(run.artefact).evaluate(data).judgement
    assert dtypes_of(run.artefact / "model.keras") == {"float32"}
    assert made.agreement.largest_difference < 1e-5
    assert found.log_loss == pytest.approx(run.judgement.log_loss, rel=1e-4)
    assert load(run.artefact).evaluate(data).judgement.log_loss == pytest.approx(found.log_loss)


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_loaded_answers_the_same(plain, setting):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    wanted = load(plain).probabilities(images)
    with set_up(setting):
        classifier = load(plain)
        np.testing.assert_allclose(classifier.probabilities(images), wanted, atol=1e-6)
        found = probe_of(classifier).run(classifier.inputs(images)).probabilities
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_weights_are_converted_to_float32(setting, tmp_path):
    source, target = tmp_path / "vgg16.weights.h5", tmp_path / "vgg16.keras"
    network().save_weights(source)
    with set_up(setting):
        convert(source, target, architecture=catalog.find("vgg16"), width=0.0625)
    assert dtypes_of(target) == {"float32"}
