from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from keras_classics.training import head as module
from keras_classics.training.head import UNCHOSEN, Head, Tried, fit_head

NONE = np.arange(0)


def features_of(labels, *, width=12, spread=1.0, seed=0):
    """(n, width) around a point for each class, far from zero and of unequal scales."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(int(labels.max()) + 1, width))
    noise = rng.normal(scale=spread, size=(len(labels), width))
    return ((centres[labels] + noise) * rng.uniform(0.1, 3, width) + 2).astype(np.float32)


@pytest.fixture(scope="module")
def blobs():
    labels = np.random.default_rng(1).integers(0, 4, 300)
    return features_of(labels, spread=1.5), labels, np.arange(200), np.arange(200, 300)


def reference(features, labels, train, *, strength, weights=None):
    """Probabilities by scikit-learn, on features scaled as here."""
    part = features[train].astype(np.float64)
    scale = part.std(axis=0) + np.sqrt(part.var(axis=0).mean())
    scaled = (features - part.mean(axis=0)) / scale
    model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000)
    each = None if weights is None else weights[labels[train]]
    model.fit(scaled[train], labels[train], sample_weight=each)
    return model.predict_proba(scaled)


@pytest.mark.parametrize("weights", [None, np.array([0.25, 1.0, 2.0, 4.0])])
def test_it_is_scikit_learns_logistic_regression(blobs, weights, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", 1e-6)
    monkeypatch.setattr(module, "FLAT", 1e-10)
    features, labels, train, val = blobs

    head = fit_head(features, labels, train=train, val=val, classes=4, class_weights=weights)

    strength = head.chosen.regularisation
    expected = reference(features, labels, train, strength=strength, weights=weights)
    np.testing.assert_allclose(head.probabilities(features), expected, atol=1e-3)
    assert head.kernel.dtype == head.bias.dtype == np.float32
    assert head.chosen.converged


def test_two_classes_are_a_softmax_with_the_probabilities_of_one_weight_vector():
    labels = np.random.default_rng(2).integers(0, 2, 120)
    features = features_of(labels, spread=2.0)
    train = np.arange(120)

    head = fit_head(features, labels, train=train, val=NONE, classes=2)

    assert head.kernel.shape == (12, 2)
    # The penalty of two opposite vectors is half of that of their difference.
    expected = reference(features, labels, train, strength=2 * UNCHOSEN)
    np.testing.assert_allclose(head.probabilities(features), expected, atol=3e-3)


def test_the_penalty_has_the_lowest_loss_on_the_validation_part(blobs):
    features, labels, train, val = blobs
    told: list[Tried] = []

    head = fit_head(features, labels, train=train, val=val, classes=4, tell=told.append)

    assert tuple(told) == head.tried
    assert head.chosen == min(told, key=lambda each: each.val_loss)
    chances = head.probabilities(features[val])
    loss = -np.log(chances[np.arange(len(val)), labels[val]]).mean()
    assert head.chosen.val_loss == pytest.approx(loss, rel=1e-4)
    assert head.chosen.val_accuracy == (chances.argmax(axis=1) == labels[val]).mean()
    # Noise asks for a stronger penalty than classes that lie apart.
    apart = features_of(labels, spread=0.01)
    sure = fit_head(apart, labels, train=train, val=val, classes=4)
    assert sure.chosen.regularisation > head.chosen.regularisation


def test_f1_chooses_by_a_loss_in_which_a_rare_class_counts_as_much():
    rng = np.random.default_rng(3)
    labels = np.where(rng.uniform(size=400) < 0.05, 1, 0)
    features = features_of(labels, spread=2.0)
    train, val = np.arange(200), np.arange(200, 400)

    by = {
        monitor: fit_head(features, labels, train=train, val=val, classes=2, monitor=monitor)
        for monitor in ("val_accuracy", "val_loss", "val_f1")
    }

    assert by["val_accuracy"].tried == by["val_loss"].tried
    losses = -np.log(by["val_f1"].probabilities(features[val]))
    each = [losses[labels[val] == label, label].mean() for label in (0, 1)]
    assert by["val_f1"].chosen.val_loss == pytest.approx(np.mean(each), rel=1e-3)


def test_without_a_validation_part_the_penalty_is_fixed(blobs):
    features, labels, train, _ = blobs

    head = fit_head(features, labels, train=train, val=NONE, classes=4)

    assert [each.regularisation for each in head.tried] == [UNCHOSEN]
    assert np.isnan(head.chosen.val_loss)


def test_memory_is_that_of_a_chunk_and_the_result_that_of_the_whole(blobs, tmp_path, monkeypatch):
    features, labels, train, val = blobs
    whole = fit_head(features, labels, train=train, val=val, classes=4)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    monkeypatch.setattr(module, "AT_A_TIME", 7)
    monkeypatch.setattr(module, "COPIED", 0)

    chunked = fit_head(mapped, labels, train=train, val=val, classes=4)

    assert chunked.chosen.regularisation == whole.chosen.regularisation
    np.testing.assert_allclose(
        chunked.probabilities(mapped), whole.probabilities(features), atol=2e-3
    )


def test_the_same_again_is_the_same_to_the_bit(blobs):
    features, labels, train, val = blobs

    once, again = (fit_head(features, labels, train=train, val=val, classes=4) for _ in range(2))

    np.testing.assert_array_equal(once.kernel, again.kernel)
    np.testing.assert_array_equal(once.bias, again.bias)


def test_2000_classes_with_an_image_each():
    labels = np.arange(2000)
    features = np.random.default_rng(4).normal(size=(2000, 32)).astype(np.float32)

    head = fit_head(features, labels, train=labels, val=NONE, classes=2000)

    assert head.kernel.shape == (32, 2000)
    assert (head.probabilities(features).argmax(axis=1) == labels).mean() > 0.9


def test_a_class_without_images_and_features_that_never_change():
    labels = np.array([0, 2, 0, 2, 0, 2])
    features = np.tile(np.array([[1.0, 0.0, 3.0]], np.float32), (6, 1))
    features[labels == 2, 0] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = fit_head(features, labels, train=np.arange(4), val=np.arange(4, 6), classes=3)
        flat = fit_head(features * 0, labels, train=np.arange(4), val=NONE, classes=3)

    chances = head.probabilities(features)
    assert (chances.argmax(axis=1) == labels).all()
    assert chances[:, 1].max() < 0.1
    np.testing.assert_allclose(flat.probabilities(features)[:, 0], 0.45, atol=0.06)


def test_a_fit_that_ran_out_of_iterations_says_so(blobs, monkeypatch):
    features, labels, train, val = blobs
    monkeypatch.setattr(module, "ITERATIONS", 1)

    head = fit_head(features, labels, train=train, val=val, classes=4)

    assert isinstance(head, Head)
    assert not head.chosen.converged
