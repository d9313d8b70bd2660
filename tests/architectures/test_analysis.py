from __future__ import annotations

import dataclasses
import re

import keras
import numpy as np
import pytest

from graphs import SWISH, inverted_residuals
from keras_classics import analyse, build, identity_block, vgg16_sequential
from keras_classics.architectures.analysis import Field, Span
from keras_classics.errors import ClassicsError
from zoo import NETWORKS, one_each

# Giga multiply-adds and parameters of the full networks at their default size.
PUBLISHED = {
    "vgg16": (15.470, 138_357_544),
    "resnet50": (3.858, 25_636_712),
    "resnet50_v1_5": (4.089, None),
    "inception_v3": (5.713, 23_851_784),
}
# Araujo, Norris and Sim, 2019, table 1.
RECEPTIVE_FIELDS = {"vgg16": 212, "resnet50": 483, "inception_v3": 1311}
LAST = {"vgg16": "block5_pool", "inception_v3": "mixed10"}


def small(network, **arguments):
    return build(network, **{"weights": None, "width": 1 / 32, **arguments})


def layer_cost(analysis, name):
    return next(cost for cost in analysis.layers if cost.name == name)


@pytest.mark.parametrize("network", PUBLISHED)
def test_multiply_adds_and_parameters_are_the_published_ones(network):
    gmacs, parameters = PUBLISHED[network]
    model = build(network, weights=None)
    cost = analyse(model).model
    assert cost.macs == pytest.approx(gmacs * 1e9, rel=0.005)
    assert cost.parameters == model.count_params()
    assert parameters in {None, cost.parameters}
    assert cost.trainable == sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize("network", RECEPTIVE_FIELDS)
def test_receptive_fields_are_the_published_ones(network):
    analysis = analyse(small(network))
    field = layer_cost(analysis, LAST.get(network, "conv5_block3_out")).field
    assert field.size == (RECEPTIVE_FIELDS[network],) * 2
    assert field.stride == (32, 32)
    assert field.exact == (network != "inception_v3")
    assert analysis.model.field is None  # the classes see the whole image


def positive(model):
    """Weights with which whatever a position sees makes its output greater."""
    for weight in model.weights:
        if weight.name == "kernel":
            weight.assign(np.full(weight.shape, 1 / np.prod(weight.shape[:-1])))
        elif weight.name in {"gamma", "moving_variance"}:
            weight.assign(np.ones(weight.shape))
        else:
            weight.assign(np.zeros(weight.shape))
    return model


@pytest.mark.parametrize(
    ("network", "size"),
    [
        ("vgg16", (128, 160)),
        ("resnet50", (224, 256)),
        ("resnet50_v1_5", (128, 160)),
        ("resnet50_d", (128, 160)),
        ("inception_v3", (640, 672)),
    ],
)
def test_the_field_is_what_the_running_network_sees(network, size, dtype_policy, run):
    """A bright line just inside the field moves the output, one just outside does not."""
    dtype_policy("float64")  # the line's weight in the output is less than float32 can tell
    arguments = {"include_top": False, "depths": one_each(network), "width": 1e-9}
    model = positive(small(network, input_shape=(*size, 3), **arguments))
    field = analyse(model).model.field
    position = [side // 2 for side in model.output_shape[1:3]]
    dark = np.zeros((1, *size, 3))
    for axis, span in enumerate((field.rows, field.columns)):
        first = span.first + position[axis] * span.stride
        last = span.last + position[axis] * span.stride
        assert 0 < first < last < size[axis] - 1
        seen = []
        for line in (first - 1, first, last, last + 1):
            image = np.moveaxis(dark.copy(), axis + 1, 0)
            image[line] = 1e12
            output = run(model, np.moveaxis(image, 0, axis + 1))
            seen.append(bool(output[0, position[0], position[1]].max() > 0))
        assert seen == [False, True, True, False]


@pytest.mark.parametrize(
    ("network", "last", "size", "position"),
    [
        ("vgg16", "block1_pool", 40, 9),
        ("vgg16", "block3_pool", 96, 6),
        ("resnet50", "pool1_pool", 63, 7),
        ("resnet50", "conv2_block2_out", 96, 8),
        ("resnet50_v1_5", "conv3_block1_out", 160, 10),
        ("resnet50_d", "conv3_block1_out", 160, 10),
        ("inception_v3", "stem_pool2", 107, 5),
        ("inception_v3", "mixed0", 139, 7),
    ],
)
def test_the_field_by_gradient(network, last, size, position, images, gradients):
    """The pixels that a position depends on, over several images: pooling picks one of each."""
    model = small(network, include_top=False, input_shape=(size, size, 3), width=1 / 8)
    end = keras.Model(model.inputs, model.get_layer(last).output)
    field = analyse(end).model.field
    # With positive weights and light no ReLU closes.
    positive(end)
    _, of_input = gradients(
        end,
        np.abs(images(24, size, size, 3)),
        lambda y: keras.ops.sum(y[:, position, position, :]),
    )
    seen = np.abs(of_input).sum(axis=(0, 3)) > 0
    for axis, span in ((1, field.rows), (0, field.columns)):
        where = np.flatnonzero(seen.any(axis=axis))
        shift = position * span.stride
        if network == "inception_v3":
            assert span.first + shift <= where[0]
            assert where[-1] <= span.last + shift
        else:
            assert (where[0], where[-1]) == (span.first + shift, span.last + shift)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
def test_sixteen_bits_halve_the_activations(policy, dtype_policy):
    arguments = {"input_shape": (64, 64, 3), "depths": (1, 1, 1, 1)}
    full = analyse(small("resnet50", **arguments))
    dtype_policy(policy)
    half = analyse(small("resnet50", **arguments))
    of_input = 64 * 64 * 3
    inputs = {c.name: c.activation_bytes for c in half.layers if c.kind == "InputLayer"}
    (input_bytes,) = inputs.values()
    assert half.model.activation_bytes - input_bytes == (
        (full.model.activation_bytes - 4 * of_input) // 2
    )
    assert half.model.macs == full.model.macs


@pytest.mark.parametrize("network", NETWORKS)
def test_blocks_and_layers_add_up_to_the_model(network):
    model = small(network, prefix="a_", depths=one_each(network))
    analysis = analyse(model)
    assert sorted(cost.name for cost in analysis.layers) == sorted(x.name for x in model.layers)
    loose = [layer for layer in analysis.tree.members if isinstance(layer, str)]
    parts = [cost for depth, cost in analysis.blocks if depth == 1]
    parts += [layer_cost(analysis, name) for name in loose]
    for key in ("parameters", "trainable", "macs", "activation_bytes"):
        total = getattr(analysis.model, key)
        assert total > 0
        assert sum(getattr(part, key) for part in parts) == total
        assert sum(getattr(cost, key) for cost in analysis.layers) == total
    for cost in (cost for _, cost in analysis.blocks):
        block = next(b for b in analysis.tree.walk() if b.name == cost.name)
        assert cost.kind == block.kind
        assert cost.output_shape == model.get_layer(block.end).output.shape[1:]
        assert cost.field == layer_cost(analysis, block.end).field


def test_an_open_size_must_be_given():
    arguments = {"include_top": False, "depths": (1, 1, 1, 1)}
    model = small("resnet50", **arguments)
    with pytest.raises(ValueError, match="leaves its height or width open: give size"):
        analyse(model)
    fixed = small("resnet50", input_shape=(64, 96, 3), **arguments)
    given = analyse(model, size=(64, 96)).model
    assert dataclasses.replace(given, field=None) == dataclasses.replace(
        analyse(fixed).model, field=None
    )
    assert given.output_shape == (2, 3, 64)
    assert analyse(model, size=64).model.output_shape == (2, 2, 64)


def test_a_fixed_size_cannot_be_changed():
    model = small("vgg16", include_top=False, input_shape=(64, 96, 3))
    message = "size=(64, 64): the model's input is fixed to (64, 96, 3)"
    with pytest.raises(ValueError, match=re.escape(message)):
        analyse(model, size=(64, 64))
    assert analyse(model, size=(64, 96)).model == analyse(model).model


def test_channels_first_is_measured_alike(data_format):
    last = analyse(small("inception_v3", input_shape=(107, 139, 3), depths=(1, 1, 1))).model
    data_format("channels_first")
    first = analyse(small("inception_v3", input_shape=(3, 107, 139), depths=(1, 1, 1))).model
    assert dataclasses.replace(first, output_shape=()) == dataclasses.replace(last, output_shape=())
    fixed = small("vgg16", include_top=False, input_shape=(3, 64, 96))
    field = analyse(fixed).model.field
    assert field.size == (212, 212)


def test_sequential_and_functional_are_measured_alike():
    functional = small("vgg16", width=1 / 16)
    sequential = vgg16_sequential(width=1 / 16)
    assert analyse(sequential).model == analyse(functional).model
    assert [c.name for c in analyse(sequential).layers][1:] == [
        c.name for c in analyse(functional).layers
    ][1:]


def test_a_model_of_ones_own():
    inputs = keras.Input((16, 20, 8))
    x = identity_block(inputs, filters=2, name="mine")
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = keras.layers.SeparableConv2D(5, 3, use_bias=False, name="separable")(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(7, name="dense")(x))
    analysis = analyse(model)
    assert [(depth, cost.name, cost.kind) for depth, cost in analysis.blocks] == [
        (1, "mine", "identity_block"),
        (2, "mine_1", "conv_bn"),
        (2, "mine_2", "conv_bn"),
        (2, "mine_3", "conv_bn"),
    ]
    pixels = 16 * 20
    assert analysis.blocks[0][1].macs == pixels * (8 * 2 + 9 * 2 * 2 + 2 * 8)
    assert layer_cost(analysis, "depthwise").macs == pixels * 9 * 8
    assert layer_cost(analysis, "separable").macs == 14 * 18 * (9 * 8 + 8 * 5)
    assert layer_cost(analysis, "dense").macs == 14 * 18 * 5 * 7
    assert layer_cost(analysis, "dense").parameters == 14 * 18 * 5 * 7 + 7
    assert layer_cost(analysis, "separable").field.size == (7, 7)
    assert layer_cost(analysis, "mine_out").activation_bytes == pixels * 8 * 4


def test_a_layer_called_twice_has_its_weights_once():
    inputs = keras.Input((8, 8, 4))
    shared = keras.layers.Conv2D(4, 3, padding="same", name="shared")
    analysis = analyse(keras.Model(inputs, shared(shared(inputs))))
    cost = layer_cost(analysis, "shared")
    assert cost.parameters == 9 * 4 * 4 + 4
    assert cost.macs == 2 * 64 * 9 * 4 * 4
    assert cost.activation_bytes == 2 * 64 * 4 * 4
    assert cost.field.size == (5, 5)
    assert analysis.model.macs == cost.macs


def test_frozen_layers_are_not_trainable():
    model = small("vgg16", include_top=False, input_shape=(64, 64, 3))
    model.get_layer("block1_conv1").trainable = False
    cost = analyse(model).model
    assert cost.parameters - cost.trainable == 9 * 3 * 2 + 2


def test_the_auxiliary_output_is_counted():
    arguments = {"depths": (1, 1, 1), "input_shape": (139, 139, 3)}
    plain, both = (analyse(small("inception_v3", auxiliary=a, **arguments)) for a in (False, True))
    extra = sum(c.macs for c in both.layers if c.name.startswith("auxiliary"))
    assert both.model.macs - plain.model.macs == extra > 0


def test_the_field_behind_an_unknown_layer_is_not_known():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(2, 3, name="known")(inputs)
    x = keras.layers.UpSampling2D(2, name="unknown")(x)
    analysis = analyse(keras.Model(inputs, keras.layers.Conv2D(2, 3, name="behind")(x)))
    assert layer_cost(analysis, "known").field.size == (3, 3)
    assert layer_cost(analysis, "unknown").field is None
    assert layer_cost(analysis, "behind").field is None


def test_spans():
    span = Span().window(3, 2, 1, 1)
    assert (span.first, span.last, span.stride, span.size) == (-1, 1, 2, 3)
    assert span.window(3, 1, 2, 0) == Span(-1, 9, 2)
    assert Span(-1, 5, 2).covers(Span(0, 5, 2))
    assert not Span(0, 5, 2).covers(Span(-1, 5, 2))
    wide, high = Field(Span(0, 1), Span(0, 5)), Field(Span(0, 5), Span(0, 1))
    assert not wide.contains(high)
    assert wide.contains(Field(Span(0, 1), Span(1, 5)))


def test_branches_that_see_different_regions_give_an_upper_bound():
    inputs = keras.Input((16, 16, 3))
    row = keras.layers.Conv2D(2, (1, 5), padding="same")(inputs)
    column = keras.layers.Conv2D(2, (5, 1), padding="same")(inputs)
    field = analyse(keras.Model(inputs, keras.layers.Add()([row, column]))).model.field
    assert (field.size, field.exact) == ((5, 5), False)
    square = keras.layers.Conv2D(2, 5, padding="same")(inputs)
    field = analyse(keras.Model(inputs, keras.layers.Add()([row, square]))).model.field
    assert (field.size, field.exact) == ((5, 5), True)


@pytest.mark.parametrize("built_as", ["channels_first", "channels_last"])
def test_the_axis_of_the_channels_is_the_models_own(built_as, data_format):
    """A model from a file keeps its format, whatever Keras is set to when it is measured."""

    def measured():
        data_format(built_as)
        shape = (3, 64, 96) if built_as == "channels_first" else (64, 96, 3)
        arguments = {"include_top": False, "depths": (1, 1, 1, 1)}
        model = small("resnet50_d", input_shape=shape, **arguments)
        open_shape = tuple(n if n == 3 else None for n in shape)
        open_model = small("resnet50_d", input_shape=open_shape, **arguments)
        own = analyse(model)
        data_format({"channels_first": "channels_last"}.get(built_as, "channels_first"))
        return own, analyse(model), analyse(open_model, size=(64, 96))

    own, other, filled = measured()
    assert own.model.macs > 0
    assert own.model.field.stride == (32, 32)
    assert other.layers == own.layers
    assert filled.layers[1:] == own.layers[1:]


def test_layers_of_the_other_format_are_counted_in_their_own():
    inputs = keras.Input((8, 9, 3))
    x = keras.layers.Conv2D(2, 1, data_format="channels_last")(inputs)
    x = keras.layers.Conv2D(5, (3, 1), data_format="channels_first", name="first")(x)
    cost = layer_cost(analyse(keras.Model(inputs, x)), "first")
    assert cost.output_shape == (5, 7, 2)
    assert cost.macs == 7 * 2 * 3 * 8 * 5
    assert cost.field is None


def test_a_model_inside_a_model_is_refused():
    inner = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(2, 3)], name="inner")
    outer = keras.Sequential([keras.Input((16, 16, 3)), inner, keras.layers.Flatten()], name="o")
    with pytest.raises(ClassicsError, match="layer 'inner' of 'o' is itself a model: only flat"):
        analyse(outer)


@pytest.mark.parametrize(
    ("shape", "layer", "macs"),
    [
        ((9, 4), keras.layers.Conv1D(5, 3), 7 * 3 * 4 * 5),
        ((9, 4), keras.layers.Conv1D(6, 3, groups=2), 7 * 3 * 2 * 6),
        ((9, 4), keras.layers.DepthwiseConv1D(3, padding="same"), 9 * 3 * 4),
        ((9, 4), keras.layers.SeparableConv1D(5, 3), 7 * (3 * 4 + 4 * 5)),
        ((9, 4), keras.layers.Conv1DTranspose(5, 3, strides=2), 9 * 3 * 4 * 5),
        ((4, 5, 2), keras.layers.Conv2DTranspose(3, 2, strides=2), 4 * 5 * 2 * 2 * 2 * 3),
        ((4, 5, 6, 2), keras.layers.Conv3D(3, (2, 1, 3)), 3 * 5 * 4 * 6 * 2 * 3),
        ((4, 5, 6, 2), keras.layers.Conv3DTranspose(3, 2, strides=2), 120 * 8 * 2 * 3),
        ((9, 4), keras.layers.Dense(3), 9 * 4 * 3),
        ((9, 4), keras.layers.LSTM(3), 0),
        ((9, 4), keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 3)), None),
    ],
)
def test_multiply_adds_of_each_kind_of_layer(shape, layer, macs):
    model = keras.Sequential([keras.Input(shape), layer])
    if macs is None:  # the layer itself leaves a size open
        with pytest.raises(ClassicsError, match=r"leaves a size open"):
            analyse(model)
        return
    analysis = analyse(model)
    assert analysis.model.macs == macs
    assert analysis.model.parameters == model.count_params()
    if len(shape) != 3:
        assert analysis.model.field is None


def behind_a_convolution(*more):
    inputs = keras.Input((12, 12, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", data_format="channels_last")(inputs)
    for layer in more:
        x = layer(x)
    return analyse(keras.Model(inputs, x)).model.field


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Activation("softmax"),  # over the channels
        keras.layers.LeakyReLU(),
        keras.layers.SpatialDropout2D(0.2),
        keras.layers.Rescaling(2.0),
        keras.layers.LayerNormalization(),
        keras.layers.Softmax(axis=3),
        keras.layers.Dense(3),
        keras.layers.Identity(),
        lambda x: x + x,
        lambda x: keras.ops.relu(2 * x - 1) / 3,
        lambda x: keras.ops.concatenate([x, x], axis=-1),
        lambda x: keras.layers.Concatenate()([x, x]),
    ],
)
def test_pointwise_layers_keep_the_field(layer):
    assert behind_a_convolution(layer).size == (3, 3)


class Blur(keras.layers.Layer):
    def call(self, x):
        return (x + keras.ops.roll(x, 1, axis=1)) / 2

    def compute_output_shape(self, input_shape):
        return input_shape


class Add(Blur):
    """Called as an operation of Keras is."""


@pytest.mark.parametrize(
    "layer",
    [
        Blur(),
        Add(),
        keras.layers.Lambda(lambda x: x[:, ::-1]),
        keras.layers.Permute((2, 1, 3)),
        keras.layers.LayerNormalization(axis=(1, 2, 3)),
        keras.layers.GroupNormalization(2),
        keras.layers.Softmax(axis=1),
        keras.layers.Activation(lambda x: keras.ops.flip(x, axis=1)),
        keras.layers.Conv2D(4, 1, activation=lambda x: keras.ops.flip(x, axis=1)),
        keras.layers.Conv2D(4, 1, data_format="channels_first", activation="softmax"),
        keras.layers.Conv2DTranspose(4, 3, padding="same"),
        keras.layers.EinsumDense("abcd,be->aecd", output_shape=(12, 12, 4)),
        lambda x: keras.ops.flip(x, axis=1),
        lambda x: keras.ops.concatenate([x, x], axis=1),
        lambda x: keras.layers.Concatenate(axis=1)([x, x]),
    ],
)
def test_the_field_behind_layers_that_may_mix_positions_is_not_known(layer):
    assert behind_a_convolution(layer) is None


@pytest.mark.parametrize("layer", [keras.layers.Dense(4), keras.layers.Activation("softmax")])
def test_channels_first_layers_over_the_last_axis_mix_positions(layer):
    inputs = keras.Input((4, 12, 12))
    x = keras.layers.MaxPooling2D(2, data_format="channels_first", name="pool")(inputs)
    analysis = analyse(keras.Model(inputs, layer(x)))
    assert layer_cost(analysis, "pool").field.size == (2, 2)
    assert analysis.model.field is None


def test_cropping_moves_the_field():
    field = behind_a_convolution(
        keras.layers.MaxPooling2D(2, data_format="channels_last"),
        keras.layers.Cropping2D(((1, 2), (2, 0)), data_format="channels_last"),
    )
    assert (field.rows, field.columns) == (Span(1, 4, 2), Span(3, 6, 2))


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (
            lambda: keras.Sequential([keras.Input((None, 16)), keras.layers.Conv1D(2, 3)]),
            None,
            "the input of shape (None, None, 16) leaves more open than the height and width",
        ),
        (
            lambda: keras.Sequential([keras.Input((8, 8, None)), keras.layers.ReLU()]),
            8,
            "the input of shape (None, 8, 8, None) leaves more open",
        ),
        (
            lambda: keras.Sequential([keras.layers.Dense(2)], name="s"),
            None,
            "model 's' is not built",
        ),
        (Subclassed, None, "model of type Subclassed: a Functional or Sequential model"),
        (lambda: "vgg16", None, "model of type str: a Functional or Sequential model"),
        *(
            (lambda: small("vgg16", include_top=False), size, f"size={size!r}: one whole number")
            for size in (0, -3, True, 64.0, "64", (), (64,), (1, 2, 3), (64, None), (64, 0))
        ),
        (lambda: small("vgg16", include_top=False), 20, "layer 'block5_pool' "),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(model, size, message):
    with pytest.raises(ClassicsError, match="^" + re.escape(message)) as caught:
        analyse(model(), size=size)
    assert "\n" not in str(caught.value)


def test_sizes_of_numpy():
    model = small("vgg16", include_top=False)
    assert analyse(model, size=np.int64(64)).model == analyse(model, size=64).model


def test_a_gate_leaves_the_field_of_its_map_and_is_told():
    analysis = analyse(inverted_residuals(**SWISH))
    alone = analyse(inverted_residuals(**{**SWISH, "gated": False}))
    for name in ("b0_dw_act", "b0_project_bn", "b1_add", "last_act"):
        field = layer_cost(analysis, name).field
        assert field.gated == (name != "b0_dw_act"), name
        assert dataclasses.replace(field, gated=False) == layer_cost(alone, name).field, name
    for name in ("b0_se_squeeze", "b0_se_reduce", "b0_se_expand", "avg_pool", "predictions"):
        assert layer_cost(analysis, name).field is None, name


def test_a_gate_over_maps_of_one_pixel():
    """Where the shapes do not tell the gate from the map."""
    analysis = analyse(inverted_residuals(**SWISH, side=3))
    assert layer_cost(analysis, "b1_dw_act").output_shape[:2] == (1, 1)
    assert layer_cost(analysis, "b1_se_excite").field.size == (15, 15)


@pytest.mark.parametrize(
    "gate",
    [
        lambda x: keras.ops.mean(x, axis=(1, 2), keepdims=True),
        keras.layers.GlobalMaxPooling2D(keepdims=True),
        lambda x: keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))[:, None, None],
    ],
)
def test_other_numbers_of_a_whole_map(gate):
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 3, name="map")(inputs)
    analysis = analyse(keras.Model(inputs, x + gate(x)))
    field = layer_cost(analysis, "map").field
    assert analysis.model.field == dataclasses.replace(field, gated=True)


def test_means_along_one_axis_are_no_gate():
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 3)(inputs)
    assert analyse(keras.Model(inputs, x * keras.ops.mean(x, axis=1, keepdims=True))).model.field \
        is None  # fmt: skip


@pytest.mark.parametrize(
    ("network", "macs"), [("EfficientNetB0", 385.8e6), ("MobileNetV2", 300.8e6)]
)
def test_multiply_adds_of_the_published_networks(network, macs):
    """As the papers have them, 0.39 and 0.30 thousand million, counted by hand to four digits."""
    model = getattr(keras.applications, network)(weights=None)
    assert analyse(model).model.macs == pytest.approx(macs, rel=1e-3)
