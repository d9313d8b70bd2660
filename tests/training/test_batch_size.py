from __future__ import annotations

import dataclasses
import sys

import pytest

from keras_classics.errors import ClassicsError
from keras_classics.training import batch_size, recipes
from keras_classics.training.batch_size import choose, scaled_rate, sizes, with_batch_size
from keras_classics.training.batch_trial import Spec, Trial, _too_much
from keras_classics.training.config import TrainConfig, batch_size_of
from keras_classics.training.events import BatchSizeFound, BatchSizeTried
from keras_classics.training.run import train
from keras_classics.training.task import task_of

GB = 10**9
SMALL = TrainConfig(network="vgg16", width=0.0625, size=32, epochs=1, batch_size="auto")


def tried(*rows):
    return [Trial(size, speed, int(gigabytes * GB)) for size, speed, gigabytes in rows]


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([(8, 50, 1), (16, 90, 1), (32, 120, 2), (64, 125, 3), (128, 126, 5)], 32),
        ([(8, 50, 1), (16, 90, 1), (32, 120, 2), (64, 200, 9)], 32),  # 64 does not fit
        ([(8, 100, 1), (16, 100, 1), (32, 100, 2)], 16),  # 8 is too few for batch norm
        ([(8, 100, 1), (16, 100, 9)], 8),  # but better than none
        ([(8, 100, 9)], None),
        ([(16, 10, 1), (32, 40, 1), (64, 20, 2)], 32),
    ],
)
def test_the_smallest_that_is_nearly_as_fast_as_the_fastest_that_fits(rows, chosen):
    assert choose(tried(*rows), memory=8 * GB) == chosen


@pytest.mark.parametrize(
    ("images", "expected"),
    [(3, (8,)), (300, (8,)), (320, (8, 16)), (1443, (8, 16, 32, 64)), (10**6, (8, 1024))],
)
def test_an_epoch_keeps_its_steps(images, expected):
    found = sizes(images)
    assert (found if images < 10**6 else (found[0], found[-1])) == expected


def test_larger_sizes_are_left_out_before_the_memory_is_full():
    assert not _too_much([], 10)
    assert not _too_much([9], 10)
    assert not _too_much([4, 6], 10)  # 10 at twice the size
    assert _too_much([4, 7], 10)


def test_the_rate_follows_the_batch_size():
    quick, resnet = recipes.find("quick", "vgg16"), recipes.find("paper", "resnet50")
    assert scaled_rate(quick, 128) == 1e-3  # adamw: 5e-4 times the root of 4
    assert scaled_rate(resnet, 32) == 0.0125  # sgd: 0.1 of 256
    assert scaled_rate(quick, 64) == 0.000707


def test_the_specification_survives_the_way():
    from keras_classics.training.start import Shape

    spec = Spec(
        network="vgg16", shape=Shape(0.25, 32, 32, 3), recipe=recipes.find("a1", "resnet50"),
        mode="tf", policy="float32", deterministic=False, seed=3, data_format="channels_last",
        sizes=(8, 16), memory=10**9, seconds=3.0,
    )  # fmt: skip
    assert Spec.from_json(spec.to_json()) == spec


@pytest.mark.slow
@pytest.mark.backends
def test_a_run_finds_its_batch_size(shapes, tmp_path):
    events = []
    run = train(dataclasses.replace(SMALL, folder=shapes, out=tmp_path / "run"), events.append)
    tries = [event for event in events if isinstance(event, BatchSizeTried)]
    assert [event.batch_size for event in tries] == [8]  # 42 images
    assert tries[0].images_per_second > 0
    found = next(event for event in events if isinstance(event, BatchSizeFound))
    assert found == BatchSizeFound(8, 2.5e-4, 32, 5e-4)
    recipe = run.classifier.card.recipe
    assert recipe["batch_size"] == 8
    assert recipe["optimizer"]["learning_rate"] == 2.5e-4


def told(config, answers, monkeypatch):
    monkeypatch.setattr(batch_size, "_try", lambda *_, **__: answers)
    events = []
    task = with_batch_size(task_of(config, events.append))
    return task, events


def test_a_rate_of_one_s_own_stays(shapes, monkeypatch):
    answers = tried((8, 10, 0.001), (16, 100, 0.001))
    config = dataclasses.replace(SMALL, folder=shapes)
    task, _ = told(config, answers, monkeypatch)
    assert task.recipe.optimizer.learning_rate == task.config.learning_rate == 0.000354
    assert task.config.batch_size == task.recipe.batch_size == 16
    own = dataclasses.replace(config, learning_rate=0.003)
    assert told(own, answers, monkeypatch)[0].recipe.optimizer.learning_rate == 0.003
    line = dataclasses.replace(config, changes=("optimizer.learning_rate = 0.004",))
    assert told(line, answers, monkeypatch)[0].recipe.optimizer.learning_rate == 0.004
    number = dataclasses.replace(config, batch_size=4)
    assert told(number, answers, monkeypatch)[0].recipe.batch_size == 4


def test_nothing_fits(shapes, monkeypatch):
    with pytest.raises(ClassicsError, match=r"batches of 8 images need 9,000,000 MB.*--width"):
        told(dataclasses.replace(SMALL, folder=shapes), tried((8, 10, 9000)), monkeypatch)


def child(monkeypatch, code):
    monkeypatch.setattr(batch_size, "_command", lambda: [sys.executable, "-P", "-c", code])


LIMITED = """
import json, resource, sys
sys.stdin.read()
for size in (8, 16, 32):
    if size == 32:  # as much memory as nobody has
        resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
        held = bytearray(2**40)
    print(json.dumps({"size": size, "images_per_second": size, "peak_bytes": 1}), flush=True)
"""
KILLED = """
import json, os, signal
for size in (8, 16, 32):
    if size == 16:
        os.kill(os.getpid(), signal.SIGKILL)
    print(json.dumps({"size": size, "images_per_second": size, "peak_bytes": 1}), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits")
@pytest.mark.parametrize(("code", "size"), [(LIMITED, 16), (KILLED, 8)])
def test_a_process_that_runs_out_of_memory_ends_alone(shapes, monkeypatch, code, size):
    child(monkeypatch, code)
    task = with_batch_size(task_of(dataclasses.replace(SMALL, folder=shapes)))
    assert task.recipe.batch_size == size


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("held = [0] * 2**60", r"tried \(MemoryError\); take a smaller --size"),
        ("import os; os.kill(os.getpid(), 9)", r"tried \(the process ended with -9\)"),
    ],
)
def test_a_process_that_measures_nothing(shapes, tmp_path, monkeypatch, code, message):
    child(monkeypatch, code)
    with pytest.raises(ClassicsError, match=message) as caught:
        train(dataclasses.replace(SMALL, folder=shapes, out=tmp_path / "run"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["many", "1.5", ""])
def test_bad_values(text):
    with pytest.raises(ClassicsError, match="a whole number or auto is needed"):
        batch_size_of(text)
    assert batch_size_of("auto") == "auto"
    assert batch_size_of("-3") == -3  # refused as too small, with its name
