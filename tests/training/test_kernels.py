from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from functools import partial

import keras
import numpy as np
import pytest
from keras import layers

from keras_classics.architectures import catalog
from keras_classics.architectures.precision import numbers
from keras_classics.architectures.stages import stages
from keras_classics.training import kernels, speed
from keras_classics.training.batch_norm import batch_norms
from keras_classics.training.recipe import Recipe
from keras_classics.training.start import Shape, start_network
from zoo import one_each, slow, small

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernel is TensorFlow's"
)


def normed(policy="float32", *, trainable=True, **arguments):
    """A model of one batch norm, with weights and statistics that are none of its defaults."""
    layer = layers.BatchNormalization(dtype=policy, name="bn", **arguments)
    inputs = keras.Input((5, 6, 7), dtype=layer.compute_dtype)
    model = keras.Model(inputs, layer(inputs))
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    layer.trainable = trainable
    return model


def step(model, x, *, training):
    """Outputs, and the gradients with respect to input, gamma and beta."""
    import tensorflow as tf

    layer = model.get_layer("bn")
    weights = [w for w in (layer.gamma, layer.beta) if w is not None]
    x = tf.convert_to_tensor(x)

    @tf.function
    def compute(x):
        with tf.GradientTape() as tape:
            values = [weight.value for weight in weights]
            tape.watch([x, *values])
            y = model(x, training=training)
            # No symmetric loss: of a plain sum the gradient with respect to the input is zero.
            factors = tf.cast(tf.random.stateless_normal(tf.shape(y), seed=[1, 2]), y.dtype)
            loss = tf.reduce_sum(tf.cast(y * factors * y, "float32"))
        return [y, *tape.gradient(loss, [x, *values])]

    return [keras.ops.convert_to_numpy(tensor).astype("float32") for tensor in compute(x)]


def statistics(model):
    layer = model.get_layer("bn")
    return [
        keras.ops.convert_to_numpy(weight) for weight in (layer.moving_mean, layer.moving_variance)
    ]


def batches(dtype, number=4):
    rng = np.random.default_rng(1)
    # Far from zero, where a careless variance loses digits; with 90 values to a channel a variance
    # that is Bessel's would be seen.
    draws = (rng.normal(3, 1.5 + i, (3, 5, 6, 7)).astype("float32") for i in range(number))
    return [keras.ops.cast(x, dtype) for x in draws]


VARIANTS = {
    "as in ResNet": {"epsilon": 1.001e-5},
    "small epsilon": {"epsilon": 1e-7},
    "as in Inception": {"scale": False},
    "no beta": {"center": False},
    "quick momentum": {"momentum": 0.5},
    "momentum zero": {"momentum": 0.0},
    "frozen": {"trainable": False},
    "channels first": {"axis": 1},
}


ROUNDING = {"float32": 2e-6, "mixed_bfloat16": 2e-2, "mixed_float16": 3e-3}


@on_tensorflow
@pytest.mark.parametrize(
    ("variant", "policy", "training"),
    [
        *((variant, "float32", True) for variant in VARIANTS),
        *(
            slow(variant, "mixed_bfloat16", True)
            for variant in VARIANTS
            if variant != "as in ResNet"
        ),
        ("as in ResNet", "mixed_bfloat16", True),
        ("as in ResNet", "mixed_float16", True),
        ("as in Inception", "float32", False),
        ("as in ResNet", "mixed_bfloat16", False),
    ],
)
def test_the_fused_kernel_is_keras_layer(variant, policy, training):
    ours, theirs = (normed(policy, **VARIANTS[variant]) for _ in range(2))
    dtype = ours.get_layer("bn").compute_dtype
    with kernels.fused_batch_norm(ours):
        found = [step(ours, x, training=training) for x in batches(dtype)]
    expected = [step(theirs, x, training=training) for x in batches(dtype)]
    for one, two in zip(found, expected, strict=True):
        for value, right in zip(one, two, strict=True):
            np.testing.assert_allclose(value, right, atol=ROUNDING[policy] * np.abs(right).max())
    for value, right in zip(statistics(ours), statistics(theirs), strict=True):
        np.testing.assert_allclose(value, right, rtol=1e-6)  # float32 in each case


@on_tensorflow
@pytest.mark.parametrize(
    ("variant", "fused"), [("as in ResNet", True), ("frozen", True), ("channels first", False)]
)
def test_the_kernel_is_used_where_it_can_be(variant, fused):
    import tensorflow as tf

    model = normed(**VARIANTS[variant])

    def operations():
        traced = tf.function(lambda x: model(x, training=True)).get_concrete_function(
            tf.TensorSpec((2, 5, 6, 7))
        )
        return {operation.type for operation in traced.graph.get_operations()}

    with kernels.fused_batch_norm(model):
        assert ("FusedBatchNormV3" in operations()) is fused
    assert "FusedBatchNormV3" not in operations()


@on_tensorflow
def test_a_mask_and_other_types_are_left_to_keras():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 7))
    mask = np.ones((2, 5, 6), bool)
    mask[0] = False
    ours, theirs = (normed().get_layer("bn") for _ in range(2))
    ours_64, theirs_64 = (normed("float64").get_layer("bn") for _ in range(2))
    both = keras.Sequential([ours]), keras.Sequential([ours_64])
    with kernels.fused_batch_norm(both[0]), kernels.fused_batch_norm(both[1]):
        assert "call" in vars(ours)
        masked = ours(x, training=True, mask=keras.ops.convert_to_tensor(mask))
        double = ours_64(x, training=True)
    right = theirs(x, training=True, mask=keras.ops.convert_to_tensor(mask))
    np.testing.assert_array_equal(masked, right)
    np.testing.assert_array_equal(double, theirs_64(x, training=True))


# Side, width and last layer of lower parts, which take less time to trace; VGG16 has no batch norm.
PARTS = {"resnet50": (32, 0.125, "conv2_block3_out"), "inception_v3": (75, 0.25, "mixed1")}


def losses(network, context, steps):
    """Of a network that begins as a run does; others double any rounding from step to step."""
    keras.utils.set_random_seed(0)
    size, width, last = PARTS[network]
    recipe = Recipe(name="test", about="test")
    shape = Shape(width, size, size, 4)
    whole = start_network(catalog.find(network), shape, recipe, seed=0, mode="tf").model
    x = layers.GlobalAveragePooling2D()(whole.get_layer(last).output)
    model = keras.Model(whole.input, layers.Dense(4)(x))
    if network == "inception_v3":
        # Without residuals, gradients explode under batch norm (https://arxiv.org/abs/1902.08129),
        # and one bit of one weight soon changes the losses by tenths, whatever the kernel; far less
        # where most ReLUs are open.
        for layer in batch_norms(model):
            layer.beta.assign(2 * np.ones(layer.beta.shape))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, size, size, 3)).astype("float32")
    y = np.eye(4, dtype="float32")[rng.integers(4, size=8)]
    with context(model):
        model.compile(
            keras.optimizers.SGD(0.003, momentum=0.9),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            jit_compile=speed.jit_compile(),
        )
        history = model.fit(x, y, batch_size=8, epochs=steps, verbose=0, shuffle=False)
    return history.history["loss"]


@on_tensorflow
@pytest.mark.parametrize("network", ["resnet50", "inception_v3"])
@pytest.mark.slow
def test_equal_loss_curves(network):
    fused = losses(network, kernels.fused_batch_norm, 20)
    plain = losses(network, nullcontext, 20)
    assert fused[-1] < 0.95 * fused[0]
    np.testing.assert_allclose(fused, plain, rtol=2e-4, atol=2e-5)


@pytest.mark.backends
def test_layers_are_themselves_afterwards():
    """On JAX and torch they are themselves all the time."""
    model = normed()
    layer = model.get_layer("bn")
    before = type(layer), layer.get_config(), set(vars(layer))
    on_others = keras.backend.backend() != "tensorflow"
    with pytest.raises(KeyboardInterrupt), kernels.fused_batch_norm(model):
        assert ("call" not in vars(layer)) is on_others
        assert type(layer) is before[0]
        assert layer.get_config() == before[1]
        raise KeyboardInterrupt
    assert (type(layer), layer.get_config(), set(vars(layer))) == before


def somewhere(model):
    """The model with batch norm whose weights and statistics are none of its defaults."""
    rng = np.random.default_rng(0)
    for layer in batch_norms(model):
        for weight in layer.weights:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def learnt(model, context, x):
    """Outputs before, and how a step of plain descent changes each weight: by its gradient."""
    y = np.eye(model.output_shape[-1], dtype="float32")[np.arange(len(x)) % 2]
    with context(model):
        model.compile(
            keras.optimizers.SGD(1.0),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            jit_compile=speed.jit_compile(),
        )
        outputs = model.predict_on_batch(x)
        before = [keras.ops.convert_to_numpy(weight).copy() for weight in model.weights]
        model.train_on_batch(x, y)
    after = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    return outputs, [two - one for one, two in zip(before, after, strict=True)]


def assert_learns_alike(make, context, x, rounding=2e-5):
    (ours, changes), (theirs, right) = (
        learnt(make(), each, x) for each in (context, lambda _: nullcontext())
    )
    np.testing.assert_allclose(ours, theirs, atol=rounding * np.abs(theirs).max())
    largest = max(np.abs(change).max() for change in right)
    assert largest > 1e-3
    for value, change in zip(changes, right, strict=True):
        np.testing.assert_allclose(value, change, rtol=0, atol=rounding * max(largest, 1))


# What is frozen: all batch norm; also the lower stages; nothing but the lower stages.
FROZEN = {"batch norm": (True, False), "and stages": (True, True), "stages alone": (False, True)}


@on_tensorflow
@pytest.mark.parametrize(
    ("network", "frozen"),
    [
        ("resnet50", "stages alone"),
        slow("mobilenet_v2", "and stages"),
        slow("efficientnet_lite0", "batch norm"),
        slow("resnet50", "batch norm"),
        slow("mobilenet_v2", "stages alone"),
        slow("efficientnet_lite0", "and stages"),
        slow("efficientnet_lite0", "stages alone"),
    ],
)
def test_frozen_batch_norm_is_folded_exactly(network, frozen):
    """In float64, as trained batch norm magnifies roundings."""
    norms, lower = FROZEN[frozen]

    def make():
        keras.utils.set_random_seed(0)
        arguments = {"depths": one_each(network), "classifier_activation": None}
        with numbers("float64"):
            model = small(network, input_shape=(32, 32, 3), classes=3, **arguments)
        still = {layer for layer in batch_norms(model) if norms}
        for stage in stages(model)[: 3 if lower else 0]:
            still |= {model.get_layer(name) for name in stage.layers}
        for layer in still:
            layer.trainable = False
        return somewhere(model)

    model = make()
    with kernels.folded_batch_norm(model):
        folded = [layer for layer in batch_norms(model) if "call" in vars(layer)]
    assert folded == [layer for layer in batch_norms(model) if not layer.trainable] != []
    x = np.random.default_rng(1).normal(size=(8, 32, 32, 3)).astype("float32")
    assert_learns_alike(make, speed.fast_training, x, rounding=1e-9)


def branching():
    """Each layer that can be folded, with bias and without; and what cannot be."""
    keras.utils.set_random_seed(0)
    norm = partial(layers.BatchNormalization, trainable=False)
    inputs = keras.Input((8, 8, 3))
    x = norm(name="nothing_before")(inputs)
    x = norm(name="conv_bn", scale=False)(layers.Conv2D(4, 3, name="conv")(x))
    x = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, use_bias=False, name="depth")(x)
    x = norm(name="depth_bn", center=False)(x)
    shared = layers.Conv2D(4, 1, name="read_twice")(x)
    x = layers.Concatenate()([norm(name="not_alone")(shared), shared])
    x = layers.Conv2D(5, 1, activation="relu", name="curved")(x)
    x = norm(name="after_relu")(x)
    x = layers.Conv2D(5, 1, trainable=False, name="still")(x)
    x = norm(name="still_bn", trainable=True)(x)
    x = layers.Dense(6, name="dense")(layers.GlobalAveragePooling2D()(x))
    return somewhere(keras.Model(inputs, norm(name="dense_bn")(x)))


@pytest.mark.backends
def test_what_can_be_folded_is():
    model = branching()
    before = {layer: (layer.get_config(), set(vars(layer))) for layer in model.layers}
    with pytest.raises(KeyboardInterrupt), kernels.folded_batch_norm(model):
        folded = {layer.name for layer in model.layers if "call" in vars(layer)}
        assert folded == {"conv", "conv_bn", "depth", "depth_bn", "dense", "dense_bn"}
        raise KeyboardInterrupt
    assert {layer: (layer.get_config(), set(vars(layer))) for layer in model.layers} == before
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")
    assert_learns_alike(branching, kernels.folded_batch_norm, x)


@on_tensorflow
def test_folded_in_half_precision():
    """As exact as Keras' own layers are, against the same in float32."""
    x = np.random.default_rng(1).normal(size=(16, 8, 8, 3)).astype("float32")
    right = branching()(x)
    with numbers("mixed_bfloat16"):
        model = branching()
    plain = model(x)
    with kernels.folded_batch_norm(model):
        folded = model(x)
    assert folded.dtype == plain.dtype
    ours, theirs = (
        np.linalg.norm(keras.ops.cast(each, "float32") - right) for each in (folded, plain)
    )
    assert 0 < ours < 1.5 * theirs


@on_tensorflow
def test_weights_set_while_folded_count():
    model, other = branching(), branching()
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")
    weights = [2 * weight for weight in model.get_weights()]
    other.set_weights(weights)
    with kernels.folded_batch_norm(model):
        model.compile("sgd", "mse", jit_compile=False)
        model.predict_on_batch(x)
        model.set_weights(weights)
        np.testing.assert_allclose(model.predict_on_batch(x), other(x), rtol=1e-4, atol=1e-4)


# Sizes of images and arguments of the layer.
DEPTHWISE = {
    "as in Lite": ((9, 11), {"kernel_size": 5, "padding": "same", "use_bias": False}),
    "strided, even": ((8, 12), {"kernel_size": 5, "padding": "same", "strides": 2}),
    "strided, odd": ((9, 11), {"kernel_size": 5, "padding": "same", "strides": 2}),
    "stride wider than the kernel": ((11, 16), {"kernel_size": 5, "padding": "same", "strides": 6}),
    "valid": ((9, 10), {"kernel_size": 5, "strides": 2, "activation": "relu"}),
    "even kernel": ((9, 11), {"kernel_size": 4, "padding": "same", "depth_multiplier": 2}),
    "wide kernel": ((9, 11), {"kernel_size": (1, 7), "padding": "same"}),
    "smaller than the kernel": ((2, 3), {"kernel_size": 7, "padding": "same"}),
}


def depthwise(size, policy, arguments):
    """A model of one depthwise convolution, with some bias."""
    keras.utils.set_random_seed(0)
    layer = layers.DepthwiseConv2D(
        dtype=policy, bias_initializer="random_normal", name="dw", **arguments
    )
    inputs = keras.Input((*size, 3), dtype=layer.compute_dtype)
    return keras.Model(inputs, layer(inputs))


def gradients(model, x, shape=None):
    """Outputs, and the gradients with respect to input and weights; traced for any such shape."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(shape or x.shape, x.dtype)])
    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=True)
            factors = tf.cast(tf.random.stateless_normal(tf.shape(y), seed=[1, 2]), y.dtype)
            loss = tf.reduce_sum(tf.cast(y * factors, "float32"))
        return [y, *tape.gradient(loss, [x, *[w.value for w in model.trainable_weights]])]

    return [keras.ops.convert_to_numpy(tensor).astype("float32") for tensor in compute(x)]


@on_tensorflow
@pytest.mark.parametrize("any_size", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("variant", DEPTHWISE)
def test_gradients_of_depthwise_convolutions(variant, policy, any_size):
    size, arguments = DEPTHWISE[variant]
    model = depthwise((None, None) if any_size else size, policy, arguments)
    x = np.random.default_rng(0).normal(size=(2, *size, 3))
    x = keras.ops.cast(x, model.get_layer("dw").compute_dtype)
    shape = (None, None, None, 3) if any_size else None
    with kernels.fast_depthwise(model):
        assert "call" in vars(model.get_layer("dw"))
        found = gradients(model, x, shape)
    assert "call" not in vars(model.get_layer("dw"))
    for value, right in zip(found, gradients(model, x), strict=True):
        np.testing.assert_allclose(value, right, atol=ROUNDING[policy] * np.abs(right).max())


@on_tensorflow
@pytest.mark.parametrize(
    ("policy", "arguments", "fast"),
    [
        ("mixed_bfloat16", {"kernel_size": 3}, True),
        ("float32", {"kernel_size": (7, 3)}, False),  # TensorFlow's own is fast
        ("float32", {"kernel_size": 5, "dilation_rate": 2}, False),
        ("float32", {"kernel_size": 5, "padding": "same", "data_format": "channels_first"}, False),
        ("mixed_float16", {"kernel_size": 5}, False),
        ("float64", {"kernel_size": 5}, False),
    ],
)
def test_which_depthwise_convolutions_get_other_gradients(policy, arguments, fast):
    model = depthwise((16, 16), policy, arguments)
    with kernels.fast_depthwise(model):
        assert ("call" in vars(model.get_layer("dw"))) is fast


@on_tensorflow
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_folded_depthwise_convolution_has_fast_gradients(policy):
    import tensorflow as tf

    with numbers(policy):
        inputs = keras.Input((8, 8, 3))
        x = layers.DepthwiseConv2D(5, padding="same", use_bias=False, name="dw")(inputs)
        model = keras.Model(inputs, layers.BatchNormalization(trainable=False)(x))
    x = np.ones((2, 8, 8, 3), "float32")

    def widths():
        """Of the kernels whose gradients are computed, and in which type."""
        traced = tf.function(lambda: gradients_of(model, x)).get_concrete_function()
        return [
            (tf.get_static_value(each.inputs[1])[1], each.inputs[0].dtype.name)
            for each in traced.graph.get_operations()
            if each.type == "DepthwiseConv2dNativeBackpropFilter"
        ]

    with speed.fast_training(model):
        assert widths() == [(3, "float32"), (2, "float32")]
    assert widths() == [(5, model.get_layer("dw").compute_dtype)]


def gradients_of(model, x):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x))
    return tape.gradient(loss, model.get_layer("dw").kernel.value)


@on_tensorflow
def test_what_was_traced_is_forgotten_with_its_kernels():
    x = np.ones((2, 5, 6, 7), "float32")
    model = normed()
    model.compile("sgd", "mse", jit_compile=False)
    model.test_on_batch(x, x)
    with kernels.fused_batch_norm(model):
        assert model.test_function is None
        model.train_on_batch(x, x)
        model.predict_on_batch(x)
    assert (model.train_function, model.predict_function) == (None, None)
    model.train_on_batch(x, x)


@on_tensorflow
def test_plain_keras_opens_what_was_trained_so(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.ReLU()(x))))
    x = np.random.default_rng(2).normal(size=(6, 8, 8, 3)).astype("float32")
    with kernels.fused_batch_norm(model):
        model.compile("sgd", "mse", jit_compile=False)
        model.fit(x, x[:, 0, 0, :2], verbose=0)
    model.save(tmp_path / "model.keras")
    with kernels.fused_batch_norm(model):
        model.save(tmp_path / "within.keras")
        fused = model.predict_on_batch(x)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", model.predict_on_batch(x))
    np.testing.assert_allclose(fused, np.load(tmp_path / "y.npy"), rtol=1e-4, atol=1e-5)
    code = (
        "import sys, keras, numpy as np\n"
        "for name in ('model', 'within'):\n"
        "    model = keras.models.load_model(name + '.keras')\n"
        "    assert 'keras_classics' not in sys.modules\n"
        "    y = model.predict_on_batch(np.load('x.npy'))\n"
        "    np.testing.assert_allclose(y, np.load('y.npy'), rtol=1e-4, atol=1e-5)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": ""}
    )
