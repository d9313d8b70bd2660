from __future__ import annotations

from typing import ClassVar

import pytest

from keras_classics.engines.benchmark import measuring
from keras_classics.engines.benchmark.contenders import Contender, Task
from keras_classics.engines.benchmark.limits import measured_limits
from keras_classics.engines.benchmark.measuring import CALL, LEAST_SINGLE, measure

PEER, BROKEN = Contender("torchvision", "f32"), Contender("keras", "f32")


def test_turns_of_real_processes():
    """One that runs and one that cannot, which leaves the other alone."""
    told = []
    found = measure(
        [PEER, BROKEN],
        Task(network="resnet50", size=32, classes=3),  # without an artefact for Keras
        batch=2,
        rounds=3,
        seconds=0.02,
        tell=lambda *values: told.append(values),
    )
    ran, failed = found
    assert ran.why_not is None
    assert len(ran.rates) == len(ran.latencies) == 3
    assert all(rate > 0 for rate in ran.rates)
    assert all(len(each) >= LEAST_SINGLE for each in ran.latencies)
    assert ran.memory > 50_000_000
    assert ran.built_s > 0
    assert failed.why_not == "keras f32: nothing to run"
    assert failed.rates == []
    assert told[0] == ("building torchvision f32", 0, 8)
    assert told[-1] == ("done", 8, 8)


class _Scripted:
    """In the place of a process: answers from a list, or an error."""

    asked: ClassVar[list[tuple]] = []
    fails_at = None

    def __init__(self, contender, *_):
        self.contender, self.orders = contender, 0

    def answer(self):
        return {"built": 0.5}

    def ask(self, **order):
        self.orders += 1
        type(self).asked.append((self.contender.name, order["images"]))
        if self.contender == BROKEN and self.orders == self.fails_at:
            raise measuring.ClassicsError("not enough memory.")
        return {"seconds": [0.5, 0.5], "memory": self.orders}

    def end(self):
        pass


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(measuring, "_Process", _Scripted)
    monkeypatch.setattr(_Scripted, "asked", [])
    return _Scripted


def test_another_one_begins_each_round(scripted):
    options = {"batch": 4, "seconds": 1.0, "tell": lambda *_: None}
    first, _ = measure([PEER, BROKEN], Task("resnet50", 32, 3), rounds=2, **options)
    turns = [name for name, images in scripted.asked[4:] if images == 1]
    assert turns == [PEER.name, BROKEN.name, BROKEN.name, PEER.name]
    assert first.rates == [4 * CALL * 2 / 1.0] * 2
    assert first.memory == 6  # of the last order


def test_who_fails_later_is_left_out_from_then_on(scripted, monkeypatch):
    monkeypatch.setattr(scripted, "fails_at", 5)  # two to warm up, two of the first round
    options = {"batch": 4, "seconds": 1.0, "tell": lambda *_: None}
    first, failed = measure([PEER, BROKEN], Task("resnet50", 32, 3), rounds=4, **options)
    assert failed.why_not == "not enough memory"
    assert len(first.rates) == 4
    assert len(scripted.asked) == 4 + 2 + 2 + 1 + 2 + 2 + 2


def test_a_process_that_is_killed_for_memory_says_so():
    process = measuring._Process(PEER, Task("resnet50", 32, 3), 8)
    try:
        process._process.kill()
        with pytest.raises(measuring.ClassicsError, match="not enough memory"):
            process.answer()
    finally:
        process.end()


def test_limits():
    limits = measured_limits(1)
    assert set(limits) == {"f32", "bf16", "int8"}
    assert all(1e9 < rate < 1e15 for rate in limits.values())
