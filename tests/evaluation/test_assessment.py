from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from keras_classics.errors import ImageError
from keras_classics.evaluation.assessment import Judged, assess
from keras_classics.evaluation.metrics import judge
from simulated import coloured, parts

NAMES = ("a", "b", "c", "d", "e")


def warnings(changed, **options):
    return " ".join(assess(changed, NAMES, **options).content["warnings"])


def test_figures_are_those_of_calibrated_probabilities():
    judged = parts(temperature=2.0)
    found = assess(judged, NAMES)
    calibrated = found.calibration.apply(judged["test"].probabilities)
    assert found.judgement == judge(calibrated, judged["test"].labels, NAMES)
    np.testing.assert_array_equal(found.calibrated(judged["test"]), calibrated)
    content = json.loads(json.dumps(found.content, allow_nan=False))
    before, after = content["reliability"]["before"], content["reliability"]["after"]
    assert after["log_loss"] == pytest.approx(found.judgement.log_loss)
    assert before["log_loss"] > after["log_loss"]
    assert sum(n for _, _, n in content["held_out"]["confusions"]) == 300
    assert sum(content["train_images"]) == 300
    assert content["validation"]["images"] == content["calibration"]["fitted_on"] == 300
    assert [baseline["name"] for baseline in content["baselines"]] == [
        "majority class",
        "linear probe",
    ]
    losses = [suspect["loss"] for suspect in content["suspects"]]
    assert losses == sorted(losses, reverse=True)
    assert {suspect["part"] for suspect in content["suspects"]} == {"test", "val"}
    assert content["mislabelled"]["of"] == 600
    assert content["selection"]["threshold"] == content["calibration"]["threshold"]


def test_a_target_of_one_s_own():
    low, high = (assess(parts(), NAMES, target=t).calibration for t in (0.7, 0.95))
    assert low.threshold < high.threshold


def test_overconfidence_is_said():
    assert "too sure of itself" in warnings(parts(temperature=3.0))
    assert "too sure of itself" not in warnings(parts())


def test_a_better_baseline_is_said():
    """The colours tell all; the network's answers are those of a simulation, some wrong."""
    text = warnings(parts())
    assert "The linear probe is better than the network" in text
    assert "linear probe" not in warnings(parts(pictures=False))


def test_unequal_classes_few_images_and_what_was_never_called():
    judged = parts(60)
    labels = np.array([0] * 50 + [1] * 6 + [2, 3, 4, 4])
    judged["train"] = dataclasses.replace(judged["train"], labels=labels, pictures=None)
    p = judged["test"].probabilities.copy()
    p[:, 4] = 0
    judged["test"] = dataclasses.replace(judged["test"], probabilities=p)
    text = warnings(judged)
    assert "The classes are unequal: 50 training images of a, 1 of c" in text
    assert "Only 60 images are held out" in text
    assert "No image was predicted as e" in text
    assert "fitted on 60 validation images" in text


def test_a_gap_between_validation_and_held_out_images():
    judged = parts()
    turned = np.roll(judged["test"].probabilities, 1, axis=1)
    judged["test"] = dataclasses.replace(judged["test"], probabilities=turned)
    assert "differ by more than chance" in warnings(judged)
    assert "differ by more" not in warnings(parts())


def test_without_a_validation_part_nothing_is_calibrated():
    judged = parts()
    none = Judged([], np.empty(0, int), np.empty((0, 5), np.float32))
    for without in ({**judged, "val": none}, {k: judged[k] for k in ("train", "test")}):
        found = assess(without, NAMES)
        assert found.calibration is None
        assert found.content["calibration"] is found.content["selection"] is None
        assert "no validation part" in " ".join(found.content["warnings"])
        assert found.calibrated(judged["test"]) is judged["test"].probabilities


def test_a_picture_that_is_gone_costs_the_probe_alone():
    def gone(_):
        raise ImageError(Path("x.png"), "no such file")

    judged = parts(60)
    judged["test"] = dataclasses.replace(judged["test"], pictures=gone)
    found = assess(judged, NAMES)
    assert [baseline["name"] for baseline in found.content["baselines"]] == ["majority class"]


def test_one_class_in_training_needs_no_probe():
    judged = parts(40)
    one = np.zeros(40, int)
    judged["train"] = dataclasses.replace(judged["train"], labels=one, pictures=coloured(one))
    assert len(assess(judged, NAMES).content["baselines"]) == 1
