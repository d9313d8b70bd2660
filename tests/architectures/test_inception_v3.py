from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest

from keras_classics import (
    InceptionV3,
    InceptionV3Torch,
    grid_size_reduction,
    module_a,
    module_b,
    module_c,
)
from keras_classics.architectures.inception_v3 import (
    KERAS,
    REDUCTION_17_TO_8,
    REDUCTION_35_TO_17,
    TORCH,
    auxiliary_head,
)
from keras_classics.weights.layouts import layouts_of
from weights.references import randomised, torch_module


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


@pytest.mark.parametrize("variant", [KERAS, TORCH])
@pytest.mark.parametrize(
    ("block", "arguments"), [(module_a, {"pool": 32}), (module_b, {"inner": 128}), (module_c, {})]
)
def test_pooling_counts_the_padding_as_its_variant_does(block, arguments, variant, run):
    """The mean of ones: one everywhere, or less at the border, where zeros are counted."""
    model = module(block, 3, width=1 / 4, variant=variant, **arguments)
    pool = keras.Model(model.inputs, model.get_layer("mine_pool_avg").output)
    expected = np.ones((9, 12))
    if variant is TORCH:  # 6 of the 9 pixels of a window are inside at a side, 4 at a corner
        expected[[0, -1]] *= 2 / 3
        expected[:, [0, -1]] *= 2 / 3
    values = run(pool, np.ones((1, 9, 12, 3), "float32"))[0, :, :, 1]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize("variant", [KERAS, TORCH])
def test_the_variants_differ_in_layers_of_pooling_alone(variant):
    model = module(module_a, 192, pool=64, variant=variant)
    assert model.output_shape == (None, 9, 12, 288)
    pads = [x.name for x in model.layers if isinstance(x, keras.layers.ZeroPadding2D)]
    assert pads == (["mine_pool_pad"] if variant is TORCH else [])
    pool = model.get_layer("mine_pool_avg")
    assert pool.padding == ("valid" if variant is TORCH else "same")


@pytest.mark.parametrize(
    ("constructor", "gamma", "momentum"),
    [(InceptionV3, False, 0.99), (InceptionV3Torch, True, 0.9)],
)
@pytest.mark.parametrize("auxiliary", [True, False])
def test_batch_norm_of_the_variants(constructor, gamma, momentum, auxiliary):
    model = constructor(weights=None, width=1 / 16, input_shape=(75, 75, 3), auxiliary=auxiliary)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 94 + 2 * auxiliary
    # torch's momentum is the other way round: 0.1.
    expected = {(gamma, 1e-3, momentum)}
    assert {(norm.scale, norm.epsilon, norm.momentum) for norm in norms} == expected
    assert {x.use_bias for x in model.layers if isinstance(x, keras.layers.Conv2D)} == {False}


# Torchvision's modules, the names of their parts in the order of ours, and ours.
BLOCKS = {
    "InceptionA": (
        (192, 32), partial(module_a, pool=32), "mixed0", "Mixed_5b",
    ),
    "InceptionB": (
        (288,), partial(grid_size_reduction, branches=REDUCTION_35_TO_17), "mixed3", "Mixed_6a",
    ),
    "InceptionC": ((768, 128), partial(module_b, inner=128), "mixed4", "Mixed_6b"),
    "InceptionD": (
        (768,), partial(grid_size_reduction, branches=REDUCTION_17_TO_8), "mixed8", "Mixed_7a",
    ),
    "InceptionE": ((1280,), module_c, "mixed9", "Mixed_7b"),
    "InceptionAux": ((768, 10), partial(auxiliary_head, prefix="", width=1.0, classes=10,
                                        activation=None), "", "AuxLogits"),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_each_module_is_torchvisions(name, images, run):
    """By its own random tensors, the moving statistics included, and on a grid of odd sides."""
    import torch

    arguments, block, ours, prefix = BLOCKS[name]
    blocks = torch_module("torchvision.models.inception")
    theirs = randomised(getattr(blocks, name)(*arguments))
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    layout = next(each for each in layouts_of("inception_v3_torch") if each.name == "torchvision")
    shape = (17, 17, arguments[0])
    x = keras.Input(shape)
    model = keras.Model(x, block(x, variant=TORCH, **({"name": ours} if ours else {})))
    for layer in (layer for layer in model.layers if layer.weights):
        path = layout.module(layer.name).removeprefix(f"{prefix}.")
        parts = ("weight", "bias", "running_mean", "running_var")
        values = [state.pop(f"{path}.{part}") for part in parts if f"{path}.{part}" in state]
        axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
        layer.set_weights([value.transpose(axes[value.ndim]) for value in values])
    assert all(key.endswith("num_batches_tracked") for key in state)
    values = images(2, *shape)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(values.transpose(0, 3, 1, 2).copy())).numpy()
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    assert 0.01 < expected.std() < 100
    error = np.abs(run(model, values) - expected).max() / np.abs(expected).max()
    assert error < 1e-5


@pytest.mark.slow
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
    model.compile("adam", "mse", jit_compile=False)
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
