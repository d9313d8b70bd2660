from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors import SafetensorError

from keras_classics import load
from keras_classics.errors import ArtefactError, ClassicsError, NothingLearntError, OutputError
from keras_classics.host.staging import taken
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import EpochEnd, NotSaved, Resumed, Step
from keras_classics.training.run import resume, train
from pictures import write_pictures
from training.killed import config as everything

SMALL = TrainConfig(
    network="vgg16", width=0.0625, size=32, epochs=3, batch_size=8, checkpoint_every=0
)


def stop_at(step, events=None):
    """A listener that presses Ctrl-C when so many steps are done."""

    def tell(event):
        if events is not None:
            events.append(event)
        if isinstance(event, Step) and event.done == step:
            raise KeyboardInterrupt

    return tell


def weights_of(run):
    model = keras.saving.load_model(run / "model.keras")
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def same(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
    cards = [json.loads((run / "artefact.json").read_text()) for run in (one, other)]
    for card in cards:
        for epoch in card["history"]:
            assert epoch["loss"] > 0
    assert cards[0]["history"] == cards[1]["history"]
    assert cards[0]["figures"] == cards[1]["figures"]


@pytest.fixture(scope="module")
def whole(shapes, tmp_path_factory):
    """A run that was never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(everything(shapes, "vgg16", out))
    return out


@pytest.mark.backends
def test_interrupted_in_the_middle_of_an_epoch_it_ends_as_if_it_had_not_been(
    shapes, whole, tmp_path
):
    broken = tmp_path / "broken"
    assert train(everything(shapes, "vgg16", broken), stop_at(7)).interrupted
    assert resume(broken, stop_at(10)).interrupted  # before the second epoch is validated
    assert resume(broken, stop_at(12)).interrupted
    events = []
    run = resume(broken, events.append)
    assert next(event for event in events if isinstance(event, Resumed)) == Resumed(2, 2, ())
    assert [event.done for event in events if isinstance(event, Step)] == [13, 14, 15]
    assert not run.interrupted
    same(whole, broken)


@pytest.mark.slow
def test_batch_norm_dropped_paths_and_a_later_phase(shapes, tmp_path):
    """Statistics are part of what is saved, and so are phases and frozen layers."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    first = replace(everything(shapes, "resnet50", tmp_path / "first"), epochs=1)
    train(first)
    further = replace(
        everything(shapes, "resnet50", whole),
        width=None,
        weights=str(tmp_path / "first"),
        unfreeze="all",
        batch_norm="train",
    )
    train(further)
    assert train(replace(further, out=broken), stop_at(7)).interrupted
    assert resume(broken, stop_at(10)).interrupted  # the last step of an epoch
    resume(broken)
    same(whole, broken)


def killed(shapes, folder, *, kills, network, backend=None):
    """What came of a run that was killed so often."""
    environment = {**os.environ, "KERAS_BACKEND": backend or keras.backend.backend()}
    script = Path(__file__).with_name("killed.py")
    result = subprocess.run(
        [sys.executable, script, shapes, folder, str(kills), "1", network],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def check_killed(found, kills):
    assert len(found["moments"]) == kills
    assert all(moment["killed"] for moment in found["moments"])
    # Some died in the middle of training, not one and all before it began.
    assert sum("s" in moment["told"] for moment in found["moments"]) >= kills / 3
    assert sum("r" in moment["told"] for moment in found["moments"]) >= kills / 3
    assert found["equal"] == found["weights"] > 0
    assert found["history"]
    assert "run.json" not in found["left"]
    assert "checkpoints" not in found["left"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(shapes, tmp_path, kills):
    check_killed(killed(shapes, tmp_path, kills=kills, network="vgg16"), kills)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "network"),
    [("tensorflow", "resnet50"), ("jax", "vgg16"), ("torch", "vgg16"), ("torch", "resnet50")],
)
def test_killed_on_each_backend(shapes, tmp_path, backend, network):
    check_killed(killed(shapes, tmp_path, kills=10, network=network, backend=backend), 10)


def interrupted(shapes, out, at=7):
    train(replace(SMALL, folder=shapes, out=out), stop_at(at))
    return out


def test_a_run_that_waits_to_go_on_holds_its_best_epoch(shapes, tmp_path):
    run = interrupted(shapes, tmp_path / "run")
    assert sorted(path.name for path in run.iterdir() if path.name in ("run.json", "checkpoints"))
    card = load(run).card
    assert card.completed is False
    assert len(card.history) == 1
    resume(run)
    assert load(run).card.completed is True
    assert not (run / "checkpoints").exists()
    with pytest.raises(ClassicsError, match="the run is finished"):
        resume(run)


def test_interrupted_in_the_first_epoch_it_goes_on_from_wherever(shapes, tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.chdir(shapes.parent)
    with pytest.raises(NothingLearntError, match=r"classics train --resume .*run"):
        train(replace(SMALL, folder=Path(shapes.name), epochs=1, out=out), stop_at(2))
    with pytest.raises(ArtefactError, match=r"an unfinished run.*--resume"):
        load(out)
    monkeypatch.chdir(tmp_path)
    resume(Path("run"))
    card = load(out).card
    assert card.completed
    assert card.data["source"] == shapes.name


@pytest.mark.slow
def test_without_a_checkpoint_that_is_whole_it_begins_anew_and_ends_the_same(
    shapes, whole, tmp_path
):
    run = tmp_path / "run"
    train(everything(shapes, "vgg16", run), stop_at(7))
    for path in (run / "checkpoints").glob("0*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    events = []
    resume(run, events.append)
    assert next(event for event in events if isinstance(event, Resumed)) == Resumed(0, 0, ())
    same(whole, run)


def test_patience_counts_over_an_interruption(shapes, tmp_path):
    out = tmp_path / "run"
    # Steps so small change no bit of any weight: the first epoch is the best one.
    patient = replace(SMALL, folder=shapes, epochs=9, patience=3, learning_rate=1e-30, out=out)
    assert train(patient, stop_at(12)).interrupted
    run = resume(out)
    assert run.stopped
    assert (run.best_epoch, run.epochs) == (1, 4)


def test_a_disk_that_takes_no_checkpoint_does_not_end_the_run(shapes, tmp_path, monkeypatch):
    from keras_classics.training import checkpoint

    def full(*_):
        raise SafetensorError("Error while serializing: No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    events = []
    run = train(replace(SMALL, folder=shapes, epochs=1, out=tmp_path / "run"), events.append)
    (told,) = {event.reason for event in events if isinstance(event, NotSaved)}
    assert "No space left on device" in told
    assert run.judgement is not None


def test_what_stands_in_the_way_of_going_on(tmp_path):
    data = write_pictures(tmp_path / "data", each=10)
    run = interrupted(data, tmp_path / "run", at=4)
    before = sorted(path.name for path in run.iterdir())

    with taken(run), pytest.raises(OutputError, match="another process is training this run"):
        resume(run)

    extra = data / "circle" / "extra.png"
    extra.write_bytes((data / "circle" / "000.png").read_bytes())
    with pytest.raises(ClassicsError, match="have changed since the run started"):
        resume(run)
    extra.unlink()

    record = json.loads((run / "run.json").read_text())

    def with_record(changes):
        (run / "run.json").write_text(json.dumps(record | changes))

    with_record({"versions": record["versions"] | {"backend": "cntk"}})
    with pytest.raises(ClassicsError, match="started with the backend cntk"):
        resume(run)
    with_record({"format": 99})
    with pytest.raises(ClassicsError, match="of a later version"):
        resume(run)
    for torn in ({"recipe": {"epochs": "many"}}, {"versions": 5}, {"config": {"colour": "red"}}):
        with_record(torn)
        with pytest.raises(ClassicsError, match="corrupt"):
            resume(run)
    (run / "run.json").write_text("{")
    with pytest.raises(ClassicsError, match="corrupt"):
        resume(run)
    assert sorted(path.name for path in run.iterdir()) == before

    with_record({"versions": record["versions"] | {"numpy": "0.1"}})
    events = []
    resume(run, events.append)
    (resumed,) = [event for event in events if isinstance(event, Resumed)]
    assert resumed.differs == (f"numpy 0.1 is now {np.__version__}",)
    assert any(isinstance(event, EpochEnd) for event in events)


def test_what_is_no_run(tmp_path):
    with pytest.raises(ClassicsError, match="no such folder"):
        resume(tmp_path / "none")
    with pytest.raises(ClassicsError, match="not the folder of a run"):
        resume(tmp_path)
