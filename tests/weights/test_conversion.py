"""From any format to any other and back: the same tensors, and the same bytes."""

from __future__ import annotations

import json
import resource
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from safetensors import numpy as safetensors
from safetensors import safe_open

from keras_classics import CATALOG, build
from keras_classics.errors import ClassicsError, OutputError, WeightsError
from keras_classics.weights import conversion as module
from keras_classics.weights.conversion import convert, model_of
from keras_classics.weights.layouts import all_layouts
from keras_classics.weights.loading import COUNTER
from keras_classics.weights.torch_files import read_state_dict
from weights.references import narrow_vgg16, save

WIDTH = 1 / 16
ARGUMENTS = {"width": WIDTH, "classes": 5, "input_shape": (75, 75, 3)}
IN_TORCH = {layout.network for layout in all_layouts()}
ENDINGS = (".weights.h5", ".keras", ".h5", ".pth", ".safetensors")


@pytest.fixture
def make(tmp_path, randomise):
    """A file of a narrow network with random weights, and the network."""

    def make(network, ending=".weights.h5", name="source", **arguments):
        model = randomise(build(network, **{**ARGUMENTS, **arguments}))
        path = tmp_path / f"{name}{ending}"
        (model.save_weights if ending == ".weights.h5" else model.save)(path)
        return model, path

    return make


def converted(source, name, network, **arguments):
    return convert(
        source, source.parent / name, architecture=CATALOG[network], width=WIDTH, **arguments
    )


def assert_same_weights(model, other):
    assert [(w.path, w.shape) for w in model.weights] == [(w.path, w.shape) for w in other.weights]
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def tensors_in(path):
    """The shapes of all tensors of a file, by the names under which the report has them."""
    if path.suffix in {".pth", ".safetensors"}:
        return {name: tensor.shape for name, tensor in read_state_dict(path).items()}
    shapes = {}

    def visit(name, node):
        if isinstance(node, h5py.Dataset):
            shapes[name] = node.shape

    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, h5py.File(archive.open("model.weights.h5")) as file:
            file.visititems(visit)
    else:
        with h5py.File(path) as file:
            if "layers" in file:
                file.visititems(visit)
            else:
                groups = file.get("model_weights", file)
                for name in groups.attrs["layer_names"]:
                    for weight in groups[name].attrs["weight_names"]:
                        shapes[_text(weight)] = groups[name][weight].shape
    return shapes


def _text(name):
    return name.decode() if isinstance(name, bytes) else name


def check_report(conversion, source):
    """Every tensor of the network and of the source stands in it once."""
    model, passages = conversion.model, conversion.passages
    shapes = tensors_in(source)
    assert sorted(p.source for p in passages) == sorted(shapes)
    assert all(p.source_shape == shapes[p.source] for p in passages)
    names = [f"{layer.name}/{w.name}" for layer in model.layers for w in layer.weights]
    assert [p.network for p in passages if p.network] == names
    written = tensors_in(conversion.path)
    if conversion.path.suffix in {".pth", ".safetensors"}:
        there = {name for name in written if not name.endswith("num_batches_tracked")}
        assert {p.target for p in passages if p.network} == there
        assert all(p.target_shape == written[p.target] for p in passages if p.network)
    else:
        assert len(written) == len(names)
    return {p.network: p.change for p in passages}


CHAINS = [
    ("vgg16", {}, ENDINGS),
    ("resnet50", {"classes": 7}, (".keras", ".h5")),
    ("resnet50_v1_5", {}, (".h5", ".safetensors", ".weights.h5")),
    ("resnet50_d", {"include_top": False}, (".keras", ".pth")),
    ("inception_v3", {"auxiliary": True, "input_shape": (299, 299, 3)}, (".h5",)),
    ("inception_v3_torch", {"auxiliary": True, "input_shape": (299, 299, 3)}, (".keras",)),
]
SLOW = set(CATALOG) - {"vgg16", "resnet50_v1_5"}


@pytest.mark.parametrize(
    ("network", "arguments", "endings"),
    [
        pytest.param(*chain, id=chain[0], marks=pytest.mark.slow if chain[0] in SLOW else [])
        for chain in CHAINS
    ],
)
def test_through_all_formats_and_back(network, arguments, endings, make):
    """The files at both ends have the same bytes, and all between the same tensors."""
    model, path = make(network, **arguments)
    end = ".safetensors" if network in IN_TORCH else ".weights.h5"
    first = last = converted(path, f"first{end}", network)
    assert_same_weights(first.model, model)
    check_report(first, path)
    for index, ending in enumerate([*endings, end]):
        source, last = last.path, converted(last.path, f"{index}{ending}", network)
        assert_same_weights(last.model, model)
        changes = check_report(last, source)
        kernel = changes[next(iter(changes))]
        assert ("oihw -> hwio" in kernel) == (source.suffix in {".pth", ".safetensors"})
        assert ("hwio -> oihw" in kernel) == (ending in {".pth", ".safetensors"})
    assert last.path.read_bytes() == first.path.read_bytes()
    assert sorted(p.name for p in path.parent.iterdir()) == sorted(
        [path.name, first.path.name, *(f"{i}{e}" for i, e in enumerate([*endings, end]))]
    )


def test_all_other_files_but_keras_have_the_same_bytes_as_well(make):
    """A .keras file has the date in it."""
    _, path = make("vgg16")
    for ending in (".weights.h5", ".h5", ".pth", ".safetensors"):
        there = converted(path, f"there{ending}", "vgg16").path
        between = converted(there, f"between{ending}.keras", "vgg16").path
        back = converted(between, f"back{ending}", "vgg16").path
        assert back.read_bytes() == there.read_bytes()


@pytest.mark.parametrize("ending", [*ENDINGS, ".hdf5", ".pt"])
def test_a_file_holds_what_is_said_and_opens_as_is_said(ending, make):
    """Only `.keras` is a whole model; whoever gets the others is told so."""
    model, path = make("vgg16", input_shape=(224, 224, 3))
    conversion = converted(path, f"made{ending}", "vgg16")
    made = conversion.path
    if ending == ".keras":
        assert conversion.holds == "a whole model: keras.models.load_model opens it"
        assert_same_weights(keras.models.load_model(made), model)
        return
    assert conversion.holds.startswith("weights alone, without the network: ")
    with pytest.raises(Exception, match=r".+"):  # Keras raises one of many
        keras.models.load_model(made)
    if made.suffix in {".pth", ".pt", ".safetensors"}:
        import torch

        assert conversion.holds.endswith("a state dict for load_state_dict")
        narrow_vgg16("torchvision").load_state_dict(
            {name: torch.from_numpy(value) for name, value in read_state_dict(made).items()}
        )
    else:
        assert conversion.holds.endswith(f'build it with weights="{made.name}"')
        fresh = build("vgg16", **{**ARGUMENTS, "input_shape": (224, 224, 3)})
        fresh.load_weights(made)  # Keras' own way
        assert_same_weights(fresh, model)
    built = build("vgg16", weights=made, **{**ARGUMENTS, "input_shape": (224, 224, 3)})
    assert_same_weights(built, model)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_files_of_the_libraries_there_and_back(library, tmp_path):
    source = tmp_path / "source.safetensors"
    tensors = {n: t.numpy() for n, t in narrow_vgg16(library).state_dict().items()}
    safetensors.save_file(tensors, source, metadata={"format": "pt"})
    there = converted(source, "there.h5", "vgg16")
    back = converted(there.path, "back.safetensors", "vgg16", layout=library)
    assert back.path.read_bytes() == source.read_bytes()
    changes = {p.target: p.change for p in back.passages}
    if library == "timm":
        assert changes["pre_logits.fc1.weight"] == "(hwi)o -> oihw"
        assert changes["pre_logits.fc2.weight"] == "(hwi)o -> oihw"
        assert changes["head.fc.weight"] == "io -> oi"
    else:
        assert changes["classifier.0.weight"] == "(hwi)o -> o(ihw)"
        assert changes["classifier.3.weight"] == "io -> oi"
    with safe_open(back.path, "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_from_one_librarys_names_to_the_others(tmp_path):
    source = Path(save(narrow_vgg16("torchvision").state_dict(), tmp_path / "source.pth"))
    there = converted(source, "there.safetensors", "vgg16", layout="timm")
    theirs = narrow_vgg16("timm")
    assert tensors_in(there.path) == {n: tuple(t.shape) for n, t in theirs.state_dict().items()}
    changes = {p.source: (p.target, p.change) for p in there.passages}
    assert changes["classifier.0.weight"] == (
        "pre_logits.fc1.weight", "o(ihw) -> (hwi)o; (hwi)o -> oihw",
    )  # fmt: skip
    back = converted(there.path, "back.pth", "vgg16")
    original = read_state_dict(source)
    for name, tensor in read_state_dict(back.path).items():
        np.testing.assert_array_equal(tensor, original[name])


def test_counters_of_batch_norm_are_written_and_named_where_they_are_left_out(make):
    _, path = make("resnet50_v1_5")
    first = converted(path, "first.safetensors", "resnet50_v1_5").path
    counters = [name for name in tensors_in(first) if name.endswith("num_batches_tracked")]
    assert len(counters) == 53
    assert all(read_state_dict(first)[name].dtype == "int64" for name in counters)
    passages = converted(first, "second.h5", "resnet50_v1_5").passages
    assert {p.source for p in passages if not p.network} == set(counters)
    assert {p.change for p in passages if not p.network} == {COUNTER}


@pytest.mark.parametrize(("network", "channels"), [("vgg16", 1), ("vgg16", 4), ("resnet50_d", 4)])
def test_images_of_other_channels(network, channels, make):
    model, path = make(network, input_shape=(75, 75, channels))
    there = converted(path, "there.pth", network)
    assert there.model.input_shape[-1] == channels
    assert_same_weights(there.model, model)
    assert_same_weights(converted(there.path, "back.h5", network).model, model)


@pytest.mark.parametrize("network", ["vgg16", "inception_v3"])
def test_without_the_top(network, make):
    model, path = make(network, include_top=False)
    there = converted(path, "there.keras", network)
    assert there.model.input_shape == (None, None, None, 3)
    assert_same_weights(there.model, model)
    whole = keras.models.load_model(there.path, compile=False)
    assert_same_weights(whole, model)


@pytest.mark.slow
@pytest.mark.parametrize("side", [75, 123])
def test_an_auxiliary_head_of_a_small_grid(side, make):
    """Its window is smaller than 5 x 5 there, which the file alone tells."""
    model, path = make("inception_v3_torch", auxiliary=True, input_shape=(side, side, 3))
    window = model.get_layer("auxiliary_2_conv").kernel_size
    there = converted(path, "there.safetensors", "inception_v3_torch")
    assert there.model.get_layer("auxiliary_2_conv").kernel_size == window
    assert_same_weights(there.model, model)


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_the_activation_of_a_keras_file(activation, make, images, run):
    model, path = make("vgg16", ".keras", input_shape=(64, 64, 3), classifier_activation=activation)
    there = converted(path, "there.keras", "vgg16")
    whole = keras.models.load_model(there.path, compile=False)
    assert whole.layers[-1].activation is model.layers[-1].activation
    x = images(2, 64, 64, 3)
    np.testing.assert_allclose(run(whole, x), run(model, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "activation",
    [
        "nonsense",
        5,
        {"module": "builtins", "class_name": "function", "config": "print"},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "x"}},
    ],
)
def test_an_odd_activation_is_refused_and_not_made(activation, make, tmp_path):
    _, path = make("vgg16", ".keras")
    odd = tmp_path / "odd.keras"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(odd, "w") as out:
        config = json.loads(archive.read("config.json"))
        config["config"]["layers"][-1]["config"]["activation"] = activation
        out.writestr("config.json", json.dumps(config))
        out.writestr("model.weights.h5", archive.read("model.weights.h5"))
    assert "predictions has activation=" in refused(odd, "there.h5", "vgg16")


@pytest.mark.parametrize("wrapped", [lambda t: {"state_dict": t}, lambda t: {"model": t}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapped_files_give_what_plain_ones_give(prefix, wrapped, tmp_path):
    tensors = narrow_vgg16("torchvision").state_dict()
    plain = converted(Path(save(tensors, tmp_path / "a.pth")), "a.safetensors", "vgg16")
    tensors = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    other = Path(save(wrapped(tensors), tmp_path / "b.pth"))
    assert converted(other, "b.safetensors", "vgg16").path.read_bytes() == plain.path.read_bytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_files_of_half_the_precision(ending, dtype, tmp_path):
    import torch

    tensors = narrow_vgg16("torchvision").state_dict()
    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in tensors.items()}
    source = Path(save(tensors, tmp_path / f"source{ending}"))
    there = converted(source, "there.h5", "vgg16")
    kernel = there.model.get_layer("fc2").kernel
    expected = tensors["classifier.3.weight"].float().numpy().T
    np.testing.assert_array_equal(np.asarray(kernel), expected)


def refused(source, name, network, error=WeightsError, **arguments):
    """The error of a conversion: one line, and no file is left behind that was not there."""
    folder = source.parent
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(ClassicsError) as caught:
        converted(source, name, network, **arguments)
    assert type(caught.value) is error
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_target_that_exists_is_left_alone(ending, make):
    _, path = make("vgg16")
    path.with_name(f"there{ending}").write_text("mine")
    message = refused(path, f"there{ending}", "vgg16", OutputError)
    assert message.endswith(f"there{ending}: exists; choose another name, or remove it.")


def test_a_file_is_not_converted_into_itself(make):
    _, path = make("vgg16")
    assert "exists" in refused(path, path.name, "vgg16", OutputError)


@pytest.mark.parametrize("name", ["there", "there.txt", "there.onnx", "there.npz", "h5"])
def test_an_unknown_ending(name, make):
    _, path = make("vgg16")
    message = refused(path, name, "vgg16")
    assert message.endswith(
        "the ending says the format: .keras for a whole model; .weights.h5, .h5, .pth or "
        ".safetensors for weights alone."
    )


def test_a_layout_of_no_use(make):
    _, path = make("vgg16")
    message = refused(path, "there.h5", "vgg16", layout="timm")
    assert message == "layout='timm': for .pth, .pt and .safetensors only."
    message = refused(path, "there.pth", "vgg16", layout="mine")
    assert message == "layout='mine': vgg16 is in torchvision or timm only."
    _, path = make("resnet50_d", name="d")
    message = refused(path, "there.pth", "resnet50_d", layout="torchvision")
    assert message == "layout='torchvision': resnet50_d is in timm only."


@pytest.mark.parametrize(
    ("network", "sibling", "ending"),
    [
        ("resnet50", "resnet50_v1_5", ".safetensors"),
        ("inception_v3", "inception_v3_torch", ".pth"),
    ],
)
def test_networks_that_torch_does_not_have(network, sibling, ending, make):
    _, path = make(network)
    message = refused(path, f"there{ending}", network)
    assert message == (
        f"torch has no {network}; its weights are for {sibling}, which computes otherwise."
    )


def test_timms_vgg_has_a_square_window(make):
    """Six columns of two rows: an image of 64 x 96 pixels."""
    model, _ = make("vgg16", input_shape=(64, 96, 3))
    with pytest.raises(WeightsError, match="fc1 reads feature maps that are not square"):
        module.state_dict(model, CATALOG["vgg16"], "timm")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_torn_source(share, ending, make, tmp_path):
    _, path = make("vgg16")
    whole = path if ending == ".weights.h5" else converted(path, f"whole{ending}", "vgg16").path
    content = whole.read_bytes()
    torn = tmp_path / f"torn{ending}"
    torn.write_bytes(content[: int(share * len(content))])
    for name in ("there.h5", "there.safetensors"):
        message = refused(torn, name, "vgg16")
        assert message.startswith(
            (f"{torn}: not a complete file of ", f"{torn}: corrupt, or holds ")
        )


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_source_that_is_not_there(ending, tmp_path):
    path = tmp_path / f"source{ending}"
    assert refused(path, "there.h5", "vgg16") == f"{path}: no such file."


@pytest.mark.parametrize(
    ("source", "network", "culprit"),
    [
        ("resnet50", "vgg16", "block1_conv1 is missing; block1_conv2 is missing; "),
        ("resnet50", "resnet50_v1_5", "conv1_conv has 2 tensors, needs 1; "),
        ("vgg16", "resnet50_d", "conv1_a_conv is missing; "),
        pytest.param(
            "vgg16",
            "inception_v3",
            "stem_1_conv is missing; stem_1_bn is missing; ",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "inception_v3", "resnet50_d", "conv1_a_conv is missing; ", marks=pytest.mark.slow
        ),
        pytest.param(
            "inception_v3",
            "inception_v3_torch",
            "stem_1_bn has 3 tensors, needs 4; ",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_source_of_another_network(source, network, culprit, make):
    _, path = make(source)
    message = refused(path, "there.h5", network)
    assert message.startswith(f"{path}: not the weights of this {network}: {culprit}")


def test_the_torch_source_of_another_network(make):
    _, path = make("resnet50_v1_5")
    path = converted(path, "source.pth", "resnet50_v1_5").path
    assert refused(path, "there.h5", "vgg16") == f"{path}: holds no convolution of vgg16."
    assert "conv1.0.weight is missing" in refused(path, "there.h5", "resnet50_d")
    assert "torch has no resnet50; its weights are for resnet50_v1_5" in refused(
        path, "there.h5", "resnet50"
    )


def test_another_width(make):
    _, path = make("resnet50", width=1 / 8)
    assert "conv1_conv/kernel has shape (7, 7, 3, 8), needs (7, 7, 3, 4)" in refused(
        path, "there.h5", "resnet50"
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_that_is_not_there(ending, make):
    _, path = make("vgg16")
    for folder in ("nowhere", path.name):
        message = refused(path, f"{folder}/there{ending}", "vgg16", OutputError)
        target = path.parent / folder
        assert message == (
            f"{target / f'there{ending}'}: cannot be written (there is no folder {target})."
        )
    assert not (path.parent / "nowhere").exists()


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_full_disk(ending, make):
    _, path = make("vgg16")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        message = refused(path, f"there{ending}", "vgg16", OutputError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message.startswith(f"{path.with_name(f'there{ending}')}: cannot be written (")


@pytest.mark.parametrize("error", [RuntimeError("a\nb"), PermissionError(13, "no"), KeyError("x")])
@pytest.mark.parametrize("ending", [".keras", ".pth"])
def test_a_failure_in_the_middle_leaves_nothing(ending, error, make, monkeypatch):
    def fail(_, path):
        path.write_bytes(b"half")
        raise error

    _, path = make("vgg16")
    for name in ("write_keras", "write_torch"):
        monkeypatch.setattr(module, name, fail)
    message = refused(path, f"there{ending}", "vgg16", OutputError)
    reason = {RuntimeError: "a b", PermissionError: "no", KeyError: "'x'"}[type(error)]
    assert message.endswith(f"there{ending}: cannot be written ({reason}).")


def test_an_interruption_leaves_nothing(make, monkeypatch):
    def interrupt(_, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    _, path = make("vgg16")
    monkeypatch.setattr(module, "write_keras", interrupt)
    with pytest.raises(KeyboardInterrupt):
        converted(path, "there.h5", "vgg16")
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".h5", ".safetensors"])
def test_what_was_written_is_compared(ending, make, monkeypatch):
    """One bit of one tensor."""

    def spoiled(write, change):
        def spoil(what, path):
            write(change(what), path)

        return spoil

    def change_tensors(tensors):
        changed = {name: value.copy() for name, value in tensors.items()}
        changed["classifier.6.bias"].view("uint32")[3] ^= 1
        return changed

    def change_model(model):
        values = model.get_layer("predictions").get_weights()
        changed = keras.models.clone_model(model)
        changed.set_weights(model.get_weights())
        values[1].view("uint32")[3] ^= 1
        changed.get_layer("predictions").set_weights(values)
        return changed

    _, path = make("vgg16")
    monkeypatch.setattr(module, "write_torch", spoiled(module.write_torch, change_tensors))
    monkeypatch.setattr(module, "write_keras", spoiled(module.write_keras, change_model))
    message = refused(path, f"there{ending}", "vgg16", OutputError)
    assert "verification failed; check the disk." in message


def test_the_network_that_a_file_makes(make):
    model, path = make("inception_v3", ".h5", auxiliary=True, input_shape=(299, 299, 3), classes=3)
    again, placements = model_of(path, CATALOG["inception_v3"], width=WIDTH)
    assert again.output_shape == [(None, 3), (None, 3)]
    assert_same_weights(again, model)
    assert len(placements) == len(model.weights)
