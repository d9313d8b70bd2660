from __future__ import annotations

import base64
import dataclasses

import keras
import numpy as np
import pytest

from keras_classics import load
from keras_classics.explanation.cam import cam
from keras_classics.explanation.faithfulness import deletion, insertion, randomised
from keras_classics.explanation.maps import filters
from keras_classics.explorer import schema
from keras_classics.explorer.inference import Inference
from keras_classics.explorer.models import open_model
from keras_classics.explorer.samples import samples
from keras_classics.weights.preprocess import preprocess


def asked(one, picture="flower", **more):
    return {"model": one.id, "picture": picture, **more}


def tapped(model, image, names):
    """What layers give, by a model of Keras' own."""
    outputs = [model.get_layer(name).output for name in names]
    values = keras.Model(model.input, outputs).predict_on_batch(image)
    return dict(zip(names, map(np.asarray, values), strict=True))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_answer_is_the_model_s(server, held, picture_of, which):
    one = held[which]
    told = server.post("/api/predict", asked(one))
    probabilities = np.asarray(one.model.predict_on_batch(picture_of(one, "flower")))[0]
    best = np.argsort(-probabilities)[: min(5, len(probabilities))]
    assert [answer["index"] for answer in told["top"]] == best.tolist()
    for answer in told["top"]:
        assert answer["probability"] == pytest.approx(probabilities[answer["index"]], abs=1e-5)
        assert answer["name"] == one.card.class_names[answer["index"]]
    powers = np.exp([answer["score"] for answer in told["top"]])
    shares = powers / powers.sum()
    given = np.array([answer["probability"] for answer in told["top"]])
    np.testing.assert_allclose(shares, given / given.sum(), atol=1e-4)


def test_an_artefact_answers_as_the_command_without_calibration(server, held, artefact, shapes):
    one, path = held[2], shapes / "cross" / "003.png"
    classifier = load(artefact)
    calibration = classifier.card.calibration
    classifier.card = dataclasses.replace(classifier.card, calibration=None)
    top = dict(classifier.predict(path)[0].top)
    uploaded = server.post(
        "/api/pictures", content=path.read_bytes(), headers={"X-Name": "a%20cross.png"}, status=201
    )
    assert (uploaded["name"], uploaded["sample"]) == ("a cross.png", False)
    told = server.post("/api/predict", asked(one, uploaded["id"]))
    for answer in told["top"]:
        assert answer["probability"] == pytest.approx(top[answer["name"]], abs=1e-5)
    entry = server.get("/api/models")["models"][2]
    assert ("without the calibration" in entry["probabilities"]) == (calibration is not None)


def test_cutting_a_shortcut_equals_a_model_without_it(server, held, picture_of):
    one = held[0]
    image = picture_of(one, "flower")
    # The same weights, with nothing but the residual going on: x is operand 0 of the sum.
    add = one.model.get_layer("conv3_block2_add")
    head = keras.Model(one.model.input, one.model.get_layer("conv3_block2_3_bn").output)
    tail = keras.Model(add.output, one.model.output)
    expected = tail.predict_on_batch(head.predict_on_batch(image))[0]
    whole = server.post("/api/predict", asked(one))
    cut = server.post(
        "/api/predict", asked(one, cuts=[{"layer": "conv3_block2_add", "operand": 0}])
    )
    for answer in cut["top"]:
        assert answer["probability"] == pytest.approx(expected[answer["index"]], abs=1e-5)
    assert cut["top"] != whole["top"]


def test_cutting_a_branch_of_inception(server, held, picture_of):
    one = held[1]
    image = picture_of(one, "china")
    names = [f"mixed0_{branch}_relu" for branch in ("1x1", "5x5_2", "3x3dbl_3", "pool")]
    branches = list(tapped(one.model, image, names).values())
    branches[1] = np.zeros_like(branches[1])
    tail = keras.Model(one.model.get_layer("mixed0").output, one.model.output)
    expected = tail.predict_on_batch(np.concatenate(branches, axis=-1))[0]
    told = server.post(
        "/api/predict", asked(one, "china", cuts=[{"layer": "mixed0", "operand": 1}])
    )
    for answer in told["top"]:
        assert answer["probability"] == pytest.approx(expected[answer["index"]], abs=1e-5)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({"layer": "conv2_block1_ad", "operand": 0}, "did you mean 'conv2_block1_add'?"),
        ({"layer": "conv1_conv", "operand": 0}, "reads 1 tensors"),
        ({"layer": "conv2_block1_add", "operand": 2}, "operand 2"),
    ],
)
def test_what_cannot_be_cut(server, held, cut, message):
    for path in ("/api/predict", "/api/ledger"):
        assert message in server.post(path, asked(held[0], cuts=[cut]), status=400)


def test_ledger_of_shortcuts_has_numpy_s_norms(server, held, picture_of):
    one = held[0]
    told = server.post("/api/ledger", asked(one))
    assert told["branches"] == []
    assert [row["add_layer"] for row in told["rows"]] == [
        layer.name for layer in one.model.layers if isinstance(layer, keras.layers.Add)
    ]
    kinds = {row["block"]: row["kind"] for row in told["rows"]}
    assert kinds["conv2_block1"] == kinds["conv5_block1"] == "projection"
    assert kinds["conv2_block2"] == kinds["conv4_block6"] == "identity"
    assert told["top"] == server.post("/api/predict", asked(one))["top"]
    names = ["conv2_block1_out", "conv2_block2_3_bn", "conv2_block2_add"]
    values = tapped(one.model, picture_of(one, "flower"), names).values()
    row = next(row for row in told["rows"] if row["block"] == "conv2_block2")
    assert (row["shortcut"], row["residual"], row["cut"]) == (0, 1, [])
    for part, value in zip(("x", "f", "sum"), values, strict=True):
        flat = value.astype(np.float64).ravel()
        assert row["norms"][part]["l2"] == pytest.approx(np.linalg.norm(flat), rel=1e-4)
        assert row["norms"][part]["rms"] == pytest.approx(np.sqrt((flat**2).mean()), rel=1e-4)
    x, f, _ = (value.astype(np.float64).ravel() for value in values)
    expected = x @ f / np.linalg.norm(x) / np.linalg.norm(f)
    assert row["cosine"] == pytest.approx(expected, abs=1e-4)


def test_ledger_after_a_cut(server, held):
    cut = {"layer": "conv2_block2_add", "operand": 0}
    told = server.post("/api/ledger", asked(held[0], cuts=[cut]))
    row = next(row for row in told["rows"] if row["block"] == "conv2_block2")
    assert row["cut"] == [0]
    assert row["norms"]["x"] == {"rms": 0.0, "l2": 0.0}
    assert row["norms"]["sum"] == pytest.approx(row["norms"]["f"])
    assert row["cosine"] is None
    assert told["top"] == server.post("/api/predict", asked(held[0], cuts=[cut]))["top"]


def test_ledger_of_branches(server, held, picture_of):
    one = held[1]
    cut = {"layer": "mixed0", "operand": 3}
    told = server.post("/api/ledger", asked(one, cuts=[cut]))
    assert told["rows"] == []
    rows = [row for row in told["branches"] if row["layer"] == "mixed0"]
    assert [row["operand"] for row in rows] == [0, 1, 2, 3]
    names = [row["branch"] for row in rows]
    values = tapped(one.model, picture_of(one, "flower"), names)
    for row in rows[:3]:
        value = values[row["branch"]]
        assert row["norm"]["l2"] == pytest.approx(np.linalg.norm(value), rel=1e-4)
        assert row["channels"] == value.shape[-1]
        assert not row["cut"]
    assert rows[3]["cut"]
    assert rows[3]["norm"]["l2"] == 0


def test_feature_maps_are_those_of_the_layer(server, held, picture_of, numbers, pixels):
    one = held[0]
    value = tapped(one.model, picture_of(one, "flower"), ["conv3_block1_out", "conv1_conv"])
    whole = value["conv3_block1_out"][0]
    told = server.post("/api/maps", asked(one, layer="conv3_block1", channel=5, count=10))
    assert told["layer"] == "conv3_block1_out"  # a block means its end
    height, width, channels = told["shape"]
    assert (height, width, channels) == whole.shape
    np.testing.assert_allclose(
        numbers(told["values"], "<f4", height, width), whole[..., 5], rtol=1e-4, atol=1e-4
    )
    assert told["count"] == len(told["ranges"]) == 10
    assert told["low"] == pytest.approx(whole.min(), abs=1e-4)
    assert told["high"] == pytest.approx(whole.max(), rel=1e-4)
    assert told["ranges"][3] == pytest.approx([whole[..., 3].min(), whole[..., 3].max()], abs=1e-3)
    image = pixels(told["sprite"])
    rows = -(-10 // told["columns"])
    assert image.shape == (rows * told["tile"][0], told["columns"] * told["tile"][1])
    number = 6
    top = number // told["columns"] * height
    left = number % told["columns"] * width
    tile = image[top : top + height, left : left + width].astype(float)
    one_map = whole[..., number]
    span = one_map.max() - one_map.min()
    if span:
        np.testing.assert_allclose(tile, 255 * (one_map - one_map.min()) / span, atol=1)


def test_feature_maps_of_one_scale_and_of_the_rest(server, held, picture_of, pixels):
    one = held[0]
    whole = tapped(one.model, picture_of(one, "flower"), ["conv2_block1_out", "conv1_bn"])
    whole = whole["conv2_block1_out"][0]
    channels = whole.shape[-1]
    told = server.post(
        "/api/maps", asked(one, layer="conv2_block1_out", offset=channels - 1, scale="layer")
    )
    assert told["count"] == 1
    assert told["values"] is None
    expected = 255 * (whole[..., -1] - whole.min()) / (whole.max() - whole.min())
    np.testing.assert_allclose(pixels(told["sprite"]).astype(float), expected, atol=1)


def test_what_is_no_map_has_one_position(server, held):
    told = server.post("/api/maps", asked(held[0], layer="avg_pool", channel=0))
    assert told["shape"] == [1, 1, 128]
    assert told["tile"] == [1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "conv9"}, "no block or layer"),
        ({"offset": 9999}, "offset=9999"),
        ({"channel": 16}, "channel=16: 'conv2_block1_out' has 16, from 0 to 15"),
        ({"count": 0}, "count: "),
        ({"scale": "log"}, "scale: "),
    ],
)
def test_maps_that_are_not_there(server, held, change, message):
    request = asked(held[0], **{"layer": "conv2_block1_out", **change})
    assert message in server.post("/api/maps", request, status=400)


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++", "layer-cam"])
def test_class_activation_maps_of_all_blocks(server, held, picture_of, numbers, method):
    one = held[0]
    image = picture_of(one, "flower")
    told = server.post("/api/cam", asked(one, method=method))
    top = server.post("/api/predict", asked(one))["top"][0]
    assert (told["class_index"], told["class_name"]) == (top["index"], top["name"])
    assert told["probability"] == pytest.approx(top["probability"])
    assert told["control"] is None
    expected = cam(one.probe, image, method=method)
    assert [each["layer"] for each in told["maps"]] == list(one.probe.ends) == list(expected)
    for each in told["maps"]:
        values = expected[each["layer"]][0]
        assert tuple(each["shape"]) == values.shape
        assert each["high"] == pytest.approx(float(values.max()), rel=1e-4)
        span = each["high"] - each["low"]
        shown = numbers(each["values"], np.uint8, *each["shape"]) * (span / 255) + each["low"]
        np.testing.assert_allclose(shown, values, atol=span / 255 + 1e-6)


def test_control_and_a_second_class(server, held, picture_of):
    one = held[0]
    request = asked(one, layers=["conv4_block2", "conv5"], class_index=3, control=True)
    told = server.post("/api/cam", request)
    assert told["class_index"] == 3
    image = picture_of(one, "flower")
    expected = cam(randomised(one.probe), image, layers=["conv4_block2", "conv5"], classes=3)
    assert [each["layer"] for each in told["control"]] == ["conv4_block2", "conv5"]
    for each in told["control"]:
        assert each["high"] == pytest.approx(float(expected[each["layer"]].max()), rel=1e-3)
    assert told["control"] != told["maps"]
    other = server.post("/api/cam", {**request, "class_index": 4})
    assert other["maps"] != told["maps"]


def test_a_method_that_explains_pixels(server, held):
    one = held[2]
    told = server.post("/api/cam", asked(one, method="occlusion"))
    (heat,) = told["maps"]
    assert told["signed"]
    assert heat["layer"] == one.probe.input
    assert heat["shape"] == [32, 32]
    assert heat["low"] < heat["high"]


def test_a_method_that_takes_long_takes_one_layer(server, held):
    one = held[2]
    told = server.post("/api/cam", asked(one, method="score-cam"))
    assert len(told["maps"]) == 1
    request = asked(one, method="score-cam", layers=["block1", "block2"])
    assert "Score-CAM takes seconds for each" in server.post("/api/cam", request, status=400)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "grad-cam+"}, "did you mean 'grad-cam++'?"),
        ({"class_index": 12}, "class 12"),
        ({"class_index": -1}, "class -1"),
        ({"layers": ["avg_pool"]}, "no feature maps"),
        ({"layers": []}, "at least one"),
        ({"layers": ["conv2"], "method": "occlusion"}, "explains pixels"),
    ],
)
def test_heat_maps_that_cannot_be(server, held, change, message):
    assert message in server.post("/api/cam", asked(held[0], **change), status=400)


def test_curves(server, held, picture_of):
    one = held[2]
    image = picture_of(one, "shapes")
    request = asked(one, "shapes", layer="block2", class_index=1, steps=8, control=True)
    told = server.post("/api/curves", request)
    assert (told["class_index"], told["class_name"]) == (1, one.card.class_names[1])
    heat = cam(one.probe, image, layers=["block2"], classes=1)["block2"]
    for name, measure in (("deletion", deletion), ("insertion", insertion)):
        expected = measure(one.probe, image, heat, classes=1, steps=8)
        np.testing.assert_allclose(told[name]["fraction"], np.linspace(0, 1, 9), atol=1e-6)
        np.testing.assert_allclose(told[name]["probability"], expected.probabilities[0], atol=1e-4)
        assert told[name]["area"] == pytest.approx(float(expected.areas[0]), abs=1e-4)
    # Both begin and end alike, whichever map orders the pixels.
    for name in ("deletion", "insertion"):
        own, control = told[name]["probability"], told["control"][name]["probability"]
        assert (own[0], own[-1]) == pytest.approx((control[0], control[-1]), abs=1e-5)
    assert "no block or layer" in server.post(
        "/api/curves", {**request, "layer": "block9"}, status=400
    )


def test_filters(server, held, pixels):
    one = held[0]
    told = server.post("/api/filters", {"model": one.id})
    kernels = filters(one.probe)
    assert told["layer"] == "conv1_conv"
    assert told["shape"] == [7, 7, 3, 4]
    assert told["low"] == pytest.approx(float(kernels.min()))
    assert pixels(told["sprite"]).shape == (14, 14, 3)
    # ResNet50's weights read blue first; the tiles show red first.
    assert one.shape.mode == "caffe"
    shown = pixels(told["sprite"])[:7, :7].astype(float)
    first = kernels[0] / np.abs(kernels[0]).max()
    np.testing.assert_allclose(shown, 128 + 127 * first[..., ::-1], atol=1.5)
    told = server.post("/api/filters", {"model": one.id, "layer": "conv2_block1_2_conv"})
    assert told["shape"] == [3, 3, 4, 4]
    message = server.post("/api/filters", {"model": one.id, "layer": "conv1_bn"}, status=400)
    assert "no 2D convolution" in message


def test_the_next_view_is_kept(server, held, monkeypatch):
    one = held[0]
    request = asked(one, "rings", layer="conv2_block3_out")
    first = server.post("/api/maps", request)
    calls = []
    monkeypatch.setattr(
        type(one.probe), "run", lambda *_, **__: calls.append(1) or pytest.fail("was run again")
    )
    assert server.post("/api/maps", {**request, "layer": "conv1_conv"})["layer"] == "conv1_conv"
    server.post("/api/ledger", asked(one, "rings"))
    again = server.post("/api/maps", request)
    assert {**again, "milliseconds": 0} == {**first, "milliseconds": 0}
    assert calls == []


def test_a_model_that_gives_no_numbers(asking, serving):
    from keras_classics.explorer.application import application
    from keras_classics.explorer.models import Models, random_network
    from keras_classics.explorer.samples import general

    broken = random_network("vgg16", width=0.02, size=32, classes=3)
    kernel = broken.model.get_layer("predictions").kernel
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))
    with serving(application(Models([broken]), list(general()), warm=False)) as address:
        ask = asking(address)
        message = ask.post("/api/predict", asked(broken), status=400)
        ask.client.close()
    assert "no finite numbers for 'flower'" in message


@pytest.mark.backends
def test_on_each_backend(run):
    one = open_model("resnet50", width=0.0625, size=64, classes=12)
    picture = next(sample for sample in samples([one]) if sample.id == "flower")
    inference = Inference()
    image = preprocess(inference.fitted(one, picture)[None], one.shape.mode)

    told = inference.predict(one, picture, schema.PredictRequest(**asked(one)))
    outputs = [
        one.model.get_layer(name).output
        for name in ("predictions", "conv5_block3_out", "conv5_block2_out")
    ]
    # At once: to compile a network takes JAX seconds.
    probabilities, last, before = (
        value[0] for value in run(keras.Model(one.model.input, outputs), image)
    )
    best = np.argsort(-probabilities)[:5]
    assert [answer.index for answer in told.top] == best.tolist()
    given = [answer.probability for answer in told.top]
    np.testing.assert_allclose(given, probabilities[best], atol=1e-5)

    # Where only a mean and a dense layer follow, Grad-CAM has a closed form.
    top = one.model.get_layer("predictions")
    kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in (top.kernel, top.bias))
    maps = np.maximum(last @ kernel, 0)
    wanted = int(maps.max((0, 1)).argmax())
    expected = maps[..., wanted] / maps[..., wanted].size
    assert expected.max() > 0
    request = schema.CamRequest(**asked(one, layers=["conv5_block3"], class_index=wanted))
    (heat,) = inference.cam(one, picture, request).maps
    assert heat.shape == expected.shape
    assert heat.high == pytest.approx(expected.max(), rel=1e-3)
    values = np.frombuffer(base64.urlsafe_b64decode(heat.values), np.uint8).reshape(heat.shape)
    low, high = expected.min(), expected.max()
    np.testing.assert_allclose(values, 255 * (expected - low) / (high - low), atol=1.5)

    # Without the residual, the last block gives the ReLU of what it is given.
    cuts = [{"layer": "conv5_block3_add", "operand": 1}]
    cut = inference.predict(one, picture, schema.PredictRequest(**asked(one, cuts=cuts)))
    scores = np.maximum(before, 0).mean((0, 1)) @ kernel + bias
    for answer in cut.top:
        assert answer.score == pytest.approx(scores[answer.index], abs=1e-4)
    assert [answer.score for answer in cut.top] != [answer.score for answer in told.top]
