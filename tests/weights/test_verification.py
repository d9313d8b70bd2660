from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import socket

import keras
import numpy as np
import pytest

from conftest import random_values
from keras_classics import CATALOG, build
from keras_classics.errors import WeightsError
from keras_classics.weights import records
from keras_classics.weights import verification as module
from keras_classics.weights.conversion import convert
from keras_classics.weights.golden import TOLERANCE, golden_outputs, picture
from keras_classics.weights.keras_files import write_keras
from keras_classics.weights.preprocess import preprocess
from keras_classics.weights.verification import verify
from pictures import state

VGG16, RESNET50 = CATALOG["vgg16"], CATALOG["resnet50"]
WIDTH = 1 / 16
FORMATS = (".weights.h5", ".keras", ".h5", ".safetensors", ".pth")
ARGUMENTS = {"weights": None, "width": WIDTH, "classes": 5, "input_shape": (64, 64, 3)}


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a connection was asked for")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def model(randomise):
    return randomise(build("vgg16", **ARGUMENTS))


@pytest.fixture
def saved(tmp_path):
    """Saves a model of the catalog in a format."""

    def saved(model, ending=".weights.h5", architecture=VGG16, name="saved"):
        path = tmp_path / f"{name}{ending}"
        original = tmp_path / f"{name}-.keras"
        model.save(original)
        if ending == ".keras":
            return original
        return convert(original, path, architecture=architecture, width=WIDTH).path

    return saved


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One VGG16 in every format."""
    folder = tmp_path_factory.mktemp("files")
    model = build("vgg16", **ARGUMENTS)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random_values(weight.name, tuple(weight.shape), rng))
    model.save(folder / "saved-.keras")
    paths = {ending: folder / f"saved{ending}" for ending in FORMATS}
    for path in paths.values():
        convert(folder / "saved-.keras", path, architecture=VGG16, width=WIDTH)
    return model, paths


@pytest.fixture
def no_golden_outputs(monkeypatch):
    """The installation is not looked at, which takes its time."""
    monkeypatch.setattr(module, "golden_outputs", lambda _: None)


@pytest.fixture
def publish(monkeypatch):
    """Makes a file one of the published ones."""

    def publish(name, path, file="file"):
        digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        old = records.RECORDS[name]
        new = dataclasses.replace(getattr(old, file), digest=digest)
        changed = {**records.RECORDS, name: dataclasses.replace(old, **{file: new})}
        monkeypatch.setattr(records, "RECORDS", changed)

    return publish


def verify_vgg16(path, **arguments):
    return verify(path, architecture=VGG16, width=WIDTH, **arguments)


def logits(model, run, side=64):
    """What a model makes of the picture before the activation of its top."""
    below = keras.Model(model.input, model.get_layer("predictions").input)
    features = run(below, preprocess(picture(side)[None], "caffe"))
    kernel, bias = model.get_layer("predictions").get_weights()
    return (features @ kernel + bias)[0]


def refusal(path, architecture=VGG16, **arguments):
    """The error with which weights are refused: one line that names the file."""
    with pytest.raises(WeightsError) as caught:
        verify(path, architecture=architecture, **{"width": WIDTH, **arguments})
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("ending", FORMATS)
def test_all_that_is_known_of_a_file(ending, files, run):
    model, path = files[0], files[1][ending]
    found = verify_vgg16(str(path))
    assert found.path == str(path)
    assert found.md5 == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.record, found.network, found.width) == (None, "vgg16", WIDTH)
    assert found.outputs == 5
    assert found.backend == keras.backend.backend()
    assert 0 <= found.golden_difference < TOLERANCE
    np.testing.assert_allclose(found.picture_outputs, logits(model, run), rtol=1e-4)
    assert found.odd == ()
    weights = [(layer, w) for layer in model.layers for w in layer.weights]
    for tensor, (layer, weight) in zip(found.tensors, weights, strict=True):
        value = keras.ops.convert_to_numpy(weight)
        assert tensor.name == f"{layer.name}/{weight.name}"
        assert tensor.shape == value.shape
        assert tensor.mean == pytest.approx(value.mean(), abs=1e-6)
        assert tensor.deviation == pytest.approx(value.std(), rel=1e-5)
        assert (tensor.least, tensor.largest) == (value.min(), value.max())
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["tensors"][0]["name"] == (
        "block1_conv1/kernel"
    )


@pytest.mark.backends
def test_on_each_backend(tmp_path, randomise, run):
    """A softmax would hide most of what logits tell."""
    model = randomise(build("vgg16", **ARGUMENTS))
    path = tmp_path / "saved.weights.h5"
    model.save_weights(path)
    found = verify_vgg16(path)
    np.testing.assert_allclose(found.picture_outputs, logits(model, run), rtol=1e-3)
    assert len(found.tensors) == 32


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (".weights.h5", "by names and shapes"),
        (".safetensors", "by names and shapes"),
        (".keras", "by names, shapes and what the layers compute"),
    ],
)
@pytest.mark.usefixtures("no_golden_outputs")
def test_how_sure_the_variant_is(ending, words, files, publish):
    path = files[1][ending]
    assert verify_vgg16(path).variant == words
    publish("vgg16-keras", path)
    found = verify_vgg16(path)
    assert (found.record, found.variant) == ("vgg16-keras", "by its hash")


@pytest.mark.usefixtures("no_golden_outputs")
def test_a_published_file_under_another_name_is_known(files, publish, tmp_path):
    path = files[1][".h5"]
    publish("vgg16-keras", path, file="notop")
    renamed = shutil.copy(path, tmp_path / "mine.h5")
    assert verify_vgg16(renamed).record == "vgg16-keras"
    with renamed.open("ab") as file:
        file.write(b"\0")
    assert verify_vgg16(renamed).record is None


@pytest.mark.parametrize("other", ["resnet50", "resnet50_v1_5"])
def test_a_published_file_of_another_network(other, files, publish):
    path = files[1][".h5"]
    publish("vgg16-torchvision", path)
    assert refusal(path, CATALOG[other]) == (
        f"{path}: is vgg16-torchvision, by its hash: weights of vgg16, not {other}."
    )


@pytest.mark.usefixtures("no_golden_outputs")
@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_weights_in_another_format_are_as_expected(
    ending, files, saved, publish, tmp_path
):
    """Though the one is a published file, and the other is not, or holds another activation."""
    model, first = files[0], files[1][".h5"]
    publish("vgg16-torchvision", first)
    report = tmp_path / "report.json"
    report.write_text(json.dumps(verify_vgg16(first).to_dict()))
    without = build("vgg16", **ARGUMENTS, classifier_activation=None)
    without.set_weights(model.get_weights())
    found = verify_vgg16(files[1][ending], expected=report)
    assert found.record == ("vgg16-torchvision" if ending == ".h5" else None)
    verify_vgg16(saved(without, ending), expected=report)


@pytest.mark.usefixtures("no_golden_outputs")
def test_other_weights_are_not_as_expected(model, saved, tmp_path):
    report = tmp_path / "report.json"
    report.write_text(json.dumps(verify_vgg16(saved(model)).to_dict()))
    kernel = model.get_layer("block3_conv2").kernel
    kernel.assign(kernel * 1.01)
    path = saved(model, name="other")
    message = refusal(path, expected=report)
    assert re.fullmatch(
        rf"{re.escape(str(path))}: its outputs for the picture are \S+e-0[123] off those in "
        rf"{re.escape(str(report))}\.",
        message,
    )
    more = build("vgg16", **{**ARGUMENTS, "classes": 6})
    assert "has 6 outputs, " in refusal(saved(more, name="more"), expected=report)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"3", b'{"picture_outputs": "x"}', b'{"picture_outputs": {}}',
     b'{"picture_outputs": [[1], 2]}', b"\xff\xfe", None],
)  # fmt: skip
@pytest.mark.usefixtures("no_golden_outputs")
def test_what_is_no_report(content, files, tmp_path):
    report = tmp_path if content is None else tmp_path / "report.json"
    if content is not None:
        report.write_bytes(content)
    message = refusal(files[1][".h5"], expected=report)
    assert message.startswith(f"{report}: not a report of an earlier verification")


@pytest.mark.parametrize("outputs", [[float("nan")] * 5, [None] * 5, [0] * 5, [1e30] * 5])
@pytest.mark.usefixtures("no_golden_outputs")
def test_a_report_that_nothing_equals(outputs, files, tmp_path):
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"picture_outputs": outputs}))
    assert f"off those in {report}" in refusal(files[1][".h5"], expected=report)


@pytest.mark.usefixtures("no_golden_outputs")
def test_a_network_that_answers_zero_is_as_expected(saved, tmp_path):
    model = build("vgg16", **ARGUMENTS)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    path, report = saved(model), tmp_path / "report.json"
    report.write_text(json.dumps(verify_vgg16(path).to_dict()))
    assert verify_vgg16(path, expected=report).picture_outputs == (0,) * 5


@pytest.mark.parametrize("ending", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(ending, value, model, tmp_path):
    bias = model.get_layer("fc1").bias
    bias.assign(np.where(np.arange(bias.shape[0]) == 3, value, 0))
    path = tmp_path / f"saved{ending}"
    write_keras(model, path)
    assert refusal(path) == (
        f"{path}: not the weights of this vgg16: fc1/bias has values that are not finite."
    )


def test_a_variance_below_zero(tmp_path):
    model = build("resnet50", **ARGUMENTS)
    variance = model.get_layer("conv4_block2_1_bn").moving_variance
    variance.assign(variance - 1.5)
    path = tmp_path / "saved.weights.h5"
    model.save_weights(path)
    assert refusal(path, RESNET50) == (
        f"{path}: not the weights of this resnet50: conv4_block2_1_bn/moving_variance has negative "
        "values, which no variance has."
    )


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_truncated_file(ending, part, files, tmp_path):
    path, content = tmp_path / f"torn{ending}", files[1][ending].read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert str(path) in refusal(path)


def test_no_such_file(tmp_path):
    assert refusal(tmp_path / "none.h5") == f"{tmp_path / 'none.h5'}: no such file."
    assert refusal(tmp_path) == f"{tmp_path}: a folder, not a regular file."


def test_another_network_and_another_width(files):
    path = files[1][".keras"]
    assert f"{path}: not the weights of this resnet50" in refusal(path, RESNET50)
    assert f"{path}: not the weights of this vgg16" in refusal(path, width=1 / 8)


@pytest.mark.usefixtures("no_golden_outputs")
def test_without_the_top(saved, randomise, run):
    model = randomise(build("vgg16", weights=None, width=WIDTH, include_top=False))
    found = verify_vgg16(saved(model))
    assert found.outputs is None
    features = run(model, preprocess(picture(224)[None], "caffe"))
    assert features.shape == (1, 7, 7, 32)
    np.testing.assert_allclose(found.picture_outputs, features.mean(axis=(0, 1, 2)), rtol=1e-4)
    assert len(found.tensors) == 26


@pytest.mark.usefixtures("no_golden_outputs")
@pytest.mark.parametrize("channels", [1, 4, 6])
def test_other_channels(channels, saved, randomise, run):
    shape = (64, 64, channels)
    model = randomise(build("vgg16", **{**ARGUMENTS, "input_shape": shape}))
    found = verify_vgg16(saved(model))
    assert found.tensors[0].shape == (3, 3, channels, 4)
    inputs = preprocess(picture(64)[None], "caffe")
    inputs = np.concatenate([inputs, inputs], axis=-1)[..., :channels]
    model.get_layer("predictions").activation = keras.activations.linear
    np.testing.assert_allclose(found.picture_outputs, run(model, inputs)[0], rtol=1e-4)


@pytest.mark.usefixtures("no_golden_outputs")
@pytest.mark.parametrize("side", [32, 96, 224])
def test_a_vgg16_for_another_size(side, saved, randomise, run):
    model = randomise(build("vgg16", **{**ARGUMENTS, "input_shape": (side, side, 3)}))
    found = verify_vgg16(saved(model))
    np.testing.assert_allclose(found.picture_outputs, logits(model, run, side), rtol=1e-4)


@pytest.mark.usefixtures("no_golden_outputs")
def test_with_a_side_classifier(tmp_path, randomise):
    arguments = {"weights": None, "width": WIDTH, "classes": 7, "auxiliary": True}
    model = randomise(build("inception_v3_torch", **arguments))
    path = tmp_path / "saved.keras"
    model.save(path)
    found = verify(path, architecture=CATALOG["inception_v3_torch"], width=WIDTH)
    assert found.outputs == len(found.picture_outputs) == 7
    assert "auxiliary_predictions/kernel" in [tensor.name for tensor in found.tensors]


@pytest.mark.usefixtures("no_golden_outputs")
def test_what_looks_odd(tmp_path, randomise):
    model = randomise(build("resnet50", **ARGUMENTS))

    def change(layer, weight, function):
        variable = getattr(model.get_layer(layer), weight)
        variable.assign(function(keras.ops.convert_to_numpy(variable)))

    change("conv2_block1_1_conv", "kernel", lambda w: 0.25 + 0 * w)
    change("conv3_block1_1_conv", "kernel", lambda w: 0 * w)
    change("conv4_block1_1_conv", "kernel", lambda w: w * (np.arange(w.shape[-1]) > 2))
    change("conv5_block1_1_bn", "moving_variance", lambda w: 1e30 * w)
    change("conv5_block2_1_bn", "moving_mean", lambda w: w - 2e4)
    change("conv5_block3_1_bn", "beta", lambda w: 0 * w)
    change("conv5_block3_1_conv", "bias", lambda w: 0 * w)
    path = tmp_path / "saved.weights.h5"
    model.save_weights(path)
    found = verify(path, architecture=RESNET50, width=WIDTH)
    assert {tensor.name: tensor.remark for tensor in found.odd} == {
        "conv2_block1_1_conv/kernel": "constant",
        "conv3_block1_1_conv/kernel": "constant",
        "conv4_block1_1_conv/kernel": "3 of 16 filters are zero",
        "conv5_block1_1_bn/moving_variance": "very large",
        "conv5_block2_1_bn/moving_mean": "very large",
    }
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.usefixtures("no_golden_outputs")
def test_outputs_that_overflow(model, saved):
    for layer in ("fc2", "predictions"):
        kernel = model.get_layer(layer).kernel
        kernel.assign(kernel * 1e25)
    path = saved(model)
    assert refusal(path) == f"{path}: the outputs for a picture are not finite."


@pytest.mark.parametrize("change", [1 + 3 * TOLERANCE, np.nan])
def test_an_installation_that_computes_something_else(change, files, monkeypatch):
    expected = golden_outputs(VGG16)
    monkeypatch.setattr(module, "golden_outputs", lambda _: expected * change)
    assert re.fullmatch(
        rf"this installation \(Keras {keras.__version__} on {keras.backend.backend()}\) gives "
        r"wrong results for vgg16: its outputs are (3\.0e-04|nan) off\.",
        refusal(files[1][".h5"]),
    )


def test_a_network_of_one_s_own_has_no_golden_outputs(files):
    mine = VGG16.replace(name="mine")
    assert verify(files[1][".h5"], architecture=mine, width=WIDTH).golden_difference is None


def test_nothing_is_written(files):
    path = files[1][".keras"]
    before = state(path.parent)
    verify_vgg16(path)
    assert state(path.parent) == before


def test_a_policy_of_coarser_rounding_changes_nothing(tmp_path, dtype_policy):
    dtype_policy("mixed_bfloat16")
    path = tmp_path / "mine.weights.h5"
    build("vgg16", weights=None, width=0.125, classes=5, input_shape=(32, 32, 3)).save_weights(path)
    verification = verify(path, architecture=CATALOG["vgg16"], width=0.125)
    assert verification.golden_difference < 1e-4
    assert verification.tensors
