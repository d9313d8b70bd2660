from __future__ import annotations

import numpy as np
import pytest

from keras_classics.architectures.catalog import CATALOG
from keras_classics.explorer import graph as module
from keras_classics.explorer.models import open_model
from zoo import NETWORKS


def test_blocks_and_layers_are_those_of_the_analysis(server, held):
    for one in held:
        graph = server.get(f"/api/models/{one.id}/graph")
        analysis = one.analysis
        root, *blocks = graph["blocks"]
        assert (root["name"], root["kind"], root["parent"]) == (one.model.name, "model", None)
        assert sorted(root["layers"]) == sorted(layer.name for layer in one.model.layers)
        assert [each["name"] for each in graph["layers"]] == [x.name for x in one.model.layers]
        assert root["cost"]["parameters"] == one.model.count_params()
        assert [b["name"] for b in blocks] == [cost.name for _, cost in analysis.blocks]
        for block, (_, cost) in zip(blocks, analysis.blocks, strict=True):
            assert block["cost"]["macs"] == cost.macs
            assert tuple(block["cost"]["output_shape"]) == cost.output_shape
        assert sum(layer["cost"]["parameters"] for layer in graph["layers"]) == (
            one.model.count_params()
        )
        for block in blocks:
            assert block["name"] in next(
                b["children"] for b in graph["blocks"] if b["name"] == block["parent"]
            )


def test_operands_are_in_their_order_and_settings_those_of_the_layers(server, held):
    graph = server.get(f"/api/models/{held[0].id}/graph")
    layers = {layer["name"]: layer for layer in graph["layers"]}
    assert layers["conv2_block1_add"]["inputs"] == ["conv2_block1_0_bn", "conv2_block1_3_bn"]
    assert layers["conv2_block2_add"]["inputs"] == ["conv2_block1_out", "conv2_block2_3_bn"]
    conv = layers["conv1_conv"]["config"]
    assert (conv["kernel"], conv["strides"], conv["filters"]) == ([7, 7], [2, 2], 4)
    assert (conv["padding"], conv["use_bias"]) == ("valid", True)
    assert layers["conv1_pad"]["config"]["pads"] == [[3, 3], [3, 3]]
    assert layers["conv1_relu"]["config"]["activation"] == "relu"
    assert layers["conv1_bn"]["config"]["epsilon"] == pytest.approx(1.001e-5)
    assert layers["predictions"]["config"]["units"] == 12
    assert layers["conv2_block1_add"]["block"] == "conv2_block1"
    assert layers["conv2_block1_1_bn"]["block"] == "conv2_block1_1"
    shape = list(held[0].model.get_layer("conv2_block1_out").output.shape[1:])
    assert layers["conv2_block1_out"]["output_shape"] == shape


def seen(field, position):
    """Rows and columns of the input that a position sees, as the page computes them."""
    return [
        (axis["first"] + p * axis["stride"], axis["last"] + p * axis["stride"])
        for axis, p in zip((field["rows"], field["columns"]), position, strict=True)
    ]


@pytest.mark.parametrize(
    ("which", "names"),
    [
        (0, ["conv1_conv", "pool1_pool", "conv2_block1_out"]),
        pytest.param(
            1,
            ["mixed0_1x1_relu", "mixed0_5x5_2_relu", "mixed0_3x3dbl_3_relu", "mixed0_pool_relu"],
            marks=pytest.mark.slow,
        ),
        (2, ["block1_conv2", "block2_pool"]),
    ],
)
def test_receptive_fields_are_what_changes_a_position(server, held, picture_of, which, names):
    one = held[which]
    layers = {layer["name"]: layer for layer in server.get(f"/api/models/{one.id}/graph")["layers"]}
    image = picture_of(one, "china")
    rng = np.random.default_rng(3)
    side = image.shape[1]
    noise = rng.normal(0, 60, image.shape).astype(np.float32)
    before = one.probe.run(image, names).taps
    sizes = set()
    for name in names:
        field = layers[name]["field"]
        assert field["exact"]
        height, width, _ = layers[name]["output_shape"]
        position = (height // 2, width // 2)
        (top, bottom), (left, right) = seen(field, position)
        sizes.add((bottom - top, right - left))
        inside = np.zeros((side, side), bool)
        inside[max(0, top) : bottom + 1, max(0, left) : right + 1] = True
        outside = np.where(inside[None, ..., None], image, image + noise)
        there = (0, *position)
        after = one.probe.run(outside, [name]).taps[name]
        np.testing.assert_allclose(after[there], before[name][there], rtol=1e-4, atol=1e-4)
        # The outermost rows and columns count, so that the field is no smaller.
        for rows, columns in (
            (slice(top, top + 1), slice(None)),
            (slice(bottom, bottom + 1), slice(None)),
            (slice(None), slice(left, left + 1)),
            (slice(None), slice(right, right + 1)),
        ):
            if min(top, left) < 0 or max(bottom, right) >= side:
                continue
            edge = np.zeros((side, side), bool)
            edge[rows, columns] = True
            changed = np.where((edge & inside)[None, ..., None], image + 40 * noise, image)
            after = one.probe.run(changed, [name]).taps[name]
            assert np.abs(after[there] - before[name][there]).max() > 0
    if which == 1:
        assert len(sizes) >= 3  # the branches of a module have rings of their own


def test_a_model_that_is_not_held(server):
    message = server.get("/api/models/resnet51/graph", status=404)
    assert "'resnet51' is not held" in message
    assert "resnet50" in message


def test_code_is_that_of_the_function(server, held):
    from keras_classics.architectures import resnet

    code = server.get(f"/api/models/{held[0].id}/code/conv2_block2")
    assert code["function"] == "identity_block"
    assert code["code"].startswith("def identity_block(")
    assert code["file"] == "keras_classics/architectures/resnet.py"
    with open(resnet.__file__) as file:  # noqa: PTH123
        lines = file.read().splitlines()
    assert lines[code["first_line"] - 1] == code["code"].splitlines()[0]
    assert [helper["function"] for helper in code["helpers"]] == ["bottleneck"]
    assert code["source"] == "figure 5"
    assert code["paper"] == "https://arxiv.org/abs/1512.03385"


def test_code_of_a_shared_block_and_of_another_paper(server, held):
    code = server.get(f"/api/models/{held[0].id}/code/conv2_block1_1")
    assert (code["function"], code["file"]) == (
        "conv_bn",
        "keras_classics/architectures/layers.py",
    )
    assert code["paper"] == "https://arxiv.org/abs/1502.03167"
    assert "is not in" in server.get(f"/api/models/{held[0].id}/code/conv9", status=404)


# Kinds that are not called what makes them.
MADE_BY = {"model": "features", "stage": "features", "max_pooling": "stem", "deep_stem": "stem"}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_block_of_every_network_has_its_code(network):
    size = CATALOG[network].least_size
    one = open_model(network, width=0.02, size=size, classes=2)
    for block in one.analysis.tree.walk():
        code = module.code(one, block)
        assert f"def {code.function.rpartition('.')[2]}(" in code.code
        assert code.paper.startswith("https://arxiv.org/abs/")
        assert code.function == MADE_BY.get(block.kind, block.kind)
