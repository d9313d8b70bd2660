from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from keras_classics.errors import ClassicsError, OutputError
from keras_classics.training import rate_finder
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Features, Reading, Step
from keras_classics.training.rate_chart import rate_chart
from keras_classics.training.rate_finder import find_rate, smooth, suggest
from pictures import state

SMALL = TrainConfig(network="vgg16", weights="none", width=0.0625, size=32, batch_size=8)


def test_the_suggestion_is_where_the_smoothed_loss_is_lowest():
    rates = np.geomspace(1e-5, 10, 120)
    at = np.log10(rates)
    noise = np.random.default_rng(0).normal(0, 0.1, 120)
    losses = 2.3 - np.exp(-((at + 2.5) ** 2)) + np.maximum(0, at + 1) ** 2 + noise
    suggestion, steepest = suggest(rates, smooth(rates, losses))
    assert 10**-2.8 < suggestion < 10**-2.2
    assert 10**-4 < steepest < suggestion


def test_smoothing_does_not_lag():
    rates = np.geomspace(1e-4, 1, 101)
    losses = (np.log10(rates) + 2) ** 2  # the lowest in the middle
    smoothed = smooth(rates, losses)
    assert int(np.argmin(smoothed)) == 50
    np.testing.assert_allclose(smooth(rates, np.full(101, 3.0)), 3.0)


def test_a_loss_that_only_rises_suggests_nothing():
    rates = np.geomspace(1e-5, 10, 50)
    assert suggest(rates, np.linspace(2.3, 9, 50)) == (None, None)
    assert suggest(rates, np.linspace(2.3, 2.29, 50)) == (None, None)


@pytest.mark.backends
def test_the_range_test_of_a_run(shapes):
    before, events = state(shapes), []
    config = dataclasses.replace(SMALL, folder=shapes)
    found = find_rate(config, steps=30, lowest=1e-6, highest=9.0, listener=events.append)
    assert found.rates[0] == pytest.approx(1e-6)
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(9e6) / 29, rtol=1e-6)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 30
    # A network that knows nothing, of three classes.
    assert found.losses[0] == pytest.approx(np.log(3), rel=0.5)
    assert found.ended == (len(found.rates) < 30)
    assert found.own_rate == 5e-4
    assert found.batch_size == 8
    kinds = [type(event) for event in events]
    assert kinds == [Reading] * 60 + [Step] * len(found.rates)
    assert state(shapes) == before


def test_with_trained_weights_the_head_is_fitted_first(shapes, artefact):
    events = []
    config = TrainConfig(folder=shapes, weights=str(artefact), batch_size=8)
    found = find_rate(config, steps=20, lowest=1e-6, highest=1e-4, listener=events.append)
    assert max(found.losses[:5]) < 0.5  # of a head that knows nothing, 1.1
    kinds = list(dict.fromkeys(type(event) for event in events))
    assert kinds == [Reading, Features, Step]
    assert found.recipe == "transfer"
    assert [event for event in events if isinstance(event, Features)][-1].done == 60


def test_a_full_disk_is_told_without_a_run_to_go_on_with(shapes, artefact, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_classics.training.features.os.fsync", full)
    config = TrainConfig(folder=shapes, weights=str(artefact), batch_size=8)
    with pytest.raises(OutputError, match=r"No space left.*; free some space, and try again") as it:
        find_rate(config, steps=20)
    assert "--resume" not in str(it.value)
    assert "\n" not in str(it.value)


def test_a_head_alone_has_no_rate(shapes, artefact):
    config = TrainConfig(folder=shapes, weights=str(artefact), unfreeze="none")
    with pytest.raises(ClassicsError, match="unfreeze='none': only a head is fitted") as caught:
        find_rate(config)
    assert "\n" not in str(caught.value)


def test_accumulated_batches_make_one_step(shapes):
    changes = ("optimizer.accumulate=2",)
    config = dataclasses.replace(SMALL, folder=shapes, changes=changes)
    found = find_rate(config, steps=20, lowest=1e-6, highest=1e-4)
    assert len(found.rates) == 20
    assert 1e-6 < found.rates[0] < found.rates[-1] < 1e-4


def test_it_ends_where_the_loss_grows(shapes, monkeypatch):
    losses = iter([*[2.0] * 10, *[1e6] * 90])
    monkeypatch.setattr(rate_finder, "_loss", lambda *_: next(losses))
    found = find_rate(dataclasses.replace(SMALL, folder=shapes), steps=100)
    assert found.ended
    assert len(found.rates) == 11
    assert found.suggestion is None


def test_a_loss_that_is_no_number_from_the_beginning(shapes, monkeypatch):
    monkeypatch.setattr(rate_finder, "_loss", lambda *_: float("nan"))
    with pytest.raises(
        ClassicsError, match="the loss is NaN at the lowest rate, 1e-05; lower --lowest"
    ):
        find_rate(dataclasses.replace(SMALL, folder=shapes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3}, "steps=3: at least 20"),
        ({"lowest": 0.0}, "lowest=0"),
        ({"lowest": 1.0, "highest": 0.1}, "lowest=1, highest=0.1"),
        ({"highest": float("inf")}, "highest=inf"),
    ],
)
def test_bad_values(shapes, options, message):
    with pytest.raises(ClassicsError, match=message):
        find_rate(dataclasses.replace(SMALL, folder=shapes), **options)


def test_the_chart_is_a_whole_file():
    from xml.etree import ElementTree

    rates = tuple(np.geomspace(1e-5, 1, 50))
    losses = (*np.linspace(2.3, 1.0, 40), *np.linspace(1, 50, 10))
    found = rate_finder.RateTest(
        network="VGG16", data="a <b> & c", recipe="quick", optimizer="adamw", batch_size=32,
        own_rate=5e-4, rates=rates, losses=losses, smoothed=tuple(smooth(rates, losses)),
        ended=False, suggestion=0.01, steepest=0.001,
    )  # fmt: skip
    chart = ElementTree.fromstring(rate_chart(found).encode())
    said = [text for text in chart.itertext() if text.strip()]
    for words in ("suggested 0.01", "the recipe's 0.0005", "1e-3", "smoothed", "each step"):
        assert words in said
    assert any("a <b> & c" in text for text in said)
