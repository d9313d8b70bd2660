"""What the argument `weights` of the constructors may say."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from types import MappingProxyType

import keras
import numpy as np
import pytest
from keras import applications

from keras_classics import (
    CATALOG,
    VGG16,
    InceptionV3,
    ResNet50,
    build,
    decode_predictions,
    without_auxiliary,
)
from keras_classics.errors import ClassicsError, WeightsError
from keras_classics.weights import download, records, requests
from keras_classics.weights.download import RemoteFile
from keras_classics.weights.records import RECORDS
from weights.references import save, torch_network

OURS = {"VGG16": VGG16, "ResNet50": ResNet50, "InceptionV3": InceptionV3}
SHAPE = (80, 80, 3)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Empty caches, on a machine without a network."""
    for variable, folder in (
        ("KERAS_CLASSICS_HOME", "ours"), ("KERAS_HOME", "keras"), ("TORCH_HOME", "torch"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, str(tmp_path / folder))

    def offline(file):
        raise AssertionError(f"a download of {file.url} began")

    monkeypatch.setattr(download, "_client", offline)
    return tmp_path


@pytest.fixture
def publish(home, monkeypatch):
    """Makes a file, put into a cache, the published one of a record."""

    def publish(name, write, *, notop=False, cache="ours"):
        record = RECORDS[name]
        field = "notop" if notop else "file"
        original = getattr(record, field)
        made = home / f"made-{original.file_name}"
        write(made)
        digest = hashlib.sha256(made.read_bytes()).hexdigest()
        folders = {
            "ours": home / "ours/weights" / digest[:8],
            "keras": home / "keras/models",
            "torch": home / "torch/hub/checkpoints",
        }
        folders[cache].mkdir(parents=True)
        made.rename(folders[cache] / original.file_name)
        file = RemoteFile(original.url, f"sha256:{digest}")
        changed = dataclasses.replace(record, **{field: file})
        monkeypatch.setattr(records, "RECORDS", MappingProxyType({**RECORDS, name: changed}))

    return publish


def assert_same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "include_top", "cache"),
    [("ResNet50", False, "keras"), ("InceptionV3", False, "ours")],
)
def test_the_published_weights_from_a_cache(name, include_top, cache, publish, randomise):
    theirs = randomise(getattr(applications, name)(weights=None, include_top=include_top))
    publish(f"{theirs.name}-keras", theirs.save, notop=not include_top, cache=cache)
    ours = OURS[name](include_top=include_top, input_shape=SHAPE, prefix="a_")
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize(
    "name",
    ["ResNet50", *(pytest.param(n, marks=pytest.mark.slow) for n in ("VGG16", "InceptionV3"))],
)
def test_with_its_defaults_it_names_what_it_sees(name, publish, randomise):
    """As the tests of keras.applications ask it: built, fed, decoded and serialised."""
    theirs = randomise(getattr(applications, name)(weights=None))
    kernel, bias = theirs.layers[-1].get_weights()
    bias[386] = np.abs(bias).max() + 1e6  # as if it saw elephants everywhere
    theirs.layers[-1].set_weights([kernel, bias])
    publish(f"{theirs.name}-keras", theirs.save)
    ours = OURS[name]()
    assert_same_weights(ours, theirs)
    image = np.random.default_rng(0).uniform(0, 255, (1, *ours.input_shape[1:]))
    module = getattr(applications, name.lower().replace("v3", "_v3"))
    found = decode_predictions(ours.predict(module.preprocess_input(image), verbose=0))
    assert len(found[0]) == 5
    assert found[0][0][1] == "African_elephant"
    config = keras.saving.serialize_keras_object(ours)
    again = keras.saving.deserialize_keras_object(config)
    assert [w.shape for w in again.weights] == [w.shape for w in ours.weights]


@pytest.mark.parametrize("weights", ["inception_v3-keras", "imagenet"])
def test_a_record_without_an_auxiliary_head_leaves_it_random(weights, publish, randomise):
    theirs = randomise(applications.InceptionV3(weights=None))
    publish("inception_v3-keras", theirs.save)
    ours = InceptionV3(auxiliary=True, weights=weights, prefix="a_")
    assert len(ours.outputs) == 2
    assert_same_weights(without_auxiliary(ours), theirs)
    drawn = ours.get_layer("a_auxiliary_2_conv").get_weights()[0]
    assert drawn.std() > 0


def test_a_record_of_torchvision_by_its_name_with_and_without_its_head(publish):
    network = torch_network("torchvision", "inception_v3")
    tensors = network.state_dict()
    publish("inception_v3_torch-torchvision", lambda p: save(tensors, p), cache="torch")
    arguments = {"weights": "inception_v3_torch-torchvision", "input_shape": (299, 299, 3)}
    both = build("inception_v3_torch", auxiliary=True, **arguments)
    kernel = both.get_layer("auxiliary_2_conv").get_weights()[0]
    theirs = tensors["AuxLogits.conv1.conv.weight"].numpy()
    np.testing.assert_array_equal(kernel, theirs.transpose(2, 3, 1, 0))
    assert_same_weights(build("inception_v3_torch", **arguments), without_auxiliary(both))


@pytest.mark.parametrize("name", OURS)
def test_offline_the_error_says_which_file_belongs_where(name, monkeypatch):
    def offline(file):
        raise download._failure(file, "no connection")

    monkeypatch.setattr(download, "_client", offline)
    network = next(key for key, each in CATALOG.items() if each.title == name)
    with pytest.raises(WeightsError) as caught:
        OURS[name](include_top=False)
    file = RECORDS[f"{network}-keras"].notop
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"cannot download {file.url}: ")
    assert file.digest in message
    assert file.file_name in message


def test_a_wrong_file_in_the_cache_is_not_loaded(home):
    file = RECORDS["resnet50-keras"].notop
    (home / "keras/models").mkdir(parents=True)
    (home / "keras/models" / file.file_name).write_bytes(b"something else")
    with pytest.raises(AssertionError, match="a download of https"):
        ResNet50(include_top=False)


@pytest.mark.parametrize(
    ("network", "weights", "arguments", "message"),
    [
        (
            "resnet50", "imagenet", {"classes": 10},
            'classes=10: weights="imagenet" with the top have 1000 classes; use include_top=False',
        ),
        ("vgg16", "vgg16-torchvision", {"classes": 10}, 'weights="vgg16-torchvision" with the'),
        ("vgg16", "imagenet", {"width": 0.5}, 'width=0.5: weights="imagenet" fit width=1.0 only'),
        ("resnet50_d", "resnet50_d-timm-ra2", {"width": 2}, "width=2: weights="),
        (
            "resnet50", "imagenet", {"classifier_activation": "relu"},
            "classifier_activation='relu': loaded weights need None or 'softmax'.",
        ),
        (
            "resnet50", "imagenet", {"classifier_activation": functools.partial(keras.ops.softmax)},
            "loaded weights need None or 'softmax'.",
        ),
        ("resnet50_d", "imagenet", {}, "Keras publishes none for resnet50_d; use one of "),
        ("resnet50_v1_5", "imagenet", {}, "Keras publishes none for resnet50_v1_5; use one of "),
        (
            "resnet50", "resnet50_v1_5-torchvision-v2", {},
            "made for resnet50_v1_5, not resnet50, which has resnet50-keras, resnet50-keras-2015.",
        ),
        (
            "inception_v3", "inception_v3_torch-torchvision", {},
            "made for inception_v3_torch, not inception_v3, which has inception_v3-keras.",
        ),
        (
            "resnet50", "resnet50-kears", {},
            "'imagenet', a name that `classics weights` lists, or a path.",
        ),
        ("vgg16", "weigths/vgg16.h5", {}, "weights='weigths/vgg16.h5': no such file; use None"),
        ("vgg16", "", {}, "weights='': no such file"),
        ("vgg16", ".", {}, "weights='.': a folder, not a regular file"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_served_fail_before_anything_is_built(
    network, weights, arguments, message, monkeypatch
):
    monkeypatch.setattr(keras, "Model", None)
    with pytest.raises(WeightsError, match=re.escape(message)) as caught:
        build(network, weights=weights, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        ("vgg16", {"auxiliary": True}, "auxiliary=True: VGG16 has no side classifier"),
        ("vgg16", {"input_shape": (20, 20, 3)}, "needs at least 32 x 32 pixels"),
    ],
)
def test_no_download_begins_for_a_network_that_cannot_be_built(network, arguments, message):
    with pytest.raises(ClassicsError, match=message):
        build(network, weights="imagenet", **arguments)


def test_a_record_of_ones_own_has_no_published_weights():
    mine = CATALOG["vgg16"].replace(name="mine")
    with pytest.raises(WeightsError, match=r"made for vgg16, not mine\.$"):
        requests.record_of("vgg16-keras", mine)
    with pytest.raises(WeightsError, match="use weights=None or a file"):
        build(mine, weights="imagenet")


def test_a_file_wins_no_name_of_a_record(tmp_path, monkeypatch):
    """A file in the current folder that bears a record's name changes nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg16-keras").write_bytes(b"")
    (tmp_path / "imagenet").write_bytes(b"")
    for weights in ("vgg16-keras", "imagenet"):
        record = requests.record_of(weights, CATALOG["vgg16"])
        assert record is RECORDS["vgg16-keras"]
