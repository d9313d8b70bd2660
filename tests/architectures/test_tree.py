from __future__ import annotations

from collections import Counter
from typing import get_args

import keras
import pytest

from keras_classics import (
    CATALOG,
    InceptionV3,
    block_tree,
    convolutional_block,
    identity_block,
    module_c,
    vgg_block,
)
from keras_classics.architectures.tree import BlockKind, Family, Frame, find_blocks
from zoo import NETWORKS, one_each, small

RESNET = {
    "stage": 4,
    "convolutional_block": 4,
    "identity_block": 12,
    "max_pooling": 1,
    "conv_bn": 53,
}
INCEPTION = {
    "stem": 1,
    "module_a": 3,
    "module_b": 4,
    "module_c": 2,
    "grid_size_reduction": 2,
    "branch": 3 * 2 + 4 * 2 + 2 * 2 + 2 * 2,
    "conv_bn": 94,
}
KINDS = {
    "vgg16": {"vgg_block": 5},
    "resnet50": RESNET,
    "resnet50_v1_5": RESNET,
    "resnet50_d": {**RESNET, "conv_bn": 55, "deep_stem": 1},
    "inception_v3": INCEPTION,
    "inception_v3_torch": INCEPTION,
    "mobilenet_v2": {"inverted_residual": 17, "conv_bn": 52},
}


def mobile(network):
    """EfficientNets differ in their depths: blocks and their units, seven stages."""
    depths = CATALOG[network].depths
    lite = "lite" in network
    blocks = sum(depths)
    units = 2 + 3 * blocks - depths[0]
    squeezes = {} if lite else {"squeeze_excite": blocks}
    return {"stage": 7, "mbconv": blocks, "conv_bn": units, **squeezes}


def kinds(tree):
    return Counter(block.kind for block in tree.walk() if block.kind != "model")


@pytest.mark.parametrize("prefix", ["", pytest.param("a_", marks=pytest.mark.slow), "my_net_"])
@pytest.mark.parametrize("network", NETWORKS)
def test_kinds_and_counts(network, prefix):
    model = small(network, prefix=prefix)
    tree = block_tree(model)
    assert kinds(tree) == (KINDS.get(network) or mobile(network))
    assert CATALOG[network].bears(tree.name)
    assert tree.kind == "model"
    layers = [layer.name for layer in model.layers]
    assert sorted(tree.layers) == sorted(layers)  # each in exactly one place
    assert all(block.name.startswith(prefix) for block in list(tree.walk())[1:])
    assert all(block.source for block in list(tree.walk())[1:])


@pytest.mark.parametrize("network", NETWORKS)
def test_no_path_leaves_a_block_and_comes_back(network):
    """Else it could not be drawn as one box, nor computed as one step."""
    model = small(network, depths=[min(2, depth) for depth in CATALOG[network].depths])
    parents = {
        layer.name: {
            tensor._keras_history.operation.name
            for node in layer._inbound_nodes
            for tensor in node.input_tensors
        }
        for layer in model.layers
    }
    for block in list(block_tree(model).walk())[1:]:
        own, behind = set(block.layers), set()
        for layer in model.layers:
            if layer.name in own:
                assert not parents[layer.name] & behind, (block.name, layer.name)
            elif parents[layer.name] & (own | behind):
                behind.add(layer.name)


@pytest.mark.parametrize("network", NETWORKS)
def test_saved_and_loaded_the_tree_is_the_same(network, tmp_path):
    model = small(network, prefix="a_", depths=one_each(network))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert describe(block_tree(loaded)) == describe(block_tree(model))


def describe(block):
    """All of a tree; the members do not show in a block's repr."""
    return (
        block.name,
        block.kind,
        block.source,
        [member if isinstance(member, str) else describe(member) for member in block.members],
    )


def test_without_top_and_with_auxiliary_head():
    assert kinds(block_tree(small("resnet50", include_top=False))) == RESNET
    model = InceptionV3(weights=None, width=1 / 16, auxiliary=True)
    counts = kinds(block_tree(model))
    assert counts["auxiliary_head"] == 1
    assert counts["conv_bn"] == 96


def test_stages_hold_their_blocks_in_order():
    stages = [b for b in block_tree(small("resnet50")).blocks if b.kind == "stage"]
    assert [len(stage.blocks) for stage in stages] == [3, 4, 6, 3]
    for number, stage in enumerate(stages, start=2):
        assert stage.name == f"conv{number}"
        assert [block.kind for block in stage.blocks] == [
            "convolutional_block",
            *["identity_block"] * (len(stage.blocks) - 1),
        ]
        assert [b.name for b in stage.blocks] == [
            f"conv{number}_block{i}" for i in range(1, len(stage.blocks) + 1)
        ]
        assert stage.end == f"{stage.blocks[-1].name}_out"


@pytest.mark.parametrize("prefix", ["", "a_"])
def test_the_published_name_mixed9_1_belongs_to_mixed10(prefix):
    tree = block_tree(small("inception_v3", prefix=prefix))
    blocks = {block.name: block for block in tree.walk()}
    assert f"{prefix}mixed9_1" in blocks[f"{prefix}mixed10"].layers
    assert f"{prefix}mixed9_1" not in blocks[f"{prefix}mixed9"].layers
    assert f"{prefix}mixed9_0" in blocks[f"{prefix}mixed9"].layers
    assert [block.name.removeprefix(prefix) for block in tree.blocks] == [
        "stem", *(f"mixed{i}" for i in range(11)),
    ]  # fmt: skip


def test_blocks_in_a_model_of_ones_own():
    inputs = keras.Input((32, 32, 3))
    x = vgg_block(inputs, filters=4, convolutions=2, name="first")
    x = convolutional_block(x, filters=2, name="second")
    x = identity_block(x, filters=2, name="third")
    x = module_c(x, width=1 / 64, name="fourth")
    x = keras.layers.Conv2D(3, 1, name="loose_conv")(x)
    tree = block_tree(keras.Model(inputs, x, name="mine"))
    assert [(b.name, b.kind) for b in tree.blocks] == [
        ("first", "vgg_block"),
        ("second", "convolutional_block"),
        ("third", "identity_block"),
        ("fourth", "module_c"),
    ]
    assert tree.end == "loose_conv"


def test_two_networks_in_one_model():
    one, two = small("resnet50", prefix="one_"), small("vgg16", prefix="two_")
    model = keras.Model([*one.inputs, *two.inputs], [*one.outputs, *two.outputs])
    assert kinds(block_tree(model)) == {**RESNET, "vgg_block": 5}


def pair(**arguments):
    return BlockKind("pair", r"(.+)_[abc]", **{"source": "nowhere", **arguments})


def test_blocks_by_the_pattern_of_their_layers():
    layers = ["in", "x_a", "x_b", "y_a", "z_misnamed", "x_c"]
    tree = find_blocks(layers, name="m", kinds=[pair(needs=("_a", "_b"))])
    assert [(b.name, b.kind, b.layers) for b in tree.blocks] == [
        ("x", "pair", ("x_a", "x_b", "x_c"))
    ]
    assert tree.members == ("in", tree.blocks[0], "y_a", "z_misnamed")


def test_a_block_without_a_beginning_of_its_own_in_the_names():
    kinds = [
        BlockKind("unit", r"(?:bn_)?(Conv1)(?:_relu)?", "nowhere", needs=("_relu",)),
        BlockKind("step", r"(block\d)[a-z]_(?:dwconv|bn)", "nowhere", named="{}_depthwise"),
    ]
    layers = ["my_Conv1", "my_bn_Conv1", "my_Conv1_relu", "my_block2a_dwconv", "my_block2a_bn"]
    tree = find_blocks(layers, name="m", kinds=kinds)
    assert [(b.name, b.layers) for b in tree.blocks] == [
        ("my_Conv1", tuple(layers[:3])),
        ("my_block2_depthwise", tuple(layers[3:])),
    ]


def test_a_published_name_that_tells_nothing():
    kinds = [pair(also=(("odd", "x"), ("stray", "y")))]
    tree = find_blocks(["my_x_a", "my_x_b", "my_odd", "my_stray"], name="m", kinds=kinds)
    assert [b.layers for b in tree.blocks] == [("my_x_a", "my_x_b", "my_odd")]


def test_of_two_kinds_that_claim_a_name_the_one_that_needs_more():
    more = BlockKind("triple", r"(.+)_[abc]", "nowhere", needs=("_a", "_b", "_c"))
    tree = find_blocks(["x_a", "x_b", "x_c", "y_a"], name="m", kinds=[more, pair()])
    assert [(b.name, b.kind) for b in tree.blocks] == [("x", "triple"), ("y", "pair")]


def test_a_block_that_crosses_a_larger_one_is_none():
    across = BlockKind("across", r".+_(b|c)", "nowhere")
    tree = find_blocks(["x_a", "x_b", "x_c", "y_b"], name="m", kinds=[pair(needs=("_a",)), across])
    assert [(b.name, b.layers) for b in tree.blocks] == [("x", ("x_a", "x_b", "x_c"))]
    assert [b.name for b in tree.blocks[0].blocks] == ["c"]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_under_another_name_has_the_same_tree(network):
    known, unknown = (small(network, name=name) for name in (network, "mine"))
    assert describe(block_tree(unknown))[1:] == describe(block_tree(known))[1:]


def test_every_kind_says_who_makes_it_and_how_it_is_drawn():
    for kind in CATALOG.kinds:
        assert kind.source
        assert kind.family in get_args(Family)
        assert kind.frame in get_args(Frame)
        assert kind.made_by or kind.frame == "stage", kind.name
