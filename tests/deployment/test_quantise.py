from __future__ import annotations

import signal

import numpy as np
import pytest

from keras_classics.deployment import runtimes
from keras_classics.deployment.quantise import Calibration, quantise


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
