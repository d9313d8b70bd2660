from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from keras_classics.architectures.catalog import CATALOG
from keras_classics.engines.benchmark import contenders
from keras_classics.engines.benchmark.contenders import (
    CONTENDERS,
    REFERENCE,
    Contender,
    Task,
    build,
    images_for,
    name_there,
    why_not,
)


def test_the_names_of_the_records_are_known_elsewhere():
    import keras

    assert REFERENCE in CONTENDERS
    known = {
        "keras": vars(keras.applications),
        "torchvision": contenders.torch_module("torchvision.models").list_models(),
        "timm": contenders.torch_module("timm").list_models(),
    }
    for record in CATALOG.values():
        assert record.peers
        for library, name in record.peers:
            assert name in known[library], record.name
        assert record.sibling is None or record.sibling in CATALOG
    assert name_there("keras.applications", "resnet50") == "ResNet50"
    assert name_there("torchvision", "resnet50_v1_5") == "resnet50"
    assert name_there("keras.applications", "efficientnet_lite0") is None


def test_who_is_left_out_and_why(monkeypatch):
    ours, peer = Contender("keras", "f32"), Contender("torchvision", "bf16")
    assert why_not(ours, "resnet50_d", 0.25) is None
    assert why_not(peer, "resnet50", 1.0) is None
    assert why_not(peer, "resnet50_d", 1.0) == "has no resnet50_d"
    assert why_not(peer, "resnet50", 0.25) == "has no width 0.25"
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name)
    )
    assert why_not(Contender("openvino", "int8"), "vgg16", 1.0) == "openvino is not installed"


@pytest.mark.parametrize(
    ("contender", "network", "shape"),
    [
        (Contender("torchvision", "bf16"), "resnet50", (3, 3, 64, 64)),
        (Contender("timm", "f32"), "resnet50_d", (3, 3, 64, 64)),
        (Contender("keras.applications", "f32"), "resnet50", (3, 64, 64, 3)),
    ],
)
def test_the_others_run_what_they_take(contender, network, shape):
    task = Task(network=network, size=64, classes=5)
    images = images_for(contender, task, 3)
    assert images.shape == shape
    assert images.dtype == np.float32
    assert images.min() >= -1
    assert images.max() <= 1
    assert build(contender, task)(images, 2) is None


def test_the_torch_models_are_the_ones_compared(monkeypatch):
    """Eager, in inference, channels last and in the precision that is asked for."""
    import torch

    seen = []
    original = torch.nn.Conv2d.forward

    def forward(self, x):
        seen.append((x.dtype, self.weight.dtype, self.training, torch.is_inference_mode_enabled()))
        assert x.is_contiguous(memory_format=torch.channels_last)
        return original(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", forward)
    task = Task(network="resnet50", size=64, classes=5)
    contender = Contender("torchvision", "bf16")
    build(contender, task)(images_for(contender, task, 1), 1)
    assert set(seen) == {(torch.bfloat16, torch.bfloat16, False, True)}
    assert len(seen) == 53


def test_ours_take_pictures():
    images = images_for(Contender("openvino", "f32"), Task("vgg16", 32, 5), 4)
    assert images.shape == (4, 32, 32, 3)
    assert images.dtype == np.uint8
