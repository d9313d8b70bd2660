"""Files of Keras: what keras.applications reads of ours, and the first generation of ResNet50."""

from __future__ import annotations

import json

import h5py
import keras
import numpy as np
import pytest
from keras import applications, layers
from keras.src.legacy.saving import legacy_h5_format

from keras_classics import CATALOG, VGG16, InceptionV3, ResNet50, build
from keras_classics.errors import WeightsError
from keras_classics.weights.conversion import convert, model_of
from keras_classics.weights.keras_files import write_keras
from keras_classics.weights.loading import CONSTANT, LEFT_OUT, load_weights
from zoo import slow

OURS = {"VGG16": VGG16, "ResNet50": ResNet50, "InceptionV3": InceptionV3}
SHAPE = (75, 75, 3)
SMALL = {"width": 1 / 16, "classes": 5, "input_shape": SHAPE, "classifier_activation": None}


def relative_error(values, expected):
    assert 0.01 < expected.std() < 1000
    assert np.abs(expected[0] - expected[1]).max() > 1e-3 * np.abs(expected).max()
    return np.abs(values - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
    "name", ["VGG16", "ResNet50", pytest.param("InceptionV3", marks=pytest.mark.slow)]
)
def test_keras_applications_takes_our_files(name, tmp_path, randomise, images, run):
    arguments = {"input_shape": SHAPE, "classes": 4, "classifier_activation": None}
    ours = randomise(OURS[name](weights=None, **arguments))
    for ending in (".h5", ".weights.h5"):
        path = tmp_path / f"file{ending}"
        write_keras(ours, path)
        theirs = getattr(applications, name)(weights=str(path), **arguments)
        for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    x = images(2, *SHAPE)
    assert relative_error(run(ours, x), run(theirs, x)) < 1e-5


def test_keras_applications_takes_our_file_without_the_top(tmp_path, randomise):
    ours = randomise(ResNet50(weights=None, include_top=False))
    write_keras(ours, tmp_path / "file.h5")
    theirs = applications.ResNet50(weights=str(tmp_path / "file.h5"), include_top=False)
    for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_legacy_files_are_laid_out_as_the_published_ones(tmp_path, randomise):
    """As Keras' own writer of these files does it, but for the names of the tensors."""
    model = randomise(build("resnet50", **SMALL))
    write_keras(model, tmp_path / "ours.h5")
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    with h5py.File(tmp_path / "ours.h5") as ours, h5py.File(tmp_path / "theirs.h5") as theirs:
        assert list(ours.attrs["layer_names"]) == list(theirs.attrs["layer_names"])
        names = list(ours.attrs["layer_names"])
        assert sorted(ours) == sorted(names)
        for name in names:
            mine, other = (list(file[name].attrs["weight_names"]) for file in (ours, theirs))
            assert len(mine) == len(other)
            assert all(each.startswith(f"{name}/") and each.endswith(":0") for each in mine)
            for a, b in zip(mine, other, strict=True):
                np.testing.assert_array_equal(ours[name][a], theirs[name][b])


def first_resnet(width, classes=5, include_top=True):
    """ResNet50 as Keras built it until 2018, of plain layers: other names, another epsilon."""

    def unit(x, filters, kernel, names, strides=1, padding="valid"):
        conv, norm = names
        x = layers.Conv2D(filters, kernel, strides=strides, padding=padding, name=conv)(x)
        return layers.BatchNormalization(axis=3, name=norm)(x)  # epsilon=1e-3 by default

    def block(x, filters, stage, letter, strides=1):
        def names(branch):
            return f"res{stage}{letter}_branch{branch}", f"bn{stage}{letter}_branch{branch}"

        y = layers.ReLU()(unit(x, filters, 1, names("2a"), strides))
        y = layers.ReLU()(unit(y, filters, 3, names("2b"), padding="same"))
        y = unit(y, 4 * filters, 1, names("2c"))
        if letter == "a":
            x = unit(x, 4 * filters, 1, names("1"), strides)
        return layers.ReLU()(layers.add([y, x]))

    inputs = keras.Input(SHAPE)
    x = layers.ZeroPadding2D(3, name="conv1_pad")(inputs)
    x = layers.ReLU()(unit(x, int(64 * width), 7, ("conv1", "bn_conv1"), strides=2))
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    for stage, letters in enumerate(("abc", "abcd", "abcdef", "abc"), start=2):
        for letter in letters:
            strides = 2 if letter == "a" and stage > 2 else 1
            x = block(x, int(32 * width) * 2 ** (stage - 1), stage, letter, strides)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, name="fc1000")(x)
    return keras.Model(inputs, x)


def save_weights_only(model, path):
    """As the published files are: no configuration."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def save_model(model, path):
    model.save(path)


@pytest.mark.parametrize("save", [save_weights_only, save_model])
def test_the_first_resnet_of_keras(save, tmp_path, randomise, images, run):
    theirs = randomise(first_resnet(1 / 16))
    path = str(tmp_path / "resnet50_weights_tf_dim_ordering_tf_kernels.h5")
    save(theirs, path)
    ours = build("resnet50", weights=path, **SMALL)
    x = images(2, *SHAPE)
    expected = run(theirs, x)
    assert relative_error(run(ours, x), expected) < 1e-5
    # Without the other epsilon it would not be the same.
    for layer in ours.layers:
        if layer.name.endswith("_bn"):
            layer.moving_variance.assign(layer.moving_variance - 0.00098999)
    assert relative_error(run(ours, x), expected) > 1e-4


def test_the_report_on_the_first_resnet(tmp_path, randomise):
    theirs = randomise(first_resnet(1 / 16))
    path = tmp_path / "file.h5"
    save_weights_only(theirs, path)
    ours = build("resnet50", **SMALL)
    report = load_weights(ours, path, architecture=CATALOG["resnet50"])
    assert [p.here for p in report] == [
        f"{layer.name}/{w.name}" for layer in ours.layers for w in layer.weights
    ]
    assert len({p.there for p in report}) == len(report) == len(theirs.weights) == 320
    by_name = {p.here: p for p in report}
    for here, there in (
        ("conv1_conv/kernel", "conv1/kernel"),
        ("conv1_bn/gamma", "bn_conv1/gamma"),
        ("conv2_block1_0_conv/bias", "res2a_branch1/bias"),
        ("conv4_block6_3_conv/kernel", "res4f_branch2c/kernel"),
        ("conv5_block3_2_bn/beta", "bn5c_branch2b/beta"),
        ("predictions/kernel", "fc1000/kernel"),
    ):
        assert by_name[here].there.endswith(there)
        assert by_name[here].change == ""
    changes = {p.change for p in report if p.here.endswith("moving_variance")}
    assert changes == {"+ 0.00098999, the larger epsilon of then"}
    for p in report:
        if p.here.endswith("moving_variance"):
            layer = p.there.split("/")[-2]
            before = np.asarray(theirs.get_layer(layer).moving_variance)
            after = np.asarray(ours.get_layer(p.here.partition("/")[0]).moving_variance)
            np.testing.assert_allclose(after - before, 1e-3 - 1.001e-5, rtol=1e-3)
        else:
            assert p.change == ""


def test_the_first_resnet_without_its_top(tmp_path, randomise):
    theirs = randomise(first_resnet(1 / 16))
    headless = first_resnet(1 / 16, include_top=False)
    headless.set_weights(theirs.get_weights()[:-2])
    arguments = {"width": 1 / 16, "input_shape": SHAPE, "include_top": False}
    models = []
    for name, source in (("top.h5", theirs), ("notop.h5", headless)):
        save_weights_only(source, tmp_path / name)
        models.append(build("resnet50", weights=str(tmp_path / name), **arguments))
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    report = load_weights(models[0], tmp_path / "top.h5", architecture=CATALOG["resnet50"])
    assert [(p.here, p.change) for p in report[-2:]] == [("", LEFT_OUT), ("", LEFT_OUT)]
    with pytest.raises(WeightsError, match="predictions is missing"):
        build("resnet50", weights=str(tmp_path / "notop.h5"), **SMALL)


def test_the_first_resnet_as_one_of_today(tmp_path, randomise, images, run):
    theirs = randomise(first_resnet(1 / 16))
    save_weights_only(theirs, tmp_path / "old.h5")
    conversion = convert(
        tmp_path / "old.h5", tmp_path / "new.h5", architecture=CATALOG["resnet50"], width=1 / 16
    )
    assert {p.change for p in conversion.passages} == {
        "", "+ 0.00098999, the larger epsilon of then",
    }  # fmt: skip
    ours = build("resnet50", weights=str(tmp_path / "new.h5"), **SMALL)
    report = load_weights(ours, tmp_path / "new.h5", architecture=CATALOG["resnet50"])
    assert {p.change for p in report} == {""}
    x = images(2, *SHAPE)
    assert relative_error(run(ours, x), run(theirs, x)) < 1e-5


@pytest.mark.parametrize("network", ["resnet50_v1_5", "resnet50_d", "vgg16", "inception_v3"])
def test_the_first_resnet_is_no_other_network(network, tmp_path):
    path = str(tmp_path / "file.h5")
    save_weights_only(first_resnet(1 / 16), path)
    with pytest.raises(WeightsError, match=f"not the weights of this {network}: ") as caught:
        build(network, weights=path, **SMALL)
    assert "\n" not in str(caught.value)


def test_a_first_resnet_with_a_surplus_or_a_missing_layer_is_refused(tmp_path):
    path = tmp_path / "file.h5"
    save_weights_only(first_resnet(1 / 16), path)
    with h5py.File(path, "r+") as file:
        names = list(file.attrs["layer_names"])
        names[names.index("res3b_branch2a")] = "res3e_branch2a"
        file.attrs["layer_names"] = names
        file.move("res3b_branch2a", "res3e_branch2a")
    with pytest.raises(WeightsError) as caught:
        build("resnet50", weights=str(path), **SMALL)
    message = str(caught.value)
    assert "conv3_block2_1_conv is missing; conv3_block5_1_conv is left over" in message


def test_other_endings_of_hdf5(tmp_path, randomise):
    model = randomise(build("vgg16", **SMALL))
    write_keras(model, tmp_path / "file.hdf5")
    again = build("vgg16", weights=str(tmp_path / "file.hdf5"), **SMALL)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_top_by_its_name_of_then(tmp_path, randomise):
    """That of ResNet's published file; the order of the layers stays binding."""
    model = randomise(build("resnet50", **SMALL))
    path = tmp_path / "file.h5"
    save_weights_only(model, path)
    with h5py.File(path, "r+") as file:
        file.move("predictions", "probs")
        names = list(file.attrs["layer_names"])
        assert names[-1] in ("predictions", b"predictions")
        file.attrs["layer_names"] = [*names[:-1], type(names[-1])("probs")]
    ours = build("resnet50", **SMALL, weights=str(path))
    for a, b in zip(ours.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    headless = build("resnet50", **SMALL, include_top=False, weights=str(path))
    kernel = headless.get_layer("conv1_conv").get_weights()[0]
    np.testing.assert_array_equal(kernel, model.get_layer("conv1_conv").get_weights()[0])
    with h5py.File(path, "r+") as file:  # at another place such a name is nothing known
        names = list(file.attrs["layer_names"])
        file.attrs["layer_names"] = [names[-1], *names[:-1]]
    with pytest.raises(WeightsError, match="predictions is missing; probs is left over"):
        build("resnet50", **SMALL, weights=str(path))


MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def efficientnet():
    """EfficientNetB0 of keras.applications with other numbers in its layer for normalisation."""
    theirs = applications.EfficientNetB0(weights=None, input_shape=(64, 64, 3), classes=5)
    generator = np.random.default_rng(0)
    theirs.set_weights(
        [w if w.ndim < 1 else generator.uniform(0.5, 1, w.shape) for w in theirs.get_weights()]
    )

    def normalised(mean, variance):
        layer = next(each for each in theirs.layers if isinstance(each, layers.Normalization))
        layer.set_weights([mean, variance, np.array(0)])
        return theirs

    return normalised


@pytest.mark.parametrize("ending", [".weights.h5", slow(".keras"), slow(".h5")])
def test_the_normalisation_of_keras_efficientnet_stands_in_our_graph(
    ending, efficientnet, tmp_path
):
    """Its numbers in a file are left out knowingly; the published one has the deviation there."""
    variance = DEVIATION if ending == ".h5" else DEVIATION**2
    theirs = efficientnet(MEAN, variance)
    path = tmp_path / f"file{ending}"
    if ending == ".h5":
        save_weights_only(theirs, path)
    else:
        (theirs.save if ending == ".keras" else theirs.save_weights)(path)
    architecture = CATALOG["efficientnet_b0"]
    ours = build("efficientnet_b0", weights=None, input_shape=(64, 64, 3), classes=5)
    report = load_weights(ours, path, architecture=architecture)
    left = [p for p in report if not p.here]
    assert [p.change for p in left] == [CONSTANT] * 3
    assert [p.shape_there for p in left] == [(3,), (3,), ()]
    weights = [w for layer in theirs.layers for w in layer.weights if "normalization" not in w.path]
    assert len(weights) == len(ours.weights)
    for a, b in zip(ours.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    # Through a whole model there and back, which never holds them.
    convert(path, tmp_path / "whole.keras", architecture=architecture)
    again, _ = model_of(tmp_path / "whole.keras", architecture)
    for a, b in zip(again.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("mean", "variance", "culprit"),
    [
        (np.zeros(3), np.ones(3), r"normalization has the mean \(0.0, 0.0, 0.0\), needs \(0.485,"),
        (
            MEAN,
            DEVIATION / 2,
            r"normalization has the variance \(0.1145, 0.112, 0.1125\), needs \(",
        ),
    ],
)
def test_another_normalisation_is_refused(mean, variance, culprit, efficientnet, tmp_path):
    """As of a network that was built without published weights: it computes something else."""
    path = tmp_path / "file.weights.h5"
    efficientnet(mean, variance).save_weights(path)
    with pytest.raises(WeightsError, match=culprit):
        build("efficientnet_b0", weights=str(path), input_shape=(64, 64, 3), classes=5)


def test_the_names_and_order_of_keras_mobilenet(tmp_path, randomise):
    theirs = randomise(applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=5))
    path = tmp_path / "file.h5"
    save_weights_only(theirs, path)
    with h5py.File(path, "r+") as file:  # as its published file has it
        file.move("predictions", "Logits")
        names = [n.decode() if isinstance(n, bytes) else n for n in file.attrs["layer_names"]]
        file.attrs["layer_names"] = [*names[:-1], "Logits"]
    ours = build("mobilenet_v2", weights=str(path), input_shape=(64, 64, 3), classes=5)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("padding", "accepted"), [(((0, 1), (0, 1)), True), (((1, 0), (0, 1)), False)]
)
def test_zeros_that_a_layer_of_its_own_adds_are_padding(padding, accepted, tmp_path, randomise):
    """As keras.applications pads before a convolution that strides; no other way is taken."""
    ours = randomise(build("mobilenet_v2", width=1 / 8, input_shape=(32, 32, 3), classes=5))
    stem = ours.get_layer("Conv1")
    path = tmp_path / "file.keras"
    config = ours.get_config()
    (layer,) = (each for each in config["layers"] if each["config"]["name"] == "Conv1")
    layer["config"]["padding"] = "valid"
    assert stem.padding == "same"
    (first,) = (each for each in config["layers"] if each["class_name"] == "InputLayer")
    pad = keras.saving.serialize_keras_object(layers.ZeroPadding2D(padding, name="Conv1_pad"))
    pad |= {"name": "Conv1_pad", "inbound_nodes": layer["inbound_nodes"]}
    text = json.dumps(layer["inbound_nodes"]).replace(first["config"]["name"], "Conv1_pad")
    layer["inbound_nodes"] = json.loads(text)
    config["layers"].insert(1, pad)
    theirs = keras.Model.from_config(config)
    theirs.set_weights(ours.get_weights())
    theirs.save(path)
    arguments = {"width": 1 / 8, "input_shape": (32, 32, 3), "classes": 5}
    if accepted:
        build("mobilenet_v2", weights=str(path), **arguments)
    else:
        with pytest.raises(WeightsError, match="Conv1 has padding=valid, needs same"):
            build("mobilenet_v2", weights=str(path), **arguments)
