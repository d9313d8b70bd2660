from __future__ import annotations

import functools
import inspect
import re

import keras
import numpy as np
import pytest
from keras import applications

import keras_classics
from keras_classics import CATALOG, VGG16, InceptionV3, ResNet50, block_tree, build
from keras_classics.architectures import catalog
from zoo import one_each

OURS = {"VGG16": VGG16, "ResNet50": ResNet50, "InceptionV3": InceptionV3}
LAST_DIMENSION = {"VGG16": 512, "ResNet50": 2048, "InceptionV3": 2048}
# What every constructor takes beside the arguments of keras.applications.
EXTRA = {
    "width": 1.0,
    "depths": None,
    "prefix": "",
    "auxiliary": False,
    "taps": (),
    "dropout": None,
    "drop_path": None,
}
PARITY_SHAPE = {"VGG16": (32, 45, 3), "ResNet50": (75, 64, 3), "InceptionV3": (107, 96, 3)}


@pytest.fixture(scope="session")
def full():
    """Full networks with random weights, each built once."""

    @functools.cache
    def full(name, include_top):
        return OURS[name](weights=None, include_top=include_top)

    yield full
    full.cache_clear()


@pytest.fixture(scope="module")
def pair():
    """A network of keras.applications and ours, of the same input shape, with logits."""

    @functools.cache
    def pair(name):
        arguments = {
            "weights": None,
            "input_shape": PARITY_SHAPE[name],
            "classifier_activation": None,
        }
        return getattr(applications, name)(**arguments), OURS[name](**arguments)

    yield pair
    pair.cache_clear()


@pytest.mark.parametrize("name", OURS)
def test_arguments_are_those_of_keras_applications(name):
    def arguments(function):
        return [
            (parameter.name, parameter.default)
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]

    ours, theirs = OURS[name], getattr(applications, name)
    assert arguments(ours) == arguments(theirs)
    assert ours.__name__ == theirs.__name__
    assert ours.__doc__
    extra = {
        parameter.name: parameter.default
        for parameter in inspect.signature(ours).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert extra == EXTRA


@pytest.mark.parametrize("name", OURS)
def test_arguments_by_position(name):
    inputs = keras.Input((80, 80, 3))
    model = OURS[name](True, None, inputs, None, "avg", 7, None, "mine", width=1 / 16)
    assert model.name == "mine"
    assert model.inputs[0] is inputs
    assert model.output_shape == (None, 7)
    assert model.layers[-1].activation is keras.activations.linear


@pytest.mark.backends
@pytest.mark.parametrize("name", OURS)
def test_layers_are_those_of_keras_applications(name, pair):
    theirs, ours = pair(name)

    def layers(model):
        return [
            (type(layer).__name__, [weight.shape for weight in layer.weights])
            for layer in model.layers
        ]

    assert layers(ours) == layers(theirs)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    for our, their in zip(ours.layers, theirs.layers, strict=True):
        kind = re.sub("(?<=[a-z0-9])(?=[A-Z][a-z])", "_", type(their).__name__).lower()
        if not re.fullmatch(rf"{kind}(_\d+)?", their.name):  # else Keras has counted
            assert our.name == their.name


@pytest.mark.backends
@pytest.mark.parametrize("name", OURS)
def test_outputs_are_those_of_keras_applications(name, pair, randomise, images, run):
    theirs, ours = pair(name)
    randomise(theirs)
    ours.set_weights(theirs.get_weights())
    x = images(2, *PARITY_SHAPE[name])
    expected = run(theirs, x)
    assert expected.shape == (2, 1000)
    assert 0.1 < expected.std() < 1000
    assert np.abs(expected[0] - expected[1]).mean() > 0.01 * expected.std()
    error = np.abs(run(ours, x) - expected).max() / np.abs(expected).max()
    assert error < 1e-5


@pytest.mark.backends
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.every_backend if name == "ResNet50" else [])
        for name in OURS
    ],
)
def test_gradients_reach_every_trainable_weight(name, randomise, images, gradients):
    model = OURS[name](
        weights=None,
        input_shape=PARITY_SHAPE[name],
        classes=5,
        classifier_activation=None,
        width=1 / 8,
    )
    randomise(model)
    of_weights, _ = gradients(
        model, images(2, *PARITY_SHAPE[name]), lambda y: keras.ops.sum(keras.ops.square(y))
    )
    assert len(of_weights) == len(model.trainable_weights) > 30
    for weight, gradient in zip(model.trainable_weights, of_weights, strict=True):
        assert gradient.shape == weight.shape, weight.path
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path


@pytest.mark.parametrize(
    ("name", "with_top", "without"),
    [
        ("VGG16", 138_357_544, 14_714_688),
        ("ResNet50", 25_636_712, 23_587_712),
        ("InceptionV3", 23_851_784, 21_802_784),
    ],
)
def test_numbers_of_parameters(name, with_top, without, full):
    assert full(name, True).count_params() == with_top
    assert full(name, False).count_params() == without
    assert full(name, True).output_shape == (None, 1000)
    assert full(name, False).output_shape == (None, None, None, LAST_DIMENSION[name])


@pytest.mark.parametrize("name", OURS)
def test_every_block_ends_with_a_layer_of_the_model(name, full):
    model = full(name, True)
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    blocks = list(block_tree(model).walk())[1:]
    assert len(blocks) >= 5
    for block in blocks:
        assert model.get_layer(block.end).name == block.layers[-1] == block.end


@pytest.mark.parametrize("name", OURS)
def test_a_serialised_network_has_the_same_weights(name, full):
    model = full(name, False)
    config = keras.saving.serialize_keras_object(model)
    again = keras.saving.deserialize_keras_object(config)
    assert len(again.weights) == len(model.weights)
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


@pytest.mark.parametrize("network", CATALOG)
def test_build_takes_name_title_or_record(network):
    record = CATALOG[network]
    assert {catalog.find(key).name for key in (network, record.title, network.upper())} == {network}
    keys = (record,) if network != "vgg16" else (network, record.title, network.upper(), record)
    arguments = {"width": 1 / 16, "depths": one_each(network), "input_shape": (75, 75, 3)}
    models = [build(key, **arguments) for key in keys]
    assert all(record.bears(model.name) for model in models)
    assert len({model.count_params() for model in models}) == 1


def test_an_unknown_network_is_met_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"'resnet5O' is not known; did you mean 'resnet50'\?"):
        build("resnet5O", weights=None)


@pytest.mark.parametrize("network", ["resnet50_v1_5", "resnet50_d", "inception_v3_torch"])
def test_constructors_of_the_variants(network):
    constructor = getattr(keras_classics, CATALOG[network].title)
    assert constructor(width=1 / 16).name == network
    with pytest.raises(
        ValueError, match=f"Keras publishes none for {network}; use one of {network}-"
    ):
        constructor(weights="imagenet")


@pytest.mark.backends
def test_the_auxiliary_head_is_a_plain_second_output(randomise, images, run):
    arguments = {"weights": None, "width": 1 / 16, "classes": 5, "input_shape": (139, 160, 3)}
    model = randomise(InceptionV3(auxiliary=True, **arguments))
    assert model.output_shape == [(None, 5), (None, 5)]
    assert model.layers[-1].name in {"predictions", "auxiliary_predictions"}
    alone = keras_classics.without_auxiliary(model)
    assert alone.output_shape == (None, 5)
    assert [layer.name for layer in alone.layers if layer.name.startswith("auxiliary")] == []
    assert [layer.name for layer in alone.layers][1:] == [
        layer.name for layer in InceptionV3(**arguments).layers
    ][1:]
    x = images(2, 139, 160, 3)
    main, side = run(model, x)
    np.testing.assert_array_equal(run(alone, x), main)
    assert np.abs(main - side).max() > 1e-3
    np.testing.assert_allclose(side.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("constructor", [InceptionV3, keras_classics.InceptionV3Torch])
def test_the_auxiliary_head_needs_the_top(constructor):
    with pytest.raises(ValueError, match="auxiliary=True with include_top=False"):
        constructor(weights=None, include_top=False, auxiliary=True)


@pytest.mark.parametrize("network", [n for n, record in CATALOG.items() if record.side is None])
def test_the_auxiliary_head_is_refused_where_there_is_none(network):
    title = CATALOG[network].title
    with pytest.raises(ValueError, match=f"auxiliary=True: {title} has no side classifier"):
        build(network, weights=None, auxiliary=True)
    with pytest.raises(ValueError, match="has no side classifier"):
        getattr(keras_classics, title)(weights=None, auxiliary=True)


def test_the_torch_inception_has_torchvisions_parameters():
    """Those that are trained: torch does not count the moving statistics."""

    def trainable(**arguments):
        model = keras_classics.InceptionV3Torch(weights=None, **arguments)
        return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)

    with_head = trainable(auxiliary=True)
    assert with_head == 27_161_264
    assert with_head - trainable() == 3_326_696


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_dropout_out_of_range(rate):
    with pytest.raises(ValueError, match=re.escape(f"dropout={rate}")):
        VGG16(weights=None, dropout=rate, width=1 / 16)


def test_dropout_stands_behind_the_hidden_layers():
    model = VGG16(weights=None, dropout=0.25, width=1 / 16, prefix="a_")
    names = [layer.name for layer in model.layers[-5:]]
    assert names == ["a_fc1", "a_fc1_dropout", "a_fc2", "a_fc2_dropout", "a_predictions"]
    assert {layer.rate for layer in model.layers if "dropout" in layer.name} == {0.25}
    plain = VGG16(weights=None, width=1 / 16)
    assert not [x for x in plain.layers if isinstance(x, keras.layers.Dropout)]
