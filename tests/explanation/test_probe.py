from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from graphs import SWISH, inverted_residuals
from keras_classics import VGG16, InceptionV3, ResNet50
from keras_classics.errors import ClassicsError
from keras_classics.explanation import program
from keras_classics.explanation.probe import Cut, Probe


@pytest.fixture
def probe(branching):
    return Probe(branching())


@pytest.fixture
def pictures(images):
    return images(2, 12, 10, 3)


@pytest.mark.backends
def test_gives_what_the_model_gives(probe, pictures, run):
    found = probe.run(pictures, ["a", "joined"])
    np.testing.assert_allclose(found.probabilities, run(probe.model, pictures), rtol=1e-5)
    assert found.taps["a"].shape == (2, 12, 10, 4)
    assert found.taps["joined"].shape == (2, 12, 10, 9)


@pytest.mark.backends
def test_scores_are_the_numbers_before_the_softmax(branching, probe, pictures, run):
    logits = run(branching(activation=None), pictures)
    np.testing.assert_allclose(probe.run(pictures).scores, logits, rtol=1e-5)


def test_logits_become_probabilities(branching, probe, pictures):
    bare = Probe(branching(activation=None)).run(pictures)
    found = probe.run(pictures)
    np.testing.assert_allclose(bare.probabilities, found.probabilities, rtol=1e-5)
    np.testing.assert_allclose(bare.scores, found.scores, rtol=1e-5)


def test_a_softmax_layer_of_its_own_is_left_out_of_the_scores(branching, pictures):
    model = branching(activation=None)
    output = layers.Softmax(name="softmax")(model.output)
    found = Probe(keras.Model(model.input, output)).run(pictures)
    np.testing.assert_allclose(found.scores, Probe(model).run(pictures).scores, rtol=1e-6)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_a_single_score_is_a_sigmoid(pictures):
    x = keras.Input((12, 10, 3))
    score = layers.Dense(1)(layers.GlobalAveragePooling2D()(x))
    found = Probe(keras.Model(x, score)).run(pictures)
    np.testing.assert_allclose(found.probabilities, 1 / (1 + np.exp(-found.scores)), rtol=1e-5)


def test_of_two_outputs_the_first_is_explained(images):
    model = InceptionV3(
        weights=None, width=0.0625, depths=(1, 1, 1), input_shape=(75, 75, 3), classes=4,
        auxiliary=True,
    )  # fmt: skip
    x = images(1, 75, 75, 3)
    first, _ = model.predict_on_batch(x)
    np.testing.assert_allclose(Probe(model).run(x).probabilities, first, rtol=1e-4)


@pytest.mark.every_backend
@pytest.mark.parametrize("tap", ["images", "a", "total", "c"])
def test_gradients_are_those_of_finite_differences(branching, pictures, tap):
    """Of the score, along a random direction of the image or of a layer inside a branch."""
    probe = Probe(branching())
    found = probe.gradients(pictures, [tap], [2, 0])
    direction = np.random.default_rng(0).normal(size=found.taps[tap].shape).astype("float32")
    direction /= np.sqrt((direction**2).sum(axis=(1, 2, 3), keepdims=True))
    slope = (found.gradients[tap] * direction).sum(axis=(1, 2, 3))
    after = _behind(probe.model, tap)
    step = 0.05
    up, down = (
        keras.ops.convert_to_numpy(after(found.taps[tap] + sign * step * direction))
        for sign in (1, -1)
    )
    measured = (up - down)[np.arange(2), [2, 0]] / (2 * step)
    np.testing.assert_allclose(slope, measured, rtol=5e-3, atol=2e-4)


def _behind(model, tap):
    """The scores as a function of what a layer gives, written anew from the same weights."""
    of = model.get_layer

    def scores(value):
        value = keras.ops.convert_to_tensor(value)
        a = of("a")(value) if tap == "images" else value
        total = value if tap == "total" else a + of("b")(a) if tap in {"images", "a"} else None
        if tap == "c":
            x = keras.ops.convert_to_tensor(scores.images)
            total = of("a")(x) + of("b")(of("a")(x))
        c = value if tap == "c" else of("c")(total)
        mean = keras.ops.mean(keras.ops.concatenate([total, c], axis=-1), axis=(1, 2))
        return keras.ops.matmul(mean, of("predictions").kernel) + of("predictions").bias

    scores.images = np.random.default_rng(1).normal(size=(2, 12, 10, 3)).astype("float32")
    return scores


@pytest.mark.backends
def test_all_taps_come_from_one_pass_and_do_not_disturb_each_other(probe, pictures):
    together = probe.gradients(pictures, ["images", "a", "total", "joined"], 1)
    for name, gradient in together.gradients.items():
        alone = probe.gradients(pictures, [name], 1).gradients[name]
        np.testing.assert_allclose(gradient, alone, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(together.scores, probe.run(pictures).scores, rtol=1e-5)


@pytest.mark.backends
def test_the_backends_agree(randomise):
    """These numbers are from TensorFlow; every backend must give them again."""
    model = ResNet50(weights=None, width=0.0625, input_shape=(32, 32, 3), classes=3)
    probe = Probe(randomise(model))
    x = np.random.default_rng(3).normal(size=(1, 32, 32, 3)).astype("float32")
    found = probe.gradients(x, [probe.input, "conv3", "conv4_block2_2_conv"], 1)
    measured = [
        float(found.scores[0, 1]),
        *(float(np.abs(gradient).sum()) for gradient in found.gradients.values()),
        *(float(np.abs(tap).sum()) for tap in found.taps.values()),
    ]
    np.testing.assert_allclose(measured, GOLDEN, rtol=1e-4)


# The score, the sums of the gradients' sizes, and those of the taps.
GOLDEN = [20.409834, 432.773315, 30.936687, 7.025341, 2476.355957, 1913.513672, 324.688416]


@pytest.mark.backends
def test_a_cut_shortcut_is_the_network_without_it(branching, pictures, run):
    probe = Probe(branching())
    cut = probe.run(pictures, ["total"], [Cut("total", 0)])
    of = probe.model.get_layer
    x = keras.Input((12, 10, 3))
    plain = of("b")(of("a")(x))  # no shortcut
    joined = layers.Concatenate()([plain, of("c")(plain)])
    output = of("predictions")(layers.GlobalAveragePooling2D()(joined))
    by_hand = keras.Model(x, output)
    np.testing.assert_allclose(cut.probabilities, run(by_hand, pictures), rtol=1e-5)
    whole = probe.run(pictures, ["a", "total"]).taps
    np.testing.assert_allclose(cut.taps["total"], whole["total"] - whole["a"], atol=1e-6)


@pytest.mark.backends
def test_a_cut_gate_stands_open(randomise, images):
    model = randomise(inverted_residuals(**SWISH))
    x = 255 * images(2, 32, 32, 3)
    taps = ["b0_dw_act", "b0_se_excite", "b0_se_expand"]
    found = Probe(model).run(x, taps, [Cut("b0_se_excite", 1)])
    np.testing.assert_array_equal(found.taps["b0_se_excite"], found.taps["b0_dw_act"])
    found = Probe(model).run(x, taps, [Cut("b0_se_excite", 0)])
    gates = np.broadcast_to(found.taps["b0_se_expand"], found.taps["b0_se_excite"].shape)
    np.testing.assert_array_equal(found.taps["b0_se_excite"], gates)


@pytest.mark.backends
def test_a_cut_operand_of_a_concatenation_is_zeros(probe, pictures):
    joined = probe.run(pictures, ["joined"], [Cut("joined", 1)]).taps["joined"]
    assert np.all(joined[..., 4:] == 0)
    assert np.any(joined[..., :4] != 0)


def test_of_a_tensor_read_twice_one_operand_can_be_cut(pictures):
    x = keras.Input((12, 10, 3))
    twice = layers.Add(name="twice")([x, x])
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(twice)))
    probe = Probe(model)
    found = probe.run(pictures, ["twice"], [Cut("twice", 1)]).taps["twice"]
    np.testing.assert_allclose(found, pictures, rtol=1e-6)
    slope = probe.gradients(pictures, [probe.input, "twice"], 0).gradients
    np.testing.assert_allclose(slope[probe.input], 2 * slope["twice"], rtol=1e-5)


def test_of_a_layer_called_twice_its_last_call_is_cut(pictures):
    x = keras.Input((12, 10, 3))
    add = layers.Add(name="add")
    once = add([x, x])
    twice = add([once, x])
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(twice)))
    found = Probe(model).run(pictures, ["add"], [Cut("add", 1)]).taps["add"]
    np.testing.assert_allclose(found, 2 * pictures, rtol=1e-6)


@pytest.mark.every_backend
def test_a_layer_that_lets_no_gradient_pass(pictures):
    class Stop(layers.Layer):
        def call(self, x):
            return keras.ops.stop_gradient(x)

    x = keras.Input((12, 10, 3))
    maps = layers.Conv2D(4, 3, name="conv")(x)
    y = layers.GlobalAveragePooling2D()(Stop()(maps))
    probe = Probe(keras.Model(x, layers.Dense(2)(y)))
    found = probe.gradients(pictures, ["conv", probe.input], 0).gradients
    assert found["conv"].shape == (len(pictures), 10, 8, 4)
    assert not found["conv"].any()
    assert not found[probe.input].any()


def test_probabilities_do_not_depend_on_the_neighbours(pictures):
    x = keras.Input((12, 10, 3))
    for units in (1, 2):
        y = layers.Dense(units)(layers.GlobalAveragePooling2D()(x))
        probe = Probe(keras.Model(x, y))
        together = probe.run(pictures).probabilities
        alone = [probe.run(picture[None]).probabilities[0] for picture in pictures]
        np.testing.assert_allclose(together, alone, atol=1e-6)
        assert np.all((together > 0) & (together < 1))


@pytest.mark.backends
def test_other_weights_leave_the_model_as_it_is(probe, pictures):
    before = probe.run(pictures).scores
    doubled = {
        weight.path: 2 * keras.ops.convert_to_numpy(weight)
        for weight in probe.model.get_layer("predictions").weights
    }
    other = probe.with_weights(doubled)
    np.testing.assert_allclose(other.run(pictures).scores, 2 * before, rtol=1e-5)
    slopes = [each.gradients(pictures, ["a"], 0).gradients["a"] for each in (probe, other)]
    np.testing.assert_allclose(slopes[1], 2 * slopes[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(probe.run(pictures).scores, before)


def test_batches_give_what_single_images_give(probe, images):
    x = images(5, 12, 10, 3)
    whole = probe.run(x, ["c"], batch_size=2)
    alone = [probe.run(image[None], ["c"]) for image in x]
    np.testing.assert_allclose(whole.scores, np.concatenate([a.scores for a in alone]), rtol=1e-4)
    np.testing.assert_allclose(
        whole.taps["c"], np.concatenate([a.taps["c"] for a in alone]), atol=1e-5
    )
    classes = [0, 2, 1, 1, 0]
    slopes = probe.gradients(x, ["c"], classes, batch_size=2)
    one = probe.gradients(x[3:4], ["c"], 1)
    np.testing.assert_allclose(slopes.gradients["c"][3:4], one.gradients["c"], atol=1e-6)
    np.testing.assert_array_equal(slopes.classes, classes)


def test_without_classes_the_most_probable_is_explained(probe, pictures):
    best = probe.run(pictures).scores.argmax(axis=1)
    found = probe.gradients(pictures, ["a"])
    np.testing.assert_array_equal(found.classes, best)
    given = probe.gradients(pictures, ["a"], best)
    np.testing.assert_array_equal(found.gradients["a"], given.gradients["a"])


@pytest.mark.backends
def test_batch_norm_and_dropout_are_those_of_inference(pictures):
    x = keras.Input((12, 10, 3))
    y = layers.BatchNormalization(name="bn")(layers.Dropout(0.9)(x))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))
    before = [weight.copy() for weight in model.get_layer("bn").get_weights()]
    probe = Probe(model)
    expected = model.predict_on_batch(pictures)
    np.testing.assert_allclose(probe.run(pictures).scores, expected, rtol=1e-4)
    probe.gradients(pictures, ["bn"], 0)
    for old, new in zip(before, model.get_layer("bn").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.backends
def test_channels_first(branching, data_format, pictures):
    last = branching()
    data_format("channels_first")
    first = branching()
    found, expected = (
        Probe(model).gradients(pictures, ["images", "c"], 1) for model in (first, last)
    )
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
    for name in ("images", "c"):
        np.testing.assert_allclose(found.taps[name], expected.taps[name], atol=1e-5)
        np.testing.assert_allclose(found.gradients[name], expected.gradients[name], atol=1e-6)
    assert Probe(first).sides("c") == (12, 10)
    assert Probe(first).image_shape() == (12, 10, 3)


@pytest.mark.backends
def test_mixed_precision(branching, dtype_policy, pictures):
    plain = Probe(branching()).gradients(pictures, ["images", "total"], 1)
    dtype_policy("mixed_bfloat16")
    mixed = Probe(branching()).gradients(pictures, ["images", "total"], 1)
    for name in ("images", "total"):
        assert mixed.gradients[name].dtype == np.float32
        largest = np.abs(plain.gradients[name]).max()
        np.testing.assert_allclose(
            mixed.gradients[name], plain.gradients[name], atol=0.05 * largest
        )


def test_a_frozen_network_has_gradients_too(branching, pictures):
    model = branching()
    expected = Probe(model).gradients(pictures, ["total"], 0).gradients["total"]
    model.trainable = False
    found = Probe(model).gradients(pictures, ["total"], 0).gradients["total"]
    np.testing.assert_array_equal(found, expected)


def test_a_sequential_and_a_loaded_model(branching, pictures, tmp_path):
    model = keras.Sequential(
        [keras.Input((12, 10, 3)), layers.Conv2D(2, 3, name="conv"), layers.Flatten()]
    )
    model.add(layers.Dense(3, activation="softmax"))
    assert Probe(model).run(pictures, ["conv"]).taps["conv"].shape == (2, 10, 8, 2)
    kept = branching()
    kept.save(tmp_path / "model.keras")
    loaded = Probe(keras.models.load_model(tmp_path / "model.keras"))
    np.testing.assert_array_equal(loaded.run(pictures).scores, Probe(kept).run(pictures).scores)


@pytest.mark.parametrize(
    ("build", "ends"),
    [
        (VGG16, ("block1", "block2", "block3", "block4", "block5")),
        (ResNet50, ("conv1", "pool1", "conv2", "conv3", "conv4", "conv5")),
        (InceptionV3, ("stem", *(f"mixed{i}" for i in range(11)))),
    ],
)
def test_blocks_are_named_as_layers_are(build, ends, images):
    side = 75 if build is InceptionV3 else 32
    probe = Probe(build(weights=None, width=0.0625, input_shape=(side, side, 3), classes=3))
    assert probe.ends == ends
    block = ends[-2]
    x = images(1, side, side, 3)
    taps = probe.run(x, [block, probe.tree.blocks[-1].name, probe.layer(block)]).taps
    np.testing.assert_array_equal(taps[block], taps[probe.layer(block)])
    assert probe.classes == 3


def test_the_mean_of_a_channel_and_its_gradient(probe, pictures):
    means, slopes = probe.channel_gradients(pictures, "c", [1, 4])
    maps = probe.run(pictures, ["c"]).taps["c"]
    np.testing.assert_allclose(means, maps[[0, 1], :, :, [1, 4]].mean(axis=(1, 2)), rtol=1e-5)
    direction = slopes / np.sqrt((slopes**2).sum(axis=(1, 2, 3), keepdims=True))
    up, down = (
        probe.run(pictures + s * direction, ["c"]).taps["c"][[0, 1], :, :, [1, 4]]
        for s in (0.05, -0.05)
    )
    measured = (up - down).mean(axis=(1, 2)) / 0.1
    np.testing.assert_allclose((slopes * direction).sum(axis=(1, 2, 3)), measured, rtol=1e-2)


def test_a_calibration_changes_probabilities_and_no_scores(branching, pictures):
    plain = Probe(branching()).run(pictures)
    found = Probe(branching(), calibrate=lambda p: p**2 / (p**2).sum(axis=1, keepdims=True)).run(
        pictures
    )
    np.testing.assert_allclose(
        found.probabilities,
        plain.probabilities**2 / (plain.probabilities**2).sum(axis=1, keepdims=True),
    )
    np.testing.assert_array_equal(found.scores, plain.scores)


def test_memory_of_a_run_is_not_that_of_all_layers(probe, pictures):
    """What no later layer reads is let go of while the rest is computed."""
    held = []
    steps = probe._program.plan([probe._program.output])
    values = {probe._program.images: keras.ops.convert_to_tensor(pictures)}
    program.run(
        steps,
        values,
        keep={probe._program.output},
        apply=lambda step, operands: (held.append(len(values)), step.call(operands))[1],
    )
    assert max(held) <= 3  # of the eight tensors


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda p, x: p.run(x, ["totl"]), r"'totl': no block or layer .* mean 'total'\?"),
        (lambda p, x: p.run(x, ["zzzzzz"]), r"'zzzzzz': no block or layer of 'branching'\."),
        (lambda p, x: p.run(x[..., :2]), r"shape \(2, 12, 10, 2\).*\(n, 12, 10, 3\)"),
        (lambda p, x: p.run(x[0]), r"shape \(12, 10, 3\)"),
        (lambda p, x: p.run(x[:0]), r"shape \(0, 12, 10, 3\)"),
        (lambda p, x: p.run(x.astype(str)), "numbers of shape"),
        (lambda p, x: p.run((x * 0).astype(np.uint8)), r"uint8 numbers, as of pixels.*preprocess"),
        (lambda p, x: p.run(x * np.nan), "not all numbers are finite"),
        (lambda p, x: p.gradients(x.astype(np.int64), ["conv"], 0), "int64 numbers, as of pixels"),
        (lambda p, x: p.run(x, batch_size=0), "batch_size=0"),
        (lambda p, x: p.gradients(x, ["a"], 3), "class 3: 'branching' has 3, from 0 to 2"),
        (lambda p, x: p.gradients(x, ["a"], -1), "class -1"),
        (lambda p, x: p.gradients(x, ["a"], [0]), "one for each image"),
        (lambda p, x: p.gradients(x, ["a"], 0.5), "class=0.5"),
        (lambda p, x: p.gradients(x, ["predictions"], 0), "no part in the scores"),
        (lambda p, x: p.run(x, cuts=[Cut("c", 0)]), "cut='c': reads 1 tensors"),
        (lambda p, x: p.run(x, cuts=[Cut("images", 0)]), "cut='images': reads 0 tensors"),
        (lambda p, x: p.run(x, cuts=[Cut("total", 2)]), "operand 2: 'total' has 2"),
        (lambda p, x: p.run(x, cuts=[Cut("ttal", 0)]), "mean 'total'"),
        (lambda p, _: p.map_layer("predictions"), r"'predictions': gives \(3,\), no feature maps"),
        (lambda p, x: p.channel_gradients(x, "c", 5), "channel 5: 'c' has 5, from 0 to 4"),
    ],
)
def test_what_cannot_be_is_one_clear_line(probe, pictures, ask, message):
    with pytest.raises(ClassicsError, match=message) as error:
        ask(probe, pictures)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: keras.Sequential([layers.Dense(2)]), "not built"),
        (lambda: layers.Dense(2), "Functional or Sequential"),
        (
            lambda: keras.Sequential(
                [keras.Input((8, 8, 3)), keras.Sequential([layers.Conv2D(1, 1)], name="inner")]
            ),
            "'inner' of .* is itself a model",
        ),
        (
            lambda: keras.Model(
                [a := keras.Input((4, 4, 3)), b := keras.Input((4, 4, 3))], layers.Add()([a, b])
            ),
            "one input of images",
        ),
        (lambda: keras.Sequential([keras.Input((5,)), layers.Dense(2)]), "one input of images"),
    ],
)
def test_models_that_cannot_be_run_step_by_step(build, message):
    with pytest.raises(ClassicsError, match=message):
        Probe(build())


def test_without_a_top_there_are_maps_but_no_classes(images):
    model = VGG16(weights=None, width=0.0625, include_top=False, input_shape=(32, 32, 3))
    probe = Probe(model)
    assert probe.run(images(1, 32, 32, 3), ["block3"]).taps["block3"].shape == (1, 4, 4, 16)
    with pytest.raises(ClassicsError, match="no class scores"):
        probe.gradients(images(1, 32, 32, 3), ["block3"], 0)
