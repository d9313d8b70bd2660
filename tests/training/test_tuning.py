from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import sqlalchemy
import sqlalchemy.event

from keras_classics import load
from keras_classics.architectures import catalog
from keras_classics.errors import (
    ClassicsError,
    DataError,
    DivergedError,
    NothingLearntError,
    OutputError,
)
from keras_classics.training import head_search, tuning
from keras_classics.training.begun import Begun
from keras_classics.training.config import TrainConfig, recipe_for
from keras_classics.training.events import EpochEnd, Step
from keras_classics.training.fitting import Fitting
from keras_classics.training.head_search import HeadTrial
from keras_classics.training.origin import settled
from keras_classics.training.release import released
from keras_classics.training.run import Run
from keras_classics.training.search_space import Ranges, Settings
from keras_classics.training.task import Task
from keras_classics.training.trials import Trial, best_of, open_study
from keras_classics.training.tuning import (
    FinalBegin,
    HeadTried,
    TrialBegin,
    TrialEnd,
    TrialsBegin,
    TuneBegin,
    TuneConfig,
    resume_tuning,
    tune,
)
from pictures import state, write_pictures
from training.tuned import config as small

EPOCHS, STEPS = 3, 4  # of a trial, and of an epoch: 12 seconds, where a step takes one


class World:
    """Stands for training: what an epoch gives and costs, and a clock that only work moves."""

    def __init__(self):
        self.now = 0.0
        self.fitted = []  # settings of each trial
        self.final = []  # configs of each final run
        self.step_seconds = lambda _: 1.0
        self.accuracy = lambda _, epoch: 0.5 + epoch / 100
        self.before = lambda _: None  # raises what goes wrong

    def clock(self):
        return self.now

    def fit(self, _, recipe, task, *, tell, **__):
        settings = Settings(
            recipe.optimizer.learning_rate,
            task.sizes.train,
            task.shape.width,
            recipe.augmentation.shift / 0.1,
        )
        self.fitted.append(settings)
        self.before(len(self.fitted))
        best, history = -1.0, []
        for epoch in range(1, recipe.epochs + 1):
            for step in range(STEPS):
                self.now += self.step_seconds(settings)
                done = (epoch - 1) * STEPS + step + 1
                tell(Step(epoch, done, recipe.epochs * STEPS, 0.0))
            value = self.accuracy(settings, epoch)
            better = value > best
            best = max(best, value)
            history.append({"val_accuracy": value})
            tell(EpochEnd(epoch, 1.0, 0.5, 1 - value, value, 0.0, better))
        return Fitting(history, 1)

    def train(self, config, _):
        self.final.append(config)
        classifier = SimpleNamespace(splits={}, card=SimpleNamespace(data={"images": {"val": 9}}))
        return Run(config.out, classifier, None, 1, 1, 1.0, False, False, False, None)


def interrupt(*, at):
    """Ctrl-C, in the trial or the head of this number from 1."""

    def before(number):
        if number == at:
            raise KeyboardInterrupt

    return before


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(tuning, "fit", world.fit)
    monkeypatch.setattr(tuning, "feed", lambda task, *_, **__: task)
    monkeypatch.setattr(tuning, "released", nullcontext)
    monkeypatch.setattr(Task, "network", lambda task: task)
    monkeypatch.setattr(tuning, "train", world.train)
    # No test pulls the plug: SQLite need not wait for the disk, which takes most of the time.
    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", _do_not_wait)
    yield world
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", _do_not_wait)


def _do_not_wait(connection, _):
    connection.execute("PRAGMA synchronous=OFF")


def asked(shapes, out, **changes):
    base = TrainConfig(
        folder=shapes, network="vgg16", weights="none", width=0.25, size=64, epochs=EPOCHS
    )
    return TuneConfig(**{"base": base, "seconds": 1e6, "trials": 5, "out": out} | changes)


def run(world, config, listener=None):
    return tune(config, listener, clock=world.clock)


def test_the_recipe_is_tried_first_the_best_is_trained_and_all_is_written(world, shapes, tmp_path):
    world.accuracy = lambda settings, epoch: 0.9 - abs(settings.size - 96) / 200 + epoch / 1000
    events = []
    before = state(shapes)
    tuned = run(world, asked(shapes, tmp_path / "t", trials=12), events.append)
    assert state(shapes) == before
    assert world.fitted[0] == Settings(5e-4, 64, 0.25, 1.0) == tuned.first.settings
    assert len(tuned.trials) == len(world.fitted) == 12
    assert tuned.best.settings.size == 96
    assert tuned.best.value == max(t.value for t in tuned.trials)
    (final,) = world.final
    assert final == dataclasses.replace(tuned.config, out=tmp_path / "t" / "run")
    assert final.size == 96
    # Of the same images in the same parts, with the same seed and epochs.
    assert (final.seed, final.folder, final.epochs) == (0, shapes, EPOCHS)
    begin = next(event for event in events if isinstance(event, TuneBegin))
    assert (begin.train, begin.val, begin.test) == (42, 9, 9)
    numbers = [event.number for event in events if isinstance(event, TrialBegin)]
    assert numbers == list(range(12))
    assert isinstance([e for e in events if not isinstance(e, (Step, EpochEnd))][-1], FinalBegin)
    assert any("partly luck" in remark for remark in tuned.remarks())
    folder = tmp_path / "t"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["best.toml", "study.db", "study.json", "trials.csv", "trials.svg"]
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert rows[0]["learning_rate"] == "0.0005"
    assert float(rows[0]["val_accuracy"]) == tuned.trials[0].value
    study = json.loads((folder / "study.json").read_text())
    assert study["best"]["settings"] == dataclasses.asdict(tuned.settings)
    assert study["space"]["size"] == [32, 48, 64, 96, 128]
    assert study["versions"]["optuna"]
    assert study["config"]["seed"] == 0
    assert study["command"].startswith(f"classics train {shapes} --network vgg16")
    picture = (folder / "trials.svg").read_text()
    xml.etree.ElementTree.fromstring(picture)
    assert picture.count("<circle") == 5 * 12  # in their order, and over four settings
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    plain = TrainConfig(shapes, network="vgg16", weights="none", recipe=str(folder / "best.toml"))
    recipe = recipe_for(plain, catalog.find("vgg16"))
    assert recipe.size == tuned.settings.size
    assert recipe.optimizer.learning_rate == tuned.settings.learning_rate
    # What decided, explains the differences.
    assert max(tuned.importances, key=tuned.importances.get) == "size"


def test_bad_trials_are_pruned(world, shapes, tmp_path):
    world.accuracy = lambda *_: 0.8 if len(world.fitted) <= 4 else 0.2
    tuned = run(world, asked(shapes, tmp_path / "t", trials=7))
    assert [trial.status for trial in tuned.trials] == ["complete"] * 4 + ["pruned"] * 3
    assert {trial.epochs for trial in tuned.trials[4:]} == {EPOCHS // 3}
    assert tuned.best.number == 0  # of equals the first


def test_a_loss_is_made_smaller(world, shapes, tmp_path):
    world.accuracy = lambda *_: 0.9 if len(world.fitted) in {2, 4, 5} else 0.3
    config = asked(shapes, tmp_path / "t", trials=5)
    config = dataclasses.replace(config, base=dataclasses.replace(config.base, monitor="val_loss"))
    tuned = run(world, config)
    assert tuned.best.number == 1
    assert tuned.best.value == pytest.approx(0.1)


def test_no_trial_begins_that_would_not_end_in_time(world, shapes, tmp_path):
    """A trial takes 12 seconds; the final run is planned with 1.15 times as long and 10 more."""
    events = []
    fixed = Ranges(size=(64,), width=(0.25,))
    config = asked(shapes, tmp_path / "t", seconds=70, trials=None, ranges=fixed)
    tuned = run(world, config, events.append)
    begins = [event for event in events if isinstance(event, TrialBegin)]
    # 70, 58, 46 seconds left; then 34, and 12 + 23.8 would be needed.
    assert [event.left for event in begins] == [70, 58, 46]
    assert [event.reserved for event in begins] == pytest.approx([0, 23.8, 23.8])
    assert [t.status for t in tuned.trials] == ["complete"] * 3
    final = next(event for event in events if isinstance(event, FinalBegin))
    assert (final.left, final.seconds) == (34, 12)
    assert len(world.final) == 1


def test_the_running_trial_is_stopped_at_the_end_of_the_budget(world, shapes, tmp_path):
    """The third trial meets other work on the machine."""
    world.step_seconds = lambda _: 1.0 if len(world.fitted) < 3 else 4.0
    fixed = Ranges(size=(64,), width=(0.25,))
    config = asked(shapes, tmp_path / "t", seconds=70, trials=None, ranges=fixed)
    tuned = run(world, config)
    assert [t.status for t in tuned.trials] == ["complete", "complete", "out of time"]
    assert world.now < 70 - 1.15 * 12
    assert len(world.final) == 1


def test_a_budget_that_holds_nothing_says_so_and_trains_by_the_recipe(world, shapes, tmp_path):
    events = []
    tuned = run(world, asked(shapes, tmp_path / "t", seconds=0.5), events.append)
    assert [t.status for t in tuned.trials] == ["out of time"]
    assert tuned.best is None
    assert tuned.config == settled(asked(shapes, None).base).config
    assert "no trial completed an epoch" in tuned.remarks()[0]
    assert len(world.final) == 1


def test_trials_that_fail_are_told_and_not_taken(world, shapes, tmp_path):
    def before(number):
        if number == 2:
            raise DivergedError("the loss is no number")
        if number == 3:
            raise MemoryError

    world.before = before
    world.accuracy = lambda *_: 0.9 if len(world.fitted) == 5 else 0.5
    tuned = run(world, asked(shapes, tmp_path / "t"))
    assert [t.status for t in tuned.trials] == [
        "complete", "diverged", "no memory", "complete", "complete",
    ]  # fmt: skip
    assert tuned.best.number == 4


def test_what_is_a_bug_is_raised(world, shapes, tmp_path):
    def before(_):
        raise ZeroDivisionError

    world.before = before
    with pytest.raises(ZeroDivisionError):
        run(world, asked(shapes, tmp_path / "t"))
    assert list(tmp_path.iterdir()) == []


def test_the_same_settings_are_not_tried_twice(world, shapes, tmp_path):
    fixed = Ranges(learning_rate=(1e-3,), size=(32, 64), width=(0.25,), augmentation=(1.0,))
    tuned = run(world, asked(shapes, tmp_path / "t", ranges=fixed, trials=None))
    assert sorted(t.settings.size for t in tuned.trials) == [32, 64]


def test_interrupted_it_keeps_what_was_found_and_goes_on_as_it_would_have(world, shapes, tmp_path):
    world.accuracy = lambda settings, _: 0.9 - abs(settings.size - 96) / 200
    whole = run(world, asked(shapes, tmp_path / "whole", trials=5))
    order, world.fitted = world.fitted, []

    world.before = interrupt(at=4)
    broken = run(world, asked(shapes, tmp_path / "t", trials=5))
    assert broken.interrupted
    assert len(world.final) == 1  # of the whole one
    assert [t.status for t in broken.trials] == ["complete"] * 3 + ["interrupted"]
    assert (tmp_path / "t" / "best.toml").is_file()
    world.before = lambda _: None
    events = []
    tuned = resume_tuning(tmp_path / "t", events.append, clock=world.clock)
    assert next(e for e in events if isinstance(e, TrialsBegin)).done == 4
    # The one that was interrupted is tried again, and then what would have been tried.
    assert world.fitted == [*order[:4], *order[3:]]
    assert whole.settings == tuned.settings
    assert not tuned.interrupted
    assert world.final[-1].out == tmp_path / "t" / "run"


@pytest.mark.parametrize(("more", "left"), [(None, 70 - 24), (60.0, 60)])
def test_the_time_that_was_spent_is_gone_unless_more_is_given(world, shapes, tmp_path, more, left):
    world.before = interrupt(at=3)
    fixed = Ranges(size=(64,), width=(0.25,))
    run(world, asked(shapes, tmp_path / "t", seconds=70, trials=3, ranges=fixed))
    world.before = lambda _: None
    world.now += 1000  # between the two processes
    events = []
    resume_tuning(tmp_path / "t", events.append, seconds=more, clock=world.clock)
    assert next(e for e in events if isinstance(e, TuneBegin)).seconds == left


def test_interrupted_in_the_first_trial_nothing_is_left(world, shapes, tmp_path):
    world.before = interrupt(at=1)
    with pytest.raises(NothingLearntError, match="nothing was found, nothing saved"):
        run(world, asked(shapes, tmp_path / "t"))
    assert list(tmp_path.iterdir()) == []


def test_interrupted_in_the_final_run_it_says_how_to_go_on(world, shapes, tmp_path, monkeypatch):
    def interrupted(*_):
        raise NothingLearntError("interrupted")

    monkeypatch.setattr(tuning, "train", interrupted)
    with pytest.raises(NothingLearntError, match=r"classics tune --resume .*t`"):
        run(world, asked(shapes, tmp_path / "t", trials=1))
    monkeypatch.setattr(tuning, "train", world.train)
    tuned = resume_tuning(tmp_path / "t", clock=world.clock)
    assert len(tuned.trials) == len(world.fitted) == 1
    assert len(world.final) == 1


def test_killed_it_goes_on_with_the_trial_that_was_running(world, shapes, tmp_path):
    """What a killed process leaves is what lies on the disk at that moment."""
    left, killed = tmp_path / "t", tmp_path / "killed"

    def accuracy(_, epoch):
        if (len(world.fitted), epoch) == (2, 2):
            shutil.copytree(left, killed)
        return 0.5

    world.accuracy = accuracy
    config = asked(shapes, left, trials=2, seconds=600)
    run(world, config)
    assert len((killed / "trials.csv").read_text().splitlines()) == 2  # a heading, and a trial
    _, second = world.fitted
    world.fitted = []
    events = []
    tuned = resume_tuning(killed, events.append, clock=world.clock)
    assert [t.status for t in tuned.trials] == ["complete", "killed", "complete"]
    # Tried once more, as it would have been; the epoch that it had completed took of the time.
    assert world.fitted == [second]
    assert next(e for e in events if isinstance(e, TuneBegin)).seconds == 600 - 12 - 4
    with open_study(left, tuned.space, monitor="val_accuracy", epochs=EPOCHS) as study:
        again = study.ask()
        again.set_user_attr("again", 1)
    with open_study(left, tuned.space, monitor="val_accuracy", epochs=EPOCHS) as study:
        assert [trial.state.name for trial in study.trials][2:] == ["FAIL"]  # not a third time


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_a_tuning_that_goes_on(world, shapes, tmp_path):
    out = tmp_path / "t"
    script = Path(__file__).with_name("tuned.py")
    done = subprocess.run(
        [sys.executable, script, shapes, out],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"KERAS_BACKEND": keras.backend.backend()},
    )
    assert done.returncode == -9, done.stderr
    tuned = resume_tuning(out, clock=world.clock)
    assert [t.status for t in tuned.trials] == ["complete", "killed", "complete"]
    assert len(world.fitted) == 1  # the first one is not tried again


def test_images_that_are_not_those_of_the_tuning(world, tmp_path):
    data = write_pictures(tmp_path / "data", each=8)

    world.before = interrupt(at=2)
    run(world, asked(data, tmp_path / "t"))
    kept = state(tmp_path / "t")
    (data / "cross" / "000.png").unlink()
    with pytest.raises(ClassicsError, match=r"data: the images have changed since the run started"):
        resume_tuning(tmp_path / "t", clock=world.clock)
    assert state(tmp_path / "t") == kept


def test_what_cannot_be_resumed(world, shapes, tmp_path):
    with pytest.raises(ClassicsError, match="nowhere: no such folder"):
        resume_tuning(Path("nowhere"))
    with pytest.raises(ClassicsError, match="not the folder of a tuning"):
        resume_tuning(tmp_path)
    run(world, asked(shapes, tmp_path / "t", trials=1))
    (tmp_path / "t" / "run").mkdir()
    (tmp_path / "t" / "run" / "artefact.json").touch()
    with pytest.raises(ClassicsError, match="t: is finished; its artefact is"):
        resume_tuning(tmp_path / "t")
    (tmp_path / "t" / "run" / "artefact.json").unlink()
    whole = (tmp_path / "t" / "study.json").read_text()
    for corrupt in (whole[:-50], "[]", '{"format": 1}', whole.replace('"vgg16"', "3")):
        (tmp_path / "t" / "study.json").write_text(corrupt)
        with pytest.raises(ClassicsError, match="or corrupt") as caught:
            resume_tuning(tmp_path / "t")
        assert "\n" not in str(caught.value)
    (tmp_path / "t" / "study.json").write_text(whole.replace('"format": 1', '"format": 2'))
    with pytest.raises(ClassicsError, match="written by a later version"):
        resume_tuning(tmp_path / "t")
    (tmp_path / "t" / "study.json").write_text(whole)
    (tmp_path / "t" / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ClassicsError, match=r"study.db: not an Optuna study, or corrupt"):
        resume_tuning(tmp_path / "t")
    with pytest.raises(ClassicsError, match=r"minutes=-1: above 0"):
        resume_tuning(tmp_path / "t", seconds=-60.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0.0}, "minutes=0: above 0 is needed"),
        ({"seconds": float("nan")}, "minutes=nan"),
        ({"trials": 0}, "trials=0: at least 1"),
        ({"ranges": Ranges(size=(16,))}, "size=16: VGG16 takes 32"),
        ({"ranges": Ranges(augmentation=(7.0,))}, "augmentation=7: 0 to 4"),
        ({"base": TrainConfig(network="vgg1")}, "did you mean"),
        ({"networks": ("vgg16", "resnet50")}, "network=vgg16, resnet50: several are compared by"),
        (
            {"ranges": Ranges((1e-3,), (64,), (0.25,), (1.0,))},
            "every setting is fixed: nothing is left to tune",
        ),
        ({"base": TrainConfig(recipe="quik")}, "quik"),
        ({"base": TrainConfig(epochs=0)}, "epochs=0: at least 1"),
        (
            {"base": TrainConfig(weights="none", unfreeze="stage")},
            "unfreeze='stage': needs trained weights",
        ),
        ({"base": TrainConfig(folder=Path("nowhere"))}, "nowhere"),
    ],
)
def test_what_cannot_be(shapes, tmp_path, changes, message):
    with pytest.raises(ClassicsError, match=message) as caught:
        tune(asked(shapes, tmp_path / "t", **changes))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be(world, shapes, tmp_path):
    with pytest.raises(OutputError, match="lies in the folder of the images"):
        tune(asked(shapes, shapes / "t"))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine").touch()
    with pytest.raises(OutputError, match="exists; choose another --out"):
        tune(asked(shapes, tmp_path / "t"))
    assert not world.fitted


def test_two_images_a_class_leave_nothing_to_compare_on(world, tmp_path):
    data = write_pictures(tmp_path / "data", each=2)
    with pytest.raises(DataError, match="too few images for a validation part"):
        run(world, asked(data, tmp_path / "t"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_without_optuna_it_is_named(shapes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ClassicsError, match=r"^optuna is not installed: pip install"):
        tune(asked(shapes, tmp_path / "t"))


def test_the_best_by_the_figure_then_the_loss():
    settings = Settings(1e-3, 64, 0.25, 1)
    trials = [
        Trial(0, settings, "complete", value=0.9, loss=0.4),
        Trial(1, settings, "pruned", value=0.9, loss=0.3),
        Trial(2, settings, "diverged", value=0.99, loss=0.1),
        Trial(3, settings, "complete", value=0.8, loss=0.2),
    ]
    assert best_of(trials, "val_accuracy").number == 1
    assert best_of(trials, "val_loss").number == 3
    assert best_of([], "val_loss") is None


def test_a_real_one_looks_at_the_held_out_images_once(shapes, tmp_path, monkeypatch):
    """Two trials, the second of them stopped."""
    judged = []
    judge = Begun._judged

    def counted(begun, name, predict):
        judged.append(name)
        return judge(begun, name, predict)

    monkeypatch.setattr(Begun, "_judged", counted)
    policy = keras.config.dtype_policy().name
    now, trial = [0.0], [0]

    def tell(event):
        if isinstance(event, TrialBegin):
            trial[0] = event.number
        if isinstance(event, TrialEnd):
            assert not judged
        if isinstance(event, Step):  # the second trial takes longer than the budget
            now[0] += 1.0 if trial[0] == 0 else 100.0

    config = small(shapes, tmp_path / "t", trials=2, seconds=110.0)
    tuned = tune(config, tell, clock=lambda: now[0])
    assert [t.status for t in tuned.trials] == ["complete", "out of time"]
    assert judged == ["train", "val", "test"]
    assert keras.config.dtype_policy().name == policy
    assert load(tmp_path / "t" / "run").card.completed
    assert not list((tmp_path / "t").glob(".*"))
    # The trial was the run: the same seed, parts and epochs.
    history = tuned.run.classifier.card.history
    assert max(epoch["val_accuracy"] for epoch in history) == pytest.approx(tuned.best.value)


LITE = ("efficientnet_lite0", "efficientnet_lite1")


@pytest.fixture
def heads(world, monkeypatch):
    """Stands for trained weights, their features and the heads on them."""

    class Heads:
        def __init__(self):
            self.tried = []
            self.accuracy = lambda each: 0.9 - abs(each.size - 240) / 1000
            self.seconds = lambda each: each.cost / 4e7  # 10 of Lite0 at its own size
            self.before = lambda _: None

        def try_head(self, candidate, of, shelf, *, clock):  # noqa: ARG002
            self.tried.append(str(candidate))
            self.before(len(self.tried))
            world.now += self.seconds(candidate)
            accuracy = self.accuracy(candidate)
            return HeadTrial(candidate, "complete", accuracy, 1 - accuracy, self.seconds(candidate))

    heads = Heads()
    monkeypatch.setattr(tuning, "try_head", heads.try_head)
    monkeypatch.setattr(head_search, "_at_hand", lambda _: list(LITE))
    monkeypatch.setattr(tuning.Shelf, "head", lambda *_, **__: None)
    return heads


def trained(shapes, out, *, unfreeze=None, **changes):
    base = TrainConfig(folder=shapes, epochs=EPOCHS, unfreeze=unfreeze, precision="float32")
    return TuneConfig(**{"base": base, "seconds": 1e6, "trials": 3, "out": out} | changes)


def test_networks_and_sizes_are_tried_by_their_heads_first(world, heads, shapes, tmp_path):
    events = []
    tuned = run(world, trained(shapes, tmp_path / "t"), events.append)
    lite0, lite1 = LITE
    assert heads.tried[:4] == [
        f"{lite0}, 224 pixels",
        f"{lite1}, 240 pixels",
        f"{lite0}, 168 pixels",  # three quarters
        f"{lite1}, 176 pixels",
    ]
    assert len(heads.tried) == 10
    best = tuned.head
    assert (best.candidate.network, best.candidate.size) == (lite1, 240)
    # The trials are of that network and size, and vary the rest.
    assert {settings.size for settings in world.fitted} == {240}
    assert len({settings.learning_rate for settings in world.fitted}) == 3
    assert tuned.first.settings == Settings(3e-4, 240, 1.0, 1.0)
    (final,) = world.final
    # Its own size is left to it.
    assert (final.network, final.size, final.weights) == (lite1, None, "imagenet")
    kinds = [type(e) for e in events if isinstance(e, TuneEvents)]
    assert kinds == [
        TuneBegin, *[HeadTried] * 10, TrialsBegin, *[TrialBegin, TrialEnd] * 3, FinalBegin,
    ]  # fmt: skip
    assert [e.trial for e in events if isinstance(e, HeadTried) and e.best] == [
        tuned.heads[0], tuned.heads[1],
    ]  # fmt: skip
    with (tmp_path / "t" / "heads.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["size"] for row in rows[:2]] == ["224", "240"]
    assert float(rows[1]["val_accuracy"]) == 0.9
    study = json.loads((tmp_path / "t" / "study.json").read_text())
    assert [head["value"] for head in study["heads"]] == [head.value for head in tuned.heads]
    assert "efficientnet_lite1" in (tmp_path / "t" / "best.toml").read_text()


TuneEvents = (TuneBegin, HeadTried, TrialsBegin, TrialBegin, TrialEnd, FinalBegin)


def test_another_size_than_its_own_is_said(world, heads, shapes, tmp_path):
    heads.accuracy = lambda each: 0.9 if str(each) == "efficientnet_lite0, 336 pixels" else 0.5
    run(world, trained(shapes, tmp_path / "t", trials=1))
    assert (world.final[0].network, world.final[0].size) == (LITE[0], 336)
    assert world.fitted[0].size == 336


def test_named_networks_and_sizes_are_those_that_are_tried(world, heads, shapes, tmp_path):
    config = trained(shapes, tmp_path / "t", ranges=Ranges(size=(96, 128)), networks=LITE[1:])
    config = dataclasses.replace(config, base=dataclasses.replace(config.base, network=LITE[1]))
    run(world, config)
    assert heads.tried == [f"{LITE[1]}, 128 pixels", f"{LITE[1]}, 96 pixels"]


def test_heads_that_take_longer_than_their_share_are_not_begun(world, heads, shapes, tmp_path):
    """A quarter of the time is for the heads beside the first; the trials take 12 seconds."""
    tuned = run(world, trained(shapes, tmp_path / "t", seconds=120))
    assert heads.tried[0] == "efficientnet_lite0, 224 pixels"
    later = sum(head.seconds for head in tuned.heads[1:] if head.judged)
    assert 15 < later <= 30
    long = [head for head in tuned.heads if head.status == "too long"]
    assert len(long) + len(heads.tried) == 10
    assert any(head.candidate.size == 480 for head in long)
    assert all(head.value is None and head.seconds > 0 for head in long)
    world.now = 0.0
    heads.tried.clear()
    run(world, trained(shapes, tmp_path / "u", seconds=1))  # the first, whatever it takes
    assert heads.tried == ["efficientnet_lite0, 224 pixels"]


@pytest.mark.usefixtures("heads")
def test_without_fine_tuning_it_ends_after_the_heads(world, shapes, tmp_path):
    events = []
    config = trained(shapes, tmp_path / "t", unfreeze="none", seconds=150)
    tuned = run(world, config, events.append)
    assert tuned.trials == ()
    assert not world.fitted
    # All the time but that of the final run is for heads: 14.7 of the best one, and 10.
    assert 90 < world.now <= 150 - 24.7
    (final,) = world.final
    assert (final.network, final.unfreeze) == (LITE[1], "none")
    begin = next(event for event in events if isinstance(event, FinalBegin))
    assert begin.epochs == 0
    assert begin.seconds == tuned.head.seconds
    assert not any(isinstance(event, TrialsBegin) for event in events)
    (remark,) = tuned.remarks()
    assert remark.startswith(
        f"the best of {sum(h.judged for h in tuned.heads)} heads is partly luck"
    )
    assert not (tmp_path / "t" / "best.toml").exists()


@pytest.mark.parametrize(("seconds", "minutes"), [(120, None), (30, 50 / 60)])
def test_a_final_run_that_would_not_fit_is_given_the_minutes_that_are_left(
    world, heads, shapes, tmp_path, seconds, minutes
):
    """From trained weights: then it fine-tunes for fewer epochs, or not at all."""
    heads.seconds = lambda _: 10.0
    config = trained(shapes, tmp_path / "t", seconds=seconds, networks=LITE[:1])
    config = dataclasses.replace(config, ranges=Ranges(size=(32,)))
    run(world, config)
    assert world.final[0].minutes == minutes
    assert minutes is None or len(world.fitted) == 1


@pytest.mark.usefixtures("heads")
def test_where_nothing_else_is_varied_there_are_no_trials(world, shapes, tmp_path):
    ranges = Ranges(learning_rate=(1e-3,), augmentation=(1.0,))
    tuned = run(world, trained(shapes, tmp_path / "t", ranges=ranges))
    assert tuned.trials == ()
    assert world.final[0].learning_rate == 1e-3
    one = dataclasses.replace(ranges, size=(96,))
    for unfreeze, message in (("none", "unfreeze='none': without"), ("all", "nothing is left")):
        config = trained(shapes, tmp_path / "u", ranges=one, networks=LITE[:1], unfreeze=unfreeze)
        with pytest.raises(ClassicsError, match=message):
            run(world, config)


def test_interrupted_among_the_heads_it_goes_on_with_the_next(world, heads, shapes, tmp_path):
    heads.before = interrupt(at=4)
    with pytest.raises(NothingLearntError, match=r"heads were tried: resume with .*--resume .*t`"):
        run(world, trained(shapes, tmp_path / "t", seconds=600))
    tried = heads.tried.copy()
    heads.before = lambda _: None
    heads.tried.clear()
    world.now += 1000
    events = []
    tuned = resume_tuning(tmp_path / "t", events.append, clock=world.clock)
    assert heads.tried[0] == tried[3]
    assert len(heads.tried) + 3 == sum(head.judged for head in tuned.heads)
    begin = next(event for event in events if isinstance(event, TuneBegin))
    spent = sum(head.seconds for head in tuned.heads[:3])
    assert begin.seconds == pytest.approx(600 - spent)
    assert begin.heads == 7
    assert len(world.final) == 1


def test_interrupted_in_a_trial_no_head_is_tried_again(world, heads, shapes, tmp_path):
    world.before = interrupt(at=2)
    broken = run(world, trained(shapes, tmp_path / "t", seconds=600))
    assert broken.interrupted
    spent, count = world.now, len(heads.tried)
    world.before = lambda _: None
    events = []
    tuned = resume_tuning(tmp_path / "t", events.append, clock=world.clock)
    assert len(heads.tried) == count
    assert tuned.heads == broken.heads
    begin = next(event for event in events if isinstance(event, TuneBegin))
    assert begin.heads == 0
    assert begin.seconds == pytest.approx(600 - spent)
    assert world.final[0].network == LITE[1]


def test_interrupted_in_the_first_head_nothing_is_left(world, heads, shapes, tmp_path):
    heads.before = interrupt(at=1)
    with pytest.raises(NothingLearntError, match="nothing was found, nothing saved"):
        run(world, trained(shapes, tmp_path / "t"))
    assert list(tmp_path.iterdir()) == []


def test_a_real_one_begins_each_trial_with_the_head(shapes, artefact, tmp_path, monkeypatch):
    begun, heads = [], []
    fit, head = tuning.fit, tuning.Shelf.head

    def fitted(network, *rest, **options):
        begun.append(keras.ops.convert_to_numpy(network.head.kernel))
        return fit(network, *rest, **options)

    def kept(*args, **options):
        heads.append(head(*args, **options))
        return heads[-1]

    monkeypatch.setattr(tuning, "fit", fitted)
    monkeypatch.setattr(tuning.Shelf, "head", kept)
    base = TrainConfig(folder=shapes, weights=str(artefact), epochs=1, batch_size=16)
    tuned = tune(TuneConfig(base, 600.0, 1, Ranges(size=(32,)), tmp_path / "t"))
    (tried,) = tuned.heads
    assert (str(tried.candidate), tried.status) == ("vgg16, 32 pixels", "complete")
    assert heads[0] is heads[1]  # fitted once
    np.testing.assert_array_equal(begun[0], heads[0].head.kernel)
    # The final run fits it to the same features.
    assert tuned.run.transfer["head"]["val"]["accuracy"] == pytest.approx(tried.value)
    names = sorted(path.name for path in (tmp_path / "t").iterdir())
    assert names == [
        "best.toml", "heads.csv", "run", "study.db", "study.json", "trials.csv", "trials.svg",
    ]  # fmt: skip


def test_what_was_trained_is_given_back():
    """TensorFlow would keep the network and its optimiser for good."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow's")
    from tensorflow.python.framework import ops

    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    before = set(ops.gradient_registry.list())
    with released():
        model.compile("adam", "mse")
        model.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0)
        assert set(ops.gradient_registry.list()) > before
    assert set(ops.gradient_registry.list()) == before
    model.predict(np.zeros((4, 4)), verbose=0)
