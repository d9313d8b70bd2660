"""The ablations compare what they say that they compare."""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_classics import analyse

ROOT = Path(__file__).parent.parent
SHAPE = (16, 16, 3)


@pytest.fixture(scope="module")
def ablations():
    """The benchmark as a module."""
    path = ROOT / "benchmarks" / "ablations.py"
    spec = importlib.util.spec_from_file_location("ablations", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def digits(ablations):
    return ablations.load(None, 16)


@pytest.fixture
def tiny(ablations, monkeypatch):
    """The first 128 digits, and a case or two of every ablation."""
    whole = ablations.load

    def few(folder, size):
        data = whole(folder, size)
        return ablations.Data(
            data.name, data.x[:128], data.y[:128], data.test_x[:32], data.test_y[:32]
        )

    monkeypatch.setattr(ablations, "load", few)
    monkeypatch.setattr(ablations, "BLOCKS", (1,))
    monkeypatch.setattr(ablations, "RATES", (0.01,))
    groups = {"5×5": dict(list(ablations.FACTORISATIONS["5×5"].items())[:2])}
    monkeypatch.setattr(ablations, "FACTORISATIONS", groups)
    return ablations


# --- the networks -------------------------------------------------------------------------------


def weights(model, *, without="_0_"):
    """Shapes by name, those of projections aside."""
    return {w.path: tuple(w.shape) for w in model.weights if without not in w.path}


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_plain_network_is_the_residual_one_without_its_shortcuts(ablations, blocks):
    residual = ablations.residual_network(SHAPE, 10, blocks=blocks)
    plain = ablations.plain_network(SHAPE, 10, blocks=blocks)
    assert weights(plain) == weights(residual)
    assert weights(plain) == weights(plain, without="nothing")  # no projection is left
    adds = [layer for layer in residual.layers if isinstance(layer, keras.layers.Add)]
    assert len(adds) == 3 * blocks
    assert not any(isinstance(layer, keras.layers.Add) for layer in plain.layers)
    shapes = {cost.name: cost.output_shape for cost in analyse(residual).layers}
    for cost in analyse(plain).layers:
        assert cost.output_shape == shapes[cost.name]
    assert analyse(plain).layers[-3].field == analyse(residual).layers[-3].field


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_depth_that_is_told(ablations, blocks):
    model = ablations.plain_network(SHAPE, 10, blocks=blocks)
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert len(kernels) == 9 * blocks + 2


def test_without_shortcuts_a_block_with_a_silent_residual_is_silent(ablations):
    """A residual of nothing leaves the residual network its input, and the plain one nothing."""
    x = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
    outputs = []
    for build in (ablations.residual_network, ablations.plain_network):
        model = build(SHAPE, 10, blocks=2)
        ablations.draw_weights(model, initial="he", seed=0)
        gamma = model.get_layer("conv3_block2_3_bn").gamma
        gamma.assign(np.zeros(gamma.shape))
        taps = [model.get_layer(f"conv3_block{i}_out").output for i in (1, 2)]
        outputs.append(
            [np.asarray(y) for y in keras.Model(model.input, taps).predict(x, verbose=0)]
        )
    (before, after), (_, plain) = outputs
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert np.ptp(before) > 0
    assert np.all(plain == 0)


def test_networks_that_are_compared_begin_with_the_same_weights(ablations):
    residual = ablations.residual_network(SHAPE, 10, blocks=2)
    plain = ablations.plain_network(SHAPE, 10, blocks=2)
    for model in (residual, plain):
        ablations.draw_weights(model, initial="he", seed=3)
    others = {w.path: np.asarray(keras.ops.convert_to_numpy(w)) for w in residual.weights}
    for weight in plain.weights:
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), others[weight.path])
    kernel = others["conv3_block2_2_conv/kernel"]
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / np.prod(kernel.shape[:-1])), rel=0.1)
    ablations.draw_weights(residual, initial="he", seed=4)
    again = keras.ops.convert_to_numpy(residual.get_layer("conv3_block2_2_conv").kernel)
    assert not np.array_equal(again, kernel)


def test_vgg_with_batch_norm_has_vgg_s_kernels(ablations):
    shape = (32, 32, 3)
    plain = analyse(ablations.vgg_network(shape, 10))
    normed = analyse(ablations.vgg_batch_norm_network(shape, 10))
    kinds = ("Conv2D", "Dense", "MaxPooling2D", "Flatten")
    of_plain, of_normed = (
        [(c.kind, c.output_shape, c.macs, c.field) for c in each.layers if c.kind in kinds]
        for each in (plain, normed)
    )
    assert of_plain == of_normed
    assert sum(kind == "Conv2D" for kind, *_ in of_plain) == 13
    norms = [c for c in normed.layers if c.kind == "BatchNormalization"]
    assert len(norms) == 13
    # Four numbers for every channel, and no biases, of which there was one.
    channels = sum(c.output_shape[-1] for c in norms)
    assert normed.model.parameters == plain.model.parameters + 3 * channels


@pytest.mark.parametrize(("group", "side"), [("5×5", 29), ("7×7", 41)])
def test_what_replaces_a_kernel_sees_as_much(ablations, group, side):
    networks = {
        name: analyse(
            ablations.factorised_network((32, 32, 3), 10, kernels=kernels, between=between)
        )
        for name, (kernels, between) in ablations.FACTORISATIONS[group].items()
    }
    maps = {
        name: [c for c in each.layers if c.kind == "Conv2D"][-1] for name, each in networks.items()
    }
    assert {cost.field.size for cost in maps.values()} == {(side, side)}
    assert {cost.output_shape for cost in maps.values()} == {(16, 16, 32)}
    one, *others = [each.model for each in networks.values()]
    for other in others:
        assert other.parameters < one.parameters
        assert other.macs < one.macs


def test_the_linear_factor_lacks_its_relu_alone(ablations):
    ways = ablations.FACTORISATIONS["5×5"]
    with_relu, without = (
        ablations.factorised_network((32, 32, 3), 10, kernels=kernels, between=between)
        for kernels, between in (ways["two 3×3"], ways["two 3×3, no ReLU between"])
    )
    missing = {layer.name for layer in with_relu.layers} - {layer.name for layer in without.layers}
    assert missing == {f"place{i}_1_relu" for i in (1, 2, 3)}


# --- data and training --------------------------------------------------------------------------


def test_the_digits_are_divided_by_class(digits):
    assert (len(digits.x), len(digits.test_x), digits.classes) == (1293, 504, 10)
    assert digits.shape == SHAPE
    x = digits.x.astype("float64")
    np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-5)
    share = len(digits.test_x) / (len(digits.x) + len(digits.test_x))
    for label in range(10):
        here = (digits.test_y == label).sum()
        assert here == pytest.approx(share * (here + (digits.y == label).sum()), abs=1)


def test_part_of_a_folder(ablations, shapes, monkeypatch):
    monkeypatch.setattr(ablations, "TRAIN", 10)
    data = ablations.load(shapes, 16)
    assert data.name == "shapes"
    assert data.x.shape == (30, 16, 16, 3)
    assert data.classes == 3
    again = ablations.load(shapes, 16)
    np.testing.assert_array_equal(data.x, again.x)
    assert not {x.tobytes() for x in data.x} & {x.tobytes() for x in data.test_x}


def test_a_folder_s_own_splits_are_kept(ablations, tmp_path):
    from pictures import write_pictures

    for split, each in (("train", 6), ("test", 4)):
        write_pictures(tmp_path / "data" / split, each=each)
    data = ablations.load(tmp_path / "data", 16)
    assert (len(data.x), len(data.test_x)) == (18, 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["residual", *(pytest.param(n, marks=pytest.mark.slow) for n in ("batch_norm", "factorised"))],
)
def test_a_short_run(tiny, name, tmp_path, monkeypatch, capsys):
    saved = tmp_path / "ablations.json"
    monkeypatch.setattr(tiny, "SAVED", saved)
    tiny.main([name, "--seeds", "2", "--epochs", "2", "--save"])
    printed = capsys.readouterr().out
    cases = tiny.ABLATIONS[name].cases()
    assert sum(line.startswith("| ") for line in printed.splitlines()) == 1 + len(cases)
    check(json.loads(saved.read_text("utf-8")), {name: tiny.ABLATIONS[name]})


@pytest.mark.slow
def test_the_same_seeds_give_the_same_figures(tiny):
    data = tiny.load(None, 16)
    case = tiny.residual_cases()[1]
    rows = [tiny.measure(case, data, epochs=2, seeds=2) for _ in range(2)]
    assert rows[0].losses[0] != rows[0].losses[1]  # seeds differ
    np.testing.assert_allclose(rows[0].losses, rows[1].losses, rtol=1e-3)


@pytest.mark.slow
def test_a_run_that_diverges_is_told(tiny):
    data = tiny.load(None, 32)
    case = tiny.Case("plain", "1e9", tiny.vgg_network, rate=1e9)
    row = tiny.measure(case, data, epochs=2, seeds=1)
    assert row.diverged == 1
    assert np.isfinite(row.losses[0]).all()
    assert "1 diverged" in tiny.table([row], "learning rate")


@pytest.mark.parametrize("arguments", [["unknown"], ["residual", "--seeds", "0"]])
def test_wrong_arguments(ablations, arguments, capsys):
    with pytest.raises(SystemExit) as left:
        ablations.main(arguments)
    assert left.value.code == 2
    assert "error" in capsys.readouterr().err


# --- what is committed --------------------------------------------------------------------------


def check(saved, expected):
    for name, ablation in expected.items():
        cases = ablation.cases()
        for of in saved[name].values():
            assert of["size"] == ablation.size
            assert min(of["train_images"], of["test_images"], of["cpu_seconds"]) > 0
            assert {"cpu", "cores", "backend", "keras", "keras-classics"} <= set(
                of["measured_with"]
            )
            assert [(row["network"], row["setting"]) for row in of["rows"]] == [
                (case.network, case.setting) for case in cases
            ]
            for row in of["rows"]:
                for figure in ("train_error", "accuracy", "cpu_ms", "losses"):
                    assert len(row[figure]) == of["seeds"], figure
                assert all(0 <= value <= 1 for value in row["train_error"] + row["accuracy"])
                assert row["parameters"] > 0
                assert row["macs"] > 0


def test_the_figures_of_the_pages_are_those_of_today_s_networks(ablations):
    saved = json.loads(ablations.SAVED.read_text("utf-8"))
    assert {name: "digits" in of for name, of in saved.items()} == dict.fromkeys(
        ablations.ABLATIONS, True
    )
    check(saved, ablations.ABLATIONS)
    for name in ("residual", "factorised"):
        of = saved[name]["digits"]
        for case, row in zip(ablations.ABLATIONS[name].cases(), of["rows"], strict=True):
            if case.setting in ("74", "38"):
                continue  # slow to build, and alike
            cost = analyse(case.build((of["size"], of["size"], 3), of["classes"])).model
            assert (row["parameters"], row["macs"]) == (cost.parameters, cost.macs), case


def means(ablations, name, data, figure):
    rows = json.loads(ablations.SAVED.read_text("utf-8"))[name][data]["rows"]
    return {(row["network"], row["setting"]): statistics.mean(row[figure]) for row in rows}


def test_what_the_pages_say_of_the_residual_networks(ablations):
    """Degradation: deeper plain networks learn less; residual ones do not, or later."""
    error = means(ablations, "residual", "digits", "train_error")
    assert error["plain", "74"] > error["plain", "38"] > 10 * error["plain", "20"]
    assert max(error["residual", depth] for depth in ("11", "20", "38", "74")) < 0.01
    right = means(ablations, "residual", "digits", "accuracy")
    assert right["residual", "74"] < right["residual", "38"]
    error = means(ablations, "residual", "cifar10", "train_error")
    plain, residual = (
        [error[name, depth] for depth in ("11", "20", "38", "74")] for name in ("plain", "residual")
    )
    assert plain == sorted(plain)
    assert min(residual) == residual[1]
    assert all(one < other for one, other in zip(residual, plain, strict=True))


def test_what_the_pages_say_of_batch_norm(ablations):
    right = means(ablations, "batch_norm", "digits", "accuracy")
    with_it = {rate: right["batch norm, He", rate] for rate in ("0.001", "0.01", "0.1", "0.3", "1")}
    assert min(with_it[rate] for rate in ("0.001", "0.01", "0.1")) > 0.9
    assert with_it["0.01"] == max(right.values())
    assert with_it["1"] < 0.15 < with_it["0.3"] < 0.9
    assert abs(right["plain, He", "0.001"] - with_it["0.001"]) < 0.02
    assert right["plain, He", "0.1"] < 0.15
    assert max(value for (name, _), value in right.items() if name == "plain, Glorot") < 0.5


def test_what_the_pages_say_of_factorisation(ablations):
    assert min(means(ablations, "factorised", "digits", "accuracy").values()) > 0.99
    right = means(ablations, "factorised", "cifar10", "accuracy")
    assert abs(right["1×7 and 7×1", "7×7"] - right["one 7×7", "7×7"]) < 0.02
    assert right["three 3×3", "7×7"] < right["one 7×7", "7×7"] - 0.03
    error = means(ablations, "factorised", "cifar10", "train_error")
    assert error["three 3×3", "7×7"] > error["one 7×7", "7×7"]
    assert error["two 3×3", "5×5"] < error["two 3×3, no ReLU between", "5×5"]
    for data in ("digits", "cifar10"):
        time = means(ablations, "factorised", data, "cpu_ms")
        assert time["1×7 and 7×1", "7×7"] < 0.8 * time["one 7×7", "7×7"]
        assert abs(time["two 3×3", "5×5"] / time["one 5×5", "5×5"] - 1) < 0.15
