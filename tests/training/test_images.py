"""The images of a run: where they come from, and in which part each is."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_classics.architectures import catalog
from keras_classics.data.check.run import quick_check
from keras_classics.data.manifest import write_manifest
from keras_classics.errors import DataError
from keras_classics.training import images as module
from keras_classics.training.config import TrainConfig, input_sizes, recipe_for
from keras_classics.training.images import decode_images, list_images
from pictures import state


def scene(seed, size=(90, 80)):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return Image.fromarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of 20 pictures; one has three copies of one, and four near copies of another."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for label, kind in enumerate(("cat", "dog")):
        (root / kind).mkdir(parents=True)
        for i in range(20):
            scene(100 * label + i).save(root / kind / f"{i:02}.png")
    for name in ("copy1", "copy2"):
        shutil.copy(root / "cat" / "03.png", root / "cat" / f"{name}.png")
    for quality in (30, 50, 70):
        scene(105).save(root / "dog" / f"near{quality}.jpg", quality=quality)
    return root


COPIES = {"cat/03.png", "cat/copy1.png", "cat/copy2.png"}
NEAR = {"dog/05.png", "dog/near30.jpg", "dog/near50.jpg", "dog/near70.jpg"}


def read(config, scratch):
    architecture = catalog.find("resnet50")
    recipe = recipe_for(config, architecture)
    sizes = input_sizes(config, recipe, architecture)
    listing = list_images(config)
    return decode_images(listing, sizes, recipe, config, scratch=scratch, tell=lambda _: None)


def parts(data):
    return {item.name: item.split for item in data.listing.items}


def test_copies_and_near_copies_are_in_one_part(photos, tmp_path):
    before = state(photos)
    seen = set()
    for seed in range(8):
        data = read(TrainConfig(photos, seed=seed), tmp_path)
        part = parts(data)
        assert len({part[name] for name in COPIES}) == len({part[name] for name in NEAR}) == 1
        seen.add((part["cat/03.png"], part["dog/05.png"]))
        assert {frozenset(group) for group in data.copies} == {frozenset(COPIES)}
        kinds = {finding.kind for finding in quick_check(data.listing, copies=data.copies)}
        assert kinds == {"copies"}
        assert all(4 <= data.counts[part] <= 10 for part in ("val", "test"))
    assert len(seen) > 2
    assert state(photos) == before


def test_of_very_many_images_only_copies_are_looked_for(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "NEAR_LIMIT", 10)
    found = [parts(read(TrainConfig(photos, seed=seed), tmp_path)) for seed in range(8)]
    assert all(len({part[name] for name in COPIES}) == 1 for part in found)
    assert any(len({part[name] for name in NEAR}) > 1 for part in found)


def test_the_contents_are_those_of_the_bytes(photos, tmp_path):
    other = shutil.copytree(photos, tmp_path / "other")
    whole = read(TrainConfig(photos), tmp_path).contents
    assert read(TrainConfig(other), tmp_path).contents == whole
    image = other / "cat" / "07.png"
    data = image.read_bytes()
    image.write_bytes(data + b"\0")
    changed = read(TrainConfig(other), tmp_path).contents
    image.write_bytes(data)
    image.rename(other / "cat" / "x.png")
    assert len({whole, changed, read(TrainConfig(other), tmp_path).contents}) == 3
    assert read(TrainConfig(size=32), tmp_path).contents is None


def test_an_archive_and_a_manifest_divide_as_the_folder_does(photos, tmp_path):
    expected = read(TrainConfig(photos, group_by=r"(\d)\.|near|copy"), tmp_path)
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))
    packed = read(TrainConfig(archive, group_by=r"(\d)\.|near|copy"), tmp_path)
    write_manifest(expected.listing, tmp_path / "split.csv")
    table = TrainConfig(tmp_path / "split.csv", root=photos, group_by="group", seed=9)
    for other in (packed, read(table, tmp_path)):
        assert other.listing.items == expected.listing.items
        np.testing.assert_array_equal(other.parts, expected.parts)
        np.testing.assert_array_equal(other.labels, expected.labels)
        assert other.contents == expected.contents
        for index in (0, 7, 44):
            np.testing.assert_array_equal(other.fitted(index), expected.fitted(index))


def test_groups_that_cannot_be_are_said_before_an_image_is_read(photos, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", None)
    with pytest.raises(DataError, match=r"group_by='patient' is found in no path"):
        list_images(TrainConfig(photos, group_by="patient"))
    with pytest.raises(
        DataError, match=r"the class 'cat' has a single group \('cat'\) of 22 images"
    ):
        list_images(TrainConfig(photos, group_by="^[a-z]+"))


def test_a_class_of_copies_alone_is_named(photos, tmp_path):
    root = shutil.copytree(photos, tmp_path / "other")
    (root / "ant").mkdir()
    for i in range(5):
        shutil.copy(root / "cat" / "00.png", root / "ant" / f"{i}.png")
    with pytest.raises(
        DataError, match=r"the class 'ant' has a single picture \(ant/0\.png and its"
    ):
        read(TrainConfig(root), tmp_path)
