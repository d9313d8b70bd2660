from __future__ import annotations

from dataclasses import replace

import keras
import pytest

from engines.benchmark.runners import TASK
from keras_classics.architectures.catalog import CATALOG
from keras_classics.engines.benchmark.contenders import CONTENDERS, REFERENCE
from keras_classics.errors import ClassicsError

BY_NAME = {each.name: each for each in CONTENDERS}


def test_the_networks_of_keras_applications_are_there():
    names = {record.peer("keras") for record in CATALOG.values()} - {None}
    assert {"VGG16", "ResNet50", "MobileNetV2"} <= names <= set(dir(keras.applications))


def test_keras_applications_runs_its_own_network(monkeypatch):
    made, seen = [], []
    original = keras.applications.MobileNetV2

    def make(**options):
        made.append(original(**options))
        return made[0]

    monkeypatch.setattr(keras.applications, "MobileNetV2", make)
    predict = keras.Model.predict

    def watched(self, images, **options):
        seen.append((images.shape, images.dtype, images.min() >= -1, images.max() <= 1))
        return predict(self, images, **options)

    monkeypatch.setattr(keras.Model, "predict", watched)
    run = REFERENCE.open(REFERENCE, replace(TASK, peer="MobileNetV2", peer_width=0.35))
    run(3)
    assert seen == [((3, 32, 32, 3), "float32", True, True)]
    assert made[0].output_shape == (None, TASK.classes)
    assert made[0].count_params() == original(alpha=0.35, weights=None, classes=5).count_params()


def test_a_network_that_nothing_is_like():
    with pytest.raises(ClassicsError, match="has nothing like vgg16"):
        REFERENCE.open(REFERENCE, TASK)


def test_ours_run_all_images_of_a_call(monkeypatch):
    """On one engine for many and another for one, where that makes a difference."""
    opened, asked = [], []

    class Engine:
        def __init__(self, hint):
            self.hint = hint

        def probabilities(self, images):
            asked.append((self.hint, len(images), images.dtype))

    def open_engine(folder, *, engine, precision, hint, threads):
        opened.append((folder, engine, precision, hint, threads))
        return Engine(hint)

    monkeypatch.setattr("keras_classics.engines.benchmark.contenders.open_engine", open_engine)
    contender = BY_NAME["openvino bf16"]
    run = contender.open(contender, replace(TASK, artefact="run", threads=2))
    run(10)
    run(1)
    assert opened == [("run", "openvino", "bf16", hint, 2) for hint in ("throughput", "latency")]
    sizes = [("throughput", 4), ("throughput", 4), ("throughput", 2), ("latency", 1)]
    assert asked == [(*size, "uint8") for size in sizes]


def test_int8_alone_has_an_export_of_its_own():
    made = {name: each.export(TASK) for name, each in BY_NAME.items()}
    assert {name for name, place in made.items() if place} == {"openvino int8", "onnxruntime int8"}
    assert made["openvino int8"] != made["onnxruntime int8"]
