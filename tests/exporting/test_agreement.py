from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from keras_classics.classifier.artefact import load
from keras_classics.errors import ImageError
from keras_classics.exporting import agreement
from keras_classics.exporting.agreement import compare, expected
from keras_classics.exporting.exported import ExportError
from keras_classics.exporting.samples import Sample, fitted, parts_of, photographs


@pytest.fixture(scope="module")
def classifier(resnet):
    return load(resnet)


@pytest.fixture(scope="module")
def sample(classifier):
    return parts_of(classifier, None).test


def test_the_model_itself_agrees_whatever_it_takes(classifier, sample):
    runs = {
        "fitted": classifier.probabilities,
        "image": lambda batch: classifier.probabilities(fitted(classifier, list(batch))),
        "raw": lambda batch: np.asarray(classifier.model.predict_on_batch(batch)),
    }
    for kind, run in runs.items():
        found = compare(classifier, run, [sample], kind=kind, precision="f32")
        assert found.largest_difference < 1e-6
        assert found.top1_agreement == 1
        assert found.pictures == 9
        assert found.accuracy == found.keras_accuracy
        assert found.within


def test_raw_is_without_temperature(classifier, sample):
    ((pictures, _),) = sample.batches()
    images = fitted(classifier, pictures)
    uncalibrated = expected(classifier, images, "raw")
    calibrated = expected(classifier, images, "fitted")
    assert np.abs(uncalibrated - calibrated).max() > 0.01
    assert np.allclose(classifier.calibration.apply(uncalibrated), calibrated, atol=1e-6)
    assert classifier.inputs(images).dtype == np.float32


def test_differences_are_found(classifier, sample):
    def wrong(batch):
        outputs = classifier.probabilities(batch)
        outputs[3, 1] += 0.001
        return outputs

    found = compare(classifier, wrong, [sample], kind="fitted", precision="f32")
    assert found.largest_difference == pytest.approx(0.001, rel=0.01)
    assert not found.within


def test_other_answers_are_counted(classifier, sample):
    def wrong(batch):
        outputs = classifier.probabilities(batch)
        outputs[:3] = np.roll(outputs[:3], 1, axis=1)
        return outputs

    found = compare(classifier, wrong, [sample], kind="fitted", precision="int8")
    assert found.top1_agreement == pytest.approx(6 / 9)
    assert found.accuracy != found.keras_accuracy
    assert not found.within


def test_accuracy_is_of_the_pictures_whose_class_is_known(classifier, sample):
    told = []
    found = compare(
        classifier,
        classifier.probabilities,
        [sample, photographs()],
        kind="fitted",
        precision="f32",
        progress=lambda *counts: told.append(counts),
    )
    alone = compare(classifier, classifier.probabilities, [sample], kind="fitted", precision="f32")
    assert found.pictures == 9 + 64
    assert found.accuracy == alone.accuracy
    assert "test part" in found.of
    assert "two photographs" in found.of
    assert told[-1] == (73, 73)
    unknown = compare(
        classifier, classifier.probabilities, [photographs()], kind="fitted", precision="f32"
    )
    assert unknown.accuracy is None


@pytest.mark.parametrize("broken", [lambda x: x * np.nan, lambda x: x[:, :2]])
def test_what_gives_no_probabilities_is_refused(classifier, sample, broken):
    with pytest.raises(ExportError, match="not usable"):
        compare(
            classifier,
            lambda batch: broken(classifier.probabilities(batch)),
            [sample],
            kind="fitted",
            precision="f32",
        )


def test_nothing_to_compare_on(classifier, sample):
    nothing = dataclasses.replace(sample, names=(), labels=())
    with pytest.raises(ExportError, match="nothing to compare the export on"):
        compare(classifier, classifier.probabilities, [nothing], kind="fitted", precision="f32")


def test_a_part_that_cannot_be_read_is_not_passed_over(classifier, sample):
    def torn(name):
        raise ImageError(Path(name), "torn")

    gone = Sample("the test part", ("a", "b"), torn)
    with pytest.raises(ExportError, match="none of the test part can be read"):
        compare(
            classifier,
            classifier.probabilities,
            [sample, gone],
            kind="fitted",
            precision="f32",
        )


def test_the_limits_are_those_that_are_promised():
    assert agreement.LIMITS["f32"][0] == 1e-4
    assert agreement.LIMITS["int8"] == (None, 0.99)


@pytest.mark.parametrize("levels", [1, 3])
def test_one_grey_level_rounded_otherwise_is_told_apart(classifier, sample, monkeypatch, levels):
    """A resize rule that differs by a level in one pixel is as right; by more it is wrong."""
    monkeypatch.setitem(agreement.LIMITS, "f32", (1e-7, 0.0))

    def resize(batch):
        pixels = fitted(classifier, list(batch)).astype(np.float32)
        pixels[:, 16, 16, 0] += np.where(pixels[:, 16, 16, 0] < 128, levels, -levels)
        return pixels

    found = compare(
        classifier,
        lambda batch: classifier.probabilities(resize(batch).astype(np.uint8)),
        [sample],
        kind="image",
        precision="f32",
        pixels=lambda: resize,
    )
    if levels == 1:
        assert found.rounded > 0
        assert found.largest_difference <= 1e-7 < found.largest_rounded
        assert found.within
    else:
        assert found.rounded == 0
        assert found.largest_difference > 1e-7
        assert not found.within
