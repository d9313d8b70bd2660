from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from keras_classics.errors import ClassicsError, WeightsError
from keras_classics.training import head_search
from keras_classics.training.config import TrainConfig
from keras_classics.training.head_search import (
    Candidate,
    HeadTrial,
    best_head,
    candidates,
    too_long,
    try_head,
)
from keras_classics.training.search_space import Ranges
from keras_classics.training.shelf import Shelf
from keras_classics.training.task import task_of

LITE0, LITE1 = "efficientnet_lite0", "efficientnet_lite1"


def plan(config, *networks, sizes=()):
    task = task_of(config)
    return [str(each) for each in candidates(task, Ranges(size=sizes), networks)]


def test_the_networks_whose_weights_are_at_hand(shapes, monkeypatch):
    monkeypatch.setattr(
        head_search, "cached", lambda file: file.file_name.startswith("efficientnet-lite")
    )
    found = plan(TrainConfig(folder=shapes))
    assert found[:3] == [f"{LITE0}, 224 pixels", f"{LITE1}, 240 pixels",
                         "efficientnet_lite2, 260 pixels"]  # fmt: skip
    assert len({each.partition(",")[0] for each in found}) == 3
    monkeypatch.setattr(head_search, "cached", lambda _: None)  # no package, no cache
    assert {each.partition(",")[0] for each in plan(TrainConfig(folder=shapes))} == {LITE0}
    # Preprocessing of one's own is that of one network.
    monkeypatch.setattr(head_search, "cached", lambda _: True)
    own = TrainConfig(folder=shapes, preprocessing="tf")
    assert {each.partition(",")[0] for each in plan(own)} == {LITE0}


def test_a_fixed_size_is_that_of_all(shapes, monkeypatch):
    monkeypatch.setattr(head_search, "_at_hand", lambda _: [LITE0, LITE1])
    assert plan(TrainConfig(folder=shapes, size=64), sizes=(64,)) == [
        f"{LITE0}, 64 pixels",
        f"{LITE1}, 64 pixels",
    ]


def test_weights_of_ones_own_are_of_one_network(shapes, artefact):
    config = TrainConfig(folder=shapes, weights=str(artefact))
    assert plan(config)[0] == "vgg16, 32 pixels"
    assert {each.partition(",")[0] for each in plan(config)} == {"vgg16"}
    with pytest.raises(WeightsError, match="holds vgg16, not efficientnet_lite0"):
        plan(config, "vgg16", LITE0)


def test_random_weights_have_no_heads(shapes):
    random = TrainConfig(folder=shapes, weights="none", network="vgg16")
    assert plan(random) == plan(random, "vgg16") == []
    with pytest.raises(ClassicsError, match="network=vgg16, resnet50: several are compared by"):
        plan(random, "vgg16", "resnet50")


def test_named_networks_are_looked_for_before_anything_is_tried(shapes, monkeypatch):
    config = TrainConfig(folder=shapes, network=LITE0)
    with pytest.raises(ClassicsError, match=r"efficientnet_lite9.* did you mean"):
        plan(config, LITE0, "efficientnet_lite9")
    monkeypatch.setattr("keras_classics.weights.download.PackagedFile.installed", lambda _: None)
    monkeypatch.setattr("keras_classics.training.origin.fetch", _missing)
    with pytest.raises(WeightsError, match="is not installed") as caught:
        plan(config, LITE0, LITE1)
    assert "\n" not in str(caught.value)


def _missing(file):
    raise file.unusable()


def test_its_own_size_is_left_to_the_network(shapes):
    task = task_of(TrainConfig(folder=shapes))
    other = Candidate(LITE1, 240).task(task)
    assert (other.config.size, other.sizes.train, other.origin.mode) == (None, 240, "lite")
    assert Candidate(LITE1, 128).task(task).config.size == 128
    assert other.listing is task.listing


def test_what_a_head_takes_is_known_from_the_nearest():
    own = Candidate(LITE0, 224)
    tried = [HeadTrial(own, "complete", 0.9, 0.1, seconds=10.0)]
    assert too_long(own, [], 0.0) is None
    assert too_long(Candidate(LITE0, 448), tried, 41.0) is None
    assert too_long(Candidate(LITE0, 448), tried, 39.0) == pytest.approx(40)
    assert too_long(Candidate(LITE0, 112), tried, 9.0) == 10  # less is not counted on
    assert too_long(Candidate(LITE1, 240), tried, 5.0) > 12
    tried.append(HeadTrial(Candidate(LITE0, 448), "complete", 0.9, 0.1, seconds=20.0))
    assert too_long(Candidate(LITE0, 448), tried, 39.0) is None  # measured, not guessed


def test_the_loss_decides_between_equal_heads_then_the_order():
    def head(value, loss, status="complete"):
        return HeadTrial(Candidate(LITE0, 224), status, value, loss)

    tried = [head(0.9, 0.4), head(0.9, 0.3), head(0.9, 0.3), head(0.8, 0.2)]
    tried.append(HeadTrial(Candidate(LITE1, 480), "too long"))
    assert best_head(tried, "val_accuracy") is tried[1]
    assert best_head(tried, "val_f1") is tried[1]
    assert best_head([head(loss, loss) for loss in (0.4, 0.2, 0.3)], "val_loss").value == 0.2
    assert best_head(tried[4:], "val_accuracy") is None


def test_memory_that_does_not_suffice_is_told(shapes, tmp_path, monkeypatch):
    task = task_of(TrainConfig(folder=shapes, size=32))

    def fails(error):
        def head(*_, **__):
            raise error

        return head

    shelf = Shelf(tmp_path)
    monkeypatch.setattr(shelf, "images", lambda _: None)
    monkeypatch.setattr("keras_classics.training.task.Task.network", lambda _: None)
    monkeypatch.setattr(shelf, "head", fails(MemoryError()))
    own = Candidate(LITE0, 32)
    assert try_head(own, task, shelf, clock=lambda: 0.0).status == "no memory"
    monkeypatch.setattr(shelf, "head", fails(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        try_head(own, task, shelf, clock=lambda: 0.0)


@pytest.mark.parametrize(("monitor", "value"), [("val_accuracy", 2 / 3), ("val_loss", None)])
def test_a_head_is_judged_on_the_validation_part(shapes, tmp_path, monkeypatch, monitor, value):
    task = task_of(TrainConfig(folder=shapes, size=32, monitor=monitor))
    val = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2]], np.float32)
    data = SimpleNamespace(
        labels=np.array([0, 1, 2]), part=lambda _: np.arange(3), listing=task.listing
    )
    shelf = Shelf(tmp_path)
    monkeypatch.setattr(shelf, "images", lambda _: data)
    monkeypatch.setattr(shelf, "head", lambda *_, **__: SimpleNamespace(val=val))
    monkeypatch.setattr("keras_classics.training.task.Task.network", lambda _: None)
    found = try_head(Candidate(LITE0, 32), task, shelf, clock=lambda: 0.0)
    loss = -np.log([0.8, 0.7, 0.2]).mean()
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.value == pytest.approx(loss if value is None else value, rel=1e-5)
