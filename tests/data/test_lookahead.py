from __future__ import annotations

import gc
import threading
import time
import weakref
from functools import partial

import pytest

from keras_classics.data.lookahead import LookAhead, Work


@pytest.fixture
def threads_now():
    """Counts the threads that were begun since."""
    gc.collect()
    before = set(threading.enumerate())
    return lambda: len(set(threading.enumerate()) - before)


def gone(threads_now) -> bool:
    """Whether they end within some seconds."""
    end = time.monotonic() + 5
    while threads_now() and time.monotonic() < end:
        time.sleep(0.01)
    return not threads_now()


class Maker:
    """Makes numbers of parts, and notes what it began."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.bad = -1
        self.gate = threading.Event()
        self.gate.set()

    def prepare(self, key: int) -> Work[list[int]]:
        parts: list[int] = []

        def part(number: int) -> None:
            self.gate.wait(10)
            self.begun.append(key)
            if key == self.bad:
                raise ArithmeticError(f"part {number}")
            parts.append(10 * key + number)

        return Work([partial(part, number) for number in range(3)], lambda: sorted(parts))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_whole_comes_after_all_parts(threads, threads_now):
    maker, ahead = Maker(), LookAhead[list[int]](threads)
    for key in range(20):
        found = ahead.get(key, range(key + 1, min(20, key + 4)), maker.prepare)
        assert found == [10 * key, 10 * key + 1, 10 * key + 2]
    assert sorted(maker.begun) == sorted(list(range(20)) * 3)  # each was made once
    del ahead
    assert gone(threads_now)


def test_what_follows_is_made_before_it_is_asked_for():
    maker, ahead = Maker(), LookAhead[list[int]](2)
    ahead.get(0, [1, 2], maker.prepare)
    end = time.monotonic() + 5
    while maker.begun.count(2) < 3 and time.monotonic() < end:
        time.sleep(0.005)
    assert sorted(set(maker.begun)) == [0, 1, 2]
    # No more than that, however long one waits.
    time.sleep(0.05)
    assert sorted(maker.begun) == [0] * 3 + [1] * 3 + [2] * 3


def test_an_abandoned_pass_is_given_up():
    maker, ahead = Maker(), LookAhead[list[int]](1)
    ahead.get(0, [], maker.prepare)
    maker.gate.clear()
    threading.Timer(0.1, maker.gate.set).start()
    # The next request waits for the gate behind what was made ahead, less what was given up.
    with ahead._lock:
        for key in range(1, 6):
            ahead._ahead[key] = ahead._begin(maker.prepare(key))
    assert ahead.get(7, [8], maker.prepare) == [70, 71, 72]
    assert len([key for key in maker.begun if 1 <= key <= 5]) <= 1
    ahead.clear()
    assert ahead._ahead == {}


def test_errors_travel_to_who_asks_and_to_nobody_else():
    maker, ahead = Maker(), LookAhead[list[int]](2)
    maker.bad = 13
    for key in (11, 12):
        ahead.get(key, range(key + 1, 16), maker.prepare)
    with pytest.raises(ArithmeticError, match="part 0"):
        ahead.get(13, [14, 15], maker.prepare)
    assert ahead.get(14, [15], maker.prepare) == [140, 141, 142]

    def fail() -> list[int]:
        raise LookupError("whole")

    with pytest.raises(LookupError, match="whole"):
        ahead.get("x", [], lambda _: Work([lambda: None], fail))


def test_threads_end_with_the_object_and_hold_it_not(threads_now):
    maker, ahead = Maker(), LookAhead[list[int]](3)
    assert threads_now() == 0  # none before there is work
    ahead.get(0, [1, 2, 3], maker.prepare)
    assert threads_now() == 3
    alive = weakref.ref(ahead)
    del ahead
    assert alive() is None
    assert gone(threads_now)
