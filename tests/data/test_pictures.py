from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_classics.data.decode import read_image
from keras_classics.data.pictures import ArrayPictures, FilePictures, StoredPictures
from keras_classics.data.storage import Folder
from keras_classics.errors import ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for place, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).resize((600, 400)).save(tmp_path / f"{place}.jpg")
    return tmp_path


def test_an_array_gives_its_images_without_copying():
    pictures = ArrayPictures(PIXELS)
    assert len(pictures) == 3
    assert np.shares_memory(pictures.picture(1, 5), PIXELS[1])
    np.testing.assert_array_equal(pictures.picture(1, None), PIXELS[1])


def test_files_are_read_no_larger_than_needed(folder):
    names = ["2.jpg", "0.jpg"]
    stored = StoredPictures(Folder(folder), names)
    files = FilePictures([folder / name for name in names])
    assert len(stored) == len(files) == 2
    for place, name in enumerate(names):
        for at_least, height in ((None, 400), (150, 200)):
            expected = read_image(folder / name, at_least=at_least)
            assert expected.shape[0] == height
            np.testing.assert_array_equal(stored.picture(place, at_least), expected)
            np.testing.assert_array_equal(files.picture(place, at_least), expected)


def test_what_cannot_be_read_is_named(folder):
    (folder / "1.jpg").write_bytes((folder / "1.jpg").read_bytes()[:400])
    for pictures in (
        StoredPictures(Folder(folder), ["1.jpg"]),
        FilePictures([str(folder / "1.jpg")]),
    ):
        with pytest.raises(ImageError, match=r"1\.jpg: truncated"):
            pictures.picture(0, None)
