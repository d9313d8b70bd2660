from __future__ import annotations

import pytest

from keras_classics.engines.benchmark.preparing import nearest_peer


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("resnet50", "ResNet50"),
        ("resnet50_d", "ResNet50"),
        ("inception_v3_torch", "InceptionV3"),
        ("efficientnet_lite4", "EfficientNetB4"),
        ("alexnet", None),
    ],
)
def test_the_nearest_network_of_keras_applications(network, name):
    found = nearest_peer(network)
    assert (found and found.peer("keras")) == name
