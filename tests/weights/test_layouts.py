"""EfficientNet and MobileNetV2 with the tensors of timm and of efficientnet-lite-pytorch."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import pkgutil
import re

import numpy as np
import pytest
from safetensors import numpy as safetensors

from keras_classics import CATALOG, build
from keras_classics.errors import WeightsError
from keras_classics.weights import layouts, torch_files
from keras_classics.weights.conversion import convert
from keras_classics.weights.layouts import Layout, all_layouts, layouts_of
from keras_classics.weights.loading import load_weights
from keras_classics.weights.preprocess import preprocess
from keras_classics.weights.records import RECORDS
from keras_classics.weights.torch_files import read_state_dict, state_dict
from weights.references import outputs, packaged_network, save, torch_module, torch_network

# Its names in timm, and what makes it pad and divide as Keras does.
TIMM = {
    **{f"efficientnet_b{n}": (f"tf_efficientnet_b{n}", {}) for n in range(8)},
    **{f"efficientnet_lite{n}": (f"tf_efficientnet_lite{n}", {}) for n in range(5)},
    "mobilenet_v2": ("mobilenetv2_100", {"pad_type": "same", "bn_eps": 1e-3}),
}
QUICK = ("efficientnet_b0", "efficientnet_lite0", "mobilenet_v2")
WHOLE = ("efficientnet_b3", *(f"efficientnet_lite{n}" for n in range(1, 5)))


def pixels_of(images):
    """What is drawn around 0, as grey levels."""
    return 50 * images + 128


def inputs_for(network, pixels):
    """Pixels as timm's network takes them, and as ours does."""
    theirs = preprocess(pixels, "torch" if network.startswith("efficientnet_b") else "tf")
    return theirs, pixels if network.startswith("efficientnet_b") else theirs


@pytest.mark.parametrize(
    "network", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in WHOLE)]
)
def test_every_tensor_of_timm_finds_its_place_and_comes_back(network, tmp_path, images, run):
    """Each once; and with them all, the outputs are timm's."""
    import torch

    name, arguments = TIMM[network]
    theirs = torch_network("timm", name, **arguments)
    tensors = theirs.state_dict()
    path = save(tensors, tmp_path / "file.safetensors")
    shape = (64, 75, 3)
    model = build(network, weights=None, input_shape=shape, classifier_activation=None)
    report = load_weights(model, path, architecture=CATALOG[network])
    assert sorted(p.there for p in report) == sorted(tensors)
    here = [p.here for p in report if p.here]
    assert here == [f"{layer.name}/{w.name}" for layer in model.layers for w in layer.weights]
    changes = {p.here: p.change for p in report}
    depthwise = [name for name, change in changes.items() if change == "o1hw -> hwo1"]
    assert len(depthwise) == sum("conv_dw.weight" in name for name in tensors)

    of_theirs, of_ours = inputs_for(network, pixels_of(images(2, *shape)))
    expected = outputs(theirs, of_theirs)
    assert expected.std() > 0.1
    # Random weights in so many layers: what is left is rounding.
    assert np.abs(run(model, of_ours) - expected).max() < 3e-5 * np.abs(expected).max()

    back, written = state_dict(model, CATALOG[network], "timm")
    assert back.keys() == tensors.keys()
    assert "hwo1 -> o1hw" in {p.change for p in written}
    other = copy.deepcopy(theirs)
    other.load_state_dict({k: torch.from_numpy(v) for k, v in back.items()}, strict=True)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, tensors[name])


@pytest.mark.parametrize(
    "network",
    [
        *("efficientnet_b7", *(f"efficientnet_lite{n}" for n in range(1, 5))),
        *(pytest.param(f"efficientnet_b{n}", marks=pytest.mark.slow) for n in range(1, 7)),
    ],
)
def test_the_names_are_those_of_timms_modules(network):
    """Of all variants, without their weights: each module with tensors is named once."""
    import torch

    name, arguments = TIMM[network]
    with torch.device("meta"):
        theirs = torch_module("timm").create_model(name, pretrained=False, **arguments)
    modules = {key.rpartition(".")[0] for key in theirs.state_dict()}
    (layout,) = (each for each in layouts_of(network) if each.name == "timm")
    model = build(network, weights=None, width=1 / 16, classes=2)
    named = [layout.module(layer.name) for layer in model.layers if layer.weights]
    assert len(named) == len(set(named))
    assert set(named) == modules


LITE = {0: 224, 1: 240, 2: 260}


@pytest.fixture(scope="module")
def lite():
    """The network of efficientnet-lite-pytorch with the weights of the package, of a size."""

    return packaged_network


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_the_weights_of_the_package_answer_as_its_own_network(number, lite, images, run):
    """At the size that its padding is made for; without a download, by the name `imagenet`."""
    network = f"efficientnet_lite{number}"
    model = build(network, weights="imagenet", classifier_activation=None)
    assert model.input_shape[1:] == (LITE[number], LITE[number], 3)
    pixels = pixels_of(images(2, LITE[number], LITE[number], 3))
    x = preprocess(pixels, RECORDS[f"{network}-google"].preprocessing)
    np.testing.assert_allclose(x, (pixels - 127) / 128, atol=1e-6)
    expected = outputs(lite(number), x)
    assert expected.std() > 0.1
    assert np.abs(run(model, x) - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("number", LITE)
def test_the_names_are_those_of_the_packages_files(number):
    network = f"efficientnet_lite{number}"
    file = RECORDS[f"{network}-google"].file
    there = {name.rpartition(".")[0] for name in read_state_dict(file.installed())}
    (layout,) = (each for each in layouts_of(network) if each.name == "google")
    model = build(network, weights=None, width=1 / 16, classes=2)
    named = [layout.module(layer.name) for layer in model.layers if layer.weights]
    assert len(named) == len(set(named))
    assert set(named) == there


def test_from_one_layout_to_the_other_and_back(tmp_path):
    """The package's file under timm's names, and its own again: the same tensors."""
    file = RECORDS["efficientnet_lite0-google"].file.installed()
    architecture = CATALOG["efficientnet_lite0"]
    there = convert(file, tmp_path / "timm.safetensors", architecture=architecture)
    assert "conv_stem.weight" in read_state_dict(there.path)
    again = tmp_path / "again.safetensors"
    convert(there.path, again, architecture=architecture, layout="google")
    original, back = read_state_dict(file), read_state_dict(again)
    assert original.keys() == back.keys()
    for name, value in original.items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(back[name], value)


def test_without_its_top_a_file_is_still_told_by_its_names(tmp_path):
    """Those of the top are not there to tell the layouts apart."""
    tensors = read_state_dict(RECORDS["efficientnet_lite0-google"].file.installed())
    headless = {  # safetensors writes what lies there, whatever its order
        name: np.ascontiguousarray(value)
        for name, value in tensors.items()
        if not name.startswith("_fc")
    }
    safetensors.save_file(headless, tmp_path / "file.safetensors")
    path = str(tmp_path / "file.safetensors")
    model = build("efficientnet_lite0", include_top=False, weights=path)
    kernel = model.get_layer("block1a_dwconv").get_weights()[0]
    expected = tensors["_blocks.0._depthwise_conv.weight"].transpose(2, 3, 0, 1)
    np.testing.assert_array_equal(kernel, expected)


def test_patterns_give_groups_as_text_and_as_numbers():
    layout = Layout(
        "timm",
        "mine",
        (("stage([0-9])([a-z])_(conv|bn)", "s{1-1}.{2+0}.{3}{1}"), ("stage.*", "other")),
    )
    assert layout.module("stage4c_conv") == "s3.2.conv4"
    assert layout.module("stage1a_bn") == "s0.0.bn1"
    assert layout.module("stage") == "other"
    assert layout.module("my_stage4c_conv") is None


def test_a_family_is_a_file_that_is_found_by_itself():
    names = {module.name for module in pkgutil.iter_modules(layouts.__path__)}
    assert {"vgg", "resnet", "inception_v3", "efficientnet", "mobilenet_v2"} <= names
    pairs = [(layout.name, layout.network) for layout in all_layouts()]
    assert len(pairs) == len(set(pairs))
    assert {network for _, network in pairs} <= CATALOG.keys()
    for layout in all_layouts():
        assert layout.flattened | layout.convolved <= set(CATALOG[layout.network].top_layers)


@pytest.mark.parametrize("network", ["mobilenet_v2", "efficientnet_b0"])
def test_torchvisions_files_are_refused(network, tmp_path):
    """Which pads symmetrically; the shapes alone would not tell."""
    tensors = torch_network("torchvision", network).state_dict()
    path = save(tensors, tmp_path / "file.safetensors")
    with pytest.raises(WeightsError, match=r"conv_stem\.weight is missing; bn1\.weight is missing"):
        build(network, weights=path, input_shape=(32, 32, 3))


def test_a_file_of_another_size_of_lite_is_refused():
    path = RECORDS["efficientnet_lite1-google"].file.installed()
    with pytest.raises(WeightsError, match=r"_blocks\.\d+\.\S+ is left over"):
        build("efficientnet_lite0", weights=str(path), input_shape=(32, 32, 3))
    with pytest.raises(WeightsError, match=r"made for efficientnet_lite1, not efficientnet_lite0"):
        build("efficientnet_lite0", weights="efficientnet_lite1-google")


def test_files_with_the_same_names_that_compute_otherwise_are_refused(tmp_path, monkeypatch):
    arguments = {"width": 1 / 8, "input_shape": (32, 32, 3)}
    tensors, _ = state_dict(build("efficientnet_lite0", **arguments), CATALOG["efficientnet_lite0"])
    path = tmp_path / "file.safetensors"
    safetensors.save_file(tensors, path)
    assert build("efficientnet_lite0", weights=str(path), **arguments).count_params()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    strange = [
        dataclasses.replace(layout, strangers=frozenset({digest}))
        for layout in layouts_of("efficientnet_lite0")
    ]
    monkeypatch.setattr(torch_files, "layouts_of", lambda _: strange)
    with pytest.raises(WeightsError, match="by its hash, the weights of a network of timm"):
        build("efficientnet_lite0", weights=str(path), **arguments)


def test_timms_files_that_compute_otherwise_are_known():
    module = torch_module("timm.models.efficientnet")
    names = re.compile(
        r"(efficientnet_(b[0-7]|lite[0-4])|mobilenetv2_100|tf_efficientnet_b[0-7])\."
    )
    files = {
        f"{name}.{tag}": config.url.rpartition("-")[2].removesuffix(".pth")
        for name, tags in module.default_cfgs.items()
        for tag, config in tags.cfgs.items()
        if names.match(f"{name}.")
        and config.url
        and (not name.startswith("tf_") or tag.startswith("ap_"))
    }
    assert len(files) == 15
    known = {stranger for layout in all_layouts() for stranger in layout.strangers}
    assert set(files.values()) == known
