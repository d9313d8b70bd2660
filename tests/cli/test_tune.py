from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from keras_classics.architectures import catalog
from keras_classics.cli import app
from keras_classics.cli.terminal import console
from keras_classics.cli.tune import _Display
from keras_classics.training import tuning
from keras_classics.training.config import TrainConfig, recipe_for
from keras_classics.training.events import EpochEnd, Step
from keras_classics.training.head_search import Candidate, HeadTrial
from keras_classics.training.search_space import Ranges, Settings, space_of
from keras_classics.training.trials import Trial
from keras_classics.training.tuned import Tuned
from keras_classics.training.tuning import (
    FinalBegin,
    HeadTried,
    TrialBegin,
    TrialEnd,
    TrialsBegin,
    TuneBegin,
)
from pictures import state, write_pictures

TINY = [
    "--network",
    "vgg16",
    "--weights",
    "none",
    "--width",
    "0.0625",
    "--size",
    "32",
    "--epochs",
    "1",
]


def network_task(base):
    architecture = catalog.find(base.network or "vgg16")
    recipe = recipe_for(base, architecture)
    return SimpleNamespace(config=base, recipe=recipe, architecture=architecture, origin=None)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Stands for a tuning that tells of two trials, and was interrupted before the final run."""
    seen = []

    def tuned(base, listener, interrupted=True):
        space = space_of(network_task(base), Ranges())
        best = Settings(1e-3, 48, 0.25, 1.4)
        trials = (
            Trial(0, space.default, "complete", 0.5, 0.9, 3, 4, 20.0),
            Trial(1, best, "complete", 0.75, 0.6, 4, 4, 30.0),
        )
        listener(TuneBegin("a [b]", 3, 42, 9, 9, 1, "val_accuracy", seconds=300, heads=0))
        listener(TrialsBegin("VGG16", space, epochs=4, done=2))
        for trial in trials:
            listener(TrialBegin(trial.number, trial.settings, 250.0, 33.0))
            listener(Step(1, 1, 8, 0.0))
            listener(EpochEnd(1, 1.0, 0.5, 1.0, 0.5, 0.0, True))
            listener(TrialEnd(trial, best=trial.number == 1))
        listener(FinalBegin("VGG16", best, 40.0, 30.0, epochs=4))
        return Tuned(
            tmp_path / "o [x]", space, trials, "val_accuracy", 9, {}, None, interrupted=interrupted
        )

    def tune(config, listener):
        seen.append(config)
        return tuned(config.base, listener)

    def resume(folder, listener, *, seconds):
        seen.append((folder, seconds))
        return tuned(TrainConfig(network="vgg16"), listener, interrupted=False)

    monkeypatch.setattr(tuning, "tune", tune)
    monkeypatch.setattr(tuning, "resume_tuning", resume)
    return seen


def test_what_is_asked_for_and_what_is_shown(capsys, shapes, asked, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    arguments = ["--network", "vgg16", "--size", "48", "--size", "64", "--learning-rate", "1e-3"]
    more = ["--minutes", "5", "--trials", "9", "--augmentation", "0", "--augmentation", "1.5"]
    code = app.run(["tune", str(shapes), *arguments, *more, "--set", "epochs=4", "--seed", "3"])
    assert code == 130
    (config,) = asked
    assert (config.seconds, config.trials) == (300, 9)
    assert config.ranges == Ranges((1e-3,), (48, 64), (), (0.0, 1.5))
    assert (config.base.folder, config.base.changes, config.base.seed) == (
        shapes, ("epochs=4",), 3,
    )  # fmt: skip
    output = " ".join(capsys.readouterr().out.split())
    for words in (
        "a [b]: 3 classes, 42 training, 9 validation and 9 held-out images (1 cannot",
        "5 min 0 s in all, final run included VGG16",
        "VGG16, 4 epochs a trial, the recipe's own settings first: learning rate 5e-05 to 0.005;",
        "; size 32, 48, 64, 96, 128; width",
        "2 trials are there already",
        "trial 2 learning rate 0.001, 48 pixels, width 0.25, augmentation × 1.4 75.0% 30 s best",
        "it needs about 40 s but only 30 s are left: the time limit was too short",
        "the best of 2 trials",
        "1 (recipe)",
        "validation: 75.0% (",
        "with the recipe's own settings: 50.0% (",
        "is partly luck",
        f"resume with: classics tune --resume '{tmp_path / 'o [x]'}'",
    ):
        assert words in output, words
    assert "the final run: VGG16, learning rate 0.001" in output


def test_heads_are_shown_as_they_are_tried(capsys, monkeypatch):
    """Of trained weights."""
    monkeypatch.setenv("COLUMNS", "120")
    display = _Display(console())
    base = TrainConfig(network="efficientnet_lite0", weights="imagenet", recipe="transfer")
    space = space_of(network_task(base), Ranges(size=(224,)))
    display.show(TuneBegin("a", 3, 42, 9, 9, 0, "val_accuracy", seconds=300, heads=3))
    first = HeadTrial(Candidate("efficientnet_lite0", 224), "complete", 0.9594, 0.2, 11.6)
    display.show(HeadTried(first, best=True))
    for status in ("too long", "no memory"):
        other = HeadTrial(Candidate("efficientnet_lite1", 240), status, seconds=130.0)
        display.show(HeadTried(other, best=False))
    display.show(TrialsBegin("EfficientNetLite0", space, 4, done=0))
    display.show(FinalBegin("EfficientNetLite0", space.default, 12.0, 30.0, epochs=0))
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "head   efficientnet_lite0, 224 pixels   95.9%   12 s   best",
        "head   efficientnet_lite1, 240 pixels   not tried   would take about 2 min 10 s",
        "head   efficientnet_lite1, 240 pixels   no memory   130 s",
        "the final run: EfficientNetLite0, the head, 224 pixels",
    ):
        assert line in lines, line
    assert lines[1].endswith("first, the heads of 3 pairs of network and size")
    assert any(line.startswith("EfficientNetLite0, 224 pixels, 4 epochs a trial") for line in lines)


def test_networks_to_choose_from(shapes, asked):
    networks = ["--network", "vgg16", "--network", "efficientnet_lite1"]
    assert app.run(["tune", str(shapes), *networks, "--minutes", "5"]) == 130
    (config,) = asked
    assert config.networks == ("vgg16", "efficientnet_lite1")
    assert config.base.network == "vgg16"


@pytest.mark.usefixtures("asked")
def test_json_is_all_that_goes_to_the_output(capsys, shapes):
    assert app.run(["tune", str(shapes), "--minutes", "0.5", "--json"]) == 130
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    assert values["best"]["value"] == 0.75
    assert values["best"]["settings"]["size"] == 48
    assert len(values["trials"]) == 2
    assert "trial   2" in captured.err


def test_going_on(capsys, tmp_path, asked):
    assert app.run(["tune", "--resume", str(tmp_path), "--minutes", "2"]) == 0
    assert app.run(["tune", "--resume", str(tmp_path)]) == 0
    assert asked == [(tmp_path, 120.0), (tmp_path, None)]
    assert "trials.csv, best.toml, trials.svg" in capsys.readouterr().out


@pytest.mark.slow
def test_a_real_one(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    data, out = write_pictures(tmp_path / "data", each=8), tmp_path / "out"
    before = state(data)
    arguments = ["tune", str(data), *TINY, "--minutes", "10", "--trials", "1", "--out", str(out)]
    assert app.run(arguments) == 0
    assert state(data) == before
    output = capsys.readouterr().out
    assert "held-out images, seen by the final run alone" in output
    assert f"classics predict {out / 'run'} IMAGES" in output
    assert "no settings were better than the recipe's own" in output
    # Finished, so there is nothing to go on with, and nothing is changed.
    kept = state(out)
    assert app.run(["tune", "--resume", str(out)]) == 2
    message = capsys.readouterr().err.strip()
    assert "is finished; its artefact is" in message
    assert "\n" not in message
    assert state(out) == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--minutes is missing: how long may it take in all?"),
        (["--minutes", "soon"], "'--minutes': Input should be a valid number"),
        (["--minutes", "1", "--trials", "0"], "trials=0: at least 1 is needed"),
        (["--resume", "nowhere"], "nowhere: no such folder"),
        (["--resume", "nowhere", "--trials", "3"], "--trials beside --resume"),
    ],
)
def test_bad_input_is_one_line(capsys, shapes, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    folder = [] if "--resume" in arguments else [str(shapes)]
    before = state(shapes)
    assert app.run(["tune", *folder, *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert state(shapes) == before
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_before_anything_is_found(capsys, shapes, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "fit", interrupted)
    out = tmp_path / "out"
    assert app.run(["tune", str(shapes), *TINY, "--minutes", "1", "--out", str(out)]) == 130
    assert "nothing was found, nothing saved" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
