from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_classics.data.listing import Listing
from keras_classics.data.pictures import ArrayPictures
from keras_classics.training.fitting import class_weights
from keras_classics.training.images import Images


def images(counts, parts=None):
    labels = np.repeat(np.arange(len(counts)), counts)
    pictures = ArrayPictures(np.zeros((len(labels), 4, 4, 3), np.uint8))
    listing = Listing(Path("x"), tuple(map(str, range(len(counts)))), ())
    parts = np.array(parts or ["train"] * len(labels))
    return Images("x", pictures, 4, "crop", "crop", labels, parts, listing, ())


def test_with_the_weights_all_classes_count_alike_and_an_image_one_on_average():
    weights = class_weights(images([80, 15, 5]))
    assert (weights * [80, 15, 5]) == pytest.approx([100 / 3] * 3)
    assert np.average(weights, weights=[80, 15, 5]) == pytest.approx(1)


def test_only_the_training_part_counts_and_a_class_without_images_has_a_weight():
    data = images([4, 2, 1], ["train"] * 4 + ["train", "val"] + ["test"])
    weights = class_weights(data)
    assert weights[:2] == pytest.approx([5 / 8, 5 / 2])
    assert np.isfinite(weights[2])
