from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from engines.benchmark import runners
from engines.benchmark.runners import TASK
from keras_classics.engines.benchmark import measuring
from keras_classics.engines.benchmark.contenders import CALL, REFERENCE, Contender
from keras_classics.engines.benchmark.measuring import (
    LEAST_SINGLE,
    Measured,
    measure,
    rows_of,
    turn_s,
)

OURS = Contender("openvino", "int8", runners.steady)


def test_processes_in_turns_and_those_that_fail(capfd):
    told = []
    contenders = [
        Contender("steady", "f32", runners.steady),
        Contender("refusing", "f32", runners.refusing),
        Contender("failing", "f32", runners.failing),
        Contender("killed", "f32", runners.killed),
        Contender("steady", "bf16", runners.steady),
    ]
    first, *failed, last = measure(
        contenders, TASK, rounds=2, seconds=0.05, environment={"TOLD": "yes"}, tell=told.append
    )
    assert [each.why_not for each in failed] == [
        "has no vgg16",
        "1",  # a KeyError
        "its process was killed, most often for lack of memory",
    ]
    assert told[-4:] == [  # another one begins each round
        "round 1 of 2: steady f32",
        "round 1 of 2: steady bf16",
        "round 2 of 2: steady bf16",
        "round 2 of 2: steady f32",
    ]
    for each in (first, last):
        assert len(each.rates) == 2
        assert all(0 < rate <= CALL * TASK.batch / 0.01 for rate in each.rates)
        assert len(each.latencies) >= 2 * LEAST_SINGLE
        assert min(each.latencies) >= 0.01
        assert each.memory > 20_000_000
    assert capfd.readouterr() == ("", "")
    assert "TOLD" not in os.environ


def test_ratios_are_of_the_same_round_and_the_fastest_comes_first():
    measured = [
        Measured(REFERENCE, rates=[10.0, 30.0, 20.0], latencies=[0.1] * 3, memory=3),
        Measured(OURS, rates=[50.0, 90.0, 120.0], latencies=[0.01, 0.03, 0.02], memory=9),
        Measured(replace(OURS, precision="f32"), why_not="not enough memory"),
    ]
    ours, reference = rows_of(measured)
    assert (ours.name, reference.name) == ("openvino int8", "keras.applications f32")
    # Round by round 5, 3 and 6 times; the medians' ratio would be 4.5.
    assert ours.to_reference == pytest.approx(5)
    assert reference.to_reference == 1
    assert ours.images_per_s == 90
    assert (ours.p50_ms, ours.p99_ms) == pytest.approx((20, np.percentile([10, 20, 30], 99)))
    assert ours.memory == 9
    (alone,) = rows_of(measured[1:])
    assert alone.to_reference is None


def test_a_turn_is_as_long_as_slow_networks_make_it():
    assert turn_s(TASK, 2.0) == 3.0
    # Ten single images, and four batches of four.
    assert turn_s(replace(TASK, image_s=1.0), 2.0) == 10 + 16


@pytest.fixture
def here(monkeypatch):
    """No processes: what they would do is done in a thread."""
    monkeypatch.setattr(measuring, "process_with", lambda _: ThreadPoolExecutor(1))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("network", "width", "reference"),
    [("mobilenet_v2", 0.25, "MobileNetV2"), ("vgg16", 0.0625, "VGG16 (width 1)")],
)
def test_what_it_is_compared_with(monkeypatch, network, width, reference):
    tasks, foreseen = [], []

    def measured(_, task, **__):
        tasks.append(task)
        return [Measured(OURS, rates=[1.0], latencies=[1.0])]

    monkeypatch.setattr(measuring, "measure", measured)
    found = measuring.benchmark(
        network, width=width, size=32, classes=3, rounds=1, foresee=foreseen.append
    )
    assert found.reference == reference
    assert (found.network, found.size, found.width) == (network, 32, width)
    assert found.macs > 1000
    assert tasks[0].classes == 3
    assert foreseen[0] > 7 * turn_s(tasks[0], 2.0)
    values = json.loads(found.to_json())
    assert values["rows"][0]["images_per_s"] == 1
    assert values["machine"]["versions"]["keras"]
    assert values["machine"]["processor"]
