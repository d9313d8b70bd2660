from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest

from keras_classics.classifier.artefact import Classifier, load
from keras_classics.data.fit import CentralCrop, Interpolation, fit_image
from keras_classics.exporting import conversion
from keras_classics.exporting.export import Request
from keras_classics.exporting.exported import EXPORT, ExportError, read_export
from keras_classics.exporting.quantise import Calibration
from keras_classics.exporting.resizing import Resize


def asked(artefact, target="openvino", precision="f32", kind="fitted", **options):
    return Request(str(artefact), None, target, precision, kind, **options)


@pytest.fixture
def moved(artefact, tmp_path):
    """The artefact, made of pictures that are no longer where they were."""
    import shutil

    from keras_classics.classifier.card import Card

    folder = tmp_path / "moved"
    shutil.copytree(artefact, folder)
    card = Card.read(folder)
    dataclasses.replace(card, data={**card.data, "source": str(tmp_path / "gone")}).write(folder)
    return folder


def watch(monkeypatch):
    """What is decoded for what, by name."""
    seen = {"read": [], "compared": set()}
    read, compare = conversion._read, conversion.compare

    def compared(classifier, run, samples, **options):
        seen["compared"] = {name for sample in samples for name in sample.names}
        return compare(classifier, run, samples, **options)

    def reading(classifier, sample):
        seen["read"].append(set(sample.names))
        return read(classifier, sample)

    monkeypatch.setattr(conversion, "_read", reading)
    monkeypatch.setattr(conversion, "compare", compared)
    return seen


def test_int8_is_never_decided_by_what_was_held_out(artefact, tmp_path, monkeypatch):
    seen = watch(monkeypatch)
    told = []
    request = asked(artefact, precision="int8", calibration_pictures=17, accept=True)
    export = conversion.convert(request, tmp_path, lambda what, *_: told.append(what))
    splits = load(artefact).splits
    calibration, validation = seen["read"]
    assert len(calibration) == 17
    assert {splits[name] for name in calibration} == {"train"}
    assert {splits[name] for name in validation} == {"val"}
    assert {splits[name] for name in seen["compared"]} == {"test"}
    assert export.quantisation["pictures"] == 17
    assert list(dict.fromkeys(told)) == [
        "loading",
        "reading pictures",
        "quantising",
        "comparing with Keras",
    ]


@pytest.mark.parametrize(
    "fit",
    ["crop", "pad", "stretch", *(CentralCrop(41, each) for each in get_args(Interpolation))],
    ids=str,
)
def test_pictures_that_decide_become_what_prediction_sees(fit):
    """Hundreds are held in memory: at the size of the network, which the rule leaves alone."""
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 34, 3), np.uint8)
    given = conversion._unfitted(images, fit)
    layer = Resize((32, 34), fit)
    for image, fitted in zip(given, images, strict=True):
        np.testing.assert_array_equal(fit_image(image, (32, 34), fit), fitted)
        np.testing.assert_array_equal(np.asarray(layer(image[None]))[0], fitted)


def test_published_weights_have_no_pictures():
    request = Request(None, "resnet50-keras", "openvino", "int8", "fitted")
    with pytest.raises(ExportError, match="give --data FOLDER, whose sub-folders are"):
        conversion._compared(request, None)


@pytest.mark.slow
def test_published_weights_are_quantised_by_other_pictures(artefact, shapes, tmp_path, monkeypatch):
    """A fifth of them decides; the others, whose classes are known, judge."""
    monkeypatch.setattr(conversion, "published", lambda _: _published(artefact))
    request = Request(
        None, "resnet50-keras", "openvino", "int8", "fitted", str(shapes), accept=True
    )
    export = conversion.convert(request, tmp_path, lambda *_: None)
    assert export.quantisation["part"] == "data"
    assert export.quantisation["pictures"] == 12
    assert export.agreement.pictures == 48
    assert export.agreement.of == "the pictures of shapes by which nothing was decided"
    assert export.agreement.keras_accuracy > 0.6


def _published(artefact):
    """The same network and classes, of no run."""
    own = load(artefact)
    return Classifier(own.model, own.card)


def test_without_the_pictures_of_the_run(moved, shapes, tmp_path):
    """f32 is compared on photographs, int8 cannot be decided, and --data helps."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    export = conversion.convert(asked(moved), tmp_path / "a", lambda *_: None)
    assert export.agreement.of == "64 crops of two photographs of scikit-learn"
    assert export.agreement.accuracy is None
    with pytest.raises(ExportError, match=r"int8 needs pictures .*: give --data FOLDER, the"):
        conversion.convert(asked(moved, precision="int8"), tmp_path / "b", lambda *_: None)
    found = conversion.convert(asked(moved, data=str(shapes)), tmp_path / "c", lambda *_: None)
    assert found.agreement.of == "the test part of the run's own split"


def test_nothing_was_held_out(artefact, tmp_path, monkeypatch):
    """As where the pictures of the test part have been deleted since."""
    parts_of = conversion.parts_of

    def without_test(*arguments):
        parts = parts_of(*arguments)
        return dataclasses.replace(parts, test=dataclasses.replace(parts.test, names=(), labels=()))

    monkeypatch.setattr(conversion, "parts_of", without_test)
    with pytest.raises(ExportError, match="holds none of the pictures that the run held out"):
        conversion.convert(asked(artefact, precision="int8"), tmp_path, lambda *_: None)


@pytest.mark.parametrize(
    ("precision", "limit", "message"),
    [
        ("f32", (0.0, 2.0), "the export is not usable, please report it"),
        pytest.param(
            "bf16",
            (0.0, 2.0),
            "a probability differs by .*--accept takes it as it is",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "int8",
            (None, 2.0),
            r"top-1 agrees on .*\(accuracy .* to .*\), with 16 of 16 layers in int8 by NNCF; --acc",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_out_of_tolerance(artefact, tmp_path, monkeypatch, precision, limit, message):
    monkeypatch.setitem(conversion.LIMITS, precision, limit)
    if precision == "int8":  # which is also what accuracy control goes by
        monkeypatch.setattr(
            conversion, "Calibration", lambda *a, **k: Calibration(*a, **{**k, "most_lost": 0.5})
        )
    (tmp_path / "a").mkdir()
    with pytest.raises(ExportError, match=message):
        conversion.convert(asked(artefact, precision=precision), tmp_path / "a", lambda *_: None)
    assert not (tmp_path / "a" / EXPORT).exists()
    (tmp_path / "b").mkdir()
    request = asked(artefact, precision=precision, accept=True)
    if precision == "f32":  # which is a mistake of ours, not a matter of taste
        with pytest.raises(ExportError, match="not usable"):
            conversion.convert(request, tmp_path / "b", lambda *_: None)
    else:
        assert conversion.convert(request, tmp_path / "b", lambda *_: None).agreement.accepted
        assert read_export(tmp_path / "b").agreement.accepted


def test_the_backend_is_that_of_the_target(artefact, tmp_path):
    with pytest.raises(ExportError, match="written with Keras on torch, but here it runs on tens"):
        conversion.convert(asked(artefact, "torch_export"), tmp_path, lambda *_: None)
