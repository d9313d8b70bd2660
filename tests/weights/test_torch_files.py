"""Files of torchvision and timm, made by these libraries with random weights."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import re
import sys

import keras
import numpy as np
import pytest

from keras_classics import CATALOG, build, without_auxiliary
from keras_classics.errors import WeightsError
from keras_classics.weights.conversion import convert
from keras_classics.weights.loading import COUNTER, LEFT_OUT, load_weights
from keras_classics.weights.preprocess import preprocess
from keras_classics.weights.torch_files import read_state_dict, state_dict, write_torch
from weights.references import (
    narrow_vgg16,
    outputs,
    randomised,
    save,
    torch_module,
    torch_network,
)

ENDINGS = (".pth", ".safetensors")
SMALL = {"width": 1 / 16, "classes": 5, "classifier_activation": None}


def relative_error(values, expected):
    assert values.shape == expected.shape
    assert 0.01 < expected.std() < 1000
    return np.abs(values - expected).max() / np.abs(expected).max()


def assert_same_outputs(model, network, x, run):
    """Within 1e-5 of the largest output, on images of which no two give the same."""
    expected = outputs(network, x)
    if len(x) > 1:
        assert np.abs(expected[0] - expected[1]).max() > 1e-3 * np.abs(expected).max()
    assert relative_error(run(model, x), expected) < 1e-5


def check_report(placements, tensors, model):
    """Each tensor of the file and each of the network stands in it once."""
    there = [p.there for p in placements]
    assert sorted(there) == sorted(tensors)
    here = [p.here for p in placements if p.here]
    assert here == [f"{layer.name}/{w.name}" for layer in model.layers for w in layer.weights]
    for p in placements:
        assert p.shape_there == tuple(tensors[p.there].shape)
        if p.here:
            layer, _, weight = p.here.partition("/")
            assert p.shape_here == tuple(getattr(model.get_layer(layer), weight).shape)
    return {p.there: p.change for p in placements}


@pytest.mark.parametrize(
    ("library", "name", "network", "size"),
    [
        ("torchvision", "resnet50", "resnet50_v1_5", 64),
        ("timm", "resnet50", "resnet50_v1_5", 64),
        ("timm", "resnet50d", "resnet50_d", 64),
        ("timm", "inception_v3", "inception_v3_torch", 139),
    ],
)
def test_outputs_are_those_of_the_libraries(library, name, network, size, tmp_path, images, run):
    theirs = torch_network(library, name)
    shape = (size, size + 11, 3)
    model = loaded_of_each_ending(theirs, network, tmp_path, input_shape=shape)
    assert_same_outputs(model, theirs, images(2, *shape), run)


def loaded_of_each_ending(theirs, network, folder, **arguments):
    """The network with the weights of a file, which are those of the file of the other ending."""
    paths = [save(theirs.state_dict(), folder / f"file{ending}") for ending in ENDINGS]
    model = build(network, weights=paths[0], classifier_activation=None, **arguments)
    weights = model.get_weights()
    model.set_weights([np.zeros_like(weight) for weight in weights])
    load_weights(model, paths[1], architecture=CATALOG[network])
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    return model


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_outputs_of_a_narrow_vgg_are_those_of_the_libraries(library, tmp_path, images, run):
    theirs = narrow_vgg16(library)
    x = images(2, 224, 224, 3)
    model = loaded_of_each_ending(theirs, "vgg16", tmp_path, width=1 / 16, classes=5)
    assert_same_outputs(model, theirs, x, run)
    path = str(tmp_path / "file.pth")
    headless = build("vgg16", weights=path, include_top=False, width=1 / 16)
    assert relative_error(run(headless, x), channels_last(theirs.features, x)) < 1e-5
    report = load_weights(model, path, architecture=CATALOG["vgg16"])
    changes = check_report(report, theirs.state_dict(), model)
    assert changes["features.28.weight"] == "oihw -> hwio"
    assert changes["features.28.bias"] == ""
    if library == "torchvision":
        assert changes["classifier.0.weight"] == "o(ihw) -> (hwi)o"
        assert changes["classifier.3.weight"] == "oi -> io"
    else:
        assert changes["pre_logits.fc1.weight"] == "oihw -> (hwi)o"
        assert changes["pre_logits.fc2.weight"] == "oihw -> (hwi)o"
        assert changes["head.fc.weight"] == "oi -> io"


def channels_last(module, x):
    return outputs(module, x).transpose(0, 2, 3, 1)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_outputs_of_a_whole_vgg_are_those_of_the_libraries(library, tmp_path, images, run):
    arguments = {"init_weights": False} if library == "torchvision" else {}
    theirs = torch_network.__wrapped__(library, "vgg16", **arguments)  # too large to be kept
    path = save(theirs.state_dict(), tmp_path / "file.safetensors")
    model = build("vgg16", weights=path, classifier_activation=None)
    assert_same_outputs(model, theirs, images(1, 224, 224, 3), run)


@pytest.fixture
def inception():
    return torch_network("torchvision", "inception_v3")


def test_torchvisions_inception_with_its_auxiliary_head(inception, tmp_path, images, run):
    import torch

    path = save(inception.state_dict(), tmp_path / "file.pth")
    model = build(
        "inception_v3_torch", weights=path, auxiliary=True, classifier_activation=None,
        input_shape=(299, 299, 3),
    )  # fmt: skip
    x = images(1, 299, 299, 3)
    grids = []
    handle = inception.Mixed_6e.register_forward_hook(lambda *values: grids.append(values[-1]))
    main = outputs(inception, x)
    handle.remove()
    with torch.no_grad():
        side = inception.AuxLogits(grids[0]).numpy()
    ours = run(model, x)
    assert relative_error(ours[0], main) < 1e-5
    assert relative_error(ours[1], side) < 1e-5
    check_report(
        load_weights(model, path, architecture=CATALOG["inception_v3_torch"]),
        inception.state_dict(), model,
    )  # fmt: skip

    alone = build("inception_v3_torch", classifier_activation=None, input_shape=(299, 299, 3))
    report = load_weights(alone, path, architecture=CATALOG["inception_v3_torch"])
    for a, b in zip(alone.get_weights(), without_auxiliary(model).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    changes = check_report(report, inception.state_dict(), alone)
    head = {name: change for name, change in changes.items() if name.startswith("AuxLogits.")}
    counters = {name for name in head if name.endswith("num_batches_tracked")}
    assert len(head) == 14
    assert {head[name] for name in counters} == {COUNTER}
    assert {change for name, change in head.items() if name not in counters} == {LEFT_OUT}


def test_a_torch_inception_without_an_auxiliary_head(tmp_path):
    """The head may be asked for only if the file has one."""
    network = torch_network("timm", "inception_v3")
    path = save(network.state_dict(), tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"AuxLogits\.conv0\.conv\.weight is missing"):
        build("inception_v3_torch", weights=path, auxiliary=True)


def test_torchvisions_transform_input_is_our_preprocessing(inception, tmp_path, run):
    """With it the network reads standardised pixels, without it ours reads those of "tf"."""
    path = save(inception.state_dict(), tmp_path / "file.safetensors")
    model = build(
        "inception_v3_torch", weights=path, classifier_activation=None, input_shape=(139, 139, 3)
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2, 139, 139, 3)).astype("uint8")
    inception.transform_input = True
    try:
        expected = outputs(inception, preprocess(pixels, "torch"))
    finally:
        inception.transform_input = False
    assert relative_error(run(model, preprocess(pixels, "tf")), expected) < 1e-5


def test_gamma_folds_into_the_kernels_of_a_torch_inception(inception, tmp_path, images, run):
    from keras_classics.architectures.surgery import fold_gamma

    path = save(inception.state_dict(), tmp_path / "file.safetensors")
    model = build(
        "inception_v3_torch", weights=path, classifier_activation=None, input_shape=(139, 139, 3)
    )
    folded = fold_gamma(model)
    assert not [w for w in folded.weights if w.name == "gamma"]
    assert len([w for w in model.weights if w.name == "gamma"]) == 94
    assert_same_outputs(folded, inception, images(2, 139, 139, 3), run)


@functools.cache
def tensors_of(network):
    """The tensors of a narrow network as torch names them."""
    import torch

    arguments = {**SMALL, "input_shape": (75, 75, 3)}
    if network == "vgg16":
        return dict(narrow_vgg16("torchvision").state_dict())
    model = build(network, **arguments)
    arrays, _ = state_dict(model, CATALOG[network])
    generator = np.random.default_rng(0)
    return {
        name: torch.from_numpy(
            value
            if name.endswith("tracked")
            else random_values(name, value.shape, generator).astype("float32")
        )
        for name, value in arrays.items()
    }


def random_values(name, shape, generator):
    if name.endswith("running_var"):
        return generator.uniform(0.5, 1, shape)
    return generator.normal(0, (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1, shape)


def refused(tensors, tmp_path, network="resnet50_v1_5", ending=".safetensors", **arguments):
    """The error with which tensors are refused: one line, after which the model is as it was."""
    path = tmp_path / f"file{ending}"
    save({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return refused_file(path, network, **arguments)


@functools.cache
def narrow(network, **arguments):
    """A network into which nothing is loaded, so that one is enough."""
    shape = {"input_shape": None if network == "vgg16" else (75, 75, 3)}
    return build(network, **{**SMALL, **shape, **arguments})


def refused_file(path, network="resnet50_v1_5", **arguments):
    model = narrow(network, **arguments)
    before = model.get_weights()
    with pytest.raises(WeightsError) as caught:
        load_weights(model, path, architecture=CATALOG[network])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("source", "target", "culprits"),
    [
        (
            "resnet50_v1_5",
            "resnet50_d",
            "conv1.0.weight is missing; conv1.1.weight is missing; conv1.1.bias is missing and",
        ),
        ("resnet50_d", "resnet50_v1_5", "conv1.weight is missing; layer1.0.downsample.0.weight"),
        ("vgg16", "resnet50_v1_5", "conv1.weight is missing; bn1.weight is missing; bn1.bias is"),
        ("resnet50_v1_5", "vgg16", "features.0.weight is missing; features.0.bias is missing; f"),
        ("inception_v3_torch", "vgg16", "features.0.weight is missing; features.0.bias"),
        ("resnet50_d", "inception_v3_torch", "Conv2d_1a_3x3.conv.weight is missing; Conv2d_1a_3x3"),
    ],
)
def test_another_networks_file_is_refused(source, target, culprits, ending, tmp_path):
    message = refused(tensors_of(source), tmp_path, target, ending)
    assert message.startswith(f"not the weights of this {target}: {culprits}")
    assert re.search(r" and \d+ more\.$", message)


@pytest.mark.parametrize(
    ("network", "sibling"),
    [("resnet50", "resnet50_v1_5"), ("inception_v3", "inception_v3_torch")],
)
def test_networks_that_torch_does_not_have(network, sibling, tmp_path):
    """Their tensors would have the same shapes, and mean something else."""
    message = refused(tensors_of(sibling), tmp_path, network)
    assert message == (
        f"holds tensors as torch names them, but torch has no {network}; its weights are for "
        f"{sibling}, which computes otherwise."
    )


def test_torchvisions_own_resnet_for_ours_and_another_width(tmp_path):
    tensors = torch_network("torchvision", "resnet50").state_dict()
    message = refused(tensors, tmp_path, ending=".pth")
    assert "conv1_conv/kernel has shape (7, 7, 3, 64), needs (7, 7, 3, 4); " in message
    assert "is missing" not in message
    message = refused(tensors, tmp_path, "resnet50_d", width=1.0, classes=1000)
    assert "conv1.0.weight is missing" in message


def test_relatives_of_the_resnet_are_refused(tmp_path):
    """Grouped convolutions, squeeze and excitation, group norm: each shows in the tensors."""
    import torch

    timm = torch_module("timm")
    for name, culprit in (
        ("resnext50_32x4d", "conv2_block1_1_conv/kernel has shape (1, 1, 64, 128)"),
        ("seresnet50", "layer1.0.se.fc1.weight is left over"),
        ("resnet50_gn", "bn1.running_mean is missing; bn1.running_var is missing"),
        ("resnet34", "layer1.0.downsample.0.weight is missing"),
    ):
        with torch.device("meta"):  # shapes alone
            relative = timm.create_model(name, pretrained=False)
        tensors = {n: torch.zeros(t.shape) for n, t in relative.state_dict().items()}
        message = refused(tensors, tmp_path, width=1.0, classes=1000)
        assert message.startswith("not the weights of this resnet50_v1_5: ")
        assert culprit in message, name


def changed(name, value):
    return lambda tensors: tensors.update({name: value(tensors[name])})


def missing(tensors):
    del tensors["layer2.1.bn3.running_var"]


def surplus(tensors):
    tensors["layer2.1.conv4.weight"] = tensors["layer2.1.conv3.weight"] + 1


def surplus_bias(tensors):
    tensors["layer1.0.conv2.bias"] = tensors["layer1.0.bn2.bias"] + 1


def renamed(tensors):
    tensors["backbone.conv1.weight"] = tensors.pop("conv1.weight")


def of_the_first(value):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[0] = value
        return tensor

    return change


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (missing, "layer2.1.bn3.running_var is missing; conv3_block2_3_bn has 3 tensors, needs 4"),
        (surplus, "layer2.1.conv4.weight is left over"),
        (surplus_bias, "layer1.0.conv2.bias is left over"),
        (renamed, "conv1.weight is missing; backbone.conv1.weight is left over; "),
        (
            changed("layer1.0.conv2.weight", of_the_first(float("nan"))),
            "conv2_block1_2_conv/kernel has values that are not finite",
        ),
        (
            changed("fc.bias", of_the_first(float("-inf"))),
            "predictions/bias has values that are not finite",
        ),
        (
            changed("fc.bias", lambda t: t.double() * 1e300),
            "predictions/bias has values that are not finite",
        ),
        (
            changed("layer4.2.bn1.running_var", of_the_first(-1e-3)),
            "conv5_block3_1_bn/moving_variance has negative values, which no variance has",
        ),
        (
            changed("layer1.0.conv2.weight", lambda t: t[..., :1]),
            "conv2_block1_2_conv/kernel has shape (3, 1, 4, 4), needs (3, 3, 4, 4)",
        ),
        (
            changed("layer1.0.conv1.weight", lambda t: t[..., 0, 0]),
            "conv2_block1_1_conv/kernel has shape (4, 4), needs (1, 1, 4, 4)",
        ),
        (
            changed("conv1.weight", lambda t: t[:, :2]),
            "conv1_conv/kernel has shape (7, 7, 2, 4), needs (7, 7, 3, 4)",
        ),
        (
            changed("bn1.weight", lambda t: t[:, None]),
            "conv1_bn/gamma has shape (1, 4), needs (4,)",
        ),
    ],
)
def test_the_culprits_are_named(change, culprit, ending, tmp_path):
    tensors = dict(tensors_of("resnet50_v1_5"))
    change(tensors)
    message = refused(tensors, tmp_path, ending=ending)
    assert message.startswith(f"not the weights of this resnet50_v1_5: {culprit}")


def test_three_culprits_are_named_and_the_rest_counted(tmp_path):
    tensors = dict(tensors_of("resnet50_v1_5"))
    for name in ("conv1.weight", "layer1.0.bn1.bias", "layer3.2.conv2.weight", "fc.weight"):
        tensors[name] = tensors[name] * float("nan")
    message = refused(tensors, tmp_path)
    assert message.count(" has values that are not finite") == 3
    assert message.endswith(" and 1 more.")


def test_other_classes_and_no_classes(tmp_path, images, run):
    tensors = dict(tensors_of("resnet50_v1_5"))
    message = refused(tensors, tmp_path, classes=6)
    assert "predictions/kernel has shape (128, 5), needs (128, 6)" in message
    assert "Only the classes differ: build with the file's number of classes" in message
    headless = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    message = refused(headless, tmp_path)
    assert "fc.weight is missing; fc.bias is missing" in message
    paths = [save(t, tmp_path / f"{len(t)}.safetensors") for t in (tensors, headless)]
    one, other = (
        build("resnet50_v1_5", weights=path, include_top=False, width=1 / 16) for path in paths
    )
    x = images(1, 75, 75, 3)
    np.testing.assert_array_equal(run(one, x), run(other, x))


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels(channels, tmp_path, images, run):
    path = save(tensors_of("resnet50_v1_5"), tmp_path / "file.safetensors")
    arguments = {**SMALL, "weights": path}
    model = build("resnet50_v1_5", input_shape=(75, 75, 3), **arguments)
    other = build("resnet50_v1_5", input_shape=(75, 75, channels), **arguments)
    x = images(2, 75, 75, channels)
    expected = run(model, np.repeat(x, 3, axis=-1) if channels == 1 else x[..., :3])
    assert np.abs(run(other, x) - expected).max() / np.abs(expected).max() < 1e-4
    report = load_weights(other, path, architecture=CATALOG["resnet50_v1_5"])
    assert report[0].change == f"oihw -> hwio; 3 channels to {channels}"
    assert (report[0].shape_there, report[0].shape_here) == ((4, 3, 7, 7), (7, 7, channels, 4))


def as_it_is(tensors):
    return tensors


def parallel(tensors):
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


def checkpoint(tensors):
    return {"epoch": 7, "state_dict": parallel(tensors), "optimizer": {"lr": 0.1}}


def other_checkpoint(tensors):
    return {"model": tensors, "args": ["--lr", "0.1"]}


def parameters(tensors):
    import torch

    return {n: torch.nn.Parameter(t) if t.dtype == torch.float32 else t for n, t in tensors.items()}


def not_contiguous(tensors):
    import torch

    return {
        n: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t
        for n, t in tensors.items()
    }


@pytest.mark.parametrize("wrapped", [as_it_is, parallel, checkpoint, other_checkpoint, parameters,
                                     not_contiguous])  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_files_as_training_programs_save_them(wrapped, zipped, tmp_path):
    """Torch's former format without a zip archive is that of torchvision's VGG16."""
    tensors = tensors_of("resnet50_v1_5")
    path = tmp_path / "file.pth"
    save(wrapped(tensors), path, _use_new_zipfile_serialization=zipped)
    read = read_state_dict(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())


def test_a_prefix_of_some_tensors_only_is_no_wrapper(tmp_path):
    tensors = dict(tensors_of("resnet50_v1_5"))
    tensors["module.conv1.weight"] = tensors["conv1.weight"] + 1
    assert "module.conv1.weight is left over" in refused(tensors, tmp_path)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_types(dtype, ending, tmp_path):
    import torch

    tensors = {
        name: tensor.to(getattr(torch, dtype)) if tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors_of("vgg16").items()
    }
    path = save(tensors, tmp_path / f"file{ending}")
    model = build("vgg16", weights=path, **SMALL)
    kernel = model.get_layer("block1_conv1").get_weights()[0]
    assert kernel.dtype == "float32"
    expected = tensors["features.0.weight"].float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)
    assert np.unique(kernel).size > 100


@pytest.mark.parametrize("ending", ENDINGS)
def test_complex_numbers_are_no_weights(ending, tmp_path):
    import torch

    tensors = dict(tensors_of("resnet50_v1_5"))
    tensors["fc.bias"] = tensors["fc.bias"].to(torch.complex64)
    message = refused(tensors, tmp_path, ending=ending)
    assert message == f"not a complete file of tensors ({ending})."


class Trap:
    """An object whose unpickling would run code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("ending", [".pth", ".pt"])
@pytest.mark.parametrize("network", ["resnet50_v1_5", "resnet50"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_code_in_it_is_refused_and_the_code_is_not_run(
    zipped, network, ending, tmp_path
):
    import torch

    sprung = tmp_path / "sprung"
    path = tmp_path / f"file{ending}"
    for content in (
        Trap(sprung),
        {**tensors_of("resnet50_v1_5"), "extra": Trap(sprung)},
        {"state_dict": tensors_of("resnet50_v1_5"), "hook": [Trap(sprung)]},
    ):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        message = refused_file(path, network)
        assert message.startswith(f"holds {os.mkdir.__module__}.mkdir, and is not read: ")
        assert not sprung.exists()


@pytest.mark.parametrize("content", [[1, 2], 5, "text", {}, {"epoch": 3}, {0: 1}, "tensor", "keys"])
def test_a_file_of_other_things_is_refused(content, tmp_path):
    import torch

    content = {"tensor": torch.zeros(3), "keys": {0: torch.zeros(3)}}.get(str(content), content)
    torch.save(content, tmp_path / "file.pth")
    message = refused_file(tmp_path / "file.pth")
    assert re.search(r"not a complete file of tensors \(\.pth\)|conv1\.weight is missing", message)


@pytest.mark.parametrize("kind", [".pth", "unzipped.pth", ".safetensors"])
@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.3, 0.9, 0.999])
def test_torn_files_are_refused(share, kind, tmp_path):
    path = tmp_path / f"file{kind}"
    tensors = tensors_of("resnet50_v1_5")
    if path.suffix == ".pth":
        save(tensors, path, _use_new_zipfile_serialization=kind == ".pth")
    else:
        save(tensors, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert refused_file(path).startswith("not a complete file of tensors")


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("network", ["resnet50_v1_5", "resnet50"])
def test_text_is_no_file_of_tensors(network, ending, tmp_path):
    path = tmp_path / f"file{ending}"
    path.write_text("these are not weights\n" * 100)
    assert refused_file(path, network).startswith("not a complete file of tensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_without_torch(zipped, tmp_path, monkeypatch):
    tensors = tensors_of("resnet50_v1_5")
    source, target = tmp_path / "source.pth", tmp_path / "target.pth"
    save(tensors, source, _use_new_zipfile_serialization=zipped)
    if keras.backend.backend() != "torch":
        monkeypatch.setitem(sys.modules, "torch", None)
    convert(source, target, architecture=CATALOG["resnet50_v1_5"], width=SMALL["width"])
    written = read_state_dict(target)
    assert written.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(written[name], tensor.numpy())


@pytest.mark.parametrize(
    ("library", "name", "network"),
    [
        ("torchvision", "resnet50", "resnet50_v1_5"),
        ("timm", "resnet50d", "resnet50_d"),
        ("torchvision", "inception_v3", "inception_v3_torch"),
        ("torchvision", "vgg16", "vgg16"),
        ("timm", "vgg16", "vgg16"),
    ],
)
def test_the_libraries_load_what_is_written(library, name, network, tmp_path):
    """By their own strict loading: every name and shape is theirs."""
    import torch
    from safetensors.torch import load_file

    if name == "vgg16":
        theirs, arguments = narrow_vgg16(library), {**SMALL, "input_shape": (224, 224, 3)}
    else:
        theirs = torch_network(library, name)
        arguments = {"input_shape": (299, 299, 3), "auxiliary": name == "inception_v3"}
    source = save(theirs.state_dict(), tmp_path / "source.safetensors")
    model = build(network, weights=source, **arguments)
    expected = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    assert not any(expected[name].any() for name in expected if name.endswith("tracked"))
    tensors, report = state_dict(model, CATALOG[network], library)
    other = copy.deepcopy(theirs)
    for ending in ENDINGS:
        path = tmp_path / f"file{ending}"
        write_torch(tensors, path)
        loaded = torch.load(path) if ending == ".pth" else load_file(path)
        randomised(other, seed=1)
        assert not torch.equal(next(iter(other.parameters())), next(iter(theirs.parameters())))
        assert list(other.load_state_dict(loaded, strict=True)) == [[], []]
        for key, tensor in other.state_dict().items():
            assert torch.equal(tensor, expected[key])
            assert tensor.dtype == expected[key].dtype
    names = [f"{layer.name}/{w.name}" for layer in model.layers for w in layer.weights]
    assert [p.here for p in report] == names
    assert {p.there for p in report} == {n for n in expected if not n.endswith("tracked")}
    assert all(p.shape_there == tuple(expected[p.there].shape) for p in report)


def test_the_same_tensors_have_the_same_bytes_under_any_name(tmp_path):
    arrays = {"a": np.arange(3.0), "b": np.ones((2, 2), "float32")}
    for ending in ENDINGS:
        paths = [tmp_path / f"{name}{ending}" for name in ("one", "other.two")]
        for path in paths:
            write_torch(arrays, path)
        assert paths[0].read_bytes() == paths[1].read_bytes()
