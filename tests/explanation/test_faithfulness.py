from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_classics import ResNet50, load
from keras_classics.cli.explain import _verdict
from keras_classics.data.fit import load_image
from keras_classics.errors import ClassicsError
from keras_classics.explanation.cam import cam
from keras_classics.explanation.faithfulness import (
    deletion,
    insertion,
    parts,
    randomised,
    sanity,
    similarity,
)
from keras_classics.explanation.figure import _alike
from keras_classics.explanation.probe import Probe
from keras_classics.weights.preprocess import preprocess

SIZE = 16
SPOT = (slice(4, 8), slice(10, 14))  # where the truth is


@pytest.fixture
def knowing():
    """A network that is sure of class 1 if and only if there is red in one spot of the image."""
    x = keras.Input((SIZE, SIZE, 3))
    maps = layers.Conv2D(1, 1, use_bias=False, name="red")(x)
    scores = layers.Dense(2, activation="softmax", name="predictions")(layers.Flatten()(maps))
    model = keras.Model(x, scores)
    model.get_layer("red").set_weights([np.array([1.0, 0, 0]).reshape(1, 1, 3, 1)])
    kernel = np.zeros((SIZE, SIZE, 2), np.float32)
    kernel[(*SPOT, 1)] = 1.0
    model.get_layer("predictions").set_weights([kernel.reshape(-1, 2), np.array([4.0, 0.0])])
    return Probe(model)


@pytest.fixture
def picture():
    """Noise, with red in that spot and, to mislead, in another one."""
    image = np.random.default_rng(0).normal(0, 0.05, (1, SIZE, SIZE, 3))
    image[(0, *SPOT, 0)] += 1
    image[0, 12:16, 0:4, 0] += 1
    return image.astype("float32")


@pytest.fixture
def truth():
    heat = np.zeros((1, SIZE, SIZE), np.float32)
    heat[(0, *SPOT)] = 1
    return heat


@pytest.mark.backends
def test_where_the_truth_is_known_it_has_the_best_areas(knowing, picture, truth):
    assert knowing.run(picture).probabilities[0, 1] > 0.99
    rng = np.random.default_rng(1)
    chance = rng.uniform(size=(20, SIZE, SIZE)).astype("float32")
    going = deletion(knowing, picture, truth, classes=1).areas[0]
    coming = insertion(knowing, picture, truth, classes=1).areas[0]
    many = np.repeat(picture, 20, axis=0)
    assert going < 0.2
    assert coming > 0.9
    assert going < deletion(knowing, many, chance, classes=1).areas.min()
    assert coming > insertion(knowing, many, chance, classes=1).areas.max()
    wrong = np.zeros_like(truth)
    wrong[0, 12:16, 0:4] = 1
    assert deletion(knowing, picture, wrong, classes=1).areas[0] > 2 * going
    assert deletion(knowing, picture, -truth, classes=1).areas[0] > 0.9


def test_grad_cam_finds_that_truth(knowing, picture, truth):
    heat = cam(knowing, picture, method="layer-cam", layers=["red"], classes=1)["red"]
    assert set(np.flatnonzero(heat > 0.5)) == set(np.flatnonzero(truth))


def test_curves_begin_and_end_with_whole_images(knowing, picture, truth):
    curve = deletion(knowing, picture, truth, classes=1, steps=8)
    empty = np.broadcast_to(picture.mean(axis=(1, 2), keepdims=True), picture.shape)
    ends = [knowing.run(each).probabilities[0, 1] for each in (picture, empty)]
    np.testing.assert_allclose(curve.probabilities[0, [0, -1]], ends, rtol=1e-5)
    np.testing.assert_allclose(curve.fractions, np.arange(9) / 8)
    steps = (curve.probabilities[0, 1:] + curve.probabilities[0, :-1]) / 2
    assert curve.areas[0] == pytest.approx(steps.mean(), rel=1e-5)
    back = insertion(knowing, picture, truth, classes=1, steps=8)
    assert back.probabilities[0, -1] == pytest.approx(ends[0], rel=1e-5)


def test_half_of_the_steps_change_the_first_half_of_the_map(knowing, picture):
    heat = np.arange(SIZE * SIZE, 0, -1, dtype=np.float32).reshape(1, SIZE, SIZE)
    half = picture.copy()
    half[0, : SIZE // 2] = picture.mean(axis=(1, 2))[0]
    curve = deletion(knowing, picture, heat, classes=1, steps=2)
    expected = knowing.run(half).probabilities[0, 1]
    assert curve.probabilities[0, 1] == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def resnet():
    model = ResNet50(weights=None, width=0.0625, input_shape=(64, 64, 3), classes=3)
    from conftest import random_values

    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random_values(weight.name, tuple(weight.shape), rng))
    return Probe(model)


@pytest.mark.backends
def test_random_weights_are_those_of_a_seed(resnet, images):
    x = images(1, 64, 64, 3)
    before = resnet.run(x).scores
    first, again, other = (randomised(resnet, seed=seed).run(x).scores for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)
    assert np.all(first != before)
    np.testing.assert_array_equal(resnet.run(x).scores, before)


def test_only_the_layers_asked_for_are_random(resnet, images):
    x = images(1, 64, 64, 3)
    names = ["conv4", "conv5", "predictions"]
    whole = resnet.run(x, names).taps
    top = randomised(resnet, layers=["predictions"]).run(x, names).taps
    np.testing.assert_array_equal(top["conv5"], whole["conv5"])
    assert np.any(top["predictions"] != whole["predictions"])
    deeper = [*resnet.blocks["conv5"].layers, "predictions"]
    both = randomised(resnet, layers=deeper).run(x, names).taps
    np.testing.assert_array_equal(both["conv4"], whole["conv4"])
    assert np.any(both["conv5"] != whole["conv5"])
    everything = randomised(resnet).run(x, ["predictions"]).taps
    assert np.any(everything["predictions"] != both["predictions"])


def test_random_statistics_of_batch_norm_are_those_of_the_beginning(resnet):
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    values = {weight.path: value for weight, value in randomised(resnet)._values}
    layer = resnet.model.get_layer("conv3_block1_1_bn")
    found = {w.name: keras.ops.convert_to_numpy(values[w.path]) for w in layer.weights}
    assert [set(found[name]) for name in names] == [{1.0}, {0.0}, {0.0}, {1.0}]


def test_depthwise_kernels_are_drawn_by_what_they_read_and_the_scaling_stays():
    inputs = keras.Input((8, 8, 3))
    norm = keras.layers.Normalization()
    norm.adapt(np.arange(24.0).reshape(2, 2, 2, 3))
    x = keras.layers.Conv2D(400, 1)(norm(inputs))
    x = keras.layers.DepthwiseConv2D(3, name="dw")(x)
    probe = Probe(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)))
    drawn = {weight.path: value for weight, value in randomised(probe)._values}
    kernel = drawn[probe.model.get_layer("dw").kernel.path]
    deviation = keras.ops.convert_to_numpy(kernel).std()
    assert deviation == pytest.approx(np.sqrt(2 / 9), rel=0.05)
    assert not any(weight.path in drawn for weight in norm.weights)


def test_an_edge_detector_is_found_out_and_grad_cam_is_not(artefact, shapes):
    """1810.03292, section 5.2: edges look like explanations, and know nothing of the network."""
    classifier = load(artefact)
    card = classifier.card.preprocessing
    files = sorted((shapes / "circle").glob("*.png"))[:8]
    x = preprocess(np.stack([load_image(f, card.size, card.fit) for f in files]), card.mode)
    probe = Probe(classifier.model)

    def edges(_, images, __):
        grey = images.mean(axis=-1)
        return np.abs(np.gradient(grey, axis=1)) + np.abs(np.gradient(grey, axis=2))

    def grad_cam(probe, images, classes):
        return cam(probe, images, layers=["block2"], classes=classes)["block2"]

    blind = sanity(probe, x, edges(probe, x, 0), edges)
    seeing = sanity(probe, x, grad_cam(probe, x, None), grad_cam)
    assert not any(each.passed for each in blind)
    assert [each.full.rank_correlation for each in blind] == pytest.approx([1] * 8)
    assert [each.full.ssim for each in blind] == pytest.approx([1] * 8)
    assert np.mean([each.full.rank_correlation for each in seeing]) < 0.5
    assert np.mean([each.full.ssim for each in seeing]) < 0.6
    assert seeing[0].control.shape == (8, 8)


def test_the_cascade_goes_from_the_top_down_and_accumulates(resnet, images):
    x = images(2, 64, 64, 3)

    def layer_cam(probe, images, classes):
        return cam(probe, images, method="layer-cam", layers=["conv3"], classes=classes)["conv3"]

    heat = layer_cam(resnet, x, [0, 1])
    first, second = sanity(resnet, x, heat, layer_cam, classes=[0, 1], cascade=True, controls=1)
    names = [name for name, _ in first.cascade]
    assert names == ["predictions", "conv5", "conv4", "conv3", "conv2", "conv1"]
    assert names[::-1] == [name for name, _ in parts(resnet)]
    # When all is random, it is the control.
    last = first.cascade[-1][1]
    assert last.rank_correlation == pytest.approx(first.full.rank_correlation, abs=1e-6)
    assert first.full != second.full


@pytest.mark.backends
def test_the_control_is_the_map_of_another_network(branching, images):
    """One that has the random weights for its own gives it; the one that forgets keeps its own."""
    probe, other = Probe(branching()), branching()
    x = images(2, 12, 10, 3)
    drawn = {weight.path: value for weight, value in randomised(probe, seed=4)._values}
    for weight in other.weights:
        weight.assign(drawn[weight.path])

    def grad_cam(probe, images, classes):
        return cam(probe, images, layers=["joined"], classes=classes)["joined"]

    heat, expected = (grad_cam(each, x, [0, 2]) for each in (probe, Probe(other)))
    found = sanity(probe, x, heat, grad_cam, classes=[0, 2], controls=1, cascade=True, seed=4)
    for i, each in enumerate(found):
        np.testing.assert_allclose(each.control, expected[i], rtol=1e-4, atol=1e-6)
        alike = similarity(heat[i], expected[i], (12, 10))
        last = each.cascade[-1][1]
        assert [name for name, _ in each.cascade] == ["predictions", "c", "b", "a"]
        for one in (each.full, last):
            assert one.rank_correlation == pytest.approx(alike.rank_correlation, abs=1e-3)
            assert one.ssim == pytest.approx(alike.ssim, abs=1e-3)
        assert each.passed == (alike.rank_correlation < 0.5)
        assert each.cascade[0][1] != last
    np.testing.assert_array_equal(grad_cam(probe, x, [0, 2]), heat)


def test_a_control_without_contrast_does_not_count(resnet, images):
    x = images(1, 64, 64, 3)
    heat = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    given = iter([np.zeros_like(heat), heat, np.zeros_like(heat)])
    (found,) = sanity(resnet, x, heat, lambda *_: next(given), classes=0, controls=3)
    assert found.full.rank_correlation == pytest.approx(1)
    np.testing.assert_array_equal(found.control, heat[0])
    (none,) = sanity(resnet, x, heat, lambda *_: np.zeros_like(heat), classes=0)
    assert none.full.rank_correlation == 0


def test_similarity():
    rng = np.random.default_rng(0)
    a = rng.uniform(size=(8, 8)).astype("float32")
    same = similarity(a, 5 * a**3, (32, 32))  # the order is the same, the structure nearly
    assert same.rank_correlation == pytest.approx(1)
    assert 0.3 < same.ssim < 1
    assert similarity(a, a, (32, 32)).ssim == pytest.approx(1)
    assert similarity(a, -a, (32, 32)).rank_correlation == pytest.approx(-1)
    assert similarity(a, np.ones_like(a), (32, 32)).rank_correlation == 0


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda p, x, m: deletion(p, x, m, steps=0), "steps=0"),
        (lambda p, x, m: deletion(p, x, m[0]), "maps of shape"),
        (lambda p, x, m: insertion(p, x, np.repeat(m, 2, axis=0)), "each of 1 images"),
        (lambda p, x, m: insertion(p, x[0], m), "images of shape"),
        (lambda p, x, m: deletion(p, x, m, classes=2), "class 2"),
        (lambda p, _, __: randomised(p, layers=["rde"]), "did you mean 'red'"),
        (lambda p, x, m: sanity(p, x, m, lambda *_: m, controls=0), "controls=0"),
    ],
)
def test_what_cannot_be_is_one_clear_line(knowing, picture, truth, ask, message):
    with pytest.raises(ClassicsError, match=message):
        ask(knowing, picture, truth)


def test_a_flat_map_has_no_verdict(knowing, picture, truth):
    flat = np.zeros_like(truth)
    for heat, control in ((flat, flat), (flat, truth), (truth, flat)):
        (found,) = sanity(knowing, picture, heat, lambda *_, c=control: c, controls=1)
        assert found.passed is None
        assert _alike(found) == "no contrast, so no verdict"  # in the picture
        assert _verdict(found) == "no contrast"  # in the terminal
    (found,) = sanity(knowing, picture, truth, lambda *_: truth, controls=1)
    assert found.passed is False
    assert _verdict(found) == "1.00 !"
