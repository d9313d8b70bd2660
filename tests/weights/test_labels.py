from __future__ import annotations

import hashlib
import inspect
import json
import re
import socket
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.applications import imagenet_utils

from keras_classics import decode_predictions
from keras_classics.errors import ClassicsError
from keras_classics.weights.labels import imagenet_classes
from weights.references import torch_module


@pytest.fixture
def class_index():
    """Keras' `imagenet_class_index.json`, made of the package's classes."""
    return {str(i): [each.synset, each.name] for i, each in enumerate(imagenet_classes())}


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a connection was asked for")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def outputs(n=3, seed=0):
    """Probabilities without ties."""
    logits = np.random.default_rng(seed).normal(size=(n, 1000)).astype("float32")
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_the_classes_are_those_that_keras_downloads(class_index):
    source = inspect.getsource(imagenet_utils.decode_predictions)
    (md5,) = re.findall(r'file_hash="([0-9a-f]{32})"', source)
    assert md5 == "c2c37ea517e94d9795004a39431a14cb"
    content = json.dumps(class_index).encode()
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == md5


def test_the_synsets_are_in_the_order_of_timm():
    folder = Path(torch_module("timm").__file__).parent
    synsets = (folder / "data" / "_info" / "imagenet_synsets.txt").read_text().split()
    assert synsets == [each.synset for each in imagenet_classes()]


def test_the_names_are_in_the_order_of_torchvision():
    weights = torch_module("torchvision.models").VGG16_Weights.IMAGENET1K_V1
    theirs = [name.replace(" ", "_").lower() for name in weights.meta["categories"]]
    ours = [each.name.lower() for each in imagenet_classes()]
    assert len(ours) == len(theirs) == 1000
    # Of the two names that stand for two classes each, torchvision tells the second ones apart.
    different = {i: (a, b) for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b}
    assert different == {134: ("crane", "crane_bird"), 639: ("maillot", "maillot_tank_suit")}
    assert [i for i, name in enumerate(ours) if name in ("crane", "maillot")] == [
        134, 517, 638, 639,
    ]  # fmt: skip


@pytest.mark.backends
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("top", [1, 5, 1000])
def test_decoded_as_keras_does(top, class_index, monkeypatch):
    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX", class_index)
    values = outputs()
    for preds in (values, values.astype("float64"), keras.ops.convert_to_tensor(values)):
        decoded = decode_predictions(preds, top=top)
        assert decoded == imagenet_utils.decode_predictions(preds, top=top)
        assert [len(row) for row in decoded] == [top] * 3
        assert {type(output) for row in decoded for *_, output in row} == {float}


def test_five_by_default_the_most_probable_first():
    preds = np.zeros((2, 1000), "float32")
    preds[0, [999, 0, 207]] = 0.25, 0.5, 0.125
    preds[1, 7] = 1
    first, second = decode_predictions(preds)
    assert first[:3] == [
        ("n01440764", "tench", 0.5),
        ("n15075141", "toilet_tissue", 0.25),
        ("n02099601", "golden_retriever", 0.125),
    ]
    assert len(first) == len(second) == 5
    assert second[0] == ("n01514668", "cock", 1.0)


def test_logits_and_whole_numbers_are_ordered_too():
    preds = np.arange(-500, 500)[None]
    (decoded,) = decode_predictions(preds, top=1000)
    assert [output for *_, output in decoded] == list(range(499, -501, -1))
    (decoded,) = decode_predictions(np.arange(1000, dtype="uint16")[None], top=2)
    assert [output for *_, output in decoded] == [999, 998]


def test_of_equals_the_first_class_comes_first():
    classes = imagenet_classes()
    (decoded,) = decode_predictions(np.full((1, 1000), 0.001), top=1000)
    assert [synset for synset, *_ in decoded] == [each.synset for each in classes]
    preds = np.zeros((1, 1000))
    preds[0, [900, 30, 500]] = 0.5, 0.5, 0.25
    (decoded,) = decode_predictions(preds, top=4)
    assert [synset for synset, *_ in decoded] == [classes[i].synset for i in (30, 900, 500, 0)]


def test_no_images():
    assert decode_predictions(np.zeros((0, 1000))) == []


@pytest.mark.parametrize("shape", [(1000,), (2, 999), (2, 1001), (1, 1, 1000), (1000, 2), ()])
def test_another_shape(shape):
    with pytest.raises(ClassicsError, match=re.escape(f"preds of shape {shape}: (images, 1,000)")):
        decode_predictions(np.zeros(shape))


@pytest.mark.parametrize("top", [0, -1, 1001])
def test_top_out_of_its_range(top):
    with pytest.raises(ClassicsError, match=f"top={top}: 1 to 1,000"):
        decode_predictions(outputs(1), top=top)
