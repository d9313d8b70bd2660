from __future__ import annotations

import base64
import dataclasses
import io
import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_classics import build, load
from keras_classics.classifier.artefact import Classifier
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.errors import ClassicsError, DataError, ImageError, OutputError
from keras_classics.explanation import figure
from keras_classics.explanation.cam import cam
from keras_classics.explanation.explain import class_indices, explain, probe_of
from keras_classics.explanation.methods import METHODS, Settings
from zoo import slow


@pytest.fixture(scope="module")
def classifier(artefact):
    return load(artefact)


@pytest.fixture
def image(shapes):
    return shapes / "circle" / "003.png"


def heat_of(values):
    raw = np.frombuffer(base64.b64decode(values["float32"]), "<f4")
    return raw.reshape(values["shape"])


def test_the_answer_is_the_classifiers(classifier, image):
    explanation = explain(classifier, image, check=False)
    (prediction,) = classifier.predict(image)
    assert explanation.top[0][1] == prediction.class_name
    assert explanation.top[0][2] == pytest.approx(prediction.confidence, rel=1e-5)
    (explained,) = explanation.classes
    assert explained.name == prediction.class_name
    assert explained.probability == pytest.approx(prediction.confidence, rel=1e-5)


@pytest.mark.backends
def test_the_backends_explain_alike(randomise, tmp_path):
    """These numbers are from TensorFlow; every backend must give them again."""
    model = randomise(build("vgg16", width=0.0625, input_shape=(32, 32, 3), classes=3))
    card = Card(
        network="vgg16", width=0.0625, class_names=("a", "b", "c"),
        preprocessing=Preprocessing((32, 32), "stretch", "tf"),
    )  # fmt: skip
    pixels = np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((32, 32)).save(tmp_path / "x.png")
    found = explain(
        Classifier(model, card), tmp_path / "x.png", method="grad-cam++", block="block2",
        classes=["b", "a"],
    )  # fmt: skip
    measured = [
        [
            each.probability,
            each.score,
            float(each.heat.sum()),
            float(each.checks.deletion.areas[0]),
            float(each.checks.insertion.areas[0]),
            each.checks.sanity.full.rank_correlation,
            each.checks.sanity.full.ssim,
        ]
        for each in found.classes
    ]
    np.testing.assert_allclose(measured, ALIKE, rtol=1e-3, atol=1e-4)
    content = found.to_dict()
    assert content["versions"]["backend"] == keras.backend.backend()
    assert [each["class"] for each in content["classes"]] == ["b", "a"]


# Probability, score, sum of the map, areas of deletion and insertion, likeness to the controls.
ALIKE = [
    [0.249926, -0.829354, 40.439327, 0.261412, 0.241404, 0.183684, 0.204405],
    [0.213103, -0.988745, 42.929573, 0.237208, 0.216014, 0.158410, 0.202513],
]


def test_the_json_holds_all_of_it(classifier, image, tmp_path):
    explanation = explain(classifier, image, block="block2", classes=["cross", 0], cascade=True)
    explanation.write_json(tmp_path / "x.json")
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["path"] == str(image)
    assert content["network"] == "vgg16"
    assert content["method"]["name"] == "grad-cam"
    assert content["method"]["source"].endswith("1610.02391")
    assert (content["block"], content["layer"]) == ("block2", "block2_pool")
    assert content["versions"]["keras"]
    assert [each["class"] for each in content["classes"]] == ["cross", "circle"]
    probe = probe_of(classifier)
    inputs = (explanation.picture[None] / 127.5 - 1).astype("float32")
    expected = cam(probe, inputs, layers=["block2"], classes=1)["block2"][0]
    first = content["classes"][0]
    np.testing.assert_allclose(heat_of(first["map"]), expected, rtol=1e-4, atol=1e-7)
    assert first["map"]["high"] == pytest.approx(float(expected.max()), rel=1e-4)
    checks = first["checks"]
    for curve in (checks["deletion"], checks["insertion"]):
        assert len(curve["fraction"]) == len(curve["probability"]) == 33
        assert curve["area"] == pytest.approx(np.trapezoid(curve["probability"], dx=1 / 32), 1e-4)
    assert checks["deletion"]["probability"][0] == pytest.approx(first["probability"], abs=1e-5)
    assert heat_of(checks["randomised"]["map"]).shape == (8, 8)
    assert checks["randomised"]["cascade"][0]["from"] == "predictions"


@pytest.mark.parametrize("method", [each if each == "grad-cam" else slow(each) for each in METHODS])
def test_each_method_gives_the_same_files_again(classifier, image, tmp_path, method):
    settings = Settings(steps=4, samples=3, channels=4, window=16, stride=16, seed=3)
    for name in ("first", "again"):
        explanation = explain(classifier, image, method=method, settings=settings)
        explanation.write_json(tmp_path / f"{name}.json")
        explanation.write_picture(tmp_path / f"{name}.png")
    for ending in ("json", "png"):
        files = [(tmp_path / f"{name}.{ending}").read_bytes() for name in ("first", "again")]
        assert files[0] == files[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again.json", "again.png", "first.json", "first.png",
    ]  # fmt: skip


@pytest.mark.parametrize(("classes", "check"), [([0], True), ([0, 1, 2], True), ([0, 1], False)])
def test_the_picture_has_a_row_for_each_class(classifier, image, classes, check):
    explanation = explain(classifier, image, classes=classes, check=check)
    picture = Image.open(io.BytesIO(figure.draw(explanation)))
    alone = Image.open(io.BytesIO(figure.draw(explain(classifier, image, check=check))))
    assert picture.width == alone.width
    if check:
        assert (picture.height > alone.height) == (len(classes) > 1)
    pixels = np.asarray(picture.convert("RGB"))
    assert np.all(pixels[[0, -1]] == 255)  # nothing is cut off at the borders
    assert np.all(pixels[:, [0, -1]] == 255)


def test_the_cascade_has_a_column_of_its_own(classifier, image):
    without, with_it = (
        Image.open(io.BytesIO(figure.draw(explain(classifier, image, cascade=cascade))))
        for cascade in (False, True)
    )
    assert with_it.width > without.width
    assert with_it.height == without.height


def test_long_names_of_classes_do_not_run_over_the_picture(classifier, image):
    """What stands left of the answer is the same, however long the names are."""
    names = ("an extremely long name of a class", "another one of that kind", "a third, longer one")
    long = type(classifier)(
        classifier.model, dataclasses.replace(classifier.card, class_names=names)
    )
    short, wide = (
        np.asarray(Image.open(io.BytesIO(figure.draw(explain(each, image, check=False)))))
        for each in (classifier, long)
    )
    edge = round((figure.MARGIN + figure.PANEL + 0.3) * figure.DOTS)
    np.testing.assert_array_equal(short[:, :edge], wide[:, :edge])


def test_of_a_calibrated_classifier_the_probabilities_are_calibrated(classifier, image):
    calibration = {
        "temperature": 4.0, "threshold": 0.0, "target": 0.9, "promised": False, "fitted_on": 10,
        "warning": None,
    }  # fmt: skip
    card = dataclasses.replace(classifier.card, calibration=calibration)
    warm = type(classifier)(classifier.model, card)
    found = explain(warm, image)
    (prediction,) = warm.predict(image)
    assert found.classes[0].probability == pytest.approx(prediction.confidence, rel=1e-4)
    curve = found.classes[0].checks.deletion.probabilities[0]
    assert curve[0] == pytest.approx(prediction.confidence, rel=1e-4)


def test_integrated_gradients_begin_at_black_and_tell_their_gap(classifier, image):
    found = explain(classifier, image, method="integrated-gradients", check=False)
    assert np.all(found.settings.baseline == -1)  # what this network reads for black
    (explained,) = found.classes
    total = float(explained.heat.sum())
    assert set(explained.figures) == {"score_difference", "completeness_gap"}
    assert total == pytest.approx(
        explained.figures["score_difference"] + explained.figures["completeness_gap"], abs=1e-3
    )


def test_classes_by_name_and_by_index(classifier):
    assert class_indices(classifier, ["stripes", 0, "1", "circle"]) == [2, 0, 1]
    twice = dataclasses.replace(classifier.card, class_names=("1", "crane", "crane"))
    other = type(classifier)(classifier.model, twice)
    assert class_indices(other, ["1"]) == [0]  # a name counts first
    assert class_indices(other, ["2"]) == [2]
    with pytest.raises(ClassicsError, match=r"'crane': 2 classes .* indices 1, 2"):
        class_indices(other, ["crane"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "grad"}, "method='grad'"),
        ({"block": "blok3"}, "did you mean 'block3'"),
        ({"block": "predictions"}, "no feature maps"),
        ({"block": "block3", "method": "occlusion"}, "explains pixels"),
        ({"classes": ["cros"]}, "class 'cros': not one of the 3 .* did you mean 'cross'"),
        ({"classes": [3]}, "class 3: .* from 0 to 2"),
    ],
)
def test_what_cannot_be_is_one_clear_line(classifier, image, arguments, message):
    with pytest.raises(ClassicsError, match=message):
        explain(classifier, image, **arguments)


def test_images_that_are_none(classifier, shapes, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(ImageError, match=r"torn\.png"):
        explain(classifier, tmp_path / "torn.png")
    with pytest.raises(DataError, match="no such file"):
        explain(classifier, tmp_path / "none.png")
    with pytest.raises(ClassicsError, match="20 images; explain them one by one"):
        explain(classifier, shapes / "circle")


def test_what_cannot_be_written(classifier, image, tmp_path):
    explanation = explain(classifier, image, check=False)
    for write in (explanation.write_json, explanation.write_picture):
        with pytest.raises(OutputError, match="cannot be written"):
            write(tmp_path / "none" / "file")
