from __future__ import annotations

import keras
import pytest
from keras import layers

from graphs import SWISH, inverted_residuals
from keras_classics import CATALOG, InceptionV3, build
from keras_classics.architectures.stages import stages
from keras_classics.errors import ClassicsError

RESNET = ("conv1", "conv2", "conv3", "conv4", "conv5", "top")
INCEPTION = ("stem", "mixed0-mixed2", "mixed3-mixed7", "mixed8-mixed10", "top")
MOBILENET = (
    *("Conv1-expanded_conv", "block_1-block_2", "block_3-block_5", "block_6-block_12"),
    *("block_13-Conv_1", "top"),
)
EXPECTED = {
    "eff": ("stem-block1", "block2", "block3", "block4-block5", "block6-top", "top"),
    "mob": MOBILENET,
    "vgg": ("block1", "block2", "block3", "block4", "block5", "top"),
    "res": RESNET,
}


def names(model, **size):
    return tuple(stage.name for stage in stages(model, **size))


def small(network, side, **arguments):
    return build(
        network, weights=None, width=1 / 32, input_shape=(side, side, 3), classes=5, **arguments
    )


@pytest.mark.parametrize("side", ["least", "default", pytest.param(101, marks=pytest.mark.slow)])
@pytest.mark.parametrize("network", CATALOG)
def test_the_stages_are_the_papers_at_every_size(network, side):
    record = CATALOG[network]
    side = {"least": record.least_size, "default": record.default_size}.get(side, side)
    assert names(small(network, side)) == EXPECTED.get(network[:3], INCEPTION)


@pytest.mark.parametrize("network", CATALOG)
def test_every_layer_with_weights_is_in_one_stage_and_the_top_is_the_record_s(network):
    model = small(network, 96)
    found = stages(model)
    assert sorted(name for stage in found for name in stage.layers) == sorted(
        layer.name for layer in model.layers if layer.weights
    )
    assert sum(stage.parameters for stage in found) == model.count_params()
    assert found[-1].layers == CATALOG[network].top_layers


def test_a_block_is_never_divided_by_its_stride():
    by_name = {stage.name: stage for stage in stages(small("resnet50_v1_5", 64))}
    # The first convolution of the stage still has the grid of the stage before.
    assert by_name["conv4"].layers[0] == "conv4_block1_1_conv"
    assert by_name["conv4"].layers[-1] == "conv4_block6_3_bn"


def test_names_with_a_prefix_and_without_the_top():
    assert names(small("resnet50", 64, prefix="left_", include_top=False)) == tuple(
        f"left_{name}" for name in RESNET[:-1]
    )


def test_a_size_that_the_model_leaves_open():
    model = build("resnet50", weights=None, width=1 / 32, include_top=False)
    assert names(model, size=64) == RESNET[:-1]
    with pytest.raises(ClassicsError, match="give size"):
        stages(model)


def test_the_side_classifier_is_part_of_the_top():
    model = InceptionV3(weights=None, width=1 / 32, auxiliary=True)
    assert names(model) == INCEPTION
    assert "auxiliary_1_conv" in stages(model)[-1].layers


def test_channels_first_and_a_model_of_one_s_own(data_format):
    data_format("channels_first")
    inputs = keras.Input((3, 16, 16))
    x = layers.Conv2D(4, 3, padding="same", name="one")(inputs)
    x = layers.Conv2D(4, 3, padding="same", name="two")(x)
    x = layers.Conv2D(16, 3, strides=2, padding="same", name="three")(x)
    x = layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(x))
    assert names(keras.Model(inputs, x)) == ("one-two", "three", "top")


def test_gates_are_with_the_maps_that_they_scale():
    """Of a model that nobody knows: one stage for each size of maps, and the top."""
    found = stages(inverted_residuals(**SWISH))
    assert len(found) == 3
    assert "b0_se_reduce" in found[1].layers
    assert "b1_se_expand" in found[1].layers
    assert found[2].layers == ("predictions",)
