from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_classics import load
from keras_classics.data.manifest import read_manifest
from keras_classics.errors import (
    ClassicsError,
    DataError,
    NothingLearntError,
    OutputError,
    WeightsError,
)
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import (
    Checked,
    EpochEnd,
    HeadFitted,
    PhaseBegin,
    Prepared,
    Reading,
    Step,
)
from keras_classics.training.run import train
from pictures import CLASSES, picture, state, write_pictures

SMALL = {"network": "vgg16", "width": 0.0625, "size": 32, "epochs": 1}


def weights_of(model):
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epochs", "accuracy"),
    [
        (2, 0.75),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((4, 0.9), (None, 0.97))),
    ],
)
def test_the_default_run_learns_the_digits(tmp_path, epochs, accuracy):
    run = train(TrainConfig(out=tmp_path / "digits", epochs=epochs))
    assert run.judgement.accuracy >= accuracy
    assert run.judgement.images == 269
    # Batch norm's statistics do not lag: validation soon follows training.
    history = run.classifier.card.history
    for epoch in history[2:] or history[-1:]:
        assert epoch["val_accuracy"] > epoch["accuracy"] - 0.15
    # The momentum that training needed is not that of the network.
    assert {layer.momentum for layer in run.classifier.model.layers if "_bn" in layer.name} == {
        0.99
    }


@pytest.mark.backends
def test_the_shapes_are_learnt_and_the_artefact_says_all(artefact):
    card = json.loads((artefact / "artefact.json").read_text())
    assert card["class_names"] == list(CLASSES)
    assert card["preprocessing"] == {"size": [32, 32], "fit": "crop", "mode": "tf", "channels": 3}
    assert card["network"] == "vgg16"
    assert card["width"] == 0.125
    assert card["recipe"]["epochs"] == len(card["history"]) == 12
    assert card["data"]["images"] == {"train": 42, "val": 9, "test": 9}
    assert len(card["data"]["fingerprint"]) == 64
    assert card["completed"] is True
    assert card["figures"]["images"] == 9
    assert card["figures"]["accuracy"] >= 0.75
    assert card["versions"]["keras"] == keras.__version__
    assert sorted(path.name for path in artefact.iterdir()) == [
        "artefact.json",
        "classes.csv",
        "confusion.csv",
        "history.csv",
        "metrics.json",
        "model.keras",
        "predictions.csv",
        "report.html",
        "split.csv",
    ]
    looked_at = json.loads((artefact / "metrics.json").read_text())["looked_at"]
    assert {row["label"] for row in looked_at["images"] if row["right"]} == set(CLASSES)
    page = (artefact / "report.html").read_text()
    assert page.count('alt="heat map for') == len(looked_at["images"])
    rows = read_manifest(artefact / "split.csv")
    assert len(rows) == 60
    assert {row["split"] for row in rows} == {"train", "val", "test"}


def test_the_model_opens_with_plain_keras_and_gives_probabilities(artefact, tmp_path):
    image = tmp_path / "image.png"
    picture("circle", np.random.default_rng(5), size=32).save(image)
    classifier = load(artefact)
    ours = classifier.predict(image, top_k=3)[0]
    script = """
import sys
sys.modules["keras_classics"] = None
import keras, numpy as np
from PIL import Image
model = keras.models.load_model(sys.argv[1])
assert getattr(model, "optimizer", None) is None
image = np.asarray(Image.open(sys.argv[2]).convert("RGB"), "float32") / 127.5 - 1
print(*model.predict(image[None], verbose=0)[0].tolist())
"""
    result = subprocess.run(
        [sys.executable, "-c", script, artefact / "model.keras", image],
        capture_output=True,
        text=True,
        check=True,
    )
    plain = np.array([[float(number) for number in result.stdout.split()]])
    assert plain.sum() == pytest.approx(1)
    assert CLASSES[int(plain.argmax())] == ours.class_name
    assert classifier.calibration.apply(plain).max() == pytest.approx(ours.confidence, abs=1e-5)


def test_events_tell_the_whole_run(shapes, tmp_path):
    events = []
    train(TrainConfig(folder=shapes, **SMALL | {"epochs": 2}, out=tmp_path / "run"), events.append)
    kinds = [type(event) for event in events]
    assert kinds == [Reading] * 60 + [Checked, Prepared] + ([Step] * 1 + [EpochEnd]) * 2
    assert events[59] == Reading(60, 60)
    assert events[60] == Checked(())
    prepared = events[61]
    assert (prepared.train, prepared.val, prepared.test, prepared.classes) == (42, 9, 9, 3)
    steps = [event for event in events if isinstance(event, Step)]
    assert [(step.epoch, step.done, step.total) for step in steps] == [(1, 1, 2), (2, 2, 2)]
    assert steps[0].images_per_second == 0.0  # compiling the first step says nothing of speed
    assert steps[1].images_per_second > 0
    assert next(e for e in events if isinstance(e, EpochEnd)).best


def test_nothing_is_written_into_the_data_folder(shapes, tmp_path):
    before = state(shapes)
    train(TrainConfig(folder=shapes, **SMALL, out=tmp_path / "run"))
    assert state(shapes) == before


def test_a_place_inside_the_data_folder_is_refused(tmp_path, monkeypatch):
    data = write_pictures(tmp_path / "data", each=3)
    before = state(data)
    with pytest.raises(OutputError, match="lies in the folder of the images"):
        train(TrainConfig(folder=data, **SMALL, out=data / "deep" / "run"))
    monkeypatch.chdir(data)
    with pytest.raises(OutputError, match=r"runs.*--out"):
        train(TrainConfig(folder=Path(), **SMALL))
    assert state(data) == before


def test_interrupted_while_judging_the_model_is_saved(shapes, tmp_path, monkeypatch):
    from keras_classics.training.begun import Begun

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Begun, "judged", interrupt)
    run = train(TrainConfig(folder=shapes, **SMALL, out=tmp_path / "run"))
    assert run.interrupted
    assert load(run.artefact).card.completed is False


def test_split_folders_are_honoured(tmp_path):
    for part, each, seed in (("train", 10, 0), ("val", 4, 1), ("test", 5, 2)):
        write_pictures(tmp_path / "data" / part, each=each, seed=seed)
    run = train(TrainConfig(folder=tmp_path / "data", **SMALL, out=tmp_path / "run"))
    assert run.judgement.images == 15
    rows = read_manifest(run.artefact / "split.csv")
    assert all(row["path"].startswith(row["split"] + "/") for row in rows)


def test_the_seed_decides_split_and_weights(shapes, tmp_path):
    def run(seed, out):
        return train(TrainConfig(folder=shapes, **SMALL, seed=seed, out=tmp_path / out))

    one, again, other = run(1, "a"), run(1, "b"), run(2, "c")
    manifests = [read_manifest(r.artefact / "split.csv") for r in (one, again, other)]
    assert manifests[0] == manifests[1] != manifests[2]
    for first, second in zip(
        weights_of(one.classifier.model), weights_of(again.classifier.model), strict=True
    ):
        np.testing.assert_allclose(first, second, atol=1e-4)


def test_unreadable_images_are_named_counted_and_skipped(shapes, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    (data / "circle" / "text.png").write_text("no image")
    whole = (data / "cross" / "000.png").read_bytes()
    (data / "cross" / "torn.png").write_bytes(whole[: len(whole) // 2])
    (data / "cross" / "empty.jpg").write_bytes(b"")
    events = []
    run = train(TrainConfig(folder=data, **SMALL, out=tmp_path / "run"), events.append)
    skipped = next(event for event in events if isinstance(event, Prepared)).skipped
    assert [error.path.name for error in skipped] == ["text.png", "empty.jpg", "torn.png"]
    assert len(run.classifier.card.data["skipped"]) == 3
    assert len(read_manifest(run.artefact / "split.csv")) == 60


def test_a_class_whose_images_are_all_torn(tmp_path):
    data = write_pictures(tmp_path / "data", each=4, classes=("circle", "cross"))
    (data / "broken").mkdir()
    for i in range(3):
        (data / "broken" / f"{i}.png").write_text("no image")
    with pytest.raises(DataError, match="no training image of the class 'broken' can be read"):
        train(TrainConfig(folder=data, **SMALL, out=tmp_path / "run"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_two_images_a_class_are_enough(tmp_path):
    data = write_pictures(tmp_path / "data", each=2)
    run = train(TrainConfig(folder=data, **SMALL, out=tmp_path / "run"))
    assert run.judgement.images == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 16}, "size=16: VGG16 takes 32 to 4096 pixels"),
        ({"size": 100_000}, "size=100000"),
        ({"network": "inception_v3", "size": 64}, "InceptionV3 takes 75"),
        ({"network": "resnet5"}, "did you mean 'resnet50'"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"width": 0.0}, "width=0.0"),
        ({"seed": 2**32}, "seed=4294967296"),
        ({"unfreeze": "all"}, "unfreeze='all': needs trained weights"),
        ({"batch_norm": "train"}, "batch_norm='train': needs trained weights"),
        ({"minutes": 1.0}, "minutes=1.0: needs trained weights"),
        ({"minutes": -1.0, "weights": "a.h5"}, "minutes=-1: above 0 is needed"),
        ({"unfreeze": "some", "weights": "a.h5"}, "one of none, stage, all is needed"),
        ({"batch_norm": "some", "weights": "a.h5"}, "one of frozen, train is needed"),
        ({"weights": "nowhere.h5"}, "no such file"),
        ({"weights": "imagenet", "width": 0.5}, "width 1.0 only"),
        ({"recipe": "quik"}, "did you mean 'quick'"),
        ({"recipe": "paper_resnet50"}, "is for resnet50.*, not vgg16"),
        ({"changes": ("epoch=3",)}, "did you mean 'epochs'"),
        ({"changes": ("network.drop_path=0.1",)}, "VGG16 has no residuals to drop"),
        ({"changes": ("loss.auxiliary=0.4",)}, "VGG16 has no side classifier"),
        ({"changes": ("test_size=64",)}, "VGG16 is tested at the size that it is trained at"),
        ({"changes": ("test_crop=0.9",), "fit": "pad"}, "goes with crop only"),
        ({"fit": "squeeze"}, "one of crop, pad, stretch is needed"),
        ({"balance": "some"}, "one of none, weights, sampling is needed"),
        ({"monitor": "accuracy"}, "one of val_accuracy, val_loss, val_f1 is needed"),
        ({"patience": -1}, "patience=-1"),
        ({"precision": "int8"}, "one of auto, float32, bfloat16, float16 is needed"),
        ({"limit": 0.0}, "limit=0.0"),
        ({"checkpoint_every": -1.0}, "checkpoint_every=-1.0"),
        ({"weights": "imagenet", "width": None, "network": "resnet50_d"}, "publishes none for"),
    ],
)
def test_arguments_out_of_their_range(shapes, tmp_path, changes, message):
    with pytest.raises(ClassicsError, match=message) as caught:
        train(TrainConfig(folder=shapes, **SMALL | changes, out=tmp_path / "run"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_an_artefact(artefact, tmp_path):
    data = write_pictures(tmp_path / "data", each=8, classes=("circle", "cross"), seed=5)
    config = TrainConfig(
        folder=data, network="vgg16", size=32, epochs=1, weights=str(artefact), learning_rate=1e-7
    )
    run = train(config_with(config, out=tmp_path / "run"))
    old, new = load(artefact).model, run.classifier.model
    assert run.classifier.card.width == 0.125
    np.testing.assert_allclose(
        weights_of(old.get_layer("block3_conv1"))[0],
        weights_of(new.get_layer("block3_conv1"))[0],
        atol=1e-4,
    )
    assert new.output_shape == (None, 2)
    with pytest.raises(WeightsError, match="holds vgg16, not resnet50"):
        train(config_with(config, network="resnet50", out=tmp_path / "other"))
    with pytest.raises(WeightsError, match=r"has width 0.125, not 0.5"):
        train(config_with(config, width=0.5, out=tmp_path / "other"))


def config_with(config, **changes):
    from dataclasses import replace

    return replace(config, **changes)


@pytest.mark.slow
def test_transfer_keeps_batch_norm_and_the_recipe_says_how(shapes, tmp_path):
    small = {"network": "resnet50", "width": 0.0625, "size": 32}
    first = train(TrainConfig(folder=shapes, **small, epochs=1, out=tmp_path / "first"))
    assert first.classifier.card.recipe["transfer"] is None
    events = []
    second = train(
        TrainConfig(
            folder=shapes,
            **small,
            epochs=3,
            weights=str(first.artefact),
            unfreeze="stage",
            out=tmp_path / "second",
        ),
        events.append,
    )
    begins = [event for event in events if isinstance(event, PhaseBegin)]
    assert [(event.stages, event.epoch) for event in begins] == [
        (("top", "conv5"), 1),
        (("conv4",), 2),
        (("conv3", "conv2", "conv1"), 3),
    ]
    assert isinstance(events[events.index(begins[0]) - 1], HeadFitted)
    one, two = (load(run.artefact).model for run in (first, second))
    for layer in one.layers:
        if "_bn" in layer.name:
            for old, new in zip(
                weights_of(layer), weights_of(two.get_layer(layer.name)), strict=True
            ):
                np.testing.assert_array_equal(old, new)
    assert all(layer.trainable for layer in two.layers)
    transfer = second.classifier.card.recipe["transfer"]
    assert transfer["unfreeze"] == "stage"
    assert transfer["batch_norm"] == "frozen"


@pytest.mark.backends
def test_interrupted_after_an_epoch_the_best_is_saved(shapes, tmp_path):
    def interrupt(event):
        if isinstance(event, Step) and event.epoch == 3:
            raise KeyboardInterrupt

    run = train(
        TrainConfig(folder=shapes, **SMALL | {"epochs": 5}, out=tmp_path / "run"), interrupt
    )
    assert run.interrupted
    assert run.judgement is None
    assert run.epochs == 2
    classifier = load(run.artefact)
    assert classifier.card.completed is False
    assert len(classifier.card.history) == 2
    assert len(classifier.predict(shapes / "circle")) == 20


def test_interrupted_before_the_first_step_nothing_is_left(shapes, tmp_path, monkeypatch):
    from keras_classics.training import fitting

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "_fit_phase", interrupt)
    with pytest.raises(NothingLearntError, match="nothing was saved"):
        train(TrainConfig(folder=shapes, **SMALL, out=tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_during_training_loses_nothing(shapes, tmp_path, monkeypatch):
    from keras_classics.training import begun, run

    write, calls = run.write_artefact, []

    def full_the_second_time(folder, *parts):
        calls.append(folder)
        if len(calls) == 2:
            (folder / "model.keras").write_bytes(b"torn")
            raise OutputError(f"{folder}: cannot write: No space left on device.")
        write(folder, *parts)

    for module in (run, begun):
        monkeypatch.setattr(module, "write_artefact", full_the_second_time)
    run = train(TrainConfig(folder=shapes, **SMALL, out=tmp_path / "run"))
    try:
        assert "No space left" in run.moved
        assert run.artefact != tmp_path / "run"
        assert load(run.artefact).card.completed
        assert list(tmp_path.iterdir()) == []
    finally:
        shutil.rmtree(run.artefact.parent)


def test_a_class_with_nothing_readable_to_learn_from(tmp_path):
    for part, each, seed in (("train", 4, 0), ("val", 2, 1), ("test", 2, 2)):
        write_pictures(tmp_path / "data" / part, each=each, seed=seed)
    for path in (tmp_path / "data" / "train" / "cross").iterdir():
        path.write_text("no image")
    with pytest.raises(DataError, match="no training image of the class 'cross'"):
        train(TrainConfig(folder=tmp_path / "data", **SMALL, out=tmp_path / "run"))


def test_a_loss_that_is_no_number(shapes, tmp_path, monkeypatch):
    from keras_classics.training import fitting

    config = TrainConfig(folder=shapes, **SMALL | {"epochs": 3}, out=tmp_path / "run")
    monkeypatch.setattr(fitting, "_finite", lambda _: False)
    with pytest.raises(ClassicsError, match="lower --learning-rate"):
        train(config)
    assert list(tmp_path.iterdir()) == []
    answers = iter([True, False])  # epoch by epoch
    monkeypatch.setattr(fitting, "_finite", lambda _: next(answers))
    run = train(config)
    assert run.diverged
    assert run.epochs == len(run.classifier.card.history) == 1
    assert run.judgement is not None


def test_weights_and_space_are_checked_before_the_images_are_read(shapes, tmp_path):
    events = []
    with pytest.raises(WeightsError):
        train(
            TrainConfig(folder=shapes, **SMALL, weights="no.h5", out=tmp_path / "x"), events.append
        )
    assert events == []


def test_no_space_is_said_before_training(shapes, tmp_path, monkeypatch):
    free = shutil._ntuple_diskusage(10**12, 10**12 - 10**5, 10**5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    events = []
    with pytest.raises(OutputError, match=r"needs \d+ MB, 0 MB are free"):
        train(TrainConfig(folder=shapes, **SMALL, out=tmp_path / "run"), events.append)
    assert not any(isinstance(event, Step) for event in events)
    assert list(tmp_path.iterdir()) == []


def test_exif_orientation_is_seen_alike_in_training_and_prediction(artefact, tmp_path):
    upright = picture("stripes", np.random.default_rng(3), size=64)
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    one, two = load(artefact).predict([tmp_path / "upright.png", tmp_path / "turned.png"])
    assert one.top == two.top


def test_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = train(TrainConfig(folder=write_pictures(tmp_path / "some data", each=3), **SMALL))
    assert run.artefact == Path("runs/some data-vgg16")


@pytest.mark.parametrize(
    ("network", "recipe", "changes"),
    [
        ("vgg16", "paper", ("mixing.mixup=0.2", "optimizer.accumulate=2")),
        pytest.param("inception_v3", "paper", (), marks=pytest.mark.slow),
        pytest.param(
            "resnet50",
            "a3",
            ("network.drop_path=0.1", "augmentation.repeats=2"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_each_kind_of_recipe_trains_and_leaves_a_plain_network(
    tmp_path, shapes, network, recipe, changes
):
    """At a width and a size that a test can afford; the artefact predicts as the recipe tests."""
    size = {"inception_v3": 75}.get(network, 32)
    run = train(
        TrainConfig(
            folder=shapes,
            network=network,
            recipe=recipe,
            changes=changes,
            width=1 / 32,
            size=size,
            epochs=1,
            batch_size=8,
            balance="weights",
            monitor="val_f1",
            out=tmp_path / "run",
        )
    )
    assert run.judgement.images == 9
    card = run.classifier.card
    test_size = 45 if recipe == "a3" else size  # 224 for every 160
    assert card.preprocessing.size == (test_size, test_size)
    assert card.preprocessing.fit.resize == round(test_size / (0.95 if recipe == "a3" else 0.875))
    loaded = load(run.artefact)
    assert loaded.card.preprocessing == card.preprocessing
    assert not [layer.name for layer in loaded.model.layers if "drop" in layer.name]
    assert len(loaded.model.outputs) == 1
    assert "val_f1" in card.history[0]
    assert ("side_loss" in card.history[0]) == (network == "inception_v3")
    predicted = loaded.evaluate(shapes, split="test").judgement
    assert predicted.confusion == run.judgement.confusion
    assert {weight.dtype for weight in loaded.model.weights} == {"float32"}
