from __future__ import annotations

import functools
import itertools
from typing import get_args

import keras
import numpy as np
import pytest
from keras import layers

from graphs import RELU6, SWISH, assert_close, chain, inverted_residuals, outputs, unharmed
from keras_classics import CATALOG, InceptionV3, ResNet50, build, vgg16_sequential
from keras_classics.architectures.optimise import (
    fold_batch_norm,
    fold_scaling,
    for_inference,
    without_auxiliary,
    without_dropout,
)
from keras_classics.architectures.rebuild import graph_of
from keras_classics.weights.preprocess import Mode, as_scaling, preprocess
from zoo import one_each

SMALL = {"width": 1 / 16, "classes": 5, "classifier_activation": None}
OFTEN = ("vgg16", "resnet50_d", "inception_v3", "mobilenet_v2")  # of each kind one
slow = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def built():
    """Small networks, each built once: nothing here may change them."""

    @functools.cache
    def built(name):
        return build(name, input_shape=(75, 80, 3), depths=one_each(name), **SMALL)

    yield built
    built.cache_clear()


@pytest.fixture
def network(built, randomise):
    return lambda name: randomise(built(name))


def kinds(model):
    return {type(layer) for layer in model.layers}


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


# fold_batch_norm


@pytest.mark.backends
@pytest.mark.parametrize("name", [*OFTEN, *(slow(name) for name in CATALOG if name not in OFTEN)])
def test_no_batch_norm_is_left_and_the_outputs_are_the_same(name, network, images, run):
    old = network(name)
    norms = sum(type(layer) is layers.BatchNormalization for layer in old.layers)
    with unharmed(old) as made:
        new = fold_batch_norm(old)
        made.append(new)
    assert len(old.layers) - len(new.layers) == norms
    assert layers.BatchNormalization not in kinds(new)
    x = images(2, 75, 80, 3)
    assert_close(outputs(run, new, x), outputs(run, old, x))


@pytest.mark.backends
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("kind", ["plain", "depthwise", "groups", "dense"])
def test_each_layer_takes_its_batch_norm(kind, center, scale, bias, layout, randomise, images, run):
    arguments = {"use_bias": bias, "data_format": layout}
    layer = {
        "plain": lambda: layers.Conv2D(4, 3, **arguments),
        "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, **arguments),
        "groups": lambda: layers.Conv2D(6, 3, groups=3, **arguments),
        "dense": lambda: layers.Dense(4, use_bias=bias),
    }[kind]()
    first = layout == "channels_first" and kind != "dense"
    shape = (3, 6, 7) if first else (6, 7, 3)
    norm = layers.BatchNormalization(axis=1 if first else -1, center=center, scale=scale)
    old = randomise(chain(layer, norm, shape=shape))
    new = fold_batch_norm(old)
    assert [type(each) for each in new.layers] == [layers.InputLayer, type(layer)]
    x = images(2, *shape)
    assert_close([run(new, x)], [run(old, x)])


def own(layer, norm=None, **call):
    inputs = keras.Input((6, 7, 3))
    return keras.Model(inputs, (norm or layers.BatchNormalization())(layer(inputs), **call))


def read_twice(*, output):
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1)(inputs)
    y = layers.BatchNormalization()(x)
    return keras.Model(inputs, [x, y] if output else layers.Add()([x, y]))


def shared():
    inputs = keras.Input((6, 6, 3))
    conv = layers.Conv2D(3, 1)
    return keras.Model(inputs, conv(layers.BatchNormalization()(conv(inputs))))


@pytest.mark.parametrize(
    "make",
    [
        lambda: own(layers.Conv2D(4, 1, activation="relu")),
        lambda: own(layers.Conv2D(7, 1), layers.BatchNormalization(axis=2)),
        lambda: own(layers.Conv2D(7, 1, dtype="float64")),
        lambda: own(layers.SeparableConv2D(4, 1)),
        lambda: own(layers.Conv2DTranspose(4, 1)),
        lambda: own(layers.ReLU()),
        lambda: own(layers.Conv2D(4, 1), training=True),
        lambda: read_twice(output=True),
        lambda: read_twice(output=False),
        shared,
    ],
)
def test_batch_norms_that_no_layer_can_take_stay(make, randomise, images, run):
    old = randomise(make())
    with unharmed(old) as made:
        new = fold_batch_norm(old)
        made.append(new)
    assert [layer.name for layer in new.layers] == [layer.name for layer in old.layers]
    x = images(2, *old.input_shape[1:])
    assert_close(outputs(run, new, x), outputs(run, old, x))


# without_dropout


def dropped():
    return chain(
        layers.GaussianNoise(0.3),
        layers.Conv2D(4, 3),
        layers.Activation("linear"),
        layers.SpatialDropout2D(0.4),
        layers.Activation("relu"),
        layers.Identity(),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.AlphaDropout(0.5),
        layers.GaussianDropout(0.5),
        layers.ActivityRegularization(0.1),
        layers.Dense(3),
    )


def test_nothing_that_idles_is_left(randomise, images, run):
    old = randomise(dropped())
    with unharmed(old) as made:
        new = without_dropout(old)
        made.append(new)
    assert [type(layer) for layer in new.layers] == [
        layers.InputLayer, layers.Conv2D, layers.Activation, layers.Flatten, layers.Dense
    ]  # fmt: skip
    x = images(2, 8, 8, 3)
    np.testing.assert_array_equal(run(new, x), run(old, x))


def test_stochastic_depth_and_the_dropout_of_vgg(randomise, images, run):
    """Also where a dropout is the model's input or output."""
    old = randomise(vgg16_sequential(input_shape=(32, 32, 3), width=1 / 16, dropout=0.5))
    new = without_dropout(old)
    assert len(old.layers) + 1 - len(new.layers) == 2  # a Sequential model hides its input
    x = images(2, 32, 32, 3)
    np.testing.assert_array_equal(run(new, x), run(old, x))
    ends = without_dropout(chain(layers.Dropout(0.1), layers.Dense(3), layers.Dropout(0.1)))
    assert [type(layer) for layer in ends.layers] == [layers.InputLayer, layers.Dense]


def test_dropout_that_works_in_inference_stays():
    inputs = keras.Input((4,))
    drop = layers.Dropout(0.5)
    other = layers.Dropout(0.5, dtype="float16")
    new = without_dropout(keras.Model(inputs, [drop(inputs, training=True), other(inputs)]))
    assert [layer.name for layer in new.layers[1:]] == [drop.name, other.name]
    both = keras.Model(inputs, [drop(inputs, training=True), drop(inputs)])
    assert len(without_dropout(both).layers) == 2


# without_auxiliary


def test_detaching_leaves_the_first_output(randomise, images, run):
    old = randomise(
        InceptionV3(weights=None, input_shape=(139, 139, 3), auxiliary=True, prefix="a_", **SMALL)
    )
    with unharmed(old) as made:
        new = without_auxiliary(old)
        made.append(new)
    assert {layer.name for layer in old.layers} - {layer.name for layer in new.layers} == {
        f"a_auxiliary_{part}"
        for part in (
            "avg", "1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "2_relu", "pool", "predictions",
        )
    }  # fmt: skip
    x = images(2, 139, 139, 3)
    np.testing.assert_array_equal(run(new, x), run(old, x)[0])
    with pytest.raises(ValueError, match=r"has 1 output\(s\); only one built with auxiliary=True"):
        without_auxiliary(new)


# fold_scaling


def folded(model, mode):
    scaling = as_scaling(mode)
    return fold_scaling(
        model, mean=scaling.mean, deviation=scaling.deviation, reverse=scaling.reverse
    )


@pytest.mark.backends
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        # Each mode and each network; all pairs with --slow.
        (name, mode)
        if name == "resnet50" or (mode == "caffe" and name in OFTEN)
        else slow(name, mode)
        for name, mode in itertools.product(CATALOG, get_args(Mode))
    ],
)
def test_each_network_takes_pixels(name, mode, network, run):
    """Nothing at all is left before networks that do not pad, and one subtraction before others."""
    old = network(name)
    with unharmed(old) as made:
        new = folded(old, mode)
        made.append(new)
    before = 1 if mode != "raw" and not name.startswith("inception") else 0
    if CATALOG[name].mode is None:  # else its own scaling goes as well
        assert len(new.operations) == len(old.operations) + before
    x = pixels(2, 75, 80, 3)
    x[0, :, :, 1] = 255
    assert_close([run(new, x.astype("float32"))], [run(old, preprocess(x, mode))])


def two_readers(other):
    inputs = keras.Input((8, 9, 3))
    a = layers.Conv2D(4, 3, strides=2, use_bias=False)(inputs)
    b = layers.Flatten()(other(inputs))
    return keras.Model(inputs, layers.Concatenate()([layers.Flatten()(a), b]))


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda: chain(layers.Conv2D(4, 3)), 0),
        (lambda: chain(layers.Conv2D(4, 1, strides=2, padding="same")), 0),
        (lambda: chain(layers.Conv2D(4, 3, padding="same", use_bias=False)), 1),
        (lambda: chain(layers.ZeroPadding2D(2), layers.Conv2D(4, 3)), 1),
        (lambda: two_readers(layers.Conv2D(4, 5)), 0),
        (lambda: two_readers(layers.Conv2D(4, 3, padding="same")), 1),
        (lambda: two_readers(layers.MaxPooling2D()), 3),
        (lambda: chain(layers.Conv2D(3, 3, groups=3)), 3),
        (lambda: chain(layers.Flatten(), layers.Dense(2)), 3),
        (lambda: chain(layers.ZeroPadding2D(1)), 3),
        (shared, 3),
    ],
)
def test_what_is_left_of_the_scaling(make, left, randomise, run):
    old = randomise(make())
    arguments = {"mean": (10.0, 20.0, 30.0), "deviation": (2.0, 3.0, 4.0), "reverse": True}
    with unharmed(old) as made:
        new = fold_scaling(old, **arguments)
        made.append(new)
    assert len(new.operations) == len(graph_of(old).operations) + left
    x = pixels(2, *old.input_shape[1:]).astype("float32")
    expected = run(old, (x[..., ::-1] - np.float32((10, 20, 30))) / np.float32((2, 3, 4)))
    assert_close([run(new, x)], [expected])


def adapted(**arguments):
    layer = layers.Normalization(**arguments)
    layer.adapt(np.random.default_rng(1).normal([20, 90, 50], [9, 30, 60], (4, 5, 5, 3)))
    return layer


SCALINGS = {
    "rescaling": lambda: [layers.Rescaling(1 / 127.5, offset=-1.0), layers.Rescaling(2.0, 0.5)],
    "of each channel": lambda: [layers.Rescaling([0.1, 0.2, 0.3], offset=[1.0, 0.0, 2.0])],
    "efficientnet": lambda: [
        layers.Rescaling(1 / 255),
        layers.Normalization(mean=(0.485, 0.456, 0.406), variance=(0.229, 0.224, 0.225)),
        layers.Rescaling([2.1, 2.2, 2.3]),
    ],
    "adapted": lambda: [adapted()],
    "one number": lambda: [adapted(axis=None)],
    "inverted": lambda: [adapted(invert=True)],
}


@pytest.mark.backends
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    ("stack", "kept"),
    [
        (lambda: [layers.Conv2D(4, 3)], []),
        (lambda: [layers.Conv2D(4, 3, padding="same")], ["Subtract"]),
        (
            lambda: [layers.MaxPooling2D(), layers.Conv2D(4, 3)],
            ["Subtract", "TrueDivide"],
        ),
    ],
)
def test_a_scaling_of_ones_own_is_folded_with_it(stack, kept, scaling, randomise, run):
    model = randomise(chain(*stack()))
    old = keras.Sequential([keras.Input((8, 8, 3)), *SCALINGS[scaling](), *model.layers])
    x = pixels(2, 8, 8, 3).astype("float32")
    for new in (fold_scaling(old), for_inference(old)):
        found = [type(op).__name__ for op in new.operations]
        assert found[1 : 1 + len(kept)] == kept
        assert not {"Rescaling", "Normalization"} & set(found)
        assert_close([run(new, x)], [run(old, x)])
    new = fold_scaling(old, mean=3.0, deviation=(5.0, 6.0, 7.0), reverse=True)
    assert_close([run(new, x)], [run(old, (x[..., ::-1] - 3) / np.float32((5, 6, 7)))])


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Normalization(axis=1, mean=np.arange(8.0), variance=np.ones(8)),
        lambda: layers.Normalization(axis=(1, 3), mean=1.0, variance=2.0),
        lambda: layers.Rescaling(np.ones((8, 1, 3)) / 2),
    ],
)
def test_scalings_that_are_not_of_channels_stay(layer, randomise, run):
    old = randomise(chain(layer(), layers.Conv2D(4, 3)))
    x = pixels(2, 8, 8, 3).astype("float32")
    new = fold_scaling(old, mean=3.0, deviation=5.0)
    assert_close([run(new, x)], [run(old, (x - 3) / 5)])


@pytest.mark.backends
@pytest.mark.parametrize("kind", [SWISH, RELU6], ids=["swish", "relu6"])
def test_inverted_residuals_for_inference(kind, randomise, run):
    """Depthwise kernels take their batch norms, the stem the scaling, gates stay as they are."""
    old = randomise(inverted_residuals(**kind))
    mode = "raw" if kind["inside"] else "lite"
    with unharmed(old) as made:
        new = folded(for_inference(old), mode)
        made.append(new)
    gone = {layers.BatchNormalization, layers.Dropout, layers.Rescaling, layers.Normalization}
    assert not gone & kinds(new)
    x = pixels(2, 32, 32, 3)
    assert_close([run(new, x.astype("float32"))], [run(old, preprocess(x, mode))])


@pytest.mark.backends
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_channels_first(padding, randomise, run):
    conv = layers.Conv2D(4, 3, padding=padding, data_format="channels_first", use_bias=False)
    norm = layers.BatchNormalization(axis=1)
    old = randomise(chain(conv, norm, shape=(3, 8, 9)))
    new = folded(for_inference(old), "caffe")
    x = pixels(2, 8, 9, 3)
    first = [np.moveaxis(each, -1, 1) for each in (x.astype("float32"), preprocess(x, "caffe"))]
    assert_close([run(new, first[0])], [run(old, first[1])])


def test_what_is_folded_can_be_saved(network, run, tmp_path):
    new = folded(for_inference(network("resnet50")), "torch")
    new.save(tmp_path / "new.keras")
    again = keras.saving.load_model(tmp_path / "new.keras")
    x = pixels(2, 75, 80, 3).astype("float32")
    np.testing.assert_array_equal(run(again, x), run(new, x))


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (lambda: chain(layers.Dense(2), shape=(3,)), {}),
        (lambda: chain(layers.Conv2D(2, 1)), {"mean": (1.0, 2.0)}),
        (lambda: chain(layers.Conv2D(2, 1)), {"deviation": (1.0, 2.0, 3.0, 4.0)}),
    ],
)
def test_models_whose_scaling_cannot_be_folded(make, arguments):
    with pytest.raises(ValueError, match=r"reads .*: one input of images, and a mean") as caught:
        fold_scaling(make(), **arguments)
    assert "\n" not in str(caught.value)


# for_inference


@pytest.mark.parametrize("name", ["resnet50", "inception_v3"])
def test_all_at_once(name, randomise, images, run):
    constructor = {"resnet50": ResNet50, "inception_v3": InceptionV3}[name]
    auxiliary = {"auxiliary": True} if name == "inception_v3" else {}
    old = randomise(constructor(weights=None, input_shape=(75, 80, 3), **SMALL, **auxiliary))
    with unharmed(old) as made:
        new = for_inference(old)
        made.append(new)
    assert layers.BatchNormalization not in kinds(new)
    x = images(2, 75, 80, 3)
    assert_close(outputs(run, new, x), outputs(run, old, x)[:1])


def test_two_outputs_of_ones_own_stay(randomise):
    assert len(for_inference(randomise(read_twice(output=True))).outputs) == 2


def test_low_precision_stays(dtype_policy, randomise):
    dtype_policy("mixed_bfloat16")
    old = randomise(build("resnet50", input_shape=(32, 32, 3), **SMALL))
    dtype_policy("float32")
    new = for_inference(old)
    assert layers.BatchNormalization not in kinds(new)
    assert new.get_layer("conv1_conv").dtype_policy.name == "mixed_bfloat16"
    assert {weight.dtype for weight in new.weights} == {"float32"}


@pytest.mark.parametrize("function", [for_inference, fold_batch_norm, without_dropout])
def test_models_that_are_no_graph(function):
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="a Functional or a built Sequential model is needed"):
        function(Own())
