from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import inspect
import math
import re
import shutil
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import pytest
from keras.src.applications import efficientnet, inception_v3, mobilenet_v2, resnet, vgg16

from keras_classics import CATALOG
from keras_classics.errors import WeightsError
from keras_classics.weights import records
from keras_classics.weights.download import PackagedFile, RemoteFile
from keras_classics.weights.labels import imagenet_classes
from keras_classics.weights.records import RECORDS, find, has_imagenet, imagenet, recognise
from weights.references import TIMM, torch_module

TORCHVISION = {
    "vgg16-torchvision": ("VGG16_Weights", "IMAGENET1K_V1"),
    "resnet50_v1_5-torchvision-v1": ("ResNet50_Weights", "IMAGENET1K_V1"),
    "resnet50_v1_5-torchvision-v2": ("ResNet50_Weights", "IMAGENET1K_V2"),
    "inception_v3_torch-torchvision": ("Inception_V3_Weights", "IMAGENET1K_V1"),
}
# What ImageNet's usual mean and deviation are called here.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_every_record_is_compared_with_its_publisher():
    of_keras = {name for name, record in RECORDS.items() if record.source == "keras"}
    assert {n for n, r in RECORDS.items() if r.source == "torchvision"} == TORCHVISION.keys()
    assert {n for n, r in RECORDS.items() if r.source == "timm"} == TIMM.keys()
    assert of_keras == {
        "vgg16-keras", "resnet50-keras", "resnet50-keras-2015", "inception_v3-keras",
        *(f"efficientnet_b{n}-keras" for n in range(8)), "mobilenet_v2-keras",
    }  # fmt: skip
    assert {n for n, r in RECORDS.items() if r.source == "google"} == {
        f"efficientnet_lite{n}-google" for n in range(3)
    }
    assert len(RECORDS) == len(of_keras) + len(TORCHVISION) + len(TIMM) + 3


@pytest.mark.parametrize(
    ("network", "module"),
    [("vgg16", vgg16), ("resnet50", resnet), ("inception_v3", inception_v3)],
)
@pytest.mark.parametrize("include_top", [True, False])
def test_addresses_and_hashes_are_those_of_keras(network, module, include_top):
    record = imagenet(network)
    assert record is RECORDS[f"{network}-keras"]
    file = record.file_for(include_top=include_top)
    source = re.sub(r'"\s+"', "", inspect.getsource(module))  # one literal for two
    # ResNet's are a table of pairs: with the top, without.
    if network == "resnet50":
        pair = re.search(r'"resnet50": \(\s*"(\w+)",\s*"(\w+)"', source).groups()
        assert file.digest == f"md5:{pair[0 if include_top else 1]}"
        assert "https://storage.googleapis.com/tensorflow/keras-applications/resnet/" in source
        assert file.url.startswith(
            "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        )
    else:
        digest = re.search(
            rf'"{file.file_name}",\s*\w+,\s*cache_subdir="models",\s*file_hash="(\w+)"', source
        )
        assert file.digest == f"md5:{digest.group(1)}"
        assert file.url in source
    ending = "" if include_top else "_notop"
    assert file.file_name == f"{network}_weights_tf_dim_ordering_tf_kernels{ending}.h5"
    # How the network's own preprocessing turns pixels into inputs.
    assert f'mode="{record.preprocessing}"' in source


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("include_top", [True, False])
def test_addresses_and_hashes_of_efficientnet_are_those_of_keras(number, include_top):
    record = imagenet(f"efficientnet_b{number}")
    file = record.file_for(include_top=include_top)
    digest = efficientnet.WEIGHTS_HASHES[f"b{number}"][0 if include_top else 1]
    assert file.digest == f"md5:{digest}"
    ending = ".h5" if include_top else "_notop.h5"
    assert file.url == f"{efficientnet.BASE_WEIGHTS_PATH}efficientnetb{number}{ending}"
    assert record.protocol.crop == CATALOG[record.network].default_size
    assert record.preprocessing == "raw"


def test_addresses_of_mobilenet_are_those_of_keras_which_has_no_hashes():
    source = inspect.getsource(mobilenet_v2)
    record = imagenet("mobilenet_v2")
    assert f'mode="{record.preprocessing}"' in source
    assert "file_hash" not in source
    for file, ending in ((record.file, ".h5"), (record.notop, "_no_top.h5")):
        name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224{ending}"
        assert file.url == mobilenet_v2.BASE_WEIGHT_PATH + name
        assert f'{ending}"' in source
        assert (file.digest, file.identity) == ("", f"{file.size:,} bytes")


@pytest.mark.parametrize("number", range(3))
def test_packages_hold_what_is_on_record(number):
    record = imagenet(f"efficientnet_lite{number}")
    file = record.file
    assert isinstance(file, PackagedFile)
    path = file.installed()
    assert file.matches(path)
    assert path.stat().st_size == file.size
    assert any(Path(str(f)) == Path(file.path) for f in importlib.metadata.files(file.package))
    assert recognise(path) is record
    assert record.top5 is None
    assert record.protocol.crop == CATALOG[record.network].default_size


def test_the_first_resnet_of_keras_is_another_file_of_the_same_name():
    new, old = RECORDS["resnet50-keras"], RECORDS["resnet50-keras-2015"]
    for include_top, digest in (
        (True, "a7b3fe01876f51b976af0dea6bc144eb"),
        (False, "a268eb855778b3df3c7506639542a6af"),
    ):
        one, other = (record.file_for(include_top=include_top) for record in (new, old))
        assert one.file_name == other.file_name
        assert other.digest == f"md5:{digest}"
        assert one.digest != other.digest
    assert old.network == new.network == "resnet50"
    assert old.preprocessing == new.preprocessing == "caffe"


@pytest.mark.parametrize("name", TORCHVISION)
def test_records_agree_with_torchvision(name):
    enum, member = TORCHVISION[name]
    theirs = getattr(torch_module("torchvision.models"), enum)[member]
    record = RECORDS[name]
    assert record.file.url == theirs.url
    accuracy = theirs.meta["_metrics"]["ImageNet-1K"]
    assert (record.top1, record.top5) == (accuracy["acc@1"], accuracy["acc@5"])
    assert round(record.file.size / 2**20, 3) == theirs.meta["_file_size"]
    # torchvision names a file by the beginning of its hash.
    assert record.file.digest.startswith(f"sha256:{theirs.url[-12:-4]}")
    assert len(record.file.digest) == len("sha256:") + 64
    transforms = theirs.transforms()
    protocol = record.protocol
    assert [protocol.crop] == transforms.crop_size
    assert [protocol.resize] == transforms.resize_size
    assert protocol.interpolation == transforms.interpolation.value
    assert (tuple(transforms.mean), tuple(transforms.std)) == (MEAN, DEVIATION)
    # Inception's `transform_input` turns this into the arithmetic of "tf".
    expected = "tf" if record.network == "inception_v3_torch" else "torch"
    assert record.preprocessing == expected
    assert record.auxiliary == (record.network == "inception_v3_torch")


def test_inputs_of_torchvisions_inception_are_those_of_tf():
    """Its `transform_input` takes mean and deviation back, and then scales to -1..1."""
    import numpy as np
    import torch

    from keras_classics.weights.preprocess import preprocess

    models = torch_module("torchvision.models")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 9, 9, 3)).astype("uint8")
    standardised = torch.from_numpy(preprocess(pixels, "torch").transpose(0, 3, 1, 2).copy())
    inception = models.Inception3.__new__(models.Inception3)
    torch.nn.Module.__init__(inception)
    inception.transform_input = True
    turned = inception._transform_input(standardised).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(turned, preprocess(pixels, "tf"), atol=1e-6)


@pytest.mark.parametrize("name", TIMM)
def test_records_agree_with_timm(name):
    theirs = torch_module("timm.models").get_pretrained_cfg(TIMM[name])
    record = RECORDS[name]
    if theirs.url:  # timm names no release for what lies on the hub as well
        # The project was renamed: rwightman/ and huggingface/ are the same.
        mine, other = (urlsplit(url).path.split("/")[2:] for url in (record.file.url, theirs.url))
        assert mine == other
    assert record.file.digest.removeprefix("sha256:").startswith(record.file.url[-12:-4])
    size = (theirs.test_input_size or theirs.input_size)[-1]
    share = theirs.test_crop_pct or theirs.crop_pct
    assert record.protocol.crop == size
    assert record.protocol.resize == math.floor(size / share)
    assert record.protocol.interpolation == theirs.interpolation
    assert theirs.crop_mode == "center"
    if "lite" in name:
        assert {*theirs.mean, *theirs.std} == {0.5}
        assert record.preprocessing == "tf"
    else:  # which the graph of EfficientNet holds itself
        assert (theirs.mean, theirs.std) == (MEAN, DEVIATION)
        assert record.preprocessing == ("raw" if "efficientnet" in name else "torch")
    assert record.licence.lower() == theirs.license
    assert theirs.num_classes == len(record.class_names)
    architecture = {
        "resnet50_v1_5": "resnet50",
        "resnet50_d": "resnet50d",
        "inception_v3_torch": "inception_v3",
    }
    # Not its `efficientnet_*`, which have the same tensors and pad otherwise.
    assert theirs.architecture == architecture.get(record.network, f"tf_{record.network}")


def test_classes_are_in_torchvisions_order():
    """Two pairs of classes share a name, which torchvision tells apart."""
    theirs = torch_module("torchvision.models").VGG16_Weights.IMAGENET1K_V1.meta["categories"]
    ours = [each.name for each in RECORDS["vgg16-torchvision"].class_names]
    assert len(ours) == len(theirs) == 1000

    def plain(name):
        return name.lower().replace("_", " ").replace("-", " ")

    differences = [(a, b) for a, b in zip(ours, theirs, strict=True) if plain(a) != plain(b)]
    assert differences == [("crane", "crane bird"), ("maillot", "maillot tank suit")]
    assert all(record.class_names == imagenet_classes() for record in RECORDS.values())


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_well_formed(name):
    record = RECORDS[name]
    assert record.name == name
    assert name.startswith(f"{record.network}-")
    assert record.source in name
    assert record.network in CATALOG
    assert record.licence
    assert 70 < record.top1 < (record.top5 or 90) < 98
    assert 224 <= record.protocol.crop <= record.protocol.resize <= 632
    assert record.protocol.source
    assert not record.auxiliary or CATALOG[record.network].side
    for file in filter(None, (record.file, record.notop)):
        assert isinstance(file, PackagedFile) or file.url.startswith("https://")
        algorithm, _, digits = file.digest.partition(":")
        if name == "mobilenet_v2-keras":
            assert not digits
        else:
            assert re.fullmatch(r"[0-9a-f]+", digits)
            assert len(digits) == 32 if algorithm == "md5" else len(digits) in {8, 64}
        assert file.size is None or file.size > 9_000_000
    assert record.file_for(include_top=True) is record.file
    assert record.file_for(include_top=False) is (record.notop or record.file)
    if record.notop and record.notop.size:
        assert record.notop.size < record.file.size


def test_no_two_records_share_a_file():
    files = [f for r in RECORDS.values() for f in (r.file, r.notop) if f]
    assert len(files) == len(RECORDS) + len([r for r in RECORDS.values() if r.notop])
    places = {file.path if isinstance(file, PackagedFile) else file.url for file in files}
    assert len(places) == len(files)
    assert len({file.identity for file in files}) == len(files)


def test_imagenet_is_keras_own_where_it_has_one_and_one_set_at_most():
    for network in CATALOG:
        marked = [r.name for r in RECORDS.values() if r.network == network and r.imagenet]
        of_keras = f"{network}-keras"
        assert marked == [of_keras] if of_keras in RECORDS else len(marked) <= 1
        if marked:
            assert imagenet(network) is RECORDS[marked[0]]
            assert has_imagenet(network)
        else:
            assert not has_imagenet(network)
    assert imagenet("efficientnet_lite0").name == "efficientnet_lite0-google"
    assert imagenet("efficientnet_lite3").name == "efficientnet_lite3-timm"


@pytest.mark.parametrize(
    ("network", "instead"),
    [
        ("resnet50_v1_5", "use one of resnet50_v1_5-torchvision-v1, resnet50_v1_5-torchvision-v2"),
        ("resnet50_d", "use one of resnet50_d-timm-ra2."),
        ("inception_v3_torch", "use one of inception_v3_torch-torchvision, "),
        ("mine", "use weights=None or a file."),
    ],
)
def test_a_variant_has_no_imagenet_weights_of_another(network, instead):
    with pytest.raises(WeightsError, match=f"Keras publishes none for {network}; ") as caught:
        imagenet(network)
    assert instead in str(caught.value)


def test_records_are_found_by_name():
    assert all(find(name) is record for name, record in RECORDS.items())
    with pytest.raises(WeightsError, match=r"did you mean 'resnet50-keras'\? `classics weights`"):
        find("resnet50-kears")
    with pytest.raises(WeightsError, match=r"weights 'qqq' are not known. `classics weights`"):
        find("qqq")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Files that stand in for published ones: of a whole digest, of a beginning, without a top."""

    def digest(algorithm, path, digits):
        return f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()[:digits]}"

    paths = []
    for index in range(3):
        paths.append(tmp_path / f"{index}.h5")
        paths[-1].write_bytes(bytes([index]) * 100)
    one, other = RECORDS["resnet50-keras"], RECORDS["resnet50_v1_5-timm-a2"]
    made = {
        one.name: dataclasses.replace(
            one,
            file=RemoteFile(one.file.url, digest("md5", paths[0], 32)),
            notop=RemoteFile(one.notop.url, digest("md5", paths[1], 32)),
        ),
        other.name: dataclasses.replace(
            other, file=RemoteFile(other.file.url, digest("sha256", paths[2], 8))
        ),
    }
    monkeypatch.setattr(records, "RECORDS", MappingProxyType({**RECORDS, **made}))
    return paths


def test_a_published_file_is_recognised_under_any_name(published, tmp_path):
    for path, name in zip(
        published, ["resnet50-keras", "resnet50-keras", "resnet50_v1_5-timm-a2"], strict=True
    ):
        renamed = shutil.copy(path, tmp_path / "vgg16_weights.bin")
        assert recognise(renamed).name == name


def test_any_other_file_is_not_recognised(published, tmp_path):
    name = RECORDS["resnet50-keras"].file.file_name
    for content in (b"", b"\0" * 99, published[0].read_bytes() + b"\0"):
        (tmp_path / name).write_bytes(content)
        assert recognise(tmp_path / name) is None
