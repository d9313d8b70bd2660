from __future__ import annotations

import math
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_classics.data import policies
from keras_classics.data.policies import (
    OPERATIONS,
    RAND_AUGMENT,
    TRIVIAL_AUGMENT,
    Bicubic,
    Bilinear,
    Ground,
    amount_of,
    rand_augment,
    trivial_augment,
)
from weights.references import torch_module

NOISE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8), (0, 0), 2
)
NOISE = cv2.normalize(NOISE, None, 0, 240, cv2.NORM_MINMAX)
PICTURE = Image.fromarray(NOISE)
FILL = (124, 116, 104)
TIMM = {
    "autocontrast": "AutoContrast", "equalize": "Equalize", "invert": "Invert", "rotate": "Rotate",
    "posterize": "PosterizeIncreasing", "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd", "colour": "ColorIncreasing", "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing", "sharpness": "SharpnessIncreasing", "shear_x": "ShearX",
    "shear_y": "ShearY", "translate_x": "TranslateXRel", "translate_y": "TranslateYRel",
}  # fmt: skip
TORCHVISION = {
    "identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX",
    "translate_y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness",
    "colour": "Color", "contrast": "Contrast", "sharpness": "Sharpness",
    "posterize": "Posterize", "solarize": "Solarize", "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}  # fmt: skip


def test_the_operations_are_timms():
    theirs = torch_module("timm.data.auto_augment")
    assert [TIMM[name] for name in RAND_AUGMENT] == theirs._RAND_INCREASING_TRANSFORMS


@pytest.mark.parametrize("name", RAND_AUGMENT)
@pytest.mark.parametrize("negative", [False, True])
def test_rand_augment_is_timms_at_every_magnitude(monkeypatch, name, negative):
    theirs = torch_module("timm.data.auto_augment")
    monkeypatch.setattr(theirs.random, "random", lambda: 0.9 if negative else 0.1)
    for magnitude in (0, 1, 5.5, 7, 9.9):
        hparams = {"img_mean": FILL, "interpolation": Bicubic}
        expected = theirs.AugmentOp(TIMM[name], prob=1.0, magnitude=magnitude, hparams=hparams)(
            PICTURE
        )
        amount = amount_of(RAND_AUGMENT, name, magnitude / 10, PICTURE, negative=negative)
        ours = OPERATIONS[name](PICTURE, amount, Ground(Bicubic, FILL))
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", TRIVIAL_AUGMENT)
@pytest.mark.parametrize("negative", [False, True])
def test_trivial_augment_is_torchvisions_in_every_bin(name, negative):
    transforms = torch_module("torchvision.transforms.v2")
    wide = transforms.TrivialAugmentWide(interpolation=2)
    magnitudes, signed = wide._AUGMENTATION_SPACE[TORCHVISION[name]]
    bins = magnitudes(31, 40, 50)
    for place in (0, 1, 11, 16, 30):  # 15 is a shift of 15.99999 pixels there
        magnitude = 0.0 if bins is None else float(bins[place])
        if signed and negative:
            magnitude = -magnitude
        expected = wide._apply_image_or_video_transform(
            PICTURE, TORCHVISION[name], magnitude, interpolation=2, fill=wide._fill
        )
        amount = amount_of(TRIVIAL_AUGMENT, name, place / 30, PICTURE, negative=negative)
        ours = OPERATIONS[name](PICTURE, amount, Ground(Bilinear, (0, 0, 0)))
        # A translation to the right is negative here and positive there; signs are drawn evenly.
        if name.startswith("translate"):
            ours = OPERATIONS[name](PICTURE, -amount, Ground(Bilinear, (0, 0, 0)))
        # Its amounts are float32.
        np.testing.assert_allclose(np.asarray(ours, int), np.asarray(expected, int), atol=1)


def test_posterize_keeps_a_bit():
    """timm keeps none at magnitude 10, which Pillow refuses by now."""
    assert amount_of(RAND_AUGMENT, "posterize", 1.0, PICTURE, negative=False) == 1
    assert amount_of(RAND_AUGMENT, "posterize", 0.0, PICTURE, negative=False) == 4


def test_the_wide_set_is_whole():
    transforms = torch_module("torchvision.transforms.v2")
    wide = transforms.TrivialAugmentWide._AUGMENTATION_SPACE
    assert {TORCHVISION[name] for name in TRIVIAL_AUGMENT} == set(wide)
    assert {TORCHVISION[name] for name, amount in TRIVIAL_AUGMENT.items() if amount.signed} == {
        name for name, (_, signed) in wide.items() if signed
    }


@pytest.fixture
def drawn(monkeypatch):
    """Notes operations and amounts in the place of applying them."""
    notes: list[tuple[str, float, Ground]] = []

    def noting(name):
        def note(image, amount, ground):
            notes.append((name, amount, ground))
            return image

        return note

    monkeypatch.setattr(policies, "OPERATIONS", {name: noting(name) for name in OPERATIONS})
    return notes


def test_rand_augment_draws_evenly_and_about_its_magnitude(drawn):
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        rand_augment(NOISE, rng, operations=4, magnitude=7, std=0.5)
    assert len(drawn) / 1500 == pytest.approx(2, abs=0.08)  # of four, every second one
    counts = Counter(name for name, _, _ in drawn)
    assert set(counts) == set(RAND_AUGMENT)
    assert max(counts.values()) < 1.35 * min(counts.values())
    degrees = np.array([amount for name, amount, _ in drawn if name == "rotate"])
    assert np.abs(degrees).mean() == pytest.approx(21, abs=0.5)
    assert np.abs(degrees).std() == pytest.approx(1.5, abs=0.3)
    assert 0.38 < (degrees < 0).mean() < 0.62
    kinds = Counter(ground.resample for _, _, ground in drawn)
    assert 0.45 < kinds[Bicubic] / len(drawn) < 0.55
    assert {ground.fill for _, _, ground in drawn} == {FILL}


def test_magnitudes_stay_within_0_and_10(drawn):
    for seed in range(300):
        rand_augment(NOISE, np.random.default_rng(seed), operations=2, magnitude=9, std=5)
    shears = np.abs([amount for name, amount, _ in drawn if name.startswith("shear")])
    assert shears.max() == pytest.approx(0.3)
    assert min(amount for name, amount, _ in drawn if name == "brightness") >= 0.1


def test_trivial_augment_draws_every_operation_and_bin_evenly(drawn):
    for seed in range(4000):
        trivial_augment(NOISE, np.random.default_rng(seed))
    assert len(drawn) == 4000
    counts = Counter(name for name, _, _ in drawn)
    assert set(counts) == set(TRIVIAL_AUGMENT)
    assert max(counts.values()) < 1.5 * min(counts.values())
    degrees = np.array([amount for name, amount, _ in drawn if name == "rotate"])
    bins = np.abs(degrees) / 4.5
    np.testing.assert_allclose(bins, np.rint(bins), atol=1e-9)
    assert set(np.rint(bins)) == set(range(31))
    assert 0.38 < (degrees[degrees != 0] < 0).mean() < 0.62
    kept = Counter(amount for name, amount, _ in drawn if name == "posterize")
    assert set(kept) == {2, 3, 4, 5, 6, 7, 8}


@pytest.mark.parametrize(
    "change",
    [
        trivial_augment,
        lambda image, rng: rand_augment(image, rng, operations=2, magnitude=9.0, std=0.5),
    ],
)
def test_the_argument_is_not_changed(change):
    before = NOISE.copy()
    results = [change(NOISE, np.random.default_rng(seed)) for seed in range(40)]
    np.testing.assert_array_equal(NOISE, before)
    assert {result.shape for result in results} == {NOISE.shape}
    assert sum((result != NOISE).any() for result in results) > 20
    assert not any(np.shares_memory(result, NOISE) for result in results)
    assert all(math.isfinite(result.mean()) for result in results)
