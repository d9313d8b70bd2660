"""The layer's pixels against those of OpenCV and Pillow.

Both round sums of products, and where a sum is a half but for the last bit of a float, the order of
its terms decides. So some grey levels differ by one; how many was measured over thousands of
shapes, and is bounded here.
"""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest

from keras_classics.data.fit import CentralCrop, fit_image
from keras_classics.exporting.resizing import Resize

RULES = ["crop", "pad", "stretch"]
# Shapes where a rule does something of its own: nothing, one side alone, mixed, halves, whole
# numbers, the least shrinking that averages, one pixel, long and narrow.
SHAPES = [
    (64, 48), (64, 90), (30, 48), (200, 20), (20, 200), (128, 96), (192, 96), (192, 144), (256, 48),
    (76, 57), (77, 58), (80, 48), (55, 352), (1, 1), (1, 90), (90, 1), (3, 700), (700, 3),
    (375, 500), (333, 501), (65, 49), (63, 47), (96, 72), (85, 61),
]  # fmt: skip


def pictures(height, width, rng):
    """Noise, a smooth picture, black and white, and one grey level."""
    noise = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    yield noise
    yield cv2.resize(noise[::9, ::9], (width, height), interpolation=cv2.INTER_CUBIC)
    yield np.where(noise > 127, 255, 0).astype(np.uint8)
    yield np.full((height, width, 3), noise[0, 0, 0])


def differences(layer, image, size, fit):
    """Of the layer and `fit_image`, in grey levels; the layer gives bytes, if not of that type."""
    resized = keras.ops.convert_to_numpy(layer(image[None]))
    assert resized.shape == (1, *size, 3)
    assert resized.dtype == np.float32
    assert (resized == resized.astype(np.uint8)).all()
    return np.abs(resized[0] - fit_image(image, size, fit))


@pytest.mark.parametrize("fit", RULES)
def test_the_rules_of_training(fit):
    """Many of these shapes have halves; of random ones, one grey level in 100,000 differs."""
    rng = np.random.default_rng(0)
    layer = Resize((64, 48), fit)
    wrong = []
    for shape in SHAPES:
        for image in pictures(*shape, rng):
            found = differences(layer, image, (64, 48), fit)
            assert found.max() <= 1, shape
            wrong.append((found > 0).mean())
    assert max(wrong) <= 0.01
    assert np.mean(wrong) <= 3e-4


# Shares of the grey levels that differ: of one picture, and of all.
MEASURED = {"bilinear": (0.0, 0.0), "bicubic": (0.01, 5e-4), "opencv-cubic": (0.01, 5e-4)}
# Not with Intel's library, OpenCV computes this in whole numbers.
if not cv2.ipp.useIPP():
    MEASURED["opencv-cubic"] = (0.1, 0.1)


@pytest.mark.parametrize("interpolation", MEASURED)
def test_the_rules_of_published_accuracies(interpolation):
    rng = np.random.default_rng(0)
    crop = CentralCrop(72, interpolation)
    layer = Resize((64, 60), crop)
    wrong = []
    for shape in SHAPES:
        if max(shape) > 100 * min(shape) or min(shape) < 4:
            continue
        for image in pictures(*shape, rng):
            found = differences(layer, image, (64, 60), crop)
            assert found.max() <= (2 if interpolation == "bicubic" else 1), shape
            wrong.append((found > 0).mean())
    assert max(wrong) <= MEASURED[interpolation][0]
    assert np.mean(wrong) <= MEASURED[interpolation][1]


@pytest.mark.parametrize("fit", ["crop", "pad", CentralCrop(256, "bicubic")], ids=str)
def test_large_pictures(fit):
    """As networks meet them. 480 x 640 padded has twentieths as weights, so that halves abound."""
    rng = np.random.default_rng(1)
    layer = Resize((224, 224), fit)
    for shape in ((480, 640), (640, 480), (853, 1280)):
        image = next(pictures(*shape, rng))
        wrong = (differences(layer, image, (224, 224), fit) > 0).mean()
        assert wrong <= (0 if fit == "crop" else 3e-4)


def test_rules_with_which_nothing_is_lost():
    """The picture of the right size stays as it is, and so does one grey level of any size."""
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)
    grey = np.full((37, 211, 3), 131, np.uint8)
    for fit in ("crop", "pad", "stretch"):
        layer = Resize((64, 48), fit)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(image[None]))[0], image)
        resized = keras.ops.convert_to_numpy(layer(grey[None]))
        assert set(np.unique(resized)) == ({0, 131} if fit == "pad" else {131})
