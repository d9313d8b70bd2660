"""Whatever answers for a picture decodes it at full size, as whoever runs an export does."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageOps

from exporting.guide import write_photo
from keras_classics.classifier.artefact import load
from keras_classics.data.fit import fit_image, load_image
from keras_classics.data.folder import scan
from keras_classics.data.pictures import FilePictures, StoredPictures
from keras_classics.data.pixels import decode_all
from keras_classics.data.views import view

SIZE = (32, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes with a large photograph each."""
    folder = tmp_path_factory.mktemp("large")
    for name, orientation in (("circle", 1), ("cross", 6)):
        (folder / name).mkdir()
        write_photo(folder / name / "photo.jpg", orientation)
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    """The pictures at the size of the network, by a decoder that is not ours."""
    photos = [Image.open(folder / name / "photo.jpg") for name in ("circle", "cross")]
    pictures = [np.asarray(ImageOps.exif_transpose(photo).convert("RGB")) for photo in photos]
    return np.stack([fit_image(picture, SIZE, "crop") for picture in pictures])


def test_where_pictures_are_read(folder, expected):
    listing = scan(folder)
    names = [item.name for item in listing.items]
    paths = [folder / name for name in names]
    decoded = decode_all(listing.storage, listing.items, SIZE, "crop")
    np.testing.assert_array_equal(decoded.images, expected)
    for index, image in enumerate(expected):
        np.testing.assert_array_equal(load_image(paths[index], SIZE, "crop"), image)
        for pictures in (FilePictures(paths), StoredPictures(listing.storage, names)):
            seen = view(partial(pictures.picture, index), SIZE, "crop", None, None)
            np.testing.assert_array_equal(seen, image)


def test_prediction_evaluation_and_what_exports_are_compared_on(folder, expected, artefact):
    from keras_classics.exporting.samples import _stored

    classifier = load(artefact)
    names = classifier.card.class_names
    wanted = classifier.probabilities(expected)
    paths = [folder / name / "photo.jpg" for name in ("circle", "cross")]
    given = [dict(found.top) for found in classifier.predict(paths, top_k=3)]
    assert [[found[name] for name in names] for found in given] == [
        pytest.approx(list(row), abs=1e-6) for row in wanted
    ]
    judged = classifier.evaluate(folder, split="all").judgement
    loss = -np.log(wanted[[0, 1], [names.index("circle"), names.index("cross")]]).mean()
    assert judged.log_loss == pytest.approx(loss, abs=1e-5)
    decoded = _stored(scan(folder).storage)("cross/photo.jpg")
    assert decoded.shape == (1500, 1100, 3)


def test_the_server_and_the_page(folder, expected, artefact):
    from keras_classics.explorer.pictures import read_picture
    from keras_classics.serving.intake import fitted
    from keras_classics.serving.settings import Settings

    shape = load(artefact).card.preprocessing
    data = (folder / "cross" / "photo.jpg").read_bytes()
    served = fitted(data, "photo.jpg", shape, Settings())
    np.testing.assert_array_equal(np.squeeze(served), expected[1])
    np.testing.assert_array_equal(read_picture(data, "photo.jpg").fitted(shape), expected[1])
