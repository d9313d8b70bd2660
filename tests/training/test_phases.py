from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

from keras_classics import build
from keras_classics.architectures.layers import conv_bn
from keras_classics.data.listing import Listing
from keras_classics.data.pictures import ArrayPictures
from keras_classics.host.interrupts import Interrupts
from keras_classics.training.checkpoint import Checkpoints
from keras_classics.training.events import EpochEnd, PhaseBegin, Step
from keras_classics.training.fitting import feed, fit, settle
from keras_classics.training.images import Images
from keras_classics.training.phases import phase_at, plan
from keras_classics.training.recipe import Augmentation, Optimizer, Recipe, Transfer
from keras_classics.training.start import Shape, StartingNetwork

LOW, HIGH, TOP = ("low_conv", "low_bn"), ("high_conv", "high_bn"), ("predictions",)


def recipe(*, epochs=3, rate=0.05, **changes):
    transfer = Transfer(**{"unfreeze": "stage", "lower": 1 / 1.3} | changes)
    return Recipe(
        name="tiny",
        about="",
        epochs=epochs,
        batch_size=8,
        optimizer=Optimizer(learning_rate=rate, weight_decay=0.01, clip_norm=1.0),
        augmentation=Augmentation(shift=0.1, contrast=0.2),
        transfer=transfer,
    )


def tiny():
    """Two stages and a top."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = conv_bn(inputs, filters=4, kernel=3, name="low")
    x = conv_bn(x, filters=4, kernel=3, strides=2, name="high")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(inputs, layers.Dense(2, name="predictions")(x))


def colours():
    """Pictures of two colours, which a tiny network tells apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = rng.integers(0, 100, (24, 8, 8, 3))
    images[labels == 1, :, :, 0] += 150
    parts = np.array(["train"] * 16 + ["val"] * 8)
    listing = Listing(Path("colours"), ("dark", "red"), ())
    pictures = ArrayPictures(images.astype("uint8"))
    return Images("colours", pictures, 8, "crop", "crop", labels, parts, listing, ())


def snapshot(model):
    return {
        layer.name: [keras.ops.convert_to_numpy(weight).copy() for weight in layer.weights]
        for layer in model.layers
        if layer.weights
    }


def changed(before, after):
    """The layers of which a weight differs by a single bit."""
    return {
        name
        for name, weights in before.items()
        if not all(map(np.array_equal, weights, after[name]))
    }


def run(model, recipe, tell=lambda _: None, **options):
    network = StartingNetwork(model, None, Shape(1.0, 8, 8, 2), "tf", "weights")
    batches, interrupts = feed(network, recipe, colours(), seed=0), Interrupts()
    fitting = fit(network, recipe, batches, tell=tell, interrupts=interrupts, **options)
    settle(model, recipe, batches, fitting, interrupts)
    return fitting


def watched(recipe):
    """Train; what changed in each phase, by the stages that began with it, and the events."""
    model, events, phases, before = tiny(), [], {}, {}

    def tell(event):
        events.append(event)
        if isinstance(event, PhaseBegin):
            before[event.stages] = snapshot(model)
            phases[event.stages] = set()
        elif isinstance(event, EpochEnd):
            stages = list(phases)[-1]
            phases[stages] = changed(before[stages], snapshot(model))

    start = snapshot(model)
    fitting = run(model, recipe, tell)
    assert all(layer.trainable for layer in model.layers)
    return phases, fitting, changed(start, snapshot(model)), events


@pytest.mark.backends
def test_each_phase_changes_its_stages_and_nothing_else():
    phases, fitting, altogether, events = watched(recipe())
    assert phases == {
        ("top", "high"): {*TOP, "high_conv"},
        ("low",): {*TOP, "high_conv", "low_conv"},
    }
    assert not {"low_bn", "high_bn"} & altogether
    assert len(fitting.history) == 3
    begins = [event for event in events if isinstance(event, PhaseBegin)]
    assert [(event.epoch, event.trained, event.parameters) for event in begins] == [
        (1, 154, 294),
        (2, 262, 294),
    ]


@pytest.mark.backends
def test_batch_norm_of_what_is_unfrozen_learns_if_asked():
    phases, _, _, _ = watched(recipe(batch_norm="train"))
    assert phases == {("top", "high"): {*TOP, *HIGH}, ("low",): {*TOP, *HIGH, *LOW}}


def test_batch_norm_is_estimated_again_where_it_learnt_and_nowhere_else(monkeypatch):
    from keras_classics.training import batch_norm, fitting

    estimated = []
    reestimate = batch_norm.reestimate

    def spy(model, batches):
        before = snapshot(model)
        reestimate(model, batches)
        estimated.append(changed(before, snapshot(model)))

    monkeypatch.setattr(batch_norm, "reestimate", spy)
    # The first phase is the last one that counts.
    answers = iter([True, False])
    monkeypatch.setattr(fitting, "_finite", lambda _: next(answers))
    _, result, altogether, _ = watched(recipe(batch_norm="train"))
    assert result.diverged
    assert estimated == [{"high_bn"}]
    assert not {*LOW} & altogether


def test_batch_norm_that_is_frozen_is_not_even_estimated(monkeypatch):
    from keras_classics.training import batch_norm

    def forward(_):
        raise AssertionError

    monkeypatch.setattr(batch_norm, "_forward", forward)
    watched(recipe())


def test_only_the_top():
    phases, _, _, _ = watched(recipe(unfreeze="none", epochs=2))
    assert phases == {("top",): {*TOP}}


def test_the_lower_a_stage_the_smaller_its_steps():
    model = tiny()
    before = {}

    def tell(event):
        if isinstance(event, PhaseBegin):
            before.update(snapshot(model))

    # Adam's steps are as large as the rate: two of them in the only epoch.
    run(model, recipe(unfreeze="all", epochs=1, rate=1e-3, lower=0.5), tell)
    after = snapshot(model)
    size = {
        name: np.abs(after[name][0] - before[name][0]).max()
        for name in ("predictions", "high_conv", "low_conv")
    }
    assert size["predictions"] > 1.5 * size["high_conv"] > 1.5**2 * size["low_conv"] > 0


def test_the_best_epoch_may_be_of_any_phase():
    model, states = tiny(), {}

    def tell(event):
        if isinstance(event, EpochEnd):
            states[event.epoch] = snapshot(model)

    fitting = run(model, recipe(epochs=6), tell)
    assert len(states) == 6
    assert not changed(states[fitting.best_epoch], snapshot(model))


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_interrupted_in_a_later_phase(batch_norm):
    model, states = tiny(), {}

    def tell(event):
        if isinstance(event, EpochEnd) and event.best:
            states["best"] = snapshot(model)
        if isinstance(event, Step) and event.epoch == 3:
            raise KeyboardInterrupt

    fitting = run(model, recipe(batch_norm=batch_norm), tell)
    assert fitting.interrupted
    assert len(fitting.history) == 2
    assert not changed(states["best"], snapshot(model))
    assert all(layer.trainable for layer in model.layers)


def test_no_epoch_is_begun_that_would_be_over_too_late(monkeypatch):
    from keras_classics.training import fitting

    clock = [100.0]
    monkeypatch.setattr(fitting, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def tell(event):
        if isinstance(event, Step):
            clock[0] += 1.0  # an epoch has two steps

    done = run(tiny(), recipe(epochs=5, unfreeze="all"), tell, deadline=105.5)
    assert (len(done.history), done.late, done.interrupted) == (2, True, False)
    done = run(tiny(), recipe(epochs=2, unfreeze="all"), tell, deadline=108.0)
    assert (len(done.history), done.late) == (2, False)
    with pytest.raises(fitting.TimeIsUpError):
        run(tiny(), recipe(unfreeze="all"), tell, deadline=clock[0] + 1.5)


def divided(unfreeze, epochs):
    model = build("resnet50", weights=None, width=1 / 32, input_shape=(32, 32, 3), classes=3)
    phases = plan(model, recipe(unfreeze=unfreeze, epochs=epochs))
    assert sum(phase.epochs for phase in phases) == epochs
    return [(" ".join(phase.begins), phase.epochs) for phase in phases]


@pytest.mark.parametrize(
    ("unfreeze", "epochs", "expected"),
    [
        ("none", 12, [("top", 12)]),
        ("all", 12, [("top conv5 conv4 conv3 conv2 conv1", 12)]),
        ("all", 1, [("top conv5 conv4 conv3 conv2 conv1", 1)]),
        ("stage", 1, [("top conv5 conv4 conv3 conv2 conv1", 1)]),
        ("stage", 3, [("top conv5", 1), ("conv4", 1), ("conv3 conv2 conv1", 1)]),
        (
            "stage",
            12,
            [("top conv5", 2), ("conv4", 2), ("conv3", 2), ("conv2", 2), ("conv1", 4)],
        ),
    ],
)
def test_the_epochs_are_divided_and_where_they_are_few_stages_go_together(
    unfreeze, epochs, expected
):
    assert divided(unfreeze, epochs) == expected


def test_rates_fall_by_a_fixed_fraction_from_stage_to_stage():
    model = build("vgg16", weights=None, width=1 / 32, input_shape=(32, 32, 3), classes=3)
    (all_stages,) = plan(model, recipe(unfreeze="all", lower=0.5))
    assert all_stages.rates["predictions"] == all_stages.rates["fc1"] == 1.0
    assert all_stages.rates["block5_conv3"] == all_stages.rates["block5_conv1"] == 0.5
    assert all_stages.rates["block1_conv1"] == 0.5**5


def test_random_weights_have_a_single_phase_of_everything():
    model = tiny()
    (phase,) = plan(model, dataclasses.replace(recipe(), transfer=None))
    assert phase.epochs == 3
    assert set(phase.rates) == {*LOW, *HIGH, *TOP}


def test_the_phase_of_an_epoch():
    phases = plan(tiny(), recipe(epochs=8))
    assert [phase.epochs for phase in phases] == [4, 4]
    assert [phases.index(phase_at(phases, epoch)) for epoch in range(1, 9)] == [0] * 4 + [1] * 4


@pytest.fixture(scope="module")
def whole():
    """A training that nothing interrupts: its recipe, what it told, and what it learnt."""
    how, model = recipe(epochs=6, batch_norm="train"), tiny()
    return how, run(model, how), snapshot(model)


@pytest.mark.parametrize(
    "done",
    [*(pytest.param(step, marks=pytest.mark.slow) for step in (3, 4, 6, 7)), 11],
)
def test_going_on_from_a_checkpoint_in_any_phase_ends_as_without_it(tmp_path, done, whole):
    """Statistics, frozen layers and each phase's optimiser, too; an epoch has 2 steps."""
    how, expected, weights = whole

    def stop(event):
        if isinstance(event, Step) and event.done == done:
            raise KeyboardInterrupt

    checkpoints = Checkpoints(tmp_path / "checkpoints", every=0)
    assert run(tiny(), how, stop, checkpoints=checkpoints).interrupted
    begin = checkpoints.latest()
    assert 2 * begin.epoch + begin.step == done
    again, events = tiny(), []
    fitting = run(again, how, events.append, begin=begin)
    assert [event.done for event in events if isinstance(event, Step)] == [*range(done + 1, 13)]
    assert fitting.history == expected.history
    assert fitting.best_epoch == expected.best_epoch
    assert not changed(weights, snapshot(again))
