from __future__ import annotations

import functools
import inspect
import re

import keras
import numpy as np
import pytest
from keras import applications

import keras_classics
from keras_classics import CATALOG, analyse, block_tree, build
from keras_classics.architectures.efficientnet import DEVIATION, MEAN, letters, mbconv
from keras_classics.weights import golden
from keras_classics.weights.preprocess import preprocess
from weights.references import outputs, packaged_network, save, torch_network
from zoo import one_each, slow

SHAPE = (97, 113, 3)  # odd down to the last maps
B = [f"b{n}" for n in range(8)]
LITE = [f"lite{n}" for n in range(5)]
# Parameters and billions of multiplications; those of Keras are 7 more, of its normalization.
COSTS = {
    "b0": (5_330_564, 0.386),
    "b1": (7_856_232, 0.687),
    "b2": (9_177_562, 0.994),
    "b3": (12_320_528, 1.827),
    "b4": (19_466_816, 4.394),
    "b5": (30_562_520, 10.266),
    "b6": (43_265_136, 19.068),
    "b7": (66_658_680, 37.746),
}


def title(network):
    return f"EfficientNet{network.capitalize()}"


@pytest.fixture(scope="module")
def pair():
    """A network of keras.applications and ours, with logits."""

    @functools.cache
    def pair(network):
        arguments = {"weights": None, "input_shape": SHAPE, "classifier_activation": None}
        theirs = getattr(applications, title(network))(**arguments)
        normalization = next(x for x in theirs.layers if is_normalization(x))
        normalization.set_weights([np.float32(MEAN), np.float32(DEVIATION) ** 2, np.uint32(0)])
        normalization.finalize_state()
        return theirs, getattr(keras_classics, title(network))(**arguments)

    yield pair
    pair.cache_clear()


def is_normalization(layer):
    """Of the pixels; Keras counts its name."""
    return isinstance(layer, keras.layers.Normalization)


def described(model):
    return [
        (layer.name, type(layer).__name__, [weight.shape for weight in layer.weights])
        for layer in model.layers
        if layer.weights and not is_normalization(layer)
    ]


def own_weights(model):
    """All but those of the normalization."""
    return [
        array
        for layer in model.layers
        if not is_normalization(layer)
        for array in layer.get_weights()
    ]


def randomised(model, *, damped=False):
    """Random weights and statistics, with which activations keep their size.

    Over 55 blocks they grow until rounding decides; damped residuals do not.
    """
    for layer in model.layers:
        if not is_normalization(layer):
            for weight in layer.weights:
                weight.assign(golden._drawn(layer, weight.name, tuple(weight.shape)))
        if damped and re.search("[b-z]_project_bn$", layer.name):
            layer.gamma.assign(0.6 * layer.gamma)
    return model


def pixels(count, height, width, _):
    """Pictures that differ in more than noise."""
    one = golden.picture(128)
    several = (one, 255 - one[::-1], one[..., ::-1], one.transpose(1, 0, 2))
    return np.stack([each[:height, :width] for each in several[:count]]).astype("float32")


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.backends
@pytest.mark.parametrize("network", ["b0", *(slow(network) for network in B[1:])])
def test_layers_and_outputs_are_those_of_keras_applications(network, pair, run):
    theirs, ours = pair(network)
    assert ours.name == theirs.name
    assert described(ours) == described(theirs)
    randomised(theirs, damped=network in {"b5", "b6", "b7"})
    ours.set_weights(own_weights(theirs))
    x = pixels(2, *SHAPE)
    expected = run(theirs, x)
    assert np.abs(expected[0] - expected[1]).mean() > 0.001 * expected.std()
    assert relative(run(ours, x), expected) < 1e-5


@pytest.mark.backends
def test_built_without_a_size_it_is_the_same_network(run):
    """That of keras.applications is not: it pads odd maps as if they were even."""
    arguments = {"weights": None, "include_top": False, "depths": (1,) * 7}
    sized, open_ = (
        keras_classics.EfficientNetB0(input_shape=shape, **arguments)
        for shape in (SHAPE, (None, None, 3))
    )
    open_.set_weights(randomised(sized).get_weights())
    x = pixels(1, *SHAPE)
    expected = run(sized, x)
    assert expected.shape == (1, 4, 4, 1280)
    np.testing.assert_allclose(run(open_, x), expected, rtol=1e-4, atol=1e-5)
    there = applications.EfficientNetB0(weights=None, include_top=False)
    assert run(there, x).shape == (1, 3, 3, 1280)


@pytest.mark.parametrize("network", ["b0", *(slow(network) for network in B[1:])])
def test_parameters_and_multiplications(network):
    parameters, macs = COSTS[network]
    cost = analyse(build(f"efficientnet_{network}")).model
    assert cost.parameters == parameters
    assert cost.macs / 1e9 == pytest.approx(macs, rel=5e-3)


@pytest.mark.parametrize(
    ("network", "parameters"),
    [("lite0", 4_652_008), slow("lite1", 5_416_680), slow("lite2", 6_092_072)],
)
def test_parameters_of_lite(network, parameters):
    """Those that are trained: torch does not count the moving statistics."""
    model = build(f"efficientnet_{network}", input_shape=(64, 64, 3))
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == parameters


@pytest.mark.parametrize("network", [*B, *LITE])
def test_the_records_follow_the_compound_scaling(network):
    record = CATALOG[f"efficientnet_{network}"]
    factor = int(network[-1])
    lite = network in LITE
    sizes = (224, 240, 260, 280, 300) if lite else (224, 240, 260, 300, 380, 456, 528, 600)
    blocks = (16, 23, 23, 26, 32, 39, 45, 55)[factor]
    assert record.default_size == sizes[factor]
    ends = 0 if not lite else (0, 2, 2, 2, 2)[factor]
    assert sum(record.depths) == blocks - ends
    assert record.mode == (None if lite else "raw")


@pytest.mark.parametrize("network", B)
def test_arguments_are_those_of_keras_applications(network):
    def arguments(function):
        return [
            (parameter.name, parameter.default)
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]

    ours, theirs = (getattr(m, title(network)) for m in (keras_classics, applications))
    assert arguments(ours) == arguments(theirs)


@pytest.mark.backends
@pytest.mark.parametrize(
    "network",
    ["efficientnet_b0", "efficientnet_lite0"],
)
def test_gradients_reach_every_weight(network, gradients):
    model = randomised(
        build(
            network, width=0.25, depths=(1, 2, 1, 1, 1, 1, 1), input_shape=(32, 45, 3), classes=5,
            classifier_activation=None,
        )
    )  # fmt: skip
    of_weights, _ = gradients(
        model, pixels(4, 32, 45, 3) / 100, lambda y: keras.ops.sum(keras.ops.square(y))
    )
    for weight, gradient in zip(model.trainable_weights, of_weights, strict=True):
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path


@pytest.mark.parametrize(
    "network", [n if n in ("b0", "b7", "lite0") else slow(n) for n in (*B, *LITE)]
)
def test_blocks_and_names_of_a_small_one(network):
    name = f"efficientnet_{network}"
    model = build(name, depths=one_each(name), width=1 / 16, classes=2)
    tree = block_tree(model)
    stages = [block for block in tree.blocks if block.kind == "stage"]
    assert [stage.name for stage in stages] == [f"block{n}" for n in range(1, 8)]
    assert {block.name for stage in stages for block in stage.blocks} == {
        f"block{n}a" for n in range(1, 8)
    }
    inside = {block.kind for block in tree.walk()}
    assert ("squeeze_excite" in inside) == (network in B)
    assert ("normalization" in {layer.name for layer in model.layers}) == (network in B)


def test_blocks_are_counted_by_letters():
    assert [letters(n) for n in (0, 1, 25, 26, 27)] == ["a", "b", "z", "za", "zb"]


@pytest.mark.parametrize(
    ("filters", "strides", "added"), [(8, 1, True), (8, 2, False), (6, 1, False)]
)
def test_the_shortcut_joins_ends_that_are_alike(filters, strides, added):
    x = keras.Input((9, 12, 8))
    y = mbconv(x, kernel=5, filters=filters, strides=strides, expansion=6, name="m", drop=0.1)
    names = [layer.name for layer in keras.Model(x, y).layers]
    assert ("m_add" in names, "m_drop" in names) == (added, added)
    assert y.shape == (None, -(-9 // strides), 12 // strides, filters)


def test_residuals_are_dropped_the_more_often_the_later_they_are():
    model = build("efficientnet_b0")
    rates = {x.name: x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)}
    assert rates.pop("top_dropout") == 0.2
    assert rates == pytest.approx(
        {
            f"block{stage}{letter}_drop": 0.2 * block / 16
            for block, (stage, letter) in enumerate(
                (stage, letters(n))
                for stage, d in enumerate((1, 2, 2, 3, 3, 4, 1), 1)
                for n in range(d)
            )
            if letter != "a"
        }
    )
    assert not [
        x for x in build("efficientnet_b0", dropout=0, drop_path=0).layers if "drop" in x.name
    ]


@pytest.mark.parametrize(
    ("network", "side"),
    [
        ("lite0", 97),
        slow("lite0", 64),
        *(slow(network, n) for network in LITE[1:] for n in (64, 97)),
    ],
)
def test_lite_is_that_of_timm(network, side, tmp_path, run, images):
    theirs = torch_network("timm", f"tf_efficientnet_{network}")
    path = save(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = build(
        f"efficientnet_{network}", weights=path, input_shape=(side, side, 3),
        classifier_activation=None,
    )  # fmt: skip
    x = images(2, side, side, 3)
    expected = outputs(theirs, x)
    assert np.abs(expected[0] - expected[1]).mean() > 0.001 * expected.std()
    # In the deepest, the rounding of two libraries adds up to 2e-5 with random weights.
    assert relative(run(ours, x), expected) < (5e-5 if network == "lite4" else 1e-5)


@pytest.mark.parametrize(
    ("network", "side"), [("lite0", 224), slow("lite1", 240), slow("lite2", 260)]
)
def test_the_real_weights_say_what_torch_says(network, side, run):
    """Those of the packages, through the packages' own network, at the size that it pads for."""
    theirs = packaged_network(network[-1])
    image = golden.picture(side)[None]
    image = np.concatenate([image, image[:, ::-1], 255 - image])
    x = preprocess(image, "lite")
    expected = outputs(theirs, x)
    ours = build(f"efficientnet_{network}", weights="imagenet", classifier_activation=None)
    found = run(ours, x)
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert relative(found, expected) < 1e-5
