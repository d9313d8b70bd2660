from __future__ import annotations

import functools
import itertools
import re
import zipfile
from pathlib import Path

import h5py
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
    vgg16_sequential,
    without_auxiliary,
)
from keras_classics.errors import WeightsError
from keras_classics.weights.loading import LEFT_OUT, OWN, load_weights
from zoo import one_each

FORMATS = (".weights.h5", ".keras", ".h5")
OURS = {"VGG16": VGG16, "ResNet50": ResNet50, "InceptionV3": InceptionV3}
ARGUMENTS = {"weights": None, "width": 1 / 16, "classes": 5, "input_shape": (75, 75, 3)}
X_SHAPE = (2, 75, 75, 3)


def small(network, **arguments):
    """VGG16, which is small as it is, or another network of one block a stage."""
    depths = None if network == "vgg16" else one_each(network)
    return build(network, **{**ARGUMENTS, "depths": depths, **arguments})


def write(model, folder, ending):
    path = folder / f"file{ending}"
    path.unlink(missing_ok=True)
    (model.save_weights if ending == ".weights.h5" else model.save)(path)
    return str(path)


def assert_same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def refused(path, network, **arguments):
    """The error with which a file is refused: one line that names the file."""
    with pytest.raises(WeightsError) as caught:
        small(network, weights=str(path), **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("network", ["vgg16", "resnet50_d", "inception_v3"])
def test_round_trip(network, ending, tmp_path, randomise):
    model = randomise(small(network))
    path = write(model, tmp_path, ending)
    assert_same_weights(small(network, weights=path), model)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_prefix_makes_no_difference(ending, tmp_path, randomise):
    plain, prefixed = (randomise(small("resnet50", prefix=prefix)) for prefix in ("", "a_"))
    path = write(plain, tmp_path, ending)
    assert_same_weights(small("resnet50", weights=path, prefix="b_"), plain)
    path = write(prefixed, tmp_path, ending)
    assert_same_weights(small("resnet50", weights=path, prefix="a_"), prefixed)


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_bfloat16"])
@pytest.mark.parametrize("ending", FORMATS)
def test_round_trip_in_other_types(policy, ending, tmp_path, randomise, dtype_policy):
    dtype_policy(policy)
    model = randomise(small("vgg16"))
    path = write(model, tmp_path, ending)
    again = small("vgg16", weights=path)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a.astype("float32"), b.astype("float32"))


@pytest.mark.parametrize(
    "name",
    [
        "ResNet50",
        pytest.param("VGG16", marks=pytest.mark.slow),
        pytest.param("InceptionV3", marks=pytest.mark.slow),
    ],
)
def test_files_of_keras_applications(name, tmp_path, randomise, images, run):
    arguments = {"input_shape": (75, 75, 3), "classes": 4, "classifier_activation": None}
    theirs = randomise(getattr(applications, name)(weights=None, **arguments))
    theirs_headless = keras.Model(theirs.inputs, before_the_top(theirs))
    ours = OURS[name](weights=None, **arguments)
    headless = OURS[name](weights=None, include_top=False, input_shape=(75, 75, 3))
    for seed, ending in enumerate(FORMATS):
        randomise(theirs, seed=seed)  # each format brings weights that the last one did not
        path = write(theirs, tmp_path, ending)
        for model, expected in ((ours, theirs), (headless, theirs_headless)):
            load_weights(model, path, architecture=CATALOG[ours.name])
            assert_same_weights(model, expected)
    expected = run(theirs, images(*X_SHAPE))
    assert np.abs(expected[0] - expected[1]).max() > 1e-3 * np.abs(expected).max()
    error = np.abs(run(ours, images(*X_SHAPE)) - expected).max() / np.abs(expected).max()
    assert error < 1e-5


def before_the_top(model):
    """The last feature maps of a network with its top."""
    if model.name == "vgg16":
        return model.get_layer("block5_pool").output
    return model.get_layer("avg_pool").input


@pytest.mark.parametrize("network", ["vgg16", "resnet50"])
def test_without_the_top_and_with_a_prefix_from_a_file_with_one(network, tmp_path, randomise):
    model = randomise(small(network))
    path = write(model, tmp_path, ".weights.h5")
    headless = small(network, weights=path, include_top=False, prefix="a_")
    assert_same_weights(headless, keras.Model(model.inputs, before_the_top(model)))


def test_with_the_top_from_a_file_without_one(tmp_path):
    path = write(small("resnet50", include_top=False), tmp_path, ".weights.h5")
    assert "predictions is missing" in refused(path, "resnet50")


@pytest.mark.parametrize("ending", FORMATS)
def test_layers_before_the_network_are_left_alone(ending, tmp_path, randomise):
    model = randomise(small("resnet50"))
    path = write(model, tmp_path, ending)
    inputs = keras.Input((150, 150, 4))
    x = keras.layers.Conv2D(3, 3, strides=2, padding="same", name="before")(inputs)
    x = keras.layers.BatchNormalization(name="before_bn")(x)
    before = keras.Model(inputs, x).get_weights()
    longer = small("resnet50", weights=path, input_tensor=x, input_shape=None)
    assert len(longer.get_weights()) == len(before) + len(model.get_weights())
    for a, b in zip(longer.get_weights(), before + model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("ending", FORMATS)
def test_sequential_and_functional_files_are_alike(ending, tmp_path, randomise):
    arguments = {k: v for k, v in ARGUMENTS.items() if k != "weights"}
    model = randomise(vgg16_sequential(**arguments))
    path = write(model, tmp_path, ending)
    assert_same_weights(small("vgg16", weights=path), model)


def test_with_the_auxiliary_head(tmp_path, randomise):
    model = randomise(small("inception_v3", auxiliary=True))
    path = write(model, tmp_path, ".weights.h5")
    again = small("inception_v3", auxiliary=True, weights=path)
    assert_same_weights(again, model)
    plain = write(without_auxiliary(model), tmp_path, ".keras")
    with pytest.raises(WeightsError, match="auxiliary_1_conv is missing"):
        small("inception_v3", auxiliary=True, weights=plain)


@pytest.mark.parametrize(
    ("network", "ending"),
    [("vgg16", ".weights.h5"), ("resnet50", ".keras"), ("inception_v3", ".h5")],
)
def test_one_channel_gives_what_three_equal_ones_gave(
    network, ending, tmp_path, randomise, images, run
):
    model = randomise(small(network, classifier_activation=None))
    path = write(model, tmp_path, ending)
    grey = small(network, weights=path, classifier_activation=None, input_shape=(75, 75, 1))
    g = images(2, 75, 75, 1)
    expected = run(model, np.repeat(g, 3, axis=-1))
    assert expected.std() > 0.1
    np.testing.assert_allclose(run(grey, g), expected, rtol=1e-3, atol=1e-4 * expected.std())


@pytest.mark.parametrize("network", ["vgg16", "resnet50", "inception_v3"])
def test_a_fourth_channel_is_ignored_at_first(network, tmp_path, randomise, images, run):
    model = randomise(small(network, classifier_activation=None))
    path = write(model, tmp_path, ".weights.h5")
    four = small(network, weights=path, classifier_activation=None, input_shape=(75, 75, 4))
    x = images(2, 75, 75, 4)
    expected = run(model, x[..., :3])
    np.testing.assert_allclose(run(four, x), expected, rtol=1e-3, atol=1e-4 * expected.std())
    assert {tuple(w.shape) for w in four.trainable_weights[:1]} == {
        (*model.weights[0].shape[:2], 4, model.weights[0].shape[3])
    }


def test_other_numbers_of_channels_are_refused(tmp_path):
    path = write(small("vgg16"), tmp_path, ".weights.h5")
    message = refused(path, "vgg16", input_shape=(75, 75, 7))
    assert "block1_conv1/kernel has shape (3, 3, 3, 4), needs (3, 3, 7, 4)" in message


@pytest.fixture(scope="module")
def variant():
    """The ResNets of 50 layers, each built once, with the top or without."""

    @functools.cache
    def variant(network, include_top):
        return small(network, include_top=include_top)

    yield variant
    variant.cache_clear()


@pytest.mark.parametrize(
    ("ending", "include_top"),
    [
        (FORMATS[0], True),
        (FORMATS[0], False),
        *(
            pytest.param(ending, include_top, marks=pytest.mark.slow)
            for ending, include_top in itertools.product(FORMATS[1:], (True, False))
        ),
    ],
)
@pytest.mark.parametrize(
    ("source", "target"),
    list(itertools.permutations(["resnet50", "resnet50_v1_5", "resnet50_d"], 2)),
)
def test_variants_never_take_each_others_weights(
    source, target, ending, include_top, tmp_path, variant
):
    path = write(variant(source, True), tmp_path, ending)
    model = variant(target, include_top)
    before = model.get_weights()
    with pytest.raises(WeightsError, match=f"not the weights of this {target}: ") as caught:
        load_weights(model, path, architecture=CATALOG[target])
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_constructors_of_variants_check_the_file(tmp_path, variant):
    path = write(variant("resnet50", True), tmp_path, ".h5")
    assert "conv1_conv has 2 tensors, needs 1" in refused(path, "resnet50_v1_5")


@pytest.mark.parametrize(
    ("source", "arguments", "culprit"),
    [
        ("resnet50", {"width": 1 / 8}, "conv1_conv/kernel has shape (7, 7, 3, 8), needs (7, 7, 3"),
        ("resnet50", {"classes": 6}, "predictions/kernel has shape (128, 6), needs (128, 5)"),
        ("vgg16", {}, "conv1_conv is missing"),
        ("inception_v3", {}, "conv1_conv is missing"),
    ],
)
def test_other_networks_are_refused(source, arguments, culprit, tmp_path):
    path = write(small(source, **arguments), tmp_path, ".weights.h5")
    assert culprit in refused(path, "resnet50")


def test_a_vgg_top_of_another_image_size_is_refused(tmp_path):
    path = write(small("vgg16", input_shape=(96, 96, 3)), tmp_path, ".weights.h5")
    assert "fc1/kernel has shape (288, 256), needs (128, 256)" in refused(path, "vgg16")


def test_three_culprits_are_named_and_the_rest_counted(tmp_path):
    path = write(small("resnet50", width=1 / 8), tmp_path, ".weights.h5")
    message = refused(path, "resnet50")
    assert message.count("has shape") == 3
    more = int(re.search(r"and (\d+) more\. Is the width another one\?$", message).group(1))
    # Kernels, biases and four tensors of batch norm for 53 units, and the classifier's kernel.
    assert more + 3 == 17 * 6 + 1


@pytest.mark.parametrize(
    ("ending", "value"), [(".weights.h5", np.nan), (".keras", np.inf), (".h5", np.nan)]
)
def test_values_that_are_not_finite_are_refused(ending, value, tmp_path, randomise):
    model = randomise(small("resnet50"))
    variance = model.get_layer("conv3_block1_2_bn").moving_variance
    values = np.ones(variance.shape)
    values[1] = value
    variance.assign(values)
    path = write(model, tmp_path, ending)
    message = refused(path, "resnet50")
    assert message.endswith("conv3_block1_2_bn/moving_variance has values that are not finite.")


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_torn_files_are_refused(share, ending, tmp_path):
    path = write(small("vgg16"), tmp_path, ending)
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: int(share * len(whole))])
    assert "not a complete file of weights made by Keras" in refused(path, "vgg16")


@pytest.mark.parametrize("ending", [".weights.h5", ".h5"])
def test_files_with_a_torn_inside_are_refused(ending, tmp_path):
    """Bytes that are overwritten in the tables of an HDF5 file, not at its end."""
    path = tmp_path / f"file{ending}"
    whole = np.fromfile(write(small("vgg16"), tmp_path, ending), dtype="uint8")
    generator = np.random.default_rng(0)
    outcomes = set()
    model = small("vgg16")
    before = model.get_weights()
    for _ in range(40):
        damaged = whole.copy()
        places = generator.integers(100, 3000, 20)
        damaged[places] = generator.integers(0, 256, 20)
        damaged.tofile(path)
        message = ""
        try:
            load_weights(model, path, architecture=CATALOG["vgg16"])
        except WeightsError as error:
            message = str(error)
        outcomes.add("refused" if message else "no harm done")
        assert "\n" not in message
        if message:
            for a, b in zip(before, model.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)
        model.set_weights(before)
    assert "refused" in outcomes


@pytest.mark.parametrize("ending", [".weights.h5", ".keras", ".h5", ".txt"])
def test_text_is_no_file_of_weights(ending, tmp_path):
    path = tmp_path / f"notes{ending}"
    path.write_text("these are not weights\n" * 100)
    assert "not a complete file of weights made by Keras" in refused(path, "resnet50")


def test_an_hdf5_file_of_something_else(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["measurements"] = np.arange(5)
    assert "not a complete file of weights made by Keras" in refused(path, "resnet50")


def odd_dataset_under_layers(file):
    file["layers"] = np.arange(5)


def odd_dataset_as_layer(file):
    file["layers/conv2d"] = np.arange(5)


def odd_index(file):
    file["layers/conv2d/vars/first"] = np.zeros(3)


def odd_text(file):
    file["layers/conv2d/vars/0"] = [b"text", b"more"]


def odd_number_as_name(file):
    file["layers/conv2d/vars/0"] = np.zeros(3)
    file["layers/conv2d"].attrs["name"] = 5


def odd_dataset_as_legacy_group(file):
    file.attrs["layer_names"] = [b"conv"]
    file["conv"] = np.arange(5)
    file["conv"].attrs["weight_names"] = [b"kernel"]


def odd_bytes_as_legacy_name(file):
    file.attrs["layer_names"] = [b"\xff\xfe"]


@pytest.mark.parametrize(
    "make",
    [
        odd_dataset_under_layers,
        odd_dataset_as_layer,
        odd_index,
        odd_text,
        odd_number_as_name,
        odd_dataset_as_legacy_group,
        odd_bytes_as_legacy_name,
    ],
    ids=lambda make: make.__name__,
)
def test_odd_hdf5_files_are_refused(make, tmp_path):
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        make(file)
    assert "not a complete file of weights made by Keras" in refused(path, "resnet50")


@pytest.mark.parametrize(
    "config",
    [
        b"[]",
        b"5",
        b"\xff\xfe{",
        b'{"config": []}',
        b'{"config": {"layers": 5}}',
        b'{"config": {"layers": [{"config": 5}]}}',
        b'{"config": {"layers": [{"config": {"name": ["a"]}}]}}',
    ],
)
def test_a_keras_file_with_an_odd_configuration_is_refused(config, tmp_path):
    weights = Path(write(small("vgg16"), tmp_path, ".weights.h5")).read_bytes()
    path = tmp_path / "odd.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    assert "not a complete file of weights made by Keras" in refused(path, "vgg16")


@pytest.mark.parametrize(
    ("path", "why"),
    [("missing.weights.h5", "no such file"), (".", "a folder, not a regular file")],
)
def test_a_path_without_a_file(path, why, tmp_path):
    message = refused(tmp_path / path, "resnet50")
    assert message.endswith("`classics weights` lists, or a path.")
    with pytest.raises(WeightsError, match=re.escape(f"{tmp_path / path}: {why}.")):
        load_weights(small("resnet50"), tmp_path / path, architecture=CATALOG["resnet50"])


@pytest.mark.parametrize(
    ("key", "value", "culprit"),
    [
        ("strides", 1, "conv3_block1_1_conv has strides=(1, 1), needs (2, 2)"),
        ("padding", "valid", None),  # without a meaning for 1x1
    ],
)
def test_a_keras_file_of_other_behaviour_is_refused(key, value, culprit, tmp_path):
    """All names and shapes agree; the file's configuration alone tells the difference."""
    model = small("resnet50")

    def changed(layer):
        config = layer.get_config()
        if layer.name in {"conv3_block1_1_conv", "conv3_block1_0_conv"}:
            config[key] = value
        return type(layer).from_config(config)

    other = keras.models.clone_model(model, clone_function=changed)
    path = write(other, tmp_path, ".keras")
    if culprit is None:
        assert_same_weights(small("resnet50", weights=path), other)
    else:
        assert culprit in refused(path, "resnet50")


def test_a_keras_file_with_other_norm_or_padding_is_refused(tmp_path):
    def changed(layer):
        config = layer.get_config()
        if layer.name == "conv1_bn":
            config["epsilon"] = 1e-3
        if layer.name == "conv1_conv":
            config["padding"] = "same"
        return type(layer).from_config(config)

    other = keras.models.clone_model(small("resnet50"), clone_function=changed)
    message = refused(write(other, tmp_path, ".keras"), "resnet50")
    assert "conv1_conv has padding=same, needs valid" in message
    assert message.endswith("conv1_bn has epsilon=0.001, needs 1.001e-05.")


def test_two_layers_in_each_others_place_are_refused(tmp_path):
    inputs = keras.Input((75, 75, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="block1_conv2")(inputs)
    path = write(keras.Model(inputs, x), tmp_path, ".h5")
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="block1_conv1")(inputs))
    with pytest.raises(WeightsError, match="block1_conv1 is missing; block1_conv2 is left over"):
        load_weights(model, path, architecture=CATALOG["vgg16"])


def test_what_is_kept_stays_as_it_is(tmp_path, randomise):
    """The top is begun anew only where that is asked for, and the report says so."""
    source = randomise(small("resnet50", classes=7))
    path = write(source, tmp_path, ".keras")
    model = small("resnet50", prefix="a_")
    top = model.layers[-1].get_weights()
    with pytest.raises(WeightsError, match="Only the classes differ: build with the file's number"):
        load_weights(model, path, architecture=CATALOG["resnet50"], prefix="a_")
    placements = load_weights(
        model, path, architecture=CATALOG["resnet50"], prefix="a_", keep=["a_predictions"]
    )
    for a, b in zip(model.get_weights(), source.get_weights()[:-2] + top, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [(p.there, p.here, p.change) for p in placements[-4:]] == [
        ("", "a_predictions/kernel", OWN),
        ("", "a_predictions/bias", OWN),
        ("layers/dense/vars/0", "", LEFT_OUT),
        ("layers/dense/vars/1", "", LEFT_OUT),
    ]
    assert [p.shape_there for p in placements[-2:]] == [(128, 7), (7,)]


@pytest.mark.parametrize("ending", FORMATS)
def test_any_layer_can_be_kept_whatever_the_file_holds(ending, tmp_path, randomise):
    source = randomise(small("vgg16", width=1 / 16))
    kernel = source.get_layer("block2_conv2").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    path = write(source, tmp_path, ending)
    assert "block2_conv2/kernel has values that are not finite" in refused(path, "vgg16")
    model = small("vgg16")
    own = model.get_layer("block2_conv2").get_weights()
    load_weights(model, path, architecture=CATALOG["vgg16"], keep={"block2_conv2"})
    for layer in model.layers:
        expected = source.get_layer(layer.name).get_weights() if layer.weights else []
        expected = own if layer.name == "block2_conv2" else expected
        for a, b in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_report_names_every_tensor_of_both_sides(tmp_path, randomise):
    model = randomise(small("resnet50"))
    path = write(model, tmp_path, ".h5")
    grey = small("resnet50", input_shape=(75, 75, 1))
    placements = load_weights(grey, path, architecture=CATALOG["resnet50"])
    names = [f"{layer.name}/{w.name}" for layer in grey.layers for w in layer.weights]
    assert [p.here for p in placements] == names
    with h5py.File(path) as file:
        groups = file["model_weights"]
        stored = sum(len(group.attrs["weight_names"]) for group in groups.values())
        for p in placements:
            layer = p.here.partition("/")[0]
            assert groups[layer][p.there].shape == p.shape_there
    assert len({(p.here.partition("/")[0], p.there) for p in placements}) == stored
    assert [p.shape_here for p in placements] == [tuple(w.shape) for w in grey.weights]
    assert {p.change for p in placements[1:]} == {""}
    assert placements[0].here == "conv1_conv/kernel"
    assert placements[0].change == "3 channels to 1"


@pytest.mark.parametrize("ending", FORMATS)
def test_the_auxiliary_head_is_left_out_where_it_is_not_asked_for(ending, tmp_path, randomise):
    """Its layers stand between those of the network in the order of the file."""
    model = randomise(small("inception_v3", auxiliary=True, input_shape=(139, 139, 3)))
    path = write(model, tmp_path, ending)
    plain = small("inception_v3")
    placements = load_weights(plain, path, architecture=CATALOG["inception_v3"])
    assert_same_weights(plain, without_auxiliary(model))
    left = [p for p in placements if p.change == LEFT_OUT]
    # A kernel and three tensors of batch norm for each of two units, then a dense layer.
    assert len(left) == 2 * 4 + 2
    assert {p.here for p in left} == {""}


def test_numbers_too_large_for_the_network_are_refused(tmp_path):
    """In double precision they are finite; in the network they would be infinite."""
    path = Path(write(small("vgg16"), tmp_path, ".h5"))
    with h5py.File(path, "r+") as file:
        group = file["model_weights/block1_conv2"]
        name = group.attrs["weight_names"][1]
        del group[name]
        group[name] = np.array([0, 1e39, 0, 0])
    assert "block1_conv2/bias has values that are not finite" in refused(path, "vgg16")


def test_a_negative_variance_is_refused(tmp_path, randomise):
    model = randomise(small("resnet50"))
    variance = model.get_layer("conv1_bn").moving_variance
    variance.assign(-variance.value)
    message = refused(write(model, tmp_path, ".weights.h5"), "resnet50")
    assert message.endswith("conv1_bn/moving_variance has negative values, which no variance has.")


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_both_activations_of_the_top_take_weights(activation, tmp_path, randomise):
    model = randomise(small("vgg16"))
    path = write(model, tmp_path, ".keras" if activation else ".weights.h5")
    assert_same_weights(small("vgg16", weights=path, classifier_activation=activation), model)
