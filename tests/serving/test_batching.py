"""No request ever gets another's answer, and none waits for one that has gone."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from keras_classics.serving.batching import Batcher, BusyError, EngineError
from serving.fakes import NAMES, FakeEngine, expected, pictures, until

CLASSES = len(NAMES)


def batcher(engine, **options):
    options = {"batch_size": 4, "delay": 0.005, "places": 64, **options}
    return Batcher(engine.probabilities, classes=CLASSES, **options)


def run(scenario):
    """Run a scenario in a loop of its own, with a limit."""

    async def limited():
        async with asyncio.timeout(30):
            return await scenario()

    return asyncio.run(limited())


@pytest.mark.parametrize("at_a_time", [1, 3])
def test_everybody_gets_their_own_answer(at_a_time):
    """Requests of mixed sizes, some of which give up, some of which the network cannot take."""
    engine = FakeEngine(seconds=0.0005, poison=7)
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 12, 400)
    wrong, answers = [], []

    async def one(queue, index, size):
        images = pictures(int(size), seed=1000 + index)
        poisoned = index % 9 == 0
        if poisoned:
            images[-1] = 7
        await asyncio.sleep(float(rng.uniform(0, 0.3)))
        try:
            async with asyncio.timeout(0.004 if index % 5 == 0 else None):
                rows = await queue.ask(images)
        except TimeoutError:
            answers.append("gave up")
            return
        except EngineError:
            answers.append("failed")
            assert poisoned
            return
        assert not poisoned
        answers.append("answered")
        if not np.array_equal(rows, expected(images)):
            wrong.append(index)

    async def scenario():
        queue = batcher(engine, batch_size=8, at_a_time=at_a_time)
        await asyncio.gather(*(one(queue, i, size) for i, size in enumerate(sizes)))
        await queue.close()
        assert queue.waiting == 0

    run(scenario)
    assert wrong == []
    counts = {kind: answers.count(kind) for kind in ("answered", "failed", "gave up")}
    assert sum(counts.values()) == 400
    assert min(counts.values()) > 5, counts
    assert max(engine.batches) == 8
    assert len(set(engine.batches)) > 3


def test_pictures_share_a_batch():
    engine = FakeEngine()

    async def scenario():
        queue = batcher(engine, delay=5.0)
        rows = await asyncio.gather(*(queue.ask(image[None]) for image in pictures(8)))
        await queue.close()
        return rows

    rows = run(scenario)
    assert engine.batches == [4, 4]
    np.testing.assert_array_equal(np.concatenate(rows), expected(pictures(8)))


def test_one_picture_waits_no_longer_than_the_delay():
    engine = FakeEngine()

    async def scenario():
        queue = batcher(engine, batch_size=1000, delay=0.02)
        await queue.ask(pictures(1))
        await queue.close()

    run(scenario)
    assert engine.batches == [1]


def test_a_request_larger_than_a_batch():
    engine = FakeEngine()

    async def scenario():
        queue = batcher(engine)
        return await queue.ask(pictures(11))

    np.testing.assert_array_equal(run(scenario), expected(pictures(11)))
    assert engine.batches == [4, 4, 3]


def test_who_gives_up_is_not_computed():
    gate = threading.Event()
    engine = FakeEngine(gate=gate)

    async def scenario():
        queue = batcher(engine, batch_size=1, delay=0.0)
        first, second, third = (asyncio.create_task(queue.ask(i[None])) for i in pictures(3))
        await asyncio.sleep(0.05)  # the first one is in the network
        assert queue.waiting == 2
        second.cancel()
        await asyncio.sleep(0)
        gate.set()
        rows = await asyncio.gather(first, third)
        await queue.close()
        return rows

    rows = run(scenario)
    assert engine.batches == [1, 1]
    np.testing.assert_array_equal(np.concatenate(rows), expected(pictures(3)[[0, 2]]))


def test_one_bad_picture_costs_the_others_nothing():
    engine = FakeEngine(poison=7)
    images = pictures(4)
    images[2] = 7

    async def scenario():
        queue = batcher(engine, delay=5.0)
        asked = [queue.ask(image[None]) for image in images]
        found = await asyncio.gather(*asked, return_exceptions=True)
        await queue.close()
        return found

    found = run(scenario)
    assert engine.batches == [4, 1, 1, 1, 1]
    assert isinstance(found.pop(2), EngineError)
    np.testing.assert_array_equal(np.concatenate(found), expected(images[[0, 1, 3]]))


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((2, CLASSES), np.float32),
        np.zeros((1, 3), np.float32),
        np.full((1, CLASSES), np.nan),
        np.full((1, CLASSES), 1.01, np.float32),
        np.full((1, CLASSES), -0.01, np.float32),
    ],
)
def test_what_cannot_be_probabilities_is_no_answer(rows):
    async def scenario():
        queue = Batcher(lambda _: rows, classes=CLASSES, batch_size=4, delay=0.0, places=9)
        with pytest.raises(EngineError, match="no probabilities"):
            await queue.ask(pictures(1))
        await queue.close()

    run(scenario)


def test_what_rounding_does_at_0_and_1():
    rows = np.array([[1.0000001, -1e-7, 0.5, 0, 1]], np.float32)

    async def scenario():
        queue = Batcher(lambda _: rows, classes=5, batch_size=4, delay=0.0, places=9)
        found = await queue.ask(pictures(1))
        await queue.close()
        return found

    np.testing.assert_array_equal(run(scenario), [[1, 0, 0.5, 0, 1]])


def test_a_bug_beside_the_network_leaves_nobody_waiting():
    def batched(*_):
        raise ZeroDivisionError("counted wrongly")

    async def scenario():
        queue = batcher(FakeEngine(), batched=batched)
        for _ in range(2):
            with pytest.raises(EngineError, match="ZeroDivisionError"):
                await queue.ask(pictures(1))
        await queue.close()

    run(scenario)


def test_places():
    counted = []
    gate = threading.Event()

    async def scenario():
        queue = batcher(FakeEngine(gate=gate, seconds=0.1), places=6, counted=counted.append)
        with queue.place(4):
            assert queue.taken == 4
            with pytest.raises(BusyError, match="try again in 1 s"), queue.place(3):
                pass
            with queue.place(2):
                assert queue.taken == 6
        assert queue.taken == 0

    run(scenario)
    assert counted == [4, 6, 4, 0]


def test_how_long_to_stay_away_follows_from_the_measured_rate():
    async def scenario():
        queue = batcher(FakeEngine(seconds=0.5), batch_size=1, places=10, delay=0.0)
        await queue.ask(pictures(1))
        with queue.place(9), pytest.raises(BusyError) as busy, queue.place(2):
            pass
        return busy.value.seconds

    assert 4 <= run(scenario) <= 8  # nine pictures at not quite two a second


def test_what_nobody_would_wait_for_is_refused():
    async def scenario():
        queue = batcher(FakeEngine(seconds=0.2), batch_size=1, places=1000, delay=0.0, patience=1.0)
        await queue.ask(pictures(1))
        with queue.place(2), queue.place(1):
            pass
        with queue.place(100), pytest.raises(BusyError), queue.place(1):
            pass

    run(scenario)


def test_what_was_asked_is_answered_before_the_end():
    engine = FakeEngine(seconds=0.02)

    async def scenario():
        queue = batcher(engine, delay=10.0)
        asked = [asyncio.create_task(queue.ask(image[None])) for image in pictures(6)]
        await asyncio.sleep(0)
        await queue.close()
        return [task.result() for task in asked]

    np.testing.assert_array_equal(np.concatenate(run(scenario)), expected(pictures(6)))
    assert engine.batches == [4, 2]


def test_memory_is_given_back():
    """The queue holds nothing of what was answered."""
    import gc
    import weakref

    kept = []

    async def scenario():
        queue = batcher(FakeEngine())
        images = pictures(3).copy()
        kept.append(weakref.ref(images))
        await queue.ask(images)
        del images
        await asyncio.sleep(0.05)
        gc.collect()
        assert kept[0]() is None
        await queue.close()

    run(scenario)


def test_batches_at_a_time():
    gate = threading.Event()
    engine = FakeEngine(gate=gate)

    async def scenario():
        queue = batcher(engine, batch_size=1, delay=0.0, at_a_time=3)
        tasks = [asyncio.create_task(queue.ask(image[None])) for image in pictures(5)]
        await asyncio.to_thread(until, lambda: len(engine.batches) == 3)
        assert queue.waiting == 2
        gate.set()
        rows = await asyncio.gather(*tasks)
        await queue.close()
        return rows

    np.testing.assert_array_equal(np.concatenate(run(scenario)), expected(pictures(5)))
