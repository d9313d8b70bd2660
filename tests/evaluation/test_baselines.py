from __future__ import annotations

import time

import numpy as np
import pytest

from keras_classics.evaluation import baselines
from keras_classics.evaluation.baselines import Part, linear_probe, majority
from simulated import coloured


def test_the_commonest_class():
    found = majority(np.array([0, 1, 1, 2]), np.array([1, 1, 0, 2]), ("a", "b", "c"))
    assert (found.right, found.images, found.accuracy) == (2, 4, 0.5)
    assert "'b'" in found.text
    assert found.interval[0] < 0.5 < found.interval[1]


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 4, 300)


def test_colours_are_told(labels):
    part = Part(coloured(labels), labels)
    found = linear_probe(part, part, Part(coloured(labels, seed=1), labels))
    assert found.accuracy > 0.97
    assert "300 images" in found.text


def test_directions_are_told():
    """Bars of one colour, across or upright, at any place."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    images = np.zeros((200, 40, 40, 3), np.uint8)
    for image, label, at in zip(images, labels, rng.integers(5, 30, 200), strict=True):
        (image if label else image.transpose(1, 0, 2))[at : at + 4] = 200
    learn, held = np.arange(100), np.arange(100, 200)
    found = linear_probe(
        Part(lambda places: images[learn[places]], labels[learn]),
        None,
        Part(lambda places: images[held[places]], labels[held]),
    )
    assert found.accuracy > 0.97


def test_noise_is_not_told(labels):
    noise = np.random.default_rng(1).integers(0, 255, (300, 16, 16, 3)).astype(np.uint8)
    part = Part(lambda places: noise[places], labels)
    other = Part(lambda places: noise[places][:, ::-1], np.roll(labels, 7))
    low, high = linear_probe(part, None, other).interval
    assert low < 0.35
    assert high > 0.2


def test_the_same_twice(labels):
    part = Part(coloured(labels), labels)
    held = Part(lambda places: np.full((len(places), 9, 9, 3), 100, np.uint8), labels)
    assert linear_probe(part, None, held) == linear_probe(part, None, held)


def test_many_images_and_classes_take_seconds(monkeypatch):
    monkeypatch.setattr(baselines, "LEARNT_FROM", 600)
    labels = np.random.default_rng(0).integers(0, 50, 2000)
    part = Part(coloured(labels), labels)
    began = time.process_time()
    found = linear_probe(part, part, part)
    assert time.process_time() - began < 15
    assert "fitted to 5" in found.text
    assert 550 < found.images <= 600
