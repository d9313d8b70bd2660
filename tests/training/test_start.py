from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_classics.architectures import catalog
from keras_classics.errors import ClassicsError
from keras_classics.training import recipes
from keras_classics.training.start import Shape, _drawn, start_network

SHAPE = Shape(width=1 / 16, size=32, test_size=32, classes=3)


def start(network, *changes, shape=SHAPE, seed=0):
    recipe = recipes.find("quick", network, changes)
    return start_network(catalog.find(network), shape, recipe, seed=seed, mode="tf")


def values(model):
    return {
        weight.path: keras.ops.convert_to_numpy(weight)
        for layer in model.layers
        for weight in layer.weights
    }


def test_dropped_residuals_become_commoner_from_the_first_to_the_last():
    model = start("resnet50", "network.drop_path=0.15").model
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("_drop")}
    assert len(rates) == 15  # of 16 blocks; the first is never dropped
    assert list(rates) == sorted(rates)
    assert list(rates.values()) == pytest.approx([0.01 * block for block in range(1, 16)])
    assert model.get_layer("conv5_block3_drop").noise_shape == (None, 1, 1, 1)


def test_a_whole_residual_is_dropped_or_none_of_it():
    keras.utils.set_random_seed(0)
    model = start("resnet50", "network.drop_path=0.9", "network.zero_gamma=false").model
    drop = model.get_layer("conv5_block3_drop")
    images = np.random.default_rng(0).normal(size=(16, *drop.input.shape[1:])).astype("float32")
    residuals = keras.ops.convert_to_numpy(drop(images, training=True)).reshape(16, -1)
    dropped = (residuals == 0).all(axis=1)
    assert 8 <= dropped.sum() < 16
    assert (np.abs(residuals[~dropped]).sum(axis=1) > 0).all()


@pytest.mark.backends
@pytest.mark.parametrize("network", ["vgg16", "resnet50"])
def test_dropout_changes_no_weight_and_has_seeds_of_its_own(network):
    plain, dropping = start(network).model, start(network, "network.dropout=0.5").model
    one, other = values(plain), values(dropping)
    assert one.keys() == other.keys()
    drops = [layer for layer in dropping.layers if "dropout" in layer.name]
    assert len(drops) == {"vgg16": 2, "resnet50": 1}[network]
    assert len({layer.seed for layer in drops}) == len(drops)
    assert None not in {layer.seed for layer in drops}
    seeds = [layer.seed for layer in start(network, "network.dropout=0.5", seed=1).model.layers
             if "dropout" in layer.name]  # fmt: skip
    assert set(seeds).isdisjoint({layer.seed for layer in drops})


def test_the_network_that_is_kept_is_plain_and_gives_the_same(dtype_policy):
    dtype_policy("mixed_bfloat16")
    shape = Shape(width=1 / 32, size=75, test_size=75, classes=3)
    network = start("inception_v3", "loss.auxiliary=0.4", "network.dropout=0.2", shape=shape)
    assert len(network.model.outputs) == 2
    kept = network.finished()
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert kept.input_shape == (None, 75, 75, 3)
    assert len(kept.outputs) == 1
    assert kept.layers[0].name == "input_layer"  # which another run in this process has, too
    assert {layer.dtype_policy.name for layer in kept.layers} == {"float32"}
    assert not [layer for layer in kept.layers if "dropout" in layer.name]
    trained = values(network.model)
    for path, value in values(kept).items():
        np.testing.assert_array_equal(value, trained[path])
    images = np.random.default_rng(0).normal(size=(2, 75, 75, 3)).astype("float32")
    logits = keras.ops.convert_to_numpy(
        keras.ops.cast(network.model(images, training=False)[0], "float32")
    )
    probabilities = keras.ops.convert_to_numpy(kept(images, training=False))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    np.testing.assert_allclose(probabilities, expected, atol=0.02)


@pytest.mark.backends
def test_weights_are_drawn_as_the_recipe_says():
    he, glorot = (start("vgg16", f"network.initial={kind}").model for kind in ("he", "glorot"))
    for model, bound in ((he, np.sqrt(2 / 9 / 32)), (glorot, np.sqrt(2 / 9 / 64))):
        kernel = keras.ops.convert_to_numpy(model.get_layer("block5_conv2").kernel)
        assert kernel.std() == pytest.approx(bound, rel=0.05)
    zero = start("resnet50").model.get_layer("conv3_block1_3_bn").gamma
    one = start("resnet50", "network.zero_gamma=false").model.get_layer("conv3_block1_3_bn").gamma
    assert not keras.ops.convert_to_numpy(zero).any()
    assert keras.ops.convert_to_numpy(one).all()


@pytest.mark.backends
@pytest.mark.parametrize(
    ("initial", "variance"), [("HeNormal", 2 / 9), ("GlorotUniform", 2 / (9 + 9 * 2))]
)
def test_an_output_of_a_depthwise_kernel_reads_one_channel(initial, variance):
    layer = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)
    layer.build((None, 8, 8, 500))
    values = _drawn(getattr(keras.initializers, initial)(seed=0), layer)
    assert values.shape == layer.kernel.shape
    assert keras.ops.convert_to_numpy(values).var() == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize(
    ("network", "changes", "shape", "message"),
    [
        ("inception_v3", ("network.drop_path=0.1",), SHAPE, "has no residuals to drop"),
        ("resnet50", ("loss.auxiliary=0.4",), SHAPE, "has no side classifier"),
        ("vgg16", (), Shape(0.1, 32, 64, 3), "is tested at the size that it is trained at, 32"),
        (
            "inception_v3",
            ("loss.auxiliary=0.4",),
            Shape(0.1, 75, 96, 3),
            "side classifier fits one",
        ),
    ],
)
def test_what_a_network_has_not(network, changes, shape, message):
    with pytest.raises(ClassicsError, match=message):
        start(network, *changes, shape=shape)
