from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

from keras_classics.data.mixing import Mixing, cutmix, mix, mixing_rng, mixup
from weights.references import torch_module

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(6, 12, 9, 3)).astype(np.float32)
LABELS = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 2]]


def timm_mixed(kept: float, centre: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """What timm makes of the batch, its random numbers given."""
    import torch

    timm = torch_module("timm.data.mixup")
    mixer = timm.Mixup(1.0, 1.0, label_smoothing=0.0, num_classes=4)
    images = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
    with (
        mock.patch.object(mixer, "_params_per_batch", return_value=(kept, centre is not None)),
        mock.patch.object(timm.np.random, "randint", side_effect=list(centre or ())),
    ):
        mixed, labels = mixer(images, torch.from_numpy(LABELS.argmax(axis=1)))
    return mixed.numpy().transpose(0, 2, 3, 1), labels.numpy()


@pytest.mark.parametrize("kept", [0.0, 0.25, 0.9, 1.0])
def test_mixup_is_timms(kept):
    images, labels = mixup(IMAGES, LABELS, kept=kept)
    expected = timm_mixed(kept, None)
    np.testing.assert_allclose(images, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(labels, expected[1], atol=1e-6)
    np.testing.assert_allclose(images[0], kept * IMAGES[0] + (1 - kept) * IMAGES[5], atol=1e-6)
    np.testing.assert_allclose(labels[1], [(1 - kept), kept, 0, 0], atol=1e-6)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("centre", [(0, 0), (6, 4), (11, 8), (3, 8)])
def test_cutmix_is_timms(kept, centre):
    images, labels = cutmix(IMAGES, LABELS, kept=kept, centre=centre)
    expected = timm_mixed(kept, centre)
    np.testing.assert_array_equal(images, expected[0])
    np.testing.assert_allclose(labels, expected[1], atol=1e-6)
    # A label weighs as much as is really seen of its image.
    own = (images[2] == IMAGES[2]).all(axis=-1).mean()
    np.testing.assert_allclose(labels[2], [0, 0, own, 1 - own], atol=1e-6)


def test_the_arguments_are_not_changed():
    images, labels = IMAGES.copy(), LABELS.copy()
    for seed in range(20):
        mixed = mix(images, labels, Mixing(mixup=0.5, cutmix=1.0), mixing_rng(seed, 0, 0))
        np.testing.assert_allclose(mixed[1].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def kind(mixed: np.ndarray) -> str:
    """Told by one pixel that is of neither image."""
    if np.array_equal(mixed, IMAGES):
        return "none"
    own = (mixed == IMAGES).all(axis=-1)
    other = (mixed == IMAGES[::-1]).all(axis=-1)
    return "cutmix" if (own | other).all() else "mixup"


@pytest.mark.parametrize(
    ("spec", "share"),
    [
        (Mixing(mixup=1.0), (0, 1, 0)),
        (Mixing(cutmix=1.0), (0, 0, 1)),
        (Mixing(mixup=1.0, cutmix=1.0), (0, 0.5, 0.5)),
        (Mixing(mixup=1.0, cutmix=1.0, switch=0.2), (0, 0.8, 0.2)),
        (Mixing(mixup=1.0, probability=0.25), (0.75, 0.25, 0)),
        (Mixing(), (1, 0, 0)),
    ],
)
def test_kinds_are_drawn_as_often_as_wanted(spec, share):
    kinds = [kind(mix(IMAGES, LABELS, spec, mixing_rng(0, 0, n))[0]) for n in range(500)]
    found = [kinds.count(name) / 500 for name in ("none", "mixup", "cutmix")]
    # A rectangle of a small area may be empty.
    np.testing.assert_allclose(found, share, atol=0.07)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_weights_are_drawn_from_beta(alpha):
    from scipy import stats

    kept = [
        mix(IMAGES, LABELS, Mixing(mixup=alpha), mixing_rng(1, 2, n))[1][1, 1] for n in range(1500)
    ]
    assert stats.kstest(kept, stats.beta(alpha, alpha).cdf).pvalue > 0.01
    areas = [
        mix(np.zeros((2, 90, 90, 3), np.float32), LABELS[:2], Mixing(cutmix=alpha),
            mixing_rng(1, 2, n))[1][0, 0] for n in range(500)
    ]  # fmt: skip
    assert np.mean(areas) > 0.5  # as rectangles jut out, more is kept than drawn


def test_random_numbers_follow_from_the_three_numbers():
    draws = {key: mixing_rng(*key).random() for key in np.ndindex(3, 3, 3)}
    assert len(set(draws.values())) == 27
    assert mixing_rng(1, 2, 0).random() == draws[1, 2, 0]


def test_a_single_image_is_mixed_with_itself():
    images, labels = mix(IMAGES[:1], LABELS[:1], Mixing(mixup=0.4), mixing_rng(0, 0, 0))
    np.testing.assert_allclose(images, IMAGES[:1], atol=1e-6)
    np.testing.assert_allclose(labels, LABELS[:1], atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"mixup": -0.1}, {"cutmix": float("inf")}, {"switch": 1.5}, {"mixup": "0.2"}, {"a": 1}],
)
def test_limits_are_checked(wrong):
    with pytest.raises(ValueError, match=rf"(?m)^{next(iter(wrong))}\b"):
        Mixing(**wrong)
