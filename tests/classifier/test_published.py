from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import socket
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from keras import applications
from PIL import Image

from keras_classics import build
from keras_classics.classifier import published as module
from keras_classics.classifier.published import locate, published
from keras_classics.data.fit import load_image
from keras_classics.errors import ClassicsError, DataError, WeightsError
from keras_classics.weights import records
from keras_classics.weights.keras_files import write_keras
from keras_classics.weights.labels import imagenet_classes
from keras_classics.weights.preprocess import preprocess
from pictures import write_pictures
from weights.references import TIMM, torch_module

SHAPES = [(375, 500), (500, 375), (333, 501), (231, 600), (80, 103), (900, 640)]  # h, w
TORCHVISION = {
    "vgg16-torchvision": "VGG16_Weights.IMAGENET1K_V1",
    "resnet50_v1_5-torchvision-v1": "ResNet50_Weights.IMAGENET1K_V1",
    "resnet50_v1_5-torchvision-v2": "ResNet50_Weights.IMAGENET1K_V2",
    "inception_v3_torch-torchvision": "Inception_V3_Weights.IMAGENET1K_V1",
}
KERAS = {
    "vgg16-keras": applications.vgg16,
    "resnet50-keras": applications.resnet,
    "resnet50-keras-2015": applications.resnet50,
    "inception_v3-keras": applications.inception_v3,
    "mobilenet_v2-keras": applications.mobilenet_v2,
}
# Sizes of the authors' networks, whose pictures are 32 pixels larger before they are cut.
GOOGLE = {
    **{
        f"efficientnet_b{n}-keras": size
        for n, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    },
    **{f"efficientnet_lite{n}-google": size for n, size in enumerate((224, 240, 260))},
}


@pytest.fixture(autouse=True)
def _offline_with_an_empty_cache(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError("offline")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("KERAS_CLASSICS_HOME", "KERAS_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """JPEG files of many shapes."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate(SHAPES):
        coarse = rng.integers(0, 256, (height // 20 + 1, width // 20 + 1, 3)).astype(np.uint8)
        image = np.kron(coarse, np.ones((20, 20, 1), np.uint8))[:height, :width].astype(int)
        image = np.clip(image + rng.integers(-40, 40, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{i}.jpg", quality=92, subsampling=i % 3)
    Image.fromarray(image[..., 0]).save(folder / "grey.jpg")
    Image.fromarray(np.dstack([image, 255 - image[..., 0]]), "CMYK").save(folder / "cmyk.jpg")
    return sorted(folder.iterdir())


@pytest.fixture
def preprocessing(monkeypatch):
    """The preprocessing that comes with a name, without the weights."""

    def preprocessing(name):
        asked = []

        def stand_in(*args, **kwargs):
            asked.append((args, kwargs))

        monkeypatch.setattr(module, "build", stand_in)
        card = published(name).card
        height, width = card.preprocessing.size
        assert asked == [
            ((records.RECORDS[name].network,),
             {"weights": name, "input_shape": (height, width, 3)})
        ]  # fmt: skip
        return card.preprocessing

    return preprocessing


def test_every_record_is_compared_with_its_publisher():
    assert records.RECORDS.keys() == {**TORCHVISION, **TIMM, **KERAS, **GOOGLE}.keys()


def compare_with_torch(preprocessing, transform, photos, then=lambda x: x):
    """Pixels exactly, inputs but for the last bit."""
    import torch

    steps = torch_module("torchvision.transforms")
    resize = next(t for t in transform.transforms if isinstance(t, steps.Resize))
    cut = next(t for t in transform.transforms if isinstance(t, steps.CenterCrop))
    for path in photos:
        with Image.open(path) as file:
            photo = file.convert("RGB")
        pixels = load_image(path, preprocessing.size, preprocessing.fit)
        np.testing.assert_array_equal(pixels, np.asarray(cut(resize(photo))), err_msg=path.name)
        expected = transform(photo)
        expected = then(expected.float() if isinstance(expected, torch.Tensor) else expected)
        # The graph of EfficientNet standardises itself, with ImageNet's mean and deviation.
        inputs = preprocess(pixels, "torch" if preprocessing.mode == "raw" else preprocessing.mode)
        np.testing.assert_allclose(inputs, expected.numpy().transpose(1, 2, 0), atol=1e-6)


@pytest.mark.parametrize("name", TORCHVISION)
def test_inputs_are_torchvision_s(name, preprocessing, photos):
    models, steps = torch_module("torchvision.models"), torch_module("torchvision.transforms")
    preset = models.get_weight(TORCHVISION[name]).transforms()
    (size,), (crop,) = preset.resize_size, preset.crop_size
    pixelwise = [
        steps.PILToTensor(),
        steps.ConvertImageDtype(torch_module("torch").float),
        steps.Normalize(preset.mean, preset.std),
    ]
    transform = steps.Compose(
        [steps.Resize(size, preset.interpolation), steps.CenterCrop(crop), *pixelwise]
    )
    with Image.open(photos[0]) as photo:
        assert (transform(photo) == preset(photo)).all()

    def transform_input(x):
        """What torchvision's pretrained Inception does inside."""
        inception = torch_module("torchvision.models.inception").Inception3
        return inception._transform_input(SimpleNamespace(transform_input=True), x[None])[0]

    then = transform_input if "inception" in name else lambda x: x
    compare_with_torch(preprocessing(name), transform, photos, then)


@pytest.mark.parametrize("name", TIMM)
def test_inputs_are_timm_s(name, preprocessing, photos):
    timm = torch_module("timm")
    data = torch_module("timm.data")
    config = timm.get_pretrained_cfg(TIMM[name]).to_dict()
    config = data.resolve_data_config(pretrained_cfg=config, use_test_size=True)
    transform = data.create_transform(**config, is_training=False)
    compare_with_torch(preprocessing(name), transform, photos)


@pytest.mark.parametrize("name", GOOGLE)
def test_inputs_are_the_authors(name, preprocessing, photos):
    steps, size = torch_module("torchvision.transforms"), GOOGLE[name]
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if "lite" in name:
        mean, deviation = (127 / 255,) * 3, (128 / 255,) * 3
    transform = steps.Compose(
        [
            steps.Resize(size + 32, steps.InterpolationMode.BICUBIC),
            steps.CenterCrop(size),
            steps.ToTensor(),
            steps.Normalize(mean, deviation),
        ]
    )
    compare_with_torch(preprocessing(name), transform, photos[::3])


def keras_applications_crop(image, resize, crop):
    """The rule by which keras-applications' figures were measured."""
    height, width = image.shape[:2]
    target = (width * resize // min(height, width), height * resize // min(height, width))
    resized = cv2.resize(image, target, interpolation=cv2.INTER_CUBIC)
    top, left = (resized.shape[0] - crop) // 2, (resized.shape[1] - crop) // 2
    return resized[top : top + crop, left : left + crop]


@pytest.mark.parametrize("name", KERAS)
def test_inputs_are_keras_applications(name, preprocessing, photos):
    resize, crop = (341, 299) if "inception" in name else (256, 224)
    found = preprocessing(name)
    for path in photos:
        with Image.open(path) as file:
            expected = keras_applications_crop(np.asarray(file.convert("RGB")), resize, crop)
        pixels = load_image(path, found.size, found.fit)
        np.testing.assert_array_equal(pixels, expected, err_msg=path.name)
        inputs = preprocess(pixels, found.mode)
        expected = KERAS[name].preprocess_input(expected.astype("float32"))
        np.testing.assert_allclose(inputs, expected, atol=2e-5, rtol=1e-6)


def digest(path):
    return f"md5:{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"


def with_file(name, path):
    """The records as they would be, were this file the published one."""
    old = records.RECORDS[name]
    file = dataclasses.replace(old.file, digest=digest(path))
    return {**records.RECORDS, name: dataclasses.replace(old, file=file)}


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory):
    """A file as keras.applications publishes it, with weights that answer neither 0 nor 1."""
    keras.utils.set_random_seed(0)  # with which no two of its answers are too close to be ranked
    model = build("resnet50", weights=None)
    kernel = model.get_layer("predictions").kernel
    kernel.assign(np.random.default_rng(0).normal(0, 0.05, kernel.shape))
    path = tmp_path_factory.mktemp("weights") / "any name.h5"
    write_keras(model, path)
    return path


@pytest.fixture
def published_resnet50(resnet50, monkeypatch):
    monkeypatch.setattr(records, "RECORDS", with_file("resnet50-keras", resnet50))
    return resnet50


@pytest.fixture(scope="module")
def folder(resnet50, photos, tmp_path_factory):
    """Photos in folders of synsets, and what keras.applications makes of them.

    The rank of a photo's class among the reference's outputs: 1, 2, 5, 6, 1, 1000 and so on.
    """
    reference = applications.ResNet50(weights=str(resnet50))
    folder = tmp_path_factory.mktemp("val")
    ranks = dict(zip(photos, (1, 2, 5, 6, 1, 1000, 3, 1), strict=True))
    for path, rank in ranks.items():
        with Image.open(path) as file:
            pixels = keras_applications_crop(np.asarray(file.convert("RGB")), 256, 224)
        x = applications.resnet.preprocess_input(pixels[None].astype("float32"))
        outputs = reference.predict_on_batch(x)[0]
        order = np.argsort(-outputs)
        assert (outputs[order[:7]] > 1.001 * outputs[order[1:8]]).all()
        synset = imagenet_classes()[order[rank - 1]].synset
        (folder / synset).mkdir(exist_ok=True)
        shutil.copy(path, folder / synset)
    return folder, np.array(list(ranks.values()))


@pytest.mark.parametrize("by", ["name", pytest.param("file", marks=pytest.mark.slow)])
def test_evaluated_by_the_record_s_protocol(by, published_resnet50, folder, tmp_path):
    path, ranks = folder
    weights = published_resnet50
    if by == "name":
        weights = "resnet50-keras"
        place = tmp_path / "KERAS_HOME" / "models"
        place.mkdir(parents=True)
        name = records.RECORDS[weights].file.file_name
        (place / name).symlink_to(published_resnet50)
    classifier = published(weights)
    assert classifier.card.network == "resnet50"
    assert classifier.card.recipe == {"weights": "resnet50-keras"}
    assert classifier.card.class_names[0] == "tench"
    assert classifier.folders[0] == "n01440764"
    evaluation = classifier.evaluate(path, batch_size=3)
    judgement = evaluation.judgement
    assert (evaluation.part, evaluation.skipped) == ("all images", ())
    assert judgement.images == len(ranks) == 8
    assert judgement.accuracy == (ranks == 1).mean() == 3 / 8
    assert judgement.top5_accuracy == (ranks <= 5).mean() == 6 / 8
    present = {each.synset for each in imagenet_classes()} & {p.name for p in path.iterdir()}
    judged = [i for i, figures in enumerate(judgement.classes) if figures.support]
    assert {imagenet_classes()[i].synset for i in judged} == present

    # A folder `val` above those of the synsets, as ImageNet has it, changes nothing.
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "val").symlink_to(path)
    again = classifier.evaluate(tmp_path / "imagenet").judgement
    assert (again.accuracy, again.images) == (judgement.accuracy, 8)
    predictions = classifier.predict(path, top_k=3)
    assert all(p.top[0][0] in classifier.card.class_names for p in predictions)

    with pytest.raises(DataError, match="n99999999"):
        write_pictures(tmp_path / "other", each=1, classes=("n01440764", "n99999999"))
        classifier.evaluate(tmp_path / "other")


@pytest.mark.parametrize("network", ["vgg16", "resnet50_v1_5"])
def test_a_published_file_is_no_other_network_s(network, published_resnet50, monkeypatch):
    """Not even where a record says so: what is loaded must be the network's."""
    wrong = dataclasses.replace(records.RECORDS["resnet50-keras"], network=network)
    changed = {**records.RECORDS, "resnet50-keras": wrong}
    monkeypatch.setattr(records, "RECORDS", changed)
    with pytest.raises(WeightsError, match=f"not the weights of this {network}"):
        published(published_resnet50)


def test_a_file_that_nobody_published(resnet50):
    with pytest.raises(WeightsError) as caught:
        published(resnet50)
    assert str(caught.value) == (
        f"{resnet50}: its hash is that of no published file, so neither its preprocessing nor its "
        "classes are known."
    )


@pytest.mark.parametrize(
    ("name", "hint"), [("resnet50-kera", "; did you mean 'resnet50-keras'?"), ("/no/such.h5", ".")]
)
def test_a_name_that_nobody_gave(name, hint):
    with pytest.raises(WeightsError, match=re.escape(f"weights {name!r} are not known{hint}")):
        published(name)


def test_weights_that_are_not_here(monkeypatch):
    from keras_classics.weights import download

    monkeypatch.setattr(download, "BACK_OFF", 0)
    with pytest.raises(WeightsError, match=r"cannot download https://.*offline.*at .*\.h5"):
        published("resnet50-keras")


def test_with_the_channels_first(published_resnet50, monkeypatch, data_format):
    asked = []
    monkeypatch.setattr(module, "build", lambda *_, **kwargs: asked.append(kwargs["input_shape"]))
    data_format("channels_first")
    assert published(published_resnet50).card.preprocessing.size == (224, 224)
    assert asked == [(3, 224, 224)]


def test_located(published_resnet50, artefact, tmp_path):
    place = tmp_path / "KERAS_HOME" / "models"
    place.mkdir(parents=True)
    cached = place / records.RECORDS["resnet50-keras"].file.file_name
    cached.symlink_to(published_resnet50)
    by_name = locate("resnet50-keras")
    assert (by_name.path, by_name.architecture.name, by_name.width) == (cached, "resnet50", 1.0)
    by_hash = locate(published_resnet50)
    assert (by_hash.path, by_hash.architecture.name) == (published_resnet50, "resnet50")
    run = locate(str(artefact))
    assert (run.path, run.architecture.name, run.width) == (
        artefact / "model.keras",
        "vgg16",
        1 / 8,
    )
    mine = tmp_path / "mine.h5"
    mine.write_bytes(b"")
    source = locate(mine, network="ResNet50", width=0.5)
    assert (source.path, source.architecture.name, source.width) == (mine, "resnet50", 0.5)


def test_what_cannot_be_located(published_resnet50, artefact, tmp_path):
    mine = tmp_path / "mine.h5"
    mine.write_bytes(b"")
    for arguments, message in (
        ((tmp_path / "none",), "none: no such file, artefact or published name"),
        ((mine,), "mine.h5: the weights of which network"),
        ((mine, "alexnet"), "network 'alexnet' is not known"),
        ((published_resnet50, "resnet50_v1_5"), "weights of resnet50, not resnet50_v1_5"),
        ((artefact, "resnet50"), "weights of vgg16, not resnet50"),
        ((tmp_path,), "artefact.json: not the description of an artefact"),
    ):
        weights, network = (*arguments, None)[:2]
        with pytest.raises(ClassicsError, match=re.escape(message)):
            locate(weights, network=network)
