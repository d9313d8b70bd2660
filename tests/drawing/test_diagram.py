from __future__ import annotations

import keras
import pytest
from keras import layers

from keras_classics import ClassicsError, build, convolutional_block, identity_block, module_a
from keras_classics.drawing.diagram import subject, walk


@pytest.fixture(scope="module")
def resnet():
    return build("resnet50", width=0.125, input_shape=(64, 64, 3), classes=5)


@pytest.fixture(scope="module")
def efficientnet():
    return build("efficientnet_b0", width=0.125, depths=(1,) * 7, input_shape=(64, 64, 3))


@pytest.fixture(scope="module")
def inception():
    return build("inception_v3", width=0.125, input_shape=(96, 96, 3), classes=5)


def items(model, **options):
    return {item.name: item for item in walk(subject(model, **options).root.items)}


def test_the_stages_of_resnet(resnet):
    found = items(resnet, level="stages")
    assert list(found) == [
        *("resnet50_input_layer", "conv1", "pool1", "conv2", "conv3", "conv4", "conv5"),
        *("avg_pool", "predictions"),
    ]
    assert found["conv3"].made_of == ("convolutional block", "identity block ×3")
    assert [skip.kind for skip in found["conv3"].skips] == ["projection", *["identity"] * 3]


def test_equal_blocks_are_folded(resnet):
    found = items(resnet)
    assert {name: item.fold for name, item in found.items() if item.fold} == {
        "conv2_block2": "×2",
        "conv3_block2": "×3",
        "conv4_block2": "×5",
        "conv5_block2": "×2",
    }
    folded = found["conv4_block2"]
    assert folded.members == tuple(f"conv4_block{i}" for i in range(2, 7))
    layers_inside = [layer for layer in resnet.layers if layer.name.startswith(folded.members)]
    assert folded.cost.parameters == sum(layer.count_params() for layer in layers_inside)


def test_blocks_of_other_widths_are_folded_as_such(inception):
    found = items(inception)
    assert found["mixed0"].fold == "~3"  # the first reads 192, the others 256 and 288 channels
    assert found["mixed4"].fold == "~4"
    assert found["mixed0"].branches == 4


def test_exactly_equal_modules():
    inputs = keras.Input((16, 16, 36))
    x = module_a(inputs, pool=64, width=0.125, name="one")
    x = module_a(x, pool=64, width=0.125, name="two")
    x = module_a(x, pool=64, width=0.125, name="three")
    found = items(keras.Model(inputs, x))
    assert found["one"].fold == "×3"


@pytest.mark.parametrize(
    "change",
    [
        {"kernel_regularizer": "l2"},
        {"activation": "relu"},
        {"use_bias": False},
        {"padding": "valid"},
    ],
)
def test_a_block_of_another_setting_is_not_folded(change):
    def block(x, name, **settings):
        settings = {"padding": "same", **settings}
        x = layers.Conv2D(4, 1, name=f"{name}_conv1", **settings)(x)
        return layers.MaxPooling2D(1, name=f"{name}_pool")(x)

    inputs = keras.Input((8, 8, 4))
    x = block(inputs, "a")
    same = keras.Model(inputs, block(x, "b"))
    other = keras.Model(inputs, block(x, "b", **change))
    assert items(same)["a"].fold == "×2"
    assert "b" in items(other)


def test_a_block_with_a_reader_outside_is_not_folded():
    inputs = keras.Input((16, 16, 16))
    x = one = identity_block(inputs, filters=4, name="a")
    x = identity_block(x, filters=4, name="b")
    outside = layers.Concatenate(name="both")([one, x])
    assert {"a", "b"} <= set(items(keras.Model(inputs, outside)))


def test_unfolded(resnet):
    found = items(resnet, unfolded=True)
    assert {"conv4_block2", "conv4_block6"} <= set(found)
    assert not any(item.fold for item in found.values())


def test_levels_open_more_and_more(resnet):
    counts = [len(items(resnet, level=level)) for level in ("stages", "blocks", "layers")]
    assert counts[0] < counts[1] < counts[2]
    layer_names = {layer.name for layer in resnet.layers}
    everything = items(resnet, level="layers", unfolded=True)
    assert {name for name, item in everything.items() if not item.is_block} == layer_names


def test_what_is_opened_is_open(resnet):
    found = items(resnet, opened=["conv3", "conv3_block1"])
    assert {name for name, item in found.items() if item.inside} == {"conv3", "conv3_block1"}
    assert "conv3_block1_1" in found
    assert "conv2_block1" not in found


def test_the_inside_of_a_block(resnet):
    shown = subject(resnet, block="conv3_block1")
    assert [item.name for item in shown.root.items] == [
        *("conv3_block1_1", "conv3_block1_2", "conv3_block1_3", "conv3_block1_0"),
        *("conv3_block1_add", "conv3_block1_out"),
    ]
    assert shown.input_shape == (16, 16, 32)
    assert "convolutional block of ResNet50" in shown.about
    assert "option B of arxiv.org/abs/1512.03385" in shown.about


def test_a_block_of_another_paper_names_that_paper(efficientnet):
    gate = subject(efficientnet, block="block2a_se")
    assert gate.about.endswith("of EfficientNetB0; figure 3 of arxiv.org/abs/1709.01507")
    unit = subject(efficientnet, block="block2a_expand")
    assert unit.about.endswith("; arxiv.org/abs/1502.03167")


def test_blocks_that_differ_in_what_they_drop_while_training_are_one_pile():
    model = build("efficientnet_b0", width=0.125, depths=(1, 1, 1, 4, 1, 1, 1), drop_path=0.2)
    rates = {layer.rate for layer in model.layers if layer.name.startswith("block4")
             and layer.name.endswith("_drop")}  # fmt: skip
    assert len(rates) == 3
    found = items(model, level="stages")
    assert found["block4"].made_of == ("mbconv", "mbconv ×3")


def test_edges_carry_the_shapes(inception):
    shown = subject(inception, block="mixed3")
    into = {edge.source: edge.shape for edge in shown.root.edges if edge.target == "mixed3"}
    end = inception.get_layer("mixed3").input
    assert sorted(into.values()) == sorted(tuple(tensor.shape[1:]) for tensor in end)
    assert [edge.shape for edge in shown.root.edges if edge.target is None] == [
        tuple(inception.get_layer("mixed3").output.shape[1:])
    ]


def test_skips_of_a_network_of_one_s_own():
    inputs = keras.Input((16, 16, 3))
    x = convolutional_block(inputs, filters=4, name="one")
    x = identity_block(x, filters=4, name="two")
    found = items(keras.Model(inputs, x))
    assert [skip.kind for skip in found["one"].skips] == ["projection"]
    assert [skip.kind for skip in found["two"].skips] == ["identity"]


def test_a_shared_layer_stands_at_each_of_its_calls():
    inputs = keras.Input((8, 8, 4))
    conv = layers.Conv2D(4, 3, padding="same", name="shared")
    model = keras.Model(inputs, conv(conv(inputs)))
    assert list(items(model)) == [inputs._keras_history[0].name, "shared", "shared (2)"]


def test_a_block_that_data_leave_and_enter_again_gives_way_to_its_layers():
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same", name="a_conv1")(inputs)
    x = layers.Conv2D(4, 3, padding="same", name="between")(x)
    x = layers.MaxPooling2D(2, name="a_pool")(x)
    found = items(keras.Model(inputs, x))
    assert list(found)[1:] == ["a_conv1", "between", "a_pool"]


def test_two_outputs():
    model = build("inception_v3", width=0.125, input_shape=(96, 96, 3), auxiliary=True)
    shown = subject(model, level="stages")
    assert {edge.source for edge in shown.root.edges if edge.target is None} == {
        "predictions",
        "auxiliary",
    }


def test_a_sequential_model():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv")])
    assert items(model)["conv"].words == ("3×3 conv, 4",)


def test_an_open_size():
    model = build("resnet50", width=0.125, include_top=False)
    shown = subject(model, size=64)
    assert shown.input_shape == (64, 64, 3)
    assert {edge.shape for edge in shown.root.edges if edge.target == "conv2"} == {(16, 16, 8)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "deep"}, "level='deep': one of stages, blocks, layers is needed"),
        ({"block": "conv3_blok1"}, "block 'conv3_blok1' is not in 'resnet50'; did you mean 'conv"),
        ({"opened": ["nothing"]}, "block 'nothing' is not in 'resnet50'"),
        ({"block": "resnet50"}, "block 'resnet50' is not in"),
    ],
)  # fmt: skip
def test_errors(resnet, options, message):
    with pytest.raises(ClassicsError, match=message):
        subject(resnet, **options)


def test_blocks_of_efficientnet():
    model = build("efficientnet_b0", width=0.25, input_shape=(64, 64, 3), classes=5)
    found = items(model)
    assert found["block2a"].made_of == ("1×1, 48 · 3×3 depthwise · SE, 2", "1×1, 8")
    # Their rates of drop path differ, which are of no matter once they are trained.
    assert {name: item.fold for name, item in found.items() if item.fold} == {
        "block4b": "×2", "block5b": "×2", "block6b": "×3",
    }  # fmt: skip
    inside = subject(model, block="block2b")
    assert [item.words[0] for item in inside.root.items] == [
        *("1×1 conv, 48", "3×3 depthwise conv", "squeeze excite", "1×1 conv, 8"),
        *("drop path 0.025", "+"),
    ]
    assert inside.about.endswith("; table 1 of arxiv.org/abs/1905.11946")
    depthwise = subject(model, block="block2b_depthwise")
    assert depthwise.about == "conv bn of EfficientNetB0; table 1 of arxiv.org/abs/1801.04381"
