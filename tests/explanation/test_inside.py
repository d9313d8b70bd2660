from __future__ import annotations

import base64
import dataclasses
import io
import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_classics import load
from keras_classics.errors import ClassicsError, OutputError
from keras_classics.explanation import figure
from keras_classics.explanation.explain import probe_of
from keras_classics.explanation.inside import OFFERS, VIEWS, Choice, look
from keras_classics.explanation.maps import feature_maps
from keras_classics.explanation.methods import METHODS
from keras_classics.weights.preprocess import preprocess


@pytest.fixture(scope="module")
def classifier(artefact):
    return load(artefact)


@pytest.fixture
def image(shapes):
    return shapes / "circle" / "003.png"


def of_blue_first(classifier):
    """The same network, as if it were one of Caffe's."""
    preprocessing = dataclasses.replace(classifier.card.preprocessing, mode="caffe")
    card = dataclasses.replace(classifier.card, preprocessing=preprocessing)
    return type(classifier)(classifier.model, card)


def test_every_method_says_what_concerns_it():
    assert list(OFFERS) == [*METHODS, *VIEWS]
    choices = Choice.__dataclass_fields__
    assert all(name in choices for view in VIEWS.values() for name in view.reads)
    assert OFFERS["grad-cam"].options == ("block", "class", "check", "cascade", "seed")
    assert OFFERS["filters"].options == ("block", "channels", "channel")
    assert [name for name, offer in OFFERS.items() if not offer.needs_image] == [
        "filters", "feature-visualisation",
    ]  # fmt: skip


def test_feature_maps_are_those_that_vary_most(classifier, image, tmp_path):
    seen = look(classifier, "feature-maps", image, block="block2", choice=Choice(channels=4))
    maps = feature_maps(probe_of(classifier), preprocess(seen.picture[None], "tf"), "block2")[0]
    spread = maps.std(axis=(0, 1))
    assert set(seen.found.channels) == set(np.argsort(-spread)[:4].tolist())
    assert list(seen.found.channels) == sorted(seen.found.channels)
    seen.write_json(tmp_path / "x.json")
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["path"] == str(image)
    assert (content["network"], content["block"], content["layer"]) == (
        "vgg16", "block2", "block2_pool",
    )  # fmt: skip
    assert content["versions"]["keras"]
    assert content["seed"] == 0
    assert content["of"] == 16
    raw = np.frombuffer(base64.b64decode(content["values"]["float32"]), "<f4").reshape(4, 8, 8)
    for i, each in enumerate(content["channels"]):
        expected = maps[..., each["channel"]]
        np.testing.assert_allclose(raw[i], expected, rtol=1e-5, atol=1e-6)
        assert each["high"] == pytest.approx(float(expected.max()), rel=1e-5)


def test_filters_of_the_first_convolution(classifier):
    seen = look(classifier, "filters", choice=Choice(channel=(5, 1)))
    kernel = keras.ops.convert_to_numpy(classifier.model.get_layer("block1_conv1").kernel)
    assert (seen.found.block, seen.found.of) == ("block1_conv1", 8)
    np.testing.assert_array_equal(seen.found.values, np.moveaxis(kernel, -1, 0)[[5, 1]])
    assert seen.found.notes[0] == f"{np.abs(kernel[..., 5]).max():.2g}"
    blue_first = look(of_blue_first(classifier), "filters", choice=Choice(channel=(5, 1)))
    np.testing.assert_array_equal(blue_first.found.tiles[..., ::-1], seen.found.tiles)


def test_filters_of_a_later_convolution_name_the_input_channel(classifier):
    seen = look(classifier, "filters", block="block2_conv2", choice=Choice(channels=3))
    kernels = seen.found.values
    (first, *_) = seen.to_dict()["channels"]
    assert first["input_channel"] == np.abs(kernels[0]).sum(axis=(0, 1)).argmax()
    assert seen.found.notes[0] == f"{np.abs(kernels[0, ..., first['input_channel']]).max():.2g}"


def test_feature_visualisation_rises_and_stays_in_range(classifier):
    for each, low, high in ((classifier, -1, 1), (of_blue_first(classifier), -123.68, 151.061)):
        choice = Choice(channel=(3,), steps=8)
        seen = look(each, "feature-visualisation", block="block1", choice=choice)
        (channel,) = seen.to_dict()["channels"]
        assert len(channel["activations"]) == 9
        assert channel["activations"][-1] > channel["activations"][0]
        assert low - 1e-3 <= channel["low"] < channel["high"] <= high + 1e-3
        inputs = preprocess(seen.found.tiles, each.card.preprocessing.mode)
        np.testing.assert_allclose(inputs, seen.found.values, atol=(high - low) / 400)


@pytest.mark.parametrize("method", VIEWS)
def test_the_same_seed_gives_the_same_files(classifier, image, tmp_path, method):
    given = image if VIEWS[method].needs_image else None
    for name in ("first", "again"):
        choice = Choice(channels=3, steps=2, seed=4)
        seen = look(classifier, method, given, block="block1_conv2", choice=choice)
        seen.write_json(tmp_path / f"{name}.json")
        seen.write_picture(tmp_path / f"{name}.png")
    for ending in ("json", "png"):
        first, again = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("first", "again"))
        assert first == again
    pixels = np.asarray(Image.open(tmp_path / "first.png").convert("RGB"))
    assert np.all(pixels[:, [0, -1]] == 255)  # nothing is cut off at the borders
    assert np.all(pixels[[0, -1]] == 255)


def test_tiles_stand_in_rows():
    scale = figure.scale_of(np.array([[[0, 3.0]]], np.float32))
    sizes = {}
    for n in (1, 3, 4, 64, 65):
        tiles = [figure.Tile(np.zeros((2, 2)), str(i), "0") for i in range(n)]
        with Image.open(io.BytesIO(figure.draw_tiles("a", "b", tiles, scale))) as page:
            sizes[n] = page.size
    assert sizes[1] == sizes[3]
    assert sizes[4][0] == sizes[3][0]
    assert sizes[4][1] > sizes[3][1]
    assert sizes[65][0] == sizes[64][0]
    assert sizes[65][1] > sizes[64][1]


def test_scales():
    assert figure.scale_of(np.array([0.0, 2.0])).labels == ("0", "2")
    signed = figure.scale_of(np.array([-4.0, 2.0]))
    assert signed.low == -signed.high
    assert signed.labels == ("−4", "0", "4")
    silent = figure.scale_of(np.zeros(3))
    assert (silent.low, silent.high, silent.labels) == (0, 1, ("0", ""))


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("filter", {}, "did you mean 'filters'"),
        ("grad-cam", {}, "one of feature-maps, filters, feature-visualisation"),
        ("filters", {"image": True}, "needs no image; leave it out"),
        ("feature-maps", {}, "an image is needed"),
        ("filters", {"block": "blok2"}, "did you mean 'block2'"),
        ("feature-visualisation", {"block": "predictions"}, "no feature maps"),
        ("filters", {"choice": Choice(channels=9)}, "channels=9: from 1 to the 8"),
        ("filters", {"choice": Choice(channels=True)}, "channels=True"),
        ("filters", {"choice": Choice(channel=(-1,))}, "channel -1: there are 8, from 0 to 7"),
        ("filters", {"choice": Choice(channel=(1,), channels=1)}, "not both"),
        ("feature-visualisation", {"choice": Choice(steps=0)}, "steps=0"),
    ],
)
def test_what_cannot_be_is_one_clear_line(classifier, image, method, given, message):
    if "image" in given:
        given = {"image": image}
    with pytest.raises(ClassicsError, match=message):
        look(classifier, method, **given)


def test_what_cannot_be_written(classifier, tmp_path):
    seen = look(classifier, "filters")
    for write in (seen.write_json, seen.write_picture):
        with pytest.raises(OutputError, match="cannot be written"):
            write(tmp_path / "none" / "file")
