from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_classics import build, convolutional_block, identity_block
from keras_classics.architectures.resnet import V1, V1_5, D
from weights.references import torch_module

SHAPE = (75, 64, 3)


@pytest.mark.parametrize("variant", [V1, V1_5, D])
def test_identity_block(variant):
    x = keras.Input((9, 14, 24))
    model = keras.Model(x, identity_block(x, filters=6, name="mine", variant=variant))
    assert model.output_shape == (None, 9, 14, 24)
    assert model.layers[-1].name == "mine_out"
    assert not [layer for layer in model.layers if layer.name.startswith("mine_0")]
    assert model.get_layer("mine_add").input[0] is x


@pytest.mark.parametrize("variant", [V1, V1_5, D])
@pytest.mark.parametrize(("strides", "sides"), [(1, (9, 14)), (2, (5, 7))])
def test_convolutional_block(variant, strides, sides):
    x = keras.Input((9, 14, 10))
    y = convolutional_block(x, filters=6, name="mine", strides=strides, variant=variant)
    model = keras.Model(x, y)
    assert model.output_shape == (None, *sides, 24)
    pools = [x for x in model.layers if isinstance(x, keras.layers.AveragePooling2D)]
    assert len(pools) == (variant is D and strides == 2)
    first, second, shortcut = (model.get_layer(f"mine_{i}_conv").strides[0] for i in (1, 2, 0))
    expected = {V1: (strides, 1, strides), V1_5: (1, strides, strides), D: (1, strides, 1)}
    assert (first, second, shortcut) == expected[variant]
    assert {x.use_bias for x in model.layers if hasattr(x, "use_bias")} == {variant is V1}


def test_identity_block_with_zero_weights_passes_the_input_through(images, run):
    x = keras.Input((5, 5, 8))
    model = keras.Model(x, identity_block(x, filters=2, name="mine"))
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    values = images(1, 5, 5, 8)
    np.testing.assert_array_equal(run(model, values), np.maximum(values, 0))


@pytest.mark.every_backend
def test_own_network_from_blocks_learns_one_step(images):
    inputs = keras.Input((8, 8, 3))
    x = convolutional_block(inputs, filters=2, name="mine1", strides=1)
    x = identity_block(x, filters=2, name="mine2")
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    kernels = [w for w in model.trainable_weights if w.name == "kernel"]
    assert len(kernels) == 4 + 3 + 1
    before = [keras.ops.convert_to_numpy(w) for w in kernels]
    model.compile("adam", "mse", jit_compile=False)
    assert np.isfinite(model.train_on_batch(images(8, 8, 8, 3), images(8, 2)))
    for old, kernel in zip(before, kernels, strict=True):
        assert np.abs(keras.ops.convert_to_numpy(kernel) - old).max() > 0, kernel.path


@pytest.mark.parametrize(
    ("network", "parameters"), [("resnet50_v1_5", 25_557_032), ("resnet50_d", 25_576_264)]
)
def test_trainable_parameters_are_those_of_the_torch_models(network, parameters):
    model = build(network, weights=None, input_shape=SHAPE)
    # torch does not count the moving statistics.
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == parameters


def torchvision_name(layer):
    """conv3_block2_1_conv -> layer2.1.conv1, conv3_block1_0_bn -> layer2.0.downsample.1."""
    words = layer.split("_")
    if layer.startswith("conv1_"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn1"}[layer]
    if layer == "predictions":
        return "fc"
    stage, block, unit, kind = words
    path = f"layer{int(stage[4:]) - 1}.{int(block[5:]) - 1}"
    if unit == "0":
        return f"{path}.downsample.{('conv', 'bn').index(kind)}"
    return f"{path}.{kind}{unit}"


def timm_name(layer):
    """As torchvision's, but for the deep stem, and the pooling ahead of the shortcut's layers."""
    stem = {
        "conv1_a_conv": "conv1.0", "conv1_a_bn": "conv1.1", "conv1_b_conv": "conv1.3",
        "conv1_b_bn": "conv1.4", "conv1_c_conv": "conv1.6", "conv1_c_bn": "bn1",
    }  # fmt: skip
    if layer in stem:
        return stem[layer]
    name = torchvision_name(layer)
    for before, after in ((".downsample.1", ".downsample.2"), (".downsample.0", ".downsample.1")):
        if name.endswith(before):
            return name.removesuffix(before) + after
    return name


def copy_from_torch(source, model, translate):
    """Copies all tensors by name; returns the names of those that no layer asked for."""
    state = {key: value.numpy() for key, value in source.state_dict().items()}
    for layer in (layer for layer in model.layers if layer.weights):
        name = translate(layer.name)
        parts = (
            ("weight", "bias", "running_mean", "running_var")
            if isinstance(layer, keras.layers.BatchNormalization)
            else ("weight", "bias")
        )
        tensors = [state.pop(f"{name}.{part}") for part in parts if f"{name}.{part}" in state]
        axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}  # torch: filters first
        layer.set_weights([tensor.transpose(axes[tensor.ndim]) for tensor in tensors])
    return [key for key in state if not key.endswith("num_batches_tracked")]


def randomised(model):
    """Random weights and statistics, so that no constant hides a swapped tensor."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.6, 1.2)
    return model.eval()


@pytest.mark.parametrize(
    ("network", "module", "translate"),
    [
        ("resnet50_v1_5", "torchvision.models", torchvision_name),
        ("resnet50_d", "timm.models.resnet", timm_name),
    ],
)
def test_outputs_are_those_of_the_torch_models(network, module, translate, images, run):
    import torch

    constructor = {"resnet50_v1_5": "resnet50", "resnet50_d": "resnet50d"}[network]
    theirs = randomised(getattr(torch_module(module), constructor)())
    ours = build(network, weights=None, input_shape=SHAPE, classifier_activation=None)
    assert copy_from_torch(theirs, ours, translate) == []
    x = images(2, *SHAPE)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert 0.01 < expected.std() < 1000
    error = np.abs(run(ours, x) - expected).max() / np.abs(expected).max()
    assert error < 1e-5


def test_the_variants_kernels_fit_each_other_and_mean_other_things(images, run):
    """Why a variant is a record of its own, checked when weights are loaded."""
    arguments = {"weights": None, "width": 1 / 8, "input_shape": SHAPE, "classes": 5}
    one, other = (build(n, **arguments) for n in ("resnet50", "resnet50_v1_5"))
    for layer in (layer for layer in one.layers if layer.weights):
        own = layer.get_weights()
        kept = own[:1] if isinstance(layer, keras.layers.Conv2D) else own  # the biases are zero
        other.get_layer(layer.name).set_weights(kept)
    x = images(2, *SHAPE)
    assert np.abs(run(one, x) - run(other, x)).max() > 1e-3


@pytest.mark.parametrize(
    ("network", "epsilon", "momentum"),
    [("resnet50", 1.001e-5, 0.99), ("resnet50_v1_5", 1e-5, 0.9), ("resnet50_d", 1e-5, 0.9)],
)
def test_batch_norm_of_the_variants(network, epsilon, momentum):
    model = build(network, weights=None, width=1 / 16, input_shape=SHAPE)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == {"resnet50_d": 55}.get(network, 53)
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(epsilon, momentum)}
