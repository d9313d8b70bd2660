from __future__ import annotations

import functools
import itertools
import re

import keras
import numpy as np
import pytest
from keras import layers

from graphs import SWISH, assert_close, chain, inverted_residuals, outputs, unharmed
from keras_classics import VGG16, InceptionV3, ResNet50, ResNet50D, ResNet50V1_5, vgg16_sequential
from keras_classics.architectures.surgery import (
    adapt_channels,
    adapt_stem,
    convolutional_top,
    fold_gamma,
    with_classes,
)

# Logits, because random networks have saturated probabilities.
SMALL = {"weights": None, "width": 1 / 16, "classes": 5, "classifier_activation": None}
FEW = {"depths": (1, 1, 1, 1)}
BUILD = {
    "vgg16": functools.partial(VGG16, input_shape=(32, 64, 3), prefix="a_", **SMALL),
    "resnet50": functools.partial(ResNet50, input_shape=(40, 48, 3), **FEW, **SMALL),
    "resnet50_v1_5": functools.partial(ResNet50V1_5, input_shape=(40, 48, 3), **FEW, **SMALL),
    "resnet50_d": functools.partial(
        ResNet50D, input_shape=(None, None, 3), prefix="a_", **FEW, **SMALL
    ),
    "inception_v3": functools.partial(
        InceptionV3, input_shape=(75, 80, 3), depths=(1, 1, 1), **SMALL
    ),
    "auxiliary": functools.partial(
        InceptionV3, input_shape=(75, 80, 3), auxiliary=True, prefix="a_", depths=(1, 1, 1), **SMALL
    ),
}
# Variants begin as their relatives do.
OFTEN = [
    pytest.param(name, marks=pytest.mark.slow if name in ("resnet50_v1_5", "inception_v3") else [])
    for name in BUILD
]


@pytest.fixture(scope="module")
def built():
    """A small network, built once: no surgery may change it."""

    @functools.cache
    def built(name):
        model = BUILD[name]()
        for layer in model.layers[::3]:
            layer.trainable = False
        return model

    yield built
    built.cache_clear()


@pytest.fixture
def network(built, randomise):
    return lambda name: randomise(built(name))


def sample(model, images, channels=3):
    return images(2, *(side or 45 for side in model.input_shape[1:3]), channels)


def assert_same_layers(new, old, but=()):
    """Same names, kinds, flags and policies; same weights but for those of some layers."""
    assert [layer.name for layer in new.layers] == [layer.name for layer in old.layers]
    for a, b in zip(new.layers, old.layers, strict=True):
        assert type(a) is type(b)
        assert a.trainable == b.trainable
        assert [w.trainable for w in a.weights] == [w.trainable for w in b.weights]
        assert a.dtype_policy.name == b.dtype_policy.name
        if a.name in but or isinstance(a, layers.InputLayer):
            continue
        assert a.get_config() == b.get_config()
        for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
            np.testing.assert_array_equal(x, y)


# adapt_channels


STEMS = {
    "vgg16": "a_block1_conv1",
    "resnet50": "conv1_conv",
    "resnet50_v1_5": "conv1_conv",
    "resnet50_d": "a_conv1_a_conv",
    "inception_v3": "stem_1_conv",
    "auxiliary": "a_stem_1_conv",
}


@pytest.mark.backends
@pytest.mark.parametrize("name", OFTEN)
def test_a_grey_image_gives_what_its_three_equal_channels_gave(name, network, images, run):
    old = network(name)
    grey = sample(old, images, 1)
    with unharmed(old) as made:
        new = adapt_channels(old, 1)
        made.append(new)
    assert new.input_shape == (*old.input_shape[:3], 1)
    assert_close(outputs(run, new, grey), outputs(run, old, grey.repeat(3, axis=-1)))
    assert_same_layers(new, old, but=[STEMS[name]])


@pytest.mark.parametrize("name", ["vgg16", "resnet50_d", "auxiliary"])
def test_a_fourth_channel_counts_nothing_until_it_is_trained(name, network, images, run):
    old = network(name)
    x = sample(old, images, 4)
    with unharmed(old) as made:
        new = adapt_channels(old, np.int64(4))
        made.append(new)
    assert new.input_shape == (*old.input_shape[:3], 4)
    assert_close(outputs(run, new, x), outputs(run, old, x[..., :3]))
    assert_same_layers(new, old, but=[STEMS[name]])
    assert not new.get_layer(STEMS[name]).get_weights()[0][:, :, 3].any()


def normalised(adapt):
    """Each channel is scaled by numbers of its own before the first convolution."""
    numbers = {} if adapt else {"mean": (0.4, 0.5, 0.6), "variance": (0.1, 0.2, 0.3)}
    norm = layers.Normalization(**numbers)
    if adapt:
        norm.adapt(np.random.default_rng(0).normal([1, 2, 3], [1, 2, 3], (4, 5, 5, 3)))
    return chain(
        layers.Rescaling(1 / 2),
        layers.Rescaling([1.0, 2.0, 3.0], offset=0.5),
        norm,
        layers.Conv2D(4, 3, padding="same"),
    )


@pytest.mark.backends
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(
    "make",
    [functools.partial(normalised, adapt) for adapt in (True, False)]
    + [lambda: inverted_residuals(**SWISH)],
    ids=["adapted", "given", "efficientnet"],
)
def test_channels_that_the_model_itself_scales(make, channels, randomise, images, run):
    old = make()
    randomise(keras.Model(old.layers[-1].input, old.layers[-1].output))
    with unharmed(old) as made:
        new = adapt_channels(old, channels)
        made.append(new)
    x = 255 * images(2, *old.input_shape[1:3], channels)
    three = x.repeat(3, axis=-1) if channels == 1 else x[..., :3]
    assert_close(outputs(run, new, x), outputs(run, old, three))


def test_three_channels_give_a_copy(randomise, images):
    """Of a model that has been trained, too: its optimizer stays its own."""
    old = randomise(BUILD["vgg16"]())
    old.compile("adam", "mse")
    old.train_on_batch(images(2, 32, 64, 3), images(2, 5))
    before = [keras.ops.convert_to_numpy(v) for v in old.optimizer.variables]
    with unharmed(old) as made:
        made.append(adapt_channels(old, 3))
    assert_same_layers(made[0], old)
    for value, variable in zip(before, old.optimizer.variables, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))


def test_a_later_convolution_over_three_channels_stays(randomise, images, run):
    old = randomise(VGG16(weights=None, width=3 / 64, input_shape=(32, 32, 3), classes=2))
    assert old.get_layer("block1_conv2").kernel.shape == (3, 3, 3, 3)
    new = adapt_channels(old, 1)
    assert_same_layers(new, old, but=["block1_conv1"])
    grey = images(2, 32, 32, 1)
    assert_close([run(new, grey)], [run(old, grey.repeat(3, axis=-1))])


def test_every_convolution_that_reads_the_image_changes(randomise, images, run):
    inputs = keras.Input((8, 8, 3), name="images")
    x = layers.ZeroPadding2D()(layers.Rescaling(1 / 2, offset=-1.0)(inputs))
    sides = [layers.Conv2D(4, k, padding="same", activation="relu")(x) for k in (1, 3)]
    x = layers.GlobalAveragePooling2D()(keras.ops.square(layers.Add()(sides)))
    old = randomise(keras.Model(inputs, x))
    grey = images(2, 8, 8, 1)
    with unharmed(old) as made:
        new = adapt_channels(old, 1)
        made.append(new)
    assert new.inputs[0].name == "images"
    assert_close([run(new, grey)], [run(old, grey.repeat(3, axis=-1))])


@pytest.mark.parametrize("channels", [0, 2, 5, -1, True, 1.0, "1", None])
def test_channels_that_cannot_be_had(channels, built):
    with pytest.raises(ValueError, match=re.escape(f"channels={channels!r}: a model for 3 can")):
        adapt_channels(built("resnet50"), channels)


def on_the_mean(layer):
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layer(keras.ops.mean(inputs, axis=-1, keepdims=True)), name="own")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: chain(layers.Conv2D(2, 3), shape=(8, 8, 1)),
            r"'own' reads \(None, 8, 8, 1\)",
        ),
        (lambda: chain(layers.Flatten(), layers.Dense(2)), "one input of images with 3 channels"),
        (
            lambda: chain(layers.DepthwiseConv2D(3), layers.Conv2D(2, 1), layers.Flatten()),
            r"'own': layer 'depthwise_conv2d.*' \(DepthwiseConv2D\) does not fit",
        ),
        (
            lambda: chain(layers.BatchNormalization(name="bn"), layers.Conv2D(2, 1)),
            r"'bn' \(BatchNormalization\) does not fit",
        ),
        (
            lambda: chain(layers.Conv2D(3, 1, groups=3, name="groups")),
            r"'groups' \(Conv2D\) does not fit",
        ),
        (lambda: on_the_mean(layers.Conv2D(2, 1)), "'own': no convolution reads the image's"),
    ],
)
def test_models_whose_channels_cannot_be_adapted(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        adapt_channels(make(), 1)
    assert "\n" not in str(caught.value)


def test_stem_of_other_channels():
    kernel = np.arange(2 * 3 * 3 * 5, dtype="float32").reshape(2, 3, 3, 5)
    np.testing.assert_array_equal(adapt_stem(kernel, 1)[:, :, 0], kernel.sum(axis=2))
    np.testing.assert_array_equal(adapt_stem(kernel, 4)[:, :, :3], kernel)
    assert adapt_stem(kernel, 4).shape == (2, 3, 4, 5)
    assert not adapt_stem(kernel, 4)[:, :, 3].any()
    assert adapt_stem(kernel, 3) is kernel
    with pytest.raises(ValueError, match="2 channels: weights for 3 can be adapted to 1 or 4"):
        adapt_stem(kernel, 2)


# with_classes


@pytest.mark.backends
@pytest.mark.parametrize("name", BUILD)
def test_other_classes_leave_all_before_the_predictions(name, network, images, run):
    old = network(name)
    with unharmed(old) as made:
        new = with_classes(old, 7)
        made.append(new)
    heads = [name for name in old.output_names if name.endswith("predictions")]
    assert len(heads) == len(old.outputs) == (2 if name == "auxiliary" else 1)
    assert new.output_names == old.output_names
    assert [output.shape for output in new.outputs] == [(None, 7)] * len(heads)
    assert_same_layers(new, old, but=heads)
    x = sample(old, images)
    before = [
        outputs(run, keras.Model(m.input, [m.get_layer(n).input for n in heads]), x)
        for m in (old, new)
    ]
    assert_close(*before)
    for head in heads:
        kernel, bias = new.get_layer(head).get_weights()
        limit = np.sqrt(6 / sum(kernel.shape))  # Glorot's
        assert 0.5 * limit < np.abs(kernel).max() <= limit
        assert not bias.any()
        assert new.get_layer(head).activation is keras.activations.linear


def test_the_new_classes_begin_at_random(network):
    first, second = (
        with_classes(network("vgg16"), 5).get_layer("a_predictions").get_weights()[0]
        for _ in range(2)
    )
    assert np.abs(first - second).max() > 0.01


def twice(x):
    return 2.0 * x


@pytest.mark.parametrize(
    ("activation", "function"), [(None, "linear"), ("sigmoid", "sigmoid"), (twice, "twice")]
)
def test_activation_of_the_new_classes(activation, function, network):
    new = with_classes(network("vgg16"), 3, activation=activation)
    assert new.get_layer("a_predictions").activation.__name__ == function
    again = with_classes(new, 4)
    assert again.get_layer("a_predictions").activation.__name__ == function


@pytest.mark.parametrize("classes", [0, -1, True, 2.0, "3", None])
def test_classes_out_of_range(classes, built):
    with pytest.raises(ValueError, match=re.escape(f"classes={classes!r}: a whole number")):
        with_classes(built("resnet50"), classes)


def test_an_unknown_activation(built):
    with pytest.raises(ValueError, match=r"^activation='softer': the name of one of Keras'"):
        with_classes(built("resnet50"), 3, activation="softer")


def test_classes_need_a_top():
    model = ResNet50(weights=None, width=1 / 16, include_top=False, pooling="avg")
    with pytest.raises(ValueError, match=r"layer 'avg_pool' \(GlobalAveragePooling2D\): dense"):
        with_classes(model, 3)


def test_predictions_that_another_layer_reads_cannot_change():
    inputs = keras.Input((4,))
    x = layers.Dense(2, name="predictions")(inputs)
    model = keras.Model(inputs, [x, layers.Dense(2, name="next")(layers.Dense(2, name="on")(x))])
    with pytest.raises(ValueError, match=r"layer 'on' \(Dense\) does not fit"):
        with_classes(model, 3)


# convolutional_top


def slid(model, x, *, prefix=""):
    """The dense top of a model put on every window of the last feature map, in numpy.

    The convolutions are those of a network without the top, which takes any size.
    """
    width = model.get_layer(f"{prefix}block1_conv1").filters / 64
    base = VGG16(
        weights=None, include_top=False, width=width, prefix=prefix, input_shape=(None, None, 3)
    )
    for layer in base.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    maps = keras.ops.convert_to_numpy(base(x)).astype("float64")
    rows, columns = (side // 32 for side in model.input_shape[1:3])
    steps = itertools.product(range(maps.shape[1] - rows + 1), range(maps.shape[2] - columns + 1))
    logits = []
    for row, column in steps:
        h = maps[:, row : row + rows, column : column + columns].reshape(len(maps), -1)
        for name in ("fc1", "fc2", "predictions"):
            kernel, bias = model.get_layer(prefix + name).get_weights()
            h = h @ kernel + bias
            if name != "predictions":
                h = np.maximum(h, 0)
        logits.append(h)
    return np.mean(logits, axis=0), len(logits)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.mark.backends
def test_the_convolutional_top_slides_the_dense_one(network, images, run):
    old = network("vgg16")
    with unharmed(old) as made:
        new = convolutional_top(old)
        made.append(new)
    assert new.input_shape == (None, None, None, 3)
    assert new.output_shape == old.output_shape == (None, 5)
    for sides, windows in {(32, 64): 1, (96, 64): 3, (75, 139): 6, (64, 96): 4}.items():
        x = images(2, *sides, 3)
        logits, number = slid(old, x, prefix="a_")
        assert number == windows
        assert_close([run(new, x)], [logits])
    x = sample(old, images)
    assert_close([run(new, x)], [run(old, x)])


def test_the_activation_follows_the_average(randomise, images, run):
    arguments = {**SMALL, "input_shape": (32, 32, 3), "classifier_activation": "softmax"}
    old = randomise(VGG16(**arguments))
    new = convolutional_top(old)
    assert new.layers[-1].name == "predictions_activation"
    x = images(2, 32, 96, 3)
    logits, number = slid(old, x)
    assert number == 3
    assert_close([run(new, x)], [softmax(logits)])


def test_layers_of_the_convolutional_top():
    old = VGG16(**SMALL, input_shape=(32, 64, 3), dropout=0.5, prefix="a_")
    old.get_layer("a_fc2").trainable = False
    new = convolutional_top(old)
    names = [layer.name for layer in old.layers]
    position = names.index("a_flatten")
    assert [layer.name for layer in new.layers] == [
        *names[:position], "a_fc1", "a_fc1_dropout", "a_fc2", "a_fc2_dropout", "a_predictions",
        "a_predictions_avg_pool",
    ]  # fmt: skip
    for name, kernel, function in (
        ("a_fc1", (1, 2), keras.activations.relu),
        ("a_fc2", (1, 1), keras.activations.relu),
        ("a_predictions", (1, 1), keras.activations.linear),
    ):
        layer = new.get_layer(name)
        assert type(layer) is layers.Conv2D
        assert (layer.kernel_size, layer.padding, layer.activation) == (kernel, "valid", function)
        assert layer.trainable == old.get_layer(name).trainable
    assert new.get_layer("a_fc1_dropout").rate == 0.5
    assert new.count_params() == old.count_params()


def test_the_convolutional_top_at_224(randomise, images, run):
    old = randomise(VGG16(**{**SMALL, "width": 1 / 32}))
    new = convolutional_top(old)
    assert new.get_layer("fc1").kernel_size == (7, 7)
    x = images(2, 224, 224, 3)
    assert_close([run(new, x)], [run(old, x)])
    x = images(1, 260, 320, 3)
    logits, number = slid(old, x)
    assert number == 2 * 4
    assert_close([run(new, x)], [logits])


@pytest.mark.backends
def test_images_smaller_than_the_trained_are_refused(network, images):
    new = convolutional_top(network("vgg16"))
    for sides in ((64, 63), (32, 32)):
        with pytest.raises(ValueError, match="output size would be"):
            new(keras.Input((*sides, 3)))
        with pytest.raises(Exception, match="when calling"):  # each backend has its own
            new(images(1, *sides, 3))


@pytest.mark.parametrize("name", ["resnet50", "auxiliary", "headless", "convolutional", "flat"])
def test_models_without_a_dense_top(name, built):
    model = {
        "headless": lambda: VGG16(weights=None, include_top=False, width=1 / 16),
        "convolutional": lambda: convolutional_top(built("vgg16")),
        "flat": lambda: chain(layers.Flatten(), layers.Dense(2), shape=(8, 3)),
    }.get(name, lambda: built(name))()
    with pytest.raises(ValueError, match=r"Flatten and dense layers behind a feature") as caught:
        convolutional_top(model)
    assert "\n" not in str(caught.value)


def test_a_layer_that_needs_the_size_is_named():
    norm = layers.LayerNormalization(axis=[1, 2, 3], name="norm")
    model = chain(norm, layers.Flatten(), layers.Dense(2))
    with pytest.raises(ValueError, match=r"'own': layer 'norm' \(LayerNormalization\) does not"):
        convolutional_top(model)


# fold_gamma


def norms(model):
    return [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


@pytest.mark.backends
@pytest.mark.parametrize("name", ["resnet50", "resnet50_d"])
def test_without_gamma_the_outputs_are_the_same(name, network, images, run):
    old = network(name)
    with unharmed(old) as made:
        new = fold_gamma(old)
        made.append(new)
    assert len(norms(new)) == (17 if name == "resnet50" else 19)
    for norm in norms(new):
        assert not norm.scale
        assert norm.trainable == old.get_layer(norm.name).trainable
        np.testing.assert_array_equal(
            norm.get_weights()[-1], old.get_layer(norm.name).get_weights()[-1]
        )
    assert [layer.name for layer in new.layers] == [layer.name for layer in old.layers]
    x = sample(old, images)
    assert_close(outputs(run, new, x), outputs(run, old, x))


@pytest.mark.parametrize("name", ["vgg16", "auxiliary"])
def test_without_gamma_there_is_nothing_to_fold(name, network):
    old = network(name)
    with unharmed(old) as made:
        made.append(fold_gamma(old))
    assert_same_layers(made[0], old)


def test_an_inception_with_gamma_becomes_the_published_one(built, randomise, images, run):
    """torchvision's batch norms have gammas."""
    plain = built("auxiliary")

    def with_gamma(layer):
        scale = {"scale": True} if isinstance(layer, layers.BatchNormalization) else {}
        return type(layer).from_config({**layer.get_config(), **scale})

    gammas = randomise(keras.models.clone_model(plain, clone_function=with_gamma), seed=3)
    assert len(gammas.weights) == len(plain.weights) + 43
    plain.set_weights(fold_gamma(gammas).get_weights())
    x = images(2, 75, 80, 3)
    assert_close(run(plain, x), run(gammas, x))


def conv_bn_model(conv, norm, shape=(6, 7, 3), **call):
    inputs = keras.Input(shape)
    return keras.Model(inputs, norm(conv(inputs), **call))


@pytest.mark.backends
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("kind", ["plain", "depthwise", "groups", "dense"])
def test_each_layer_takes_the_gamma(kind, center, bias, layout, randomise, images, run):
    arguments = {"use_bias": bias, "data_format": layout}
    conv = {
        "plain": lambda: layers.Conv2D(4, 3, **arguments),
        "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, **arguments),
        "groups": lambda: layers.Conv2D(6, 3, groups=3, **arguments),
        "dense": lambda: layers.Dense(4, use_bias=bias),
    }[kind]()
    last = layout == "channels_last" or kind == "dense"
    shape, axis = ((6, 7, 3), -1) if last else ((3, 6, 7), 1)
    norm = layers.BatchNormalization(axis=axis, center=center)
    model = randomise(conv_bn_model(conv, norm, shape))
    norm.gamma.assign(np.linspace(-2, 2, norm.gamma.shape[0]))  # of both signs
    new = fold_gamma(model)
    assert not norms(new)[0].scale
    x = images(2, *shape)
    assert_close([run(new, x)], [run(model, x)])


def shared(*, convolution):
    """A convolution, or its batch norm, that is called twice."""
    inputs = keras.Input((6, 6, 3))
    convs = [layers.Conv2D(4, 1) for _ in range(1 if convolution else 2)]
    bns = [layers.BatchNormalization() for _ in range(2 if convolution else 1)]
    sources = [inputs, layers.ZeroPadding2D(0)(inputs)]
    calls = [bns[-i](convs[-i](source)) for i, source in enumerate(sources)]
    return keras.Model(inputs, layers.Add()(calls))


def read_twice(*, output):
    """A convolution that batch norm reads, and somebody else."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1)(inputs)
    y = layers.BatchNormalization()(x)
    return keras.Model(inputs, [x, y] if output else layers.Add()([x, y]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: conv_bn_model(layers.Conv2D(4, 1, activation="relu"), layers.BatchNormalization()),
        lambda: conv_bn_model(layers.Conv2D(7, 1), layers.BatchNormalization(axis=2)),
        lambda: conv_bn_model(layers.ReLU(), layers.BatchNormalization()),
        lambda: conv_bn_model(layers.SeparableConv2D(4, 1), layers.BatchNormalization()),
        lambda: conv_bn_model(layers.Conv2DTranspose(4, 1), layers.BatchNormalization()),
        lambda: conv_bn_model(layers.Identity(), layers.BatchNormalization()),
        lambda: conv_bn_model(layers.Conv2D(4, 1), layers.BatchNormalization(), training=True),
        lambda: read_twice(output=True),
        lambda: read_twice(output=False),
        lambda: shared(convolution=True),
        lambda: shared(convolution=False),
    ],
)
def test_batch_norms_that_cannot_be_folded_are_left_alone(make, randomise, images, run):
    model = randomise(make())
    new = fold_gamma(model)
    assert_same_layers(new, model)
    x = images(2, *model.input_shape[1:])
    assert_close(outputs(run, new, x), outputs(run, model, x))


# All surgeries


SURGERIES = {
    "adapt_channels": lambda model: adapt_channels(model, 1),
    "with_classes": lambda model: with_classes(model, 3),
    "convolutional_top": convolutional_top,
    "fold_gamma": fold_gamma,
}


@pytest.mark.parametrize(
    ("name", "surgery"),
    [
        *(("vgg16", surgery) for surgery in SURGERIES),
        pytest.param("resnet50_v1_5", "fold_gamma", marks=pytest.mark.slow),
        pytest.param("auxiliary", "adapt_channels", marks=pytest.mark.slow),
    ],
)
def test_saved_models_before_and_after(name, surgery, network, images, run, tmp_path):
    old = network(name)
    old.save(tmp_path / "old.keras")
    loaded = keras.saving.load_model(tmp_path / "old.keras")
    with unharmed(loaded) as made:
        new = SURGERIES[surgery](loaded)
        made.append(new)
    new.save(tmp_path / "new.keras")
    again = keras.saving.load_model(tmp_path / "new.keras")
    x = sample(old, images, 1 if surgery == "adapt_channels" else 3)
    for a, b in zip(outputs(run, again, x), outputs(run, new, x), strict=True):
        np.testing.assert_array_equal(a, b)
    if surgery != "with_classes":
        assert_close(outputs(run, new, x), outputs(run, SURGERIES[surgery](old), x))


@pytest.mark.parametrize("surgery", SURGERIES)
def test_sequential_models(surgery, randomise, images, run):
    model = randomise(vgg16_sequential(input_shape=(32, 64, 3), width=1 / 16, classes=3))
    with unharmed(model) as made:
        new = SURGERIES[surgery](model)
        made.append(new)
    grey = images(2, 32, 64, 1)
    x = grey.repeat(3, axis=-1)
    before = run(model, x)
    if surgery == "with_classes":
        new.get_layer("predictions").set_weights(model.get_layer("predictions").get_weights())
    assert_close([run(new, grey if surgery == "adapt_channels" else x)], [before])


@pytest.mark.backends
@pytest.mark.parametrize("surgery", SURGERIES)
def test_channels_first(surgery, data_format, randomise, images, run):
    data_format("channels_first")
    # TensorFlow with oneDNN adds a bias along the wrong axis where a map is as wide as deep: hence
    # the network without biases, and a width that makes no such map.
    build = ResNet50V1_5 if surgery == "fold_gamma" else VGG16
    model = randomise(build(input_shape=(3, 32, 96), **SMALL))
    data_format("channels_last")  # the layers' own format counts
    new = SURGERIES[surgery](model)
    x = images(2, 1, 32, 96).repeat(3, axis=1)
    expected = run(model, x)
    if surgery == "with_classes":
        assert new.output_shape == (None, 3)
        before = [keras.Model(m.input, m.get_layer("fc2").output) for m in (new, model)]
        new, expected = before[0], run(before[1], x)
    if surgery == "convolutional_top":
        assert new.input_shape == (None, 3, None, None)
        large = images(1, 3, 70, 128)
        windows = [
            keras.Model(new.input, new.get_layer("predictions").output)(part)
            for part in (large, large[:, :, :, :96])
        ]
        assert [tuple(w.shape) for w in windows] == [(1, 5, 2, 2), (1, 5, 2, 1)]
    assert_close([run(new, x[:, :1] if surgery == "adapt_channels" else x)], [expected])


@pytest.mark.parametrize("surgery", SURGERIES)
def test_policies_and_flags_stay(surgery, dtype_policy, randomise):
    dtype_policy("mixed_bfloat16")
    build = ResNet50 if surgery == "fold_gamma" else VGG16
    model = randomise(build(input_shape=(32, 32, 3), **SMALL))
    dtype_policy("float32")
    model.trainable = False
    model.layers[-1].trainable = True
    new = SURGERIES[surgery](model)
    assert not new.trainable
    for layer in new.layers:
        if not isinstance(layer, layers.InputLayer):
            assert layer.dtype_policy.name == "mixed_bfloat16", layer.name
    assert [layer.name for layer in new.layers if layer.trainable and layer.weights] == [
        "predictions"
    ]
    assert {weight.dtype for weight in new.weights} == {"float32"}


@pytest.mark.parametrize("surgery", SURGERIES)
def test_an_activation_of_ones_own(surgery):
    build = ResNet50 if surgery == "fold_gamma" else VGG16
    arguments = {**SMALL, "input_shape": (32, 32, 3), "classifier_activation": twice}
    new = SURGERIES[surgery](build(**arguments))
    assert new.layers[-1].activation is twice


def test_state_beside_the_weights_is_carried(images, run):
    """Normalization computes with the inverse of its weight."""
    x = 3 * images(2, 6, 6, 3) + 1
    norm = layers.Normalization()
    norm.adapt(x)
    model = chain(norm, layers.Conv2D(2, 3), layers.BatchNormalization(), shape=(6, 6, 3))
    assert_close([run(fold_gamma(model), x)], [run(model, x)])


@pytest.mark.parametrize("surgery", SURGERIES)
def test_models_that_are_no_graph(surgery):
    class Own(keras.Model):
        def call(self, x):
            return x

    for model in (Own(), keras.Sequential([layers.Dense(2)])):
        with pytest.raises(ValueError, match="a Functional or a built Sequential model is needed"):
            SURGERIES[surgery](model)
