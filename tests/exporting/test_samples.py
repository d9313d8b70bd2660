from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from keras_classics.classifier.artefact import Classifier, load
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.data.digits import load_digits_images
from keras_classics.data.fit import fit_image, load_image
from keras_classics.errors import DataError, ImageError
from keras_classics.exporting import samples
from keras_classics.exporting.exported import ExportError
from keras_classics.exporting.samples import parts_of, parts_of_others, photographs


@pytest.fixture(scope="module")
def classifier(artefact):
    return load(artefact)


def classifier_of_digits(splits):
    card = Card("vgg16", 1.0, tuple("0123456789"), Preprocessing((32, 32), "crop", "tf"))
    card = dataclasses.replace(card, data={"source": "the digits of scikit-learn", "folder": None})
    return Classifier(None, card, splits=splits)


def test_the_parts_are_those_of_the_run(classifier, shapes):
    parts = parts_of(classifier, shapes)
    for name in ("train", "val", "test"):
        expected = {path for path, split in classifier.splits.items() if split == name}
        assert set(getattr(parts, name).names) == expected
    assert not set(parts.train.names) & {*parts.val.names, *parts.test.names}


def test_the_pictures_are_where_they_were(classifier):
    assert len(parts_of(classifier, None).test) == 9


def test_a_sample_is_drawn_the_same_way_each_time(classifier, shapes):
    train = parts_of(classifier, shapes).train
    drawn = train.drawn(10, seed=3)
    assert len(drawn) == 10
    assert set(drawn.names) < set(train.names)
    assert drawn == train.drawn(10, seed=3)
    assert drawn.names != train.drawn(10, seed=4).names
    assert train.drawn(1000) is train
    labels = dict(zip(train.names, train.labels, strict=True))
    assert [labels[name] for name in drawn.names] == list(drawn.labels)


def test_pictures_are_those_that_prediction_sees(classifier, shapes):
    parts = parts_of(classifier, shapes)
    ((pictures, labels),) = parts.test.batches()
    for picture, name, label in zip(pictures, parts.test.names, labels, strict=True):
        assert (
            fit_image(picture, (32, 32), "crop") == load_image(shapes / name, (32, 32), "crop")
        ).all()
        assert name.startswith(classifier.card.class_names[label])


def test_pictures_that_cannot_be_read_are_left_out(classifier, shapes, tmp_path):
    test = parts_of(classifier, shapes).test
    bad = test.names[2]

    def decoded(name):
        if name == bad:
            raise ImageError(tmp_path, "torn")
        return test.decoded(name)

    ((pictures, labels),) = dataclasses.replace(test, decoded=decoded).batches()
    assert len(pictures) == len(labels) == 8
    assert labels == [label for i, label in enumerate(test.labels) if i != 2]


def test_pictures_of_another_run(classifier, tmp_path):
    from pictures import write_pictures

    other = write_pictures(tmp_path / "other", each=4)
    with pytest.raises(ExportError, match="not the images that the run was trained on"):
        parts_of(classifier, other)
    with pytest.raises(DataError, match="no such folder"):
        parts_of(classifier, tmp_path / "nothing")


def test_pictures_that_are_gone_or_others_by_now(classifier, tmp_path):
    from pictures import write_pictures

    def moved(place):
        data = {**classifier.card.data, "source": str(place)}
        card = dataclasses.replace(classifier.card, data=data)
        return Classifier(classifier.model, card, splits=classifier.splits)

    assert parts_of(moved(tmp_path / "gone"), None) is None
    assert parts_of(moved(write_pictures(tmp_path / "other", each=4)), None) is None
    (tmp_path / "empty").mkdir()
    assert parts_of(moved(tmp_path / "empty"), None) is None


def test_what_is_no_run_has_no_parts(classifier, shapes):
    bare = Classifier(classifier.model, classifier.card)
    assert parts_of(bare, None) is None
    with pytest.raises(ExportError, match="not the artefact of a run"):
        parts_of(bare, shapes)


def test_a_fifth_of_other_pictures_decides_and_the_others_are_compared(classifier, shapes):
    """For published weights, whose classes are the names of the folders."""
    folders = ["another", *classifier.card.class_names]  # not all classes have pictures
    bare = Classifier(classifier.model, classifier.card, folders=folders)
    parts = parts_of_others(bare, shapes)
    again = parts_of_others(bare, shapes)
    names = [set(part.names) for part in (parts.train, parts.val, parts.test)]
    assert [len(part) for part in names] == [12, 0, 48]
    assert not names[0] & names[2]
    assert set(again.train.names) == names[0]
    assert set(parts_of_others(bare, shapes, seed=1).train.names) != names[0]
    for name, label in zip(parts.test.names, parts.test.labels, strict=True):
        assert name.startswith(bare.folders[label])
    assert parts.test.of == "the pictures of shapes by which nothing was decided"


def test_the_digits_are_always_at_hand(shapes):
    classifier = classifier_of_digits({"0000": "train", "0005": "val", "1796": "test"})
    parts = parts_of(classifier, None)
    images, labels, _ = load_digits_images(32)
    for part, row in ((parts.train, 0), (parts.val, 5), (parts.test, 1796)):
        ((pictures, known),) = part.batches()
        assert pictures[0].shape == (8, 8, 3)
        assert (fit_image(pictures[0], (32, 32), "crop") == images[row]).all()
        assert known == [labels[row]]
    with pytest.raises(ExportError, match="leave out --data"):
        parts_of(classifier, shapes)


def test_photographs_come_in_many_sizes_and_are_the_same_each_time():
    pictures = [picture for chunk, _ in photographs().batches() for picture in chunk]
    assert len(pictures) == samples.CROPS
    shapes = {picture.shape[:2] for picture in pictures}
    assert len(shapes) == samples.CROPS
    assert any(h > w for h, w in shapes)
    assert any(h < w for h, w in shapes)
    assert all(picture.std() > 5 for picture in pictures)
    again = [picture for chunk, _ in photographs().batches() for picture in chunk]
    assert all(np.array_equal(one, other) for one, other in zip(pictures, again, strict=True))
