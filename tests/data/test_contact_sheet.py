from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_classics.data.augment import Augmentation, augment, rng_for
from keras_classics.data.contact_sheet import (
    _caption,
    _shortened,
    chosen,
    contact_sheet,
    readable,
    save,
)
from keras_classics.data.mixing import Mixing, mix, mixing_rng
from keras_classics.data.pictures import ArrayPictures, FilePictures
from keras_classics.errors import OutputError

# Blocks of colours, so that nothing on the sheet but the images has many of them.
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 150, 130, 3), np.uint8)
LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 2, 2])
CLASSES = ("cat", "dog", "a class with a very long name indeed")
CHANGES = Augmentation(shift=0.2, flip=True)


def sheet(indices: list[int], **changes) -> np.ndarray:
    arguments = {"size": (150, 130), "augmentation": CHANGES, "draws": 3, "title": "What"}
    return np.asarray(
        contact_sheet(
            ArrayPictures(IMAGES), LABELS, CLASSES, indices=np.array(indices),
            **{**arguments, **changes},
        )
    )  # fmt: skip


def places(whole: np.ndarray, image: np.ndarray) -> list[tuple[int, int]]:
    """Where an image stands on a sheet."""
    height, width = image.shape[:2]
    rows, columns = np.nonzero((whole == image[0, 0]).all(axis=2))
    return [
        (int(y), int(x))
        for y, x in zip(rows, columns, strict=True)
        if np.array_equal(whole[y : y + height, x : x + width], image)
    ]


def test_it_shows_what_the_network_is_judged_by_and_learns_from():
    whole = sheet([7, 5], seed=4)
    lefts = []
    for row, index in enumerate([7, 5]):
        shown = [IMAGES[index]] + [
            augment(IMAGES[index], CHANGES, rng_for(4, epoch, index)) for epoch in range(3)
        ]
        at = [places(whole, image) for image in shown]
        assert [len(found) for found in at] == [1] * 4
        assert len({found[0][0] for found in at}) == 1  # in one row
        lefts.append([found[0][1] for found in at])
        assert row == 0 or at[0][0][0] > 150
    assert lefts[0] == lefts[1] == sorted(lefts[0])
    assert np.diff(lefts[0]).tolist()[1:] == [140, 140]
    assert lefts[0][1] - lefts[0][0] > 150  # the first column stands apart


def test_mixed_images_are_those_of_the_batch():
    spec = Mixing(cutmix=1.0)
    whole = sheet([0, 5, 7], mixing=spec, augmentation=None, seed=1)
    labels = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    for epoch in range(3):
        images, _ = mix(IMAGES[[0, 5, 7]].astype(np.float32), labels, spec, mixing_rng(1, epoch, 0))
        for image in images:
            assert places(whole, image.astype(np.uint8))


def test_small_images_are_enlarged_pixel_by_pixel():
    whole = sheet([0], size=(20, 30), augmentation=None, draws=1)
    from keras_classics.data.fit import fit_image

    small = fit_image(IMAGES[0], (20, 30), "crop")
    assert len(places(whole, small.repeat(5, axis=0).repeat(5, axis=1))) == 2


def test_it_is_judged_by_another_size_and_fit():
    whole = sheet([0], test_size=(170, 140), test_fit="pad", augmentation=None, draws=1)
    from keras_classics.data.fit import fit_image

    assert len(places(whole, fit_image(IMAGES[0], (170, 140), "pad"))) == 1
    assert len(places(whole, IMAGES[0])) == 1


def test_captions_name_the_parts():
    assert _caption(np.array([0, 1, 0], np.float32), CLASSES) == "dog"
    assert _caption(np.array([0.304, 0.696, 0], np.float32), CLASSES) == "70 % dog\n30 % cat"
    assert _caption(np.array([0.001, 0.999, 0], np.float32), CLASSES) == "dog"
    assert _caption(np.array([1], np.float32), ("only",)) == "only"
    assert _shortened("cat", 100, 13) == "cat"
    assert _shortened(CLASSES[2], 100, 13).endswith("...")
    assert len(_shortened(CLASSES[2], 100, 13)) < 20


def test_images_of_all_classes_are_chosen():
    for seed in range(5):
        assert set(LABELS[chosen(LABELS, 3, seed=seed)]) == {0, 1, 2}
        assert np.bincount(LABELS[chosen(LABELS, 6, seed=seed)]).tolist() == [2, 2, 2]
    assert sorted(chosen(LABELS, 99, seed=0)) == list(range(9))
    assert len({tuple(chosen(LABELS, 3, seed=seed)) for seed in range(9)}) > 5


def test_it_is_written_whole_or_not_at_all(tmp_path):
    image = Image.fromarray(sheet([0]))
    save(image, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as found:
        np.testing.assert_array_equal(np.asarray(found), np.asarray(image))
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    with pytest.raises(OutputError, match=r"nowhere/x\.png: cannot be written"):
        save(image, tmp_path / "nowhere" / "x.png")


def test_those_that_can_be_read_in_the_order_given(tmp_path):
    for name in "abcd":
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"x")
    pictures = FilePictures([tmp_path / f"{name}.png" for name in "abcd"])
    indices, errors = readable(pictures, [3, 1, 0, 2], 2)
    assert indices.tolist() == [3, 0]
    assert [error.path.name for error in errors] == ["b.png"]
    indices, errors = readable(pictures, [1], 2)
    assert (len(indices), len(errors)) == (0, 1)
