from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_classics import (
    InceptionV3,
    grid_size_reduction,
    module_a,
    module_b,
    module_c,
    without_auxiliary,
)
from keras_classics.architectures.inception_v3 import REDUCTION_17_TO_8, REDUCTION_35_TO_17


def convolutions(model):
    """Kernel sizes with filters, in any order."""
    return sorted(
        (*layer.kernel_size, layer.filters)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    )


def module(function, channels, sides=(9, 12), **arguments):
    x = keras.Input((*sides, channels))
    return keras.Model(x, function(x, name="mine", **arguments))


def test_module_a_is_figure_5():
    model = module(module_a, 192, pool=32)
    assert model.output_shape == (None, 9, 12, 256)
    assert convolutions(model) == sorted(
        [(1, 1, 64), (1, 1, 48), (5, 5, 64), (1, 1, 64), (3, 3, 96), (3, 3, 96), (1, 1, 32)]
    )
    assert model.layers[-1].name == "mine"
    assert module(module_a, 8, pool=64, width=1 / 8).output_shape == (None, 9, 12, 36)


def test_module_b_is_figure_6():
    model = module(module_b, 768, inner=160)
    assert model.output_shape == (None, 9, 12, 768)
    row, column = (1, 7), (7, 1)
    assert convolutions(model) == sorted(
        [
            (1, 1, 192), (1, 1, 160), (*row, 160), (*column, 192), (1, 1, 160), (*column, 160),
            (*row, 160), (*column, 160), (*row, 192), (1, 1, 192),
        ]
    )  # fmt: skip
    assert module(module_b, 8, inner=128, width=1 / 8).output_shape == (None, 9, 12, 96)


def test_module_c_is_figure_7():
    model = module(module_c, 1280)
    assert model.output_shape == (None, 9, 12, 2048)
    assert convolutions(model) == sorted(
        [
            (1, 1, 320), (1, 1, 384), (1, 3, 384), (3, 1, 384), (1, 1, 448), (3, 3, 384),
            (1, 3, 384), (3, 1, 384), (1, 1, 192),
        ]
    )  # fmt: skip
    names = [x.name for x in model.layers if isinstance(x, keras.layers.Concatenate)]
    assert sorted(names) == ["mine", "mine_3x3", "mine_3x3dbl"]
    named = module(module_c, 8, width=1 / 8, split_name="other")
    assert "other" in {layer.name for layer in named.layers}
    assert named.output_shape == (None, 9, 12, 256)


@pytest.mark.parametrize(
    ("branches", "channels", "filters"),
    [(REDUCTION_35_TO_17, 288, 384 + 96 + 288), (REDUCTION_17_TO_8, 768, 320 + 192 + 768)],
)
@pytest.mark.parametrize(("sides", "halves"), [((35, 35), (17, 17)), ((9, 12), (4, 5))])
def test_grid_size_reduction_is_figure_10(branches, channels, filters, sides, halves):
    model = module(grid_size_reduction, channels, sides, branches=branches)
    assert model.output_shape == (None, *halves, filters)
    assert isinstance(model.get_layer("mine_pool"), keras.layers.MaxPooling2D)


def test_pooling_does_not_count_the_padding(run):
    """The mean of ones is one at the border too, so the projection gives the same everywhere."""
    model = module(module_a, 3, pool=32, width=1 / 4)
    pool = keras.Model(model.inputs, model.get_layer("mine_pool_avg").output)
    np.testing.assert_allclose(run(pool, np.ones((1, 9, 12, 3), "float32")), 1, rtol=1e-6)


def test_no_gamma_no_bias():
    model = InceptionV3(weights=None, width=1 / 16, input_shape=(75, 75, 3))
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 94
    assert {(norm.scale, norm.epsilon, norm.momentum) for norm in norms} == {(False, 1e-3, 0.99)}
    assert {x.use_bias for x in model.layers if isinstance(x, keras.layers.Conv2D)} == {False}


@pytest.mark.backends
def test_own_network_from_modules_learns_one_step(images):
    inputs = keras.Input((15, 15, 3))
    x = module_a(inputs, pool=32, width=1 / 16, name="mine1")
    x = grid_size_reduction(x, branches=REDUCTION_35_TO_17, width=1 / 16, name="mine2")
    x = module_b(x, inner=128, width=1 / 16, name="mine3")
    x = module_c(x, width=1 / 16, name="mine4")
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    kernels = [w for w in model.trainable_weights if w.name == "kernel"]
    assert len(kernels) == 7 + 4 + 10 + 9 + 1
    before = [keras.ops.convert_to_numpy(w) for w in kernels]
    model.compile("adam", "mse")
    assert np.isfinite(model.train_on_batch(images(4, 15, 15, 3), images(4, 2)))
    for old, kernel in zip(before, kernels, strict=True):
        assert np.abs(keras.ops.convert_to_numpy(kernel) - old).max() > 0, kernel.path


def test_the_auxiliary_head_has_the_parameters_of_torchvisions():
    """Those of the reference, less its batch norms' gammas: 128 and 768, which Keras' has not."""
    arguments = {"weights": None, "width": 1.0}
    plain, model = (InceptionV3(auxiliary=a, **arguments) for a in (False, True))

    def trainable(model):
        return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)

    assert trainable(model) - trainable(plain) == 3_326_696 - 128 - 768
    # The main part has one gamma less for each of its filters as well.
    filters = sum(layer.filters for layer in plain.layers if isinstance(layer, keras.layers.Conv2D))
    assert trainable(model) == 27_161_264 - 128 - 768 - filters
    assert model.get_layer("auxiliary_avg").output.shape == (None, 5, 5, 768)
    assert model.get_layer("auxiliary_2_conv").kernel_size == (5, 5)


@pytest.mark.parametrize("shape", [(75, 75, 3), (107, 300, 3), (None, None, 3)])
def test_the_auxiliary_head_on_other_sizes(shape, images, run):
    model = InceptionV3(weights=None, width=1 / 16, classes=3, input_shape=shape, auxiliary=True)
    fixed = [side or 299 for side in shape]
    outputs = run(model, images(1, *fixed))
    assert [output.shape for output in outputs] == [(1, 3), (1, 3)]
    assert all(np.isfinite(output).all() for output in outputs)


def test_detaching_shares_the_layers():
    model = InceptionV3(
        weights=None, width=1 / 16, input_shape=(139, 139, 3), auxiliary=True, prefix="a_"
    )
    alone = without_auxiliary(model)
    assert {layer.name for layer in model.layers} - {layer.name for layer in alone.layers} == {
        f"a_auxiliary_{part}"
        for part in (
            "avg", "1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "2_relu", "pool", "predictions",
        )
    }  # fmt: skip
    assert all(layer is model.get_layer(layer.name) for layer in alone.layers)
    with pytest.raises(ValueError, match=r"has 1 output\(s\); only one built with auxiliary=True"):
        without_auxiliary(alone)
