"""Code for keras.applications whose import is changed: it goes on working."""

from __future__ import annotations

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import applications, layers

from keras_classics import VGG16, InceptionV3, ResNet50, build, vgg16_sequential

OURS = {"VGG16": VGG16, "ResNet50": ResNet50, "InceptionV3": InceptionV3}
LAST = {"VGG16": 512, "ResNet50": 2048, "InceptionV3": 2048}  # channels of the last feature maps
WIDTH = 1 / 16
SHAPE = (75, 75, 3)
OWN = "an input of its own"
POOLING = (None, "avg", "max")


def small(name, /, **arguments):
    """Without its top and with few filters."""
    return OURS[name](**{"weights": None, "include_top": False, "width": WIDTH, **arguments})


@pytest.fixture(scope="module")
def shared():
    return keras.Input(SHAPE)


@pytest.fixture(scope="module")
def bases(shared):
    """Networks on one input with each kind of pooling, and each on an input of its own."""

    @functools.cache
    def bases(name, how):
        if how == OWN:
            return small(name, input_shape=SHAPE, pooling="avg")
        return small(name, input_tensor=shared, pooling=how)

    yield bases
    bases.cache_clear()


def joined(*models):
    """One model of several, which takes each input once."""
    inputs = list({id(tensor): tensor for model in models for tensor in model.inputs}.values())
    return keras.Model(inputs, [model.output for model in models])


@pytest.mark.parametrize(
    ("one", "other"), [*itertools.combinations_with_replacement([*POOLING, OWN], 2)], ids=str
)
def test_two_networks_share_no_name(one, other, bases):
    """All pairs that keras.applications allows, in both orders: the networks have to differ."""

    def names(name, how):
        """Of the layers; the one input that several begin with may be shared."""
        return {layer.name for layer in bases(name, how).layers[how != OWN :]}

    for a, b in itertools.product(OURS, repeat=2):
        assert names(a, one).isdisjoint(names(b, other)) == (a != b)


def test_two_in_one_model_give_what_each_gives(bases, randomise, images, run, tmp_path):
    each = [bases(name, "avg") for name in ("ResNet50", "VGG16")]
    model = randomise(joined(*each))
    x = images(2, *SHAPE)
    outputs = run(model, x)
    for one, output in zip(each, outputs, strict=True):
        np.testing.assert_array_equal(run(one, x), output)
        assert output.std() > 0
    model.save(tmp_path / "two.keras")
    again = keras.models.load_model(tmp_path / "two.keras")
    for before, after in zip(outputs, run(again, x), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OURS)
def test_what_has_no_name_in_keras_applications_has_the_networks(name, bases):
    """A fixed one, so that drawings and files are the same whatever was built before."""
    network = bases(name, OWN).name
    for how in ("avg", "max"):
        own = "" if name == "ResNet50" else f"{network}_"
        assert bases(name, how).layers[-1].name == f"{own}{how}_pool"
    assert bases(name, OWN).layers[0].name == f"{network}_input_layer"
    named = small(name, input_shape=SHAPE, pooling="max", prefix="a_")
    assert [named.layers[i].name for i in (0, -1)] == ["a_input_layer", "a_max_pool"]


def test_beside_layers_of_ones_own_and_networks_of_keras(bases, shared):
    """An input and a pooling without a name stand beside ours as beside those of Keras."""
    base = bases("VGG16", OWN)
    facts = keras.Input((3,))
    pooled = layers.GlobalAveragePooling2D()(base.get_layer("block4_pool").output)
    both = layers.Concatenate()([base.output, pooled, facts])
    model = keras.Model([*base.inputs, facts], both)
    assert model.output_shape == (None, 32 + 32 + 3)
    theirs = applications.MobileNet(
        weights=None, include_top=False, alpha=0.25, input_tensor=shared, pooling="avg"
    )
    assert len(joined(theirs, bases("VGG16", "avg"), bases("InceptionV3", "avg")).outputs) == 3
    variant = build("resnet50_d", weights=None, width=WIDTH, input_shape=SHAPE)
    sequential = vgg16_sequential(width=WIDTH, input_shape=SHAPE)
    x = layers.Add()([variant.layers[-2].output, layers.Dense(128)(sequential.layers[-2].output)])
    assert keras.Model([variant.inputs[0], sequential.inputs[0]], x).output_shape == (None, 128)


@pytest.mark.parametrize(
    "arguments",
    [
        {"classes": None},
        {"classes": 0},
        {"classifier_activation": "nonsense"},
        {"name": None},
        {"input_shape": [None, 80, 3]},
        {"include_top": True, "classes": 2, "pooling": "mean", "input_shape": SHAPE},
    ],
    ids="-".join,
)
def test_arguments_that_say_nothing_are_accepted(arguments):
    """Without the top there are no classes, with it there is no pooling."""
    model = small("VGG16", **arguments)
    assert model.output_shape[-1] == (2 if arguments.get("include_top") else 512 * WIDTH)
    assert model.name == "vgg16"


@pytest.mark.parametrize("shape", [None, SHAPE, (224, 224, 3), (None, None, 3)])
def test_an_input_tensor_has_its_own_shape(shape):
    tensor = keras.Input(batch_shape=(4, *SHAPE), dtype="uint8")
    model = small("VGG16", input_tensor=tensor, input_shape=shape)
    assert model.input == [tensor]  # a list, as there
    assert model.input_shape == (4, *SHAPE)
    assert model.output_shape == (4, 2, 2, 512 * WIDTH)


def test_a_network_begins_where_several_inputs_end():
    one, other = keras.Input(SHAPE), keras.Input(SHAPE)
    model = small("VGG16", input_tensor=layers.Add()([one, other]))
    assert model.input == [one, other]


# What the tests of keras.applications ask of every network, with few filters.


@pytest.mark.backends
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("VGG16", "channels_last"),
        ("ResNet50", "channels_first"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("VGG16", "channels_first"),
                ("ResNet50", "channels_last"),
                ("InceptionV3", "channels_first"),
                ("InceptionV3", "channels_last"),
            )
        ),
    ],
)
def test_the_cases_of_keras_applications(name, layout, data_format):
    data_format(layout)
    first = layout == "channels_first"

    def shape(channels, *sides):
        return (channels, *sides) if first else (*sides, channels)

    filters = LAST[name] * WIDTH
    for channels in (1, 4):
        model = small(name, input_shape=shape(channels, None, None))
        assert model.output_shape == (None, *shape(filters, None, None))
    model = small(name, input_shape=shape(3, 123, 123))
    assert model.output_shape[1 if first else -1] == filters
    inputs = keras.Input(shape(4, 200, 200), name="custom_input")
    x = layers.Conv2D(3, (2, 2), padding="valid", strides=(2, 2))(inputs)
    model = small(name, input_tensor=x)
    assert model.output_shape[1 if first else -1] == filters
    assert small(name, pooling="max").output_shape == (None, filters)
    top = small(name, include_top=True, classifier_activation="softmax")
    assert top.layers[-1].activation is keras.activations.softmax


PUBLISHED_TESTS = (
    "test_application_notop_variable_input_channels",
    "test_application_notop_custom_input_shape",
    "test_application_notop_custom_input_tensor",
    "test_application_pooling",
    "test_application_classifier_activation",
)


@pytest.mark.slow
@pytest.mark.backends
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("test", PUBLISHED_TESTS)
@pytest.mark.parametrize("name", OURS)
def test_their_own_cases_at_full_width(name, test, layout, data_format):
    """The one that is left out, with trained weights, is in `weights/test_requests.py`."""
    data_format(layout)
    try:
        from keras.src.applications import applications_test
    except ImportError as error:
        pytest.fail(f"Keras {keras.__version__} ships no tests of keras.applications: {error}")
    generated = f"{test}_{name}_{layout}"
    case = applications_test.ApplicationsTest(generated)
    function = getattr(applications_test.ApplicationsTest, generated).__wrapped__
    module = getattr(applications, name.lower().replace("v3", "_v3"))
    # Keras gives these parameters to its own constructor; here ours stands in its place.
    function(case, OURS[name], LAST[name], module, layout)
    data_format("channels_last")


# What Keras' guide to transfer learning and the examples of its pages on applications do.


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """The path of a file with the weights of a small network without its top."""
    folder = tmp_path_factory.mktemp("weights")

    @functools.cache
    def learned(name):
        small(name).save_weights(folder / f"{name}.weights.h5")
        return folder / f"{name}.weights.h5"

    yield learned
    learned.cache_clear()


def differ(some, others):
    return [not np.array_equal(one, other) for one, other in zip(some, others, strict=True)]


@pytest.mark.parametrize(
    "name",
    ["VGG16", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ResNet50", "InceptionV3"))],
)
def test_the_guide_to_transfer_learning(name, learned, images):
    """Train a new top on a frozen base, then all of it at a low rate."""
    base = small(name, weights=learned(name), input_shape=SHAPE)
    base.trainable = False
    inputs = keras.Input(SHAPE)
    x = layers.RandomFlip("horizontal", seed=0)(inputs)
    x = layers.RandomRotation(0.1, seed=0)(x)
    x = layers.Rescaling(scale=1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2, seed=0)(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    assert len(model.trainable_weights) == 2

    def fit(rate):
        model.compile(
            keras.optimizers.Adam(rate),
            keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy()],
            run_eagerly=True,
        )
        photos, labels = 50 * images(4, *SHAPE) + 128, np.array([0, 1, 0, 1])
        history = model.fit(photos, labels, epochs=1, batch_size=4, verbose=0).history
        assert np.isfinite(history["loss"]).all()

    before, top = base.get_weights(), model.layers[-1].get_weights()
    fit(1e-3)
    assert not any(differ(base.get_weights(), before))
    assert any(differ(model.layers[-1].get_weights(), top))
    base.trainable = True
    fit(1e-5)
    after = dict(zip((weight.path for weight in base.weights), base.get_weights(), strict=True))
    changed = differ(after.values(), before)
    assert any(new for path, new in zip(after, changed, strict=True) if path.endswith("kernel"))


def test_a_base_in_a_sequential_model(images):
    base = small("VGG16", input_shape=SHAPE)
    model = keras.Sequential([base, layers.Flatten(), layers.Dense(2, activation="softmax")])
    model.build((None, *SHAPE))
    assert model.predict(images(1, *SHAPE), verbose=0).shape == (1, 2)


def test_features_of_any_layer(images):
    base = small("VGG16", input_shape=(64, 64, 3))
    x = applications.vgg16.preprocess_input(images(1, 64, 64, 3))
    assert base.predict(x, verbose=0).shape == (1, 2, 2, 512 * WIDTH)
    maps = keras.Model(base.input, base.get_layer("block4_pool").output)
    assert maps.predict(x, verbose=0).shape == (1, 4, 4, 512 * WIDTH)


def test_fine_tuning_by_the_numbers_of_layers():
    """The example for Inception V3 counts to 249, where its last two blocks begin."""
    base = small("InceptionV3")
    x = layers.GlobalAveragePooling2D()(base.output)
    x = layers.Dense(1024, activation="relu")(x)
    model = keras.Model(inputs=base.input, outputs=layers.Dense(200, activation="softmax")(x))
    for layer in base.layers:
        layer.trainable = False
    assert len(model.trainable_weights) == 4
    for layer in model.layers[:249]:
        layer.trainable = False
    for layer in model.layers[249:]:
        layer.trainable = True
    assert model.layers[248].name == "mixed8"
    trained = {layer.name.split("_")[0] for layer in model.layers if layer.trainable_weights}
    assert {name for name in trained if name.startswith("mixed")} == {"mixed9", "mixed10"}
    assert {name for name in trained if not name.startswith("mixed")} == {"dense"}


def test_inception_on_an_input_tensor_of_another_size(images, run):
    inputs = keras.Input((96, 96, 3))
    model = small("InceptionV3", input_tensor=inputs, include_top=True)
    assert run(model, images(1, 96, 96, 3)).shape == (1, 1000)
