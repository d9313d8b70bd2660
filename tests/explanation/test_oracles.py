"""The same weights and images in pytorch-grad-cam, Captum and tf-keras-vis: the same maps."""

from __future__ import annotations

import importlib
import warnings
from unittest import mock

import keras
import numpy as np
import pytest
from scipy.fft import dct

from conftest import random_values
from keras_classics.architectures.catalog import CATALOG
from keras_classics.architectures.frame import build
from keras_classics.explanation.attribution import (
    integrated_gradients,
    noisy,
    occlusion,
    smooth_grad,
)
from keras_classics.explanation.cam import cam
from keras_classics.explanation.probe import Probe
from keras_classics.explanation.visualisation import COLOURS, _frequencies, visualise
from keras_classics.heat import enlarged
from keras_classics.weights.torch_files import state_dict
from weights.references import narrow_vgg16, torch_module

torch = pytest.importorskip("torch")

CLASSES = 7
# Where the blocks end in torchvision.
ENDS = {"conv3": "layer2", "conv4_block3": "layer3.2", "conv5": "layer4"}
# Of the largest value. Both sides compute in float32, through up to 53 convolutions and back, and
# sum in other orders.
TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def networks():
    """A ResNet50 of version 1.5 here and in torchvision, with the same random weights."""
    ours = randomised(build(CATALOG["resnet50_v1_5"], input_shape=(64, 64, 3), classes=CLASSES))
    theirs = torch_module("torchvision.models").resnet50(num_classes=CLASSES)
    return Probe(ours), carried_over(ours, "resnet50_v1_5", theirs)


@pytest.fixture(scope="module")
def narrow_vgg():
    """A VGG16 of 1/16 of the width here and there, for methods that ask a network many times."""
    ours = build(CATALOG["vgg16"], input_shape=(64, 64, 3), classes=CLASSES, width=1 / 16)
    theirs = narrow_vgg16("torchvision", CLASSES)
    theirs.avgpool = torch.nn.Identity()  # it would stretch 2 x 2 positions to 7 x 7
    theirs.classifier[0] = torch.nn.Linear(32 * 2 * 2, 256)
    return Probe(randomised(ours)), carried_over(ours, "vgg16", theirs)


def randomised(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random_values(weight.name, tuple(weight.shape), rng))
    return model


def carried_over(ours, name, theirs):
    """The torch model with our weights."""
    tensors, _ = state_dict(ours, CATALOG[name], "torchvision")
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    for module in theirs.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False  # hooks of the oracles see what was before
    return theirs.eval()


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype("float32")


def to_torch(x):
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def assert_equal(found, expected, tolerance=TOLERANCE):
    assert found.shape == expected.shape
    largest = np.abs(expected).max()
    assert largest > 0
    np.testing.assert_allclose(found / largest, expected / largest, rtol=0, atol=tolerance)


def test_the_networks_are_the_same(networks, pictures):
    probe, theirs = networks
    with torch.no_grad():
        expected = theirs(to_torch(pictures)).numpy()
    assert_equal(probe.run(pictures).scores, expected)


def pytorch_grad_cam(networks, pictures, kind, end, classes):
    """The library's map before it is scaled, enlarged and scaled again."""
    library = torch_module("pytorch_grad_cam")
    targets = torch_module("pytorch_grad_cam.utils.model_targets")
    base = importlib.import_module("pytorch_grad_cam.base_cam")
    _, theirs = networks
    wanted = [targets.ClassifierOutputTarget(index) for index in classes]
    kept = []

    def keep(maps, size=None):
        kept.append(maps)
        return maps if size is None else enlarged(maps, size)

    with (
        getattr(library, kind)(model=theirs, target_layers=[theirs.get_submodule(end)]) as method,
        mock.patch.object(base, "scale_cam_image", keep),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        method(input_tensor=to_torch(pictures), targets=wanted)
    return kept[0]


@pytest.mark.parametrize("block", ENDS)
@pytest.mark.parametrize(("method", "kind"), [("grad-cam", "GradCAM"), ("layer-cam", "LayerCAM")])
def test_pytorch_grad_cam(networks, pictures, method, kind, block):
    expected = pytorch_grad_cam(networks, pictures, kind, ENDS[block], [2, 5])
    found = cam(networks[0], pictures, method=method, layers=[block], classes=[2, 5])[block]
    assert_equal(found, expected)


@pytest.mark.parametrize("block", ENDS)
def test_pytorch_grad_cam_plus_plus(networks, pictures, block):
    """The library adds 1e-6 to a denominator, which the paper does not: large scores hide it."""
    probe, theirs = networks
    kernel = probe.model.get_layer("predictions").kernel
    before = keras.ops.convert_to_numpy(kernel)
    try:
        kernel.assign(before * 1e4)
        with torch.no_grad():
            theirs.fc.weight *= 1e4
        expected = pytorch_grad_cam(networks, pictures, "GradCAMPlusPlus", ENDS[block], [2, 5])
        found = cam(probe, pictures, method="grad-cam++", layers=[block], classes=[2, 5])[block]
    finally:
        kernel.assign(before)
        with torch.no_grad():
            theirs.fc.weight /= 1e4
    assert_equal(found, expected)


def test_pytorch_grad_cam_score_cam(narrow_vgg, pictures):
    """The library enlarges from corner to corner; the paper's program, and we, do not."""

    def centres(size):
        return torch.nn.Upsample(size=tuple(size), mode="bilinear", align_corners=False)

    with mock.patch.object(torch.nn, "UpsamplingBilinear2d", centres):
        expected = pytorch_grad_cam(narrow_vgg, pictures, "ScoreCAM", "features.23", [3, 0])
    found = cam(narrow_vgg[0], pictures, method="score-cam", layers=["block4"], classes=[3, 0])[
        "block4"
    ]
    assert_equal(found, expected)


@pytest.mark.parametrize("block", ENDS)
def test_captum_grad_cam(networks, pictures, block):
    probe, theirs = networks
    method = torch_module("captum.attr").LayerGradCam(theirs, theirs.get_submodule(ENDS[block]))
    expected = (
        method.attribute(to_torch(pictures), target=[1, 6], relu_attributions=True)
        .detach()
        .numpy()[:, 0]
    )
    assert_equal(cam(probe, pictures, layers=[block], classes=[1, 6])[block], expected)


def test_captum_gradient(narrow_vgg, pictures):
    probe, theirs = narrow_vgg
    method = torch_module("captum.attr").Saliency(theirs)
    expected = method.attribute(to_torch(pictures).requires_grad_(), target=4, abs=False)
    found = smooth_grad(probe, pictures, classes=4, samples=1, noise=0)
    assert_equal(found, expected.numpy().transpose(0, 2, 3, 1))


def test_captum_smooth_grad(narrow_vgg, pictures):
    """With the same noise: Captum draws its own, which is exchanged for ours."""
    probe, theirs = narrow_vgg
    attr = torch_module("captum.attr")
    one = pictures[:1]
    noise = noisy(one[0], samples=5, noise=0.2, seed=3)
    drawn = mock.Mock(return_value=to_torch(noise))
    with mock.patch.object(torch, "normal", drawn):
        expected = attr.NoiseTunnel(attr.Saliency(theirs)).attribute(
            to_torch(one), nt_type="smoothgrad", nt_samples=5, stdevs=1.0, target=0, abs=False
        )
    assert drawn.called
    found = smooth_grad(probe, one, classes=0, samples=5, noise=0.2, seed=3)
    assert_equal(found, expected.detach().numpy().transpose(0, 2, 3, 1))


@pytest.mark.parametrize("steps", [1, 12])
def test_captum_integrated_gradients(narrow_vgg, pictures, steps):
    probe, theirs = narrow_vgg
    baseline = np.full_like(pictures, -0.5)
    expected, delta = (
        torch_module("captum.attr")
        .IntegratedGradients(theirs)
        .attribute(
            to_torch(pictures),
            baselines=to_torch(baseline),
            target=[0, 3],
            n_steps=steps,
            return_convergence_delta=True,
        )
    )
    found = integrated_gradients(probe, pictures, classes=[0, 3], baseline=baseline, steps=steps)
    assert_equal(found.attributions, expected.detach().numpy().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(found.gaps, delta.numpy(), atol=1e-3 * np.abs(delta.numpy()).max())


@pytest.mark.parametrize(("window", "stride"), [(16, 16), (24, 20)])
def test_captum_occlusion(narrow_vgg, pictures, window, stride):
    probe, theirs = narrow_vgg
    expected = (
        torch_module("captum.attr")
        .Occlusion(theirs)
        .attribute(
            to_torch(pictures),
            sliding_window_shapes=(3, window, window),
            strides=(3, stride, stride),
            baselines=0.25,
            target=[6, 1],
        )
    )
    found = occlusion(probe, pictures, classes=[6, 1], window=window, stride=stride, baseline=0.25)
    each_channel = expected.detach().numpy()
    assert_equal(found, each_channel[:, 0])


@pytest.mark.parametrize(("block", "end"), [("block2", 9), ("block3", 16), ("block5", 30)])
def test_captum_neuron_gradient(narrow_vgg, pictures, block, end):
    """Of the mean of a channel, another one for each image: what feature visualisation ascends.

    Down to the pixels of the wide ResNet50 one unit of a million stands so near 0 that rounding
    decides whether its ReLU lets the gradient through.
    """
    probe, theirs = narrow_vgg
    means = probe.run(pictures, [block]).taps[block].mean(axis=(1, 2))
    wanted = [int(means[0].argsort()[-1]), int(means[1].argsort()[-2])]  # of those that are alive
    method = torch_module("captum.attr").NeuronGradient(theirs, theirs.features[end])
    expected = method.attribute(
        to_torch(pictures).requires_grad_(),
        lambda maps: maps[[0, 1], wanted].mean(dim=(1, 2)),
    )
    found, slopes = probe.channel_gradients(pictures, block, wanted)
    with torch.no_grad():
        maps = theirs.features[: end + 1](to_torch(pictures))
    assert_equal(found, maps[[0, 1], wanted].mean(dim=(1, 2)).numpy())
    assert_equal(slopes, expected.detach().numpy().transpose(0, 2, 3, 1))


def test_feature_visualisation_is_adam_with_the_gradients_of_torch(narrow_vgg):
    """Torch differentiates all of it from the spectrum on: colours, order, jitter, variation."""
    probe, theirs = narrow_vgg
    steps, rate, seed, weight = 5, 0.1, 2, 0.3
    found = visualise(
        probe, "block3", [3, 11], order=(2, 1, 0), steps=steps, rate=rate, jitter=3,
        variation=weight, seed=seed,
    )  # fmt: skip

    rng = np.random.default_rng(seed)
    spectrum = torch.from_numpy(rng.normal(0, 0.01, (2, 64, 64, 3))).requires_grad_()
    adam = torch.optim.Adam([spectrum], lr=rate, eps=0.1, maximize=True)
    waves, mixing, frequencies = map(
        torch.from_numpy, (dct(np.eye(64), axis=0, norm="ortho"), COLOURS.T, _frequencies(64, 64))
    )
    for step in range(steps + 1):
        image = torch.einsum("uy,vx,nuvc->nyxc", waves, waves, spectrum * frequencies)
        shown = torch.sigmoid(image @ mixing)
        images = 2 * shown.flip(-1).permute(0, 3, 1, 2).float() - 1
        if step == steps:
            break
        shift = rng.integers(-3, 4, 2).tolist()
        maps = theirs.features[:17](images.roll(shift, dims=(2, 3)))
        rough = [shown.diff(dim=dim).square().sum() / 64**2 for dim in (1, 2)]
        value = maps[[0, 1], [3, 11]].mean(dim=(1, 2)).sum() - weight * sum(rough)
        adam.zero_grad()
        value.backward()
        spectrum.grad /= spectrum.grad.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        adam.step()
    assert_equal(found.images, images.detach().numpy().transpose(0, 2, 3, 1))
    means = theirs.features[:17](images)[[0, 1], [3, 11]].mean(dim=(1, 2))
    assert_equal(found.activations[:, -1], means.detach().numpy())


@pytest.fixture
def vis():
    """tf-keras-vis, which runs on TensorFlow alone."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf-keras-vis needs TensorFlow")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("tf_keras_vis")
        from tf_keras_vis import activation_maximization, gradcam, saliency
        from tf_keras_vis.utils.scores import CategoricalScore

        yield {
            "grad-cam": gradcam.Gradcam,
            "saliency": saliency.Saliency,
            "ascent": activation_maximization.ActivationMaximization,
            "score": CategoricalScore,
        }


@pytest.fixture(scope="module")
def narrow():
    """A narrow Inception V3 that gives scores, as tf-keras-vis wants them."""
    model = build(
        CATALOG["inception_v3"],
        input_shape=(75, 75, 3),
        classes=5,
        width=0.125,
        classifier_activation=None,
    )
    x = np.random.default_rng(4).normal(size=(2, 75, 75, 3)).astype("float32")
    return randomised(model), x


@pytest.mark.parametrize("block", ["mixed2", "mixed7", "mixed10"])
def test_tf_keras_vis_grad_cam(vis, narrow, block):
    model, x = narrow
    expected = vis["grad-cam"](model, clone=False)(
        vis["score"]([4, 1]),
        x,
        penultimate_layer=block,
        seek_penultimate_conv_layer=False,
        expand_cam=False,
        normalize_cam=False,
    )
    found = cam(Probe(model), x, layers=[block], classes=[4, 1])[block]
    assert_equal(found, np.asarray(expected))


def test_tf_keras_vis_gradient(vis, narrow):
    model, x = narrow
    expected = vis["saliency"](model, clone=False)(
        vis["score"]([4, 1]), x, keepdims=True, normalize_map=False, gradient_modifier=None
    )
    found = smooth_grad(Probe(model), x, classes=[4, 1], samples=1, noise=0)
    assert_equal(found, np.asarray(expected))


@pytest.mark.parametrize("block", ["mixed2", "mixed7", "mixed10"])
def test_tf_keras_vis_activation_maximization(vis, narrow, block):
    """Its step of plain gradient ascent, without regularisers or jitter, is the gradient."""
    model, x = narrow
    probe = Probe(model)
    means = probe.run(x, [block]).taps[block].mean(axis=(1, 2))
    wanted = [int(means[0].argsort()[-1]), int(means[1].argsort()[-2])]  # of those that are alive
    part = keras.Model(model.input, model.get_layer(block).output)
    after = vis["ascent"](part, clone=False)(
        lambda maps: keras.ops.stack(
            [keras.ops.mean(maps[i, ..., channel]) for i, channel in enumerate(wanted)]
        ),
        x,
        input_range=None,
        input_modifiers=[],
        regularizers=[],
        steps=1,
        optimizer=keras.optimizers.SGD(1.0),
    )
    found, slopes = probe.channel_gradients(x, block, wanted)
    assert_equal(found, means[[0, 1], wanted])
    assert_equal(slopes, np.asarray(after) - x)
