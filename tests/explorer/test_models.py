from __future__ import annotations

import shutil

import numpy as np
import pytest

from keras_classics.errors import ClassicsError
from keras_classics.explorer.models import Models, open_model, published_name, random_network


def test_random_weights_are_the_same_every_time():
    first, second = (random_network("vgg16", width=0.02, size=32, classes=2) for _ in range(2))
    for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("network", "size", "mode"),
    [("vgg16", 32, "caffe"), ("resnet50_v1_5", 32, "torch"), ("inception_v3", 75, "tf")],
)
def test_a_network_of_the_catalog(network, size, mode):
    held = random_network(network.upper(), width=0.02, size=size, classes=3)
    message = held.message()
    assert (message.network, message.trained, message.weights) == (network, False, "random")
    assert message.preprocessing == f"crop, then {mode!r}"
    assert message.classes == 3
    assert held.class_name(2) == "class 2"


def test_an_artefact(artefact):
    held = open_model(str(artefact))
    message = held.message()
    assert message.trained
    assert message.weights == f"trained: {artefact.name}"
    assert held.artefact == artefact


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet51", {}, "did you mean 'resnet50'?"),
        ("runs/nowhere", {}, "no such artefact"),
        ("vgg16", {"size": 8}, "at least 32 x 32"),
        ("vgg16", {"width": -1.0}, "width=-1.0"),
        ("vgg16", {"classes": 10_001}, "classes=10001: at most 10000"),
        ("resnet50-keras", {"width": 0.5}, "width=0.5: resnet50-keras is trained"),
    ],
)
def test_what_cannot_be_opened(name, options, message):
    with pytest.raises(ClassicsError, match=message.replace("?", r"\?")):
        open_model(name, **options)


def test_artefacts_that_cannot_be_opened(artefact, tmp_path):
    with pytest.raises(ClassicsError, match="not an artefact"):
        open_model(str(tmp_path))
    with pytest.raises(ClassicsError, match=r"size=64: .* is trained, so that its own is fixed"):
        open_model(str(artefact), size=64)
    torn = shutil.copytree(artefact, tmp_path / "torn")
    (torn / "model.keras").write_bytes(b"PK")
    with pytest.raises(ClassicsError, match="corrupt"):
        open_model(str(torn))


@pytest.mark.parametrize(
    ("weights", "network", "message"),
    [
        ("imagenet", None, "of which network"),
        ("imagenet", "resnet50_d", "Keras publishes none"),
        ("resnet50-keras", "vgg16", "weights of resnet50, not of vgg16"),
        ("resnet50-kera", None, "did you mean 'resnet50-keras'?"),
        ("imagenet", "vgg17", "did you mean 'vgg16'?"),
    ],
)
def test_published_weights_that_do_not_fit(weights, network, message):
    with pytest.raises(ClassicsError, match=message.replace("?", r"\?")):
        published_name(weights, network)


def test_names_are_told_apart_and_safe_in_an_address(held):
    from dataclasses import replace

    models = Models([held[0], held[0], replace(held[2], id="../a b?/#x")])
    assert [each.id for each in models] == ["resnet50", "resnet50-2", "a-b---x"]
    assert models["resnet50-2"].model is held[0].model
    models.add(held[0])
    assert models.full
    with pytest.raises(ClassicsError, match="all that fit"):
        models.add(held[0])
    with pytest.raises(ClassicsError, match="5 models: 1 to 4"):
        Models([held[0]] * 5)
    with pytest.raises(ClassicsError, match="0 models"):
        Models([])
