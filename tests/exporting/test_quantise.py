from __future__ import annotations

import signal

import numpy as np
import pytest

from keras_classics.exporting import runtimes
from keras_classics.exporting.quantise import Calibration, _Onnx, quantise


@pytest.fixture(autouse=True)
def _signals_are_handled_afterwards():
    """If a `Core` took the stack along on which this thread handles them, the process ends here."""
    yield
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


@pytest.fixture(scope="module")
def network():
    """Two layers of OpenVINO, pictures for them, and what they call these."""
    openvino = runtimes.load("openvino")
    from openvino import opset13 as op

    rng = np.random.default_rng(0)
    first = rng.normal(size=(8, 16)).astype(np.float32)
    image = op.parameter([1, 8], np.float32, name="image")
    image.output(0).tensor.set_names({"image"})
    hidden = op.relu(op.matmul(image, first, False, False))
    last = rng.normal(size=(16, 5)).astype(np.float32)
    model = openvino.Model([op.matmul(hidden, last, False, False)], [image])
    batches = [rng.normal(size=(1, 8)).astype(np.float32) for _ in range(60)]
    run = runtimes.openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    called = [int(run(batch)[0].argmax()) for batch in batches]
    return model, batches, called


def test_where_plain_rounding_does(network):
    model, batches, called = network
    calibration = Calibration(batches[:40], batches[40:], called[40:], most_lost=0.3, seed=7)
    _, how = quantise(model, calibration)
    assert how["by"] == "NNCF"
    assert (how["pictures"], how["seed"], how["part"]) == (40, 7, "train")
    assert how["validation_pictures"] == 20
    assert how["validation_top1_agreement"] >= 0.7
    assert (how["layers"], how["layers_in_int8"]) == (2, 2)


def test_accuracy_control_puts_back_the_layer_that_costs_most():
    """Numbers of the last layer are a thousand times as large in a channel that says nothing."""
    openvino = runtimes.load("openvino")
    from openvino import opset13 as op

    rng = np.random.default_rng(0)
    image = op.parameter([1, 8], np.float32, name="image")
    image.output(0).tensor.set_names({"image"})
    x = op.relu(op.matmul(image, rng.normal(size=(8, 16)).astype(np.float32), False, False))
    scale = np.ones(16, np.float32)
    scale[0] = 3000
    last = rng.normal(size=(16, 5)).astype(np.float32)
    last[0] = 0
    x = op.matmul(op.multiply(x, scale), last, False, False)
    model = openvino.Model([x], [image])
    batches = [rng.normal(size=(1, 8)).astype(np.float32) for _ in range(80)]
    run = runtimes.openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    called = [int(run(batch)[0].argmax()) for batch in batches]
    assert len(set(called)) == 5
    told = []

    def tell(what, *_):
        told.append(what)

    calibration = Calibration(batches[:40], batches[40:], called[40:], 0.1, seed=0, tell=tell)
    _, how = quantise(model, calibration)
    assert how["by"] == "NNCF with accuracy control"
    assert told[0].endswith("% agree")
    assert told[1] == "accuracy control: network 1"
    assert len(told) > 3
    assert how["validation_top1_agreement"] >= 0.9
    assert (how["layers"], how["layers_in_int8"]) == (2, 1)


def test_where_nothing_may_be_rounded(network):
    """Asked for answers that no network gives, accuracy control puts all layers back.

    What was rounded plainly stays, so that its figures can be seen and accepted.
    """
    model, batches, called = network
    others = [(answer + 1) % 5 for answer in called]
    mixed = [*called[:30], *others[30:]]
    calibration = Calibration(batches[:40], batches, mixed, most_lost=-0.01, seed=0)
    _, how = quantise(model, calibration)
    assert how["by"] == "NNCF"
    assert (how["layers"], how["layers_in_int8"]) == (2, 2)
    assert how["validation_top1_agreement"] == pytest.approx(0.5, abs=0.1)


def _of_onnx(shape):
    """A network of ONNX, pictures, and what it calls them.

    Numbers of a channel that says nothing are a thousand times as large, which rounding feels.
    """
    onnx = runtimes.load("onnx")
    helper, rng = onnx.helper, np.random.default_rng(0)
    nodes, constants = [], []

    def conv(source, name, size=1):
        shape = (16, 16, size, size)
        weights = rng.normal(0, 0.3, shape).astype(np.float32)
        if source == "image":
            weights[:, 0] = 0
        bias = rng.normal(size=16).astype(np.float32)
        constants.append(onnx.numpy_helper.from_array(weights, f"{name}/weights"))
        constants.append(onnx.numpy_helper.from_array(bias, f"{name}/bias"))
        inputs = [source, f"{name}/weights", f"{name}/bias"]
        pads = [size // 2] * 4
        nodes.append(helper.make_node("Conv", inputs, [name], name, pads=pads))
        nodes.append(helper.make_node("Relu", [name], [f"{name}/relu"], f"{name}/relu"))
        return name, f"{name}/relu"

    _, x = conv("image", "stem", 3)
    for block in range(2):
        first, branch = conv(x, f"{block}/a")
        _, inner = conv(x, f"{block}/b")
        last, other = conv(inner, f"{block}/c", 3)
        x = f"{block}/out"
        if shape == "residual":
            nodes.append(helper.make_node("Add", [last, first], [f"{block}/add"], f"{block}/add"))
            nodes.append(helper.make_node("Relu", [f"{block}/add"], [x], x))
        else:
            nodes.append(helper.make_node("Concat", [branch, other], [f"{block}/all"], x, axis=1))
            name = f"{block}/pool"
            weights = rng.normal(0, 0.3, (16, 32, 1, 1)).astype(np.float32)
            constants.append(onnx.numpy_helper.from_array(weights, f"{name}/weights"))
            constants.append(onnx.numpy_helper.from_array(weights[:, 0, 0, 0], f"{name}/bias"))
            inputs = [f"{block}/all", f"{name}/weights", f"{name}/bias"]
            nodes.append(helper.make_node("Conv", inputs, [x], name))
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"], "mean"))
    nodes.append(helper.make_node("Flatten", ["mean"], ["scores"], "scores"))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", 1, [1, 16, 8, 8])],
        [helper.make_tensor_value_info("scores", 1, [1, 16])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    batches = [
        (rng.normal(size=(1, 16, 8, 8)) * rng.uniform(0, 3, (16, 1, 1))).astype(np.float32)
        for _ in range(12)
    ]
    for batch in batches:
        batch[:, 0] *= 1000
    run = _Onnx.runner(model)
    return model, batches, [int(run(batch).argmax()) for batch in batches]


@pytest.mark.parametrize("shape", ["residual", "branches"])
def test_accuracy_control_of_onnx_goes_to_its_end(shape):
    """Correcting biases slowly, NNCF and ONNX Runtime come upon pieces that they cannot run."""
    model, batches, called = _of_onnx(shape)
    told = []
    calibration = Calibration(
        batches, batches, called, most_lost=0.1, seed=0, tell=lambda what, *_: told.append(what)
    )
    quantised, how = quantise(model, calibration)
    assert how["by"] == "NNCF with accuracy control"
    assert how["layers"] == {"residual": 7, "branches": 9}[shape]
    assert 0 < how["layers_in_int8"] < how["layers"]
    assert how["validation_top1_agreement"] >= 0.9
    assert len(told) > how["layers"] / 2
    assert _Onnx.layers(quantised) == (how["layers"], how["layers_in_int8"])


def test_of_two_roundings_the_nearer_one_stays(network, monkeypatch):
    """Biases are corrected here by pictures that have nothing to do with the others."""
    model, batches, called = network
    nncf = runtimes.load("nncf")
    ordinary, made = nncf.quantize, []

    def quantize(model, pictures, *, advanced_parameters, **options):
        made.append(advanced_parameters)
        if not advanced_parameters.disable_bias_correction:
            pictures = nncf.Dataset([0.1 * batch for batch in batches], lambda x: {"image": x})
        return ordinary(model, pictures, advanced_parameters=advanced_parameters, **options)

    monkeypatch.setattr(nncf, "quantize", quantize)
    calibration = Calibration(batches[:40], batches[40:], called[40:], most_lost=1, seed=0)
    _, how = quantise(model, calibration)
    assert [parameters.disable_bias_correction for parameters in made] == [False, True]
    assert how["validation_top1_agreement"] >= 0.9
