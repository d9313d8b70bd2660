from __future__ import annotations

import dataclasses
import itertools
import json
import resource
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_classics import load
from keras_classics.classifier.card import FEATURES
from keras_classics.data.manifest import read_manifest
from keras_classics.data.pictures import StoredPictures
from keras_classics.errors import ClassicsError, DataError, NothingLearntError, OutputError
from keras_classics.evaluation.assessment import Judged
from keras_classics.training import begun as begun_module
from keras_classics.training import features as features_module
from keras_classics.training import fitted_head, transfer
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Estimated, Features, HeadFitted, Prepared, Step
from keras_classics.training.run import resume, train
from pictures import CLASSES, write_pictures
from training.test_resume import weights_of

# By accuracy these heads could not be beaten, and nothing would be fine-tuned.
SMALL = {"network": "vgg16", "size": 32, "seed": 3, "monitor": "val_loss"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shapes):
    """A small network to begin with: the artefact of a short run."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train(TrainConfig(folder=shapes, network="vgg16", width=0.0625, size=32, epochs=2, out=out))
    return str(out)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Other pictures of the same kind."""
    return write_pictures(tmp_path_factory.mktemp("photos") / "data", each=16, seed=9)


@pytest.fixture
def config(photos, trained, tmp_path):
    """A run from these weights."""
    return TrainConfig(
        folder=photos, **SMALL, weights=trained, epochs=2, checkpoint_every=0, out=tmp_path / "run"
    )


@pytest.fixture(scope="module")
def whole(photos, trained, tmp_path_factory):
    """A run that nothing interrupts, and what it told."""
    out, events = tmp_path_factory.mktemp("whole") / "run", []
    config = TrainConfig(
        folder=photos, **SMALL, weights=trained, epochs=2, checkpoint_every=0, out=out
    )
    return train(config, events.append), events


def content(run):
    return json.loads((run.artefact / "metrics.json").read_text())


def interrupted_at(kind, *, when=lambda _: True, events=None):
    """A listener that presses Ctrl-C at an event."""

    def tell(event):
        if events is not None:
            events.append(event)
        if isinstance(event, kind) and when(event):
            raise KeyboardInterrupt

    return tell


@pytest.mark.backends
def test_the_head_is_the_last_layer_and_its_outputs_are_those_fitted(config, whole):
    run = train(dataclasses.replace(config, unfreeze="none"))
    model = load(run.artefact).model
    features = np.load(run.artefact / FEATURES)
    # The file has the features that the network itself computes, in the manifest's order.
    top = model.get_layer("predictions")
    plain = keras.Model(model.input, top.input)
    rows = read_manifest(run.artefact / "split.csv")
    assert features.shape == (len(rows), top.input.shape[-1])
    classifier = load(run.artefact)
    pictures = [config.folder / row["path"] for row in rows[:4]]
    kernel, bias = (np.asarray(keras.ops.convert_to_numpy(w)) for w in top.weights)
    logits = features @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    uncalibrated = dataclasses.replace(classifier.card, calibration=None)
    classifier.card = uncalibrated
    for row, each in zip(expected, classifier.predict(pictures), strict=False):
        found = dict(each.top)
        np.testing.assert_allclose([found[name] for name in CLASSES], row, atol=1e-5)
    assert plain.output_shape == (None, features.shape[1])
    # The judged figures are those of these outputs.
    told = content(run)["transfer"]
    assert (told["kept"], told["fine_tuned"]) == ("head", None)
    assert told["why"] == "fine-tuning was switched off"
    labels = {name: i for i, name in enumerate(classifier.card.class_names)}
    test = [i for i, row in enumerate(rows) if row["split"] == "test"]
    truth = np.array([labels[rows[i]["label"]] for i in test])
    assert told["head"]["test"]["right"] == (expected[test].argmax(axis=1) == truth).sum()
    # All but the head is as it was, and the head is that of a run that goes on.
    assert whole[0].transfer["head"]["test"]["right"] == told["head"]["test"]["right"]


def test_the_report_shows_both_and_the_better_one_on_validation_is_kept(whole):
    run, events = whole
    told = content(run)["transfer"]
    assert told["began_with"].endswith("run")
    assert [told[name]["epochs"] for name in ("head", "fine_tuned")] == [0, 2]
    val = [told[name]["val"]["accuracy"] for name in ("head", "fine_tuned")]
    assert (told["kept"] == "fine-tuned") == (run.best_epoch > 0)
    assert told["kept"] == "head" or val[1] >= val[0]
    kinds = [type(event) for event in events]
    assert kinds.index(Prepared) < kinds.index(Features) < kinds.index(HeadFitted)
    head = next(event for event in events if isinstance(event, HeadFitted))
    assert (head.epochs, head.wanted) == (2, 2)
    assert head.accuracy == val[0]
    assert not (run.artefact / "run.json").exists()
    assert not (run.artefact / "checkpoints").exists()


@pytest.mark.parametrize(
    ("monitor", "before", "after", "better"),
    [
        ("val_accuracy", "1111000", "1111000", False),
        ("val_accuracy", "1111000", "1111100", False),  # one picture is no evidence
        ("val_accuracy", "1111000", "1111110", True),
        ("val_accuracy", "1110000", "0001110", False),  # another three
        ("val_accuracy", "1000000", "0111110", True),
        ("val_f1", "1111000", "1111110", True),
        ("val_loss", "1111000", "1111110", True),
        ("val_loss", "1111000", "1110000", False),
    ],
)
def test_a_network_is_better_if_it_is_so_by_more_than_a_standard_error(
    monitor, before, after, better
):
    assert contender(after).is_better_than(contender(before), monitor) is better


@pytest.mark.parametrize("before", ["1111111", "1101111", "1101110", "0000000"])
def test_a_head_that_cannot_be_beaten_is_one_that_no_answers_beat(before):
    head = contender(before)
    beaten = any(
        contender("".join(after)).is_better_than(head, "val_accuracy")
        for after in itertools.product("01", repeat=7)
    )
    assert head.cannot_be_beaten("val_accuracy") is head.cannot_be_beaten("val_f1") is not beaten
    assert not head.cannot_be_beaten("val_loss")


def contender(right):
    """A network that predicts the images right where there is a 1."""
    labels = np.array([0, 1, 0, 1, 0, 1, 0])
    predicted = np.where(np.array(list(right)) == "1", labels, 1 - labels)
    probabilities = np.where(np.eye(2)[predicted] == 1, 0.9, 0.1)
    judged = Judged(paths=[""] * 7, labels=labels, probabilities=probabilities)
    card = SimpleNamespace(class_names=("a", "b"))
    return transfer.Contender(SimpleNamespace(card=card), {"val": judged}, 0.0)


def test_where_the_head_cannot_be_beaten_nothing_is_fine_tuned(config):
    events = []
    run = train(dataclasses.replace(config, monitor="val_accuracy"), events.append)
    head = next(event for event in events if isinstance(event, HeadFitted))
    assert round((1 - head.accuracy) * head.images) < 2
    assert head.epochs == head.wanted == 0
    assert not any(isinstance(event, Step) for event in events)
    told = run.transfer
    assert (told["kept"], told["fine_tuned"]) == ("head", None)
    assert told["why"] == "no network can be clearly better on the validation images"
    assert run.judgement is not None
    assert not (run.artefact / "run.json").exists()  # the run is finished


def test_training_ends_when_the_training_images_are_learned(config):
    line = ("selection.least_loss=100",)
    run = train(dataclasses.replace(config, epochs=9, changes=line))
    assert (run.epochs, run.stopped) == (1, "training loss below 100")
    assert run.transfer["fine_tuned"]["epochs"] == 1


def test_fine_tuning_that_spoils_the_network_leaves_the_head(config):
    run = train(dataclasses.replace(config, learning_rate=5.0, epochs=1))
    told = content(run)["transfer"]
    assert run.best_epoch == 0
    assert told["kept"] == "head"
    assert told["fine_tuned"] is None or (
        told["fine_tuned"]["val"]["accuracy"] <= told["head"]["val"]["accuracy"]
    )
    assert run.judgement.right == told["head"]["test"]["right"]
    features = np.load(run.artefact / FEATURES)
    classifier = load(run.artefact)
    classifier.card = dataclasses.replace(classifier.card, calibration=None)
    top = classifier.model.get_layer("predictions")
    kernel, bias = (np.asarray(keras.ops.convert_to_numpy(w)) for w in top.weights)
    rows = read_manifest(run.artefact / "split.csv")
    found = classifier.predict([config.folder / row["path"] for row in rows[:4]])
    called = (features[:4] @ kernel + bias).argmax(axis=1)
    assert [each.class_name for each in found] == [classifier.card.class_names[i] for i in called]


def test_the_weights_are_the_mean_of_before_and_after_that_is_best(config, monkeypatch):
    """Of a fine-tuning that goes too far a part may still be better than the head."""
    tried, before = [], []

    def standing(probabilities, *_):  # the third one is the best: of 1, 3/4, 1/2 and 1/4
        tried.append(probabilities)
        return float(len(tried) == 3), 0.0

    monkeypatch.setattr(transfer, "standing", standing)
    own = transfer._averaged

    def averaged(begun, head, kept, predict):
        before.extend((head.get_weights(), kept.get_weights()))
        share = own(begun, head, kept, predict)
        for one, other, mean in zip(*before, kept.get_weights(), strict=True):
            np.testing.assert_allclose(mean, (one + other) / 2, atol=1e-6)
        return share

    monkeypatch.setattr(transfer, "_averaged", averaged)
    run = train(dataclasses.replace(config, epochs=1))
    assert run.transfer["fine_tuned"]["share"] == 0.5
    assert any(np.any(one != other) for one, other in zip(*before, strict=True))


def test_ctrl_c_before_the_first_epoch_leaves_the_judged_head(config, whole):
    run = train(config, interrupted_at(Step))
    assert run.interrupted
    assert run.judgement.right == whole[0].transfer["head"]["test"]["right"]
    assert run.transfer["why"] == "fine-tuning was interrupted before its first epoch was over"
    card = load(run.artefact).card
    assert card.completed
    assert card.history == []
    again = resume(run.artefact)
    assert not again.interrupted
    for one, other in zip(weights_of(whole[0].artefact), weights_of(again.artefact), strict=True):
        np.testing.assert_array_equal(one, other)


def test_ctrl_c_after_an_epoch_leaves_the_better_one_judged(config, whole):
    run = train(config, interrupted_at(Step, when=lambda step: step.epoch == 2))
    assert run.interrupted
    assert run.judgement.images == whole[0].judgement.images
    assert run.transfer["why"].startswith("fine-tuning was interrupted after epoch 1 of 2; ")
    assert run.transfer["fine_tuned"]["epochs"] == 1
    assert (run.artefact / "checkpoints").exists()
    again = resume(run.artefact)
    for one, other in zip(weights_of(whole[0].artefact), weights_of(again.artefact), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.classifier.card.history == whole[0].classifier.card.history


def test_a_second_ctrl_c_while_it_is_judged_leaves_the_head(config, whole, monkeypatch):
    judged = begun_module.Begun.judged
    calls = []

    def pressed(self, predict):
        calls.append(predict)
        if len(calls) > 1:
            signal.raise_signal(signal.SIGINT)
        return judged(self, predict)

    def tell(event):
        if isinstance(event, Step) and event.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(begun_module.Begun, "judged", pressed)
    run = train(config, tell)
    assert len(calls) == 2
    assert run.interrupted
    assert run.judgement.right == whole[0].transfer["head"]["test"]["right"]


def test_features_are_gone_on_with_where_a_process_was_stopped(config, whole, monkeypatch):
    monkeypatch.setattr(features_module, "BATCH", 8)
    with pytest.raises(NothingLearntError, match="before the head was fitted: resume with"):
        train(config, interrupted_at(Features, when=lambda event: event.done >= 24))
    file = config.out / FEATURES
    assert file.stat().st_size > 24 * 4 * np.load(whole[0].artefact / FEATURES).shape[1]
    with file.open("ab") as torn:  # as a kill leaves it
        torn.write(b"abc")
    events = []
    run = resume(config.out, events.append)
    assert next(event.done for event in events if isinstance(event, Features)) == 32
    np.testing.assert_array_equal(np.load(file), np.load(whole[0].artefact / FEATURES))
    assert run.judgement.right == whole[0].judgement.right


@pytest.mark.parametrize("left", [b"", b"torn", None])
def test_a_file_of_features_that_is_none_is_begun_anew(tmp_path, left):
    path = tmp_path / FEATURES
    if left is None:
        np.save(path, np.zeros((7, 3), np.float32))
    else:
        path.write_bytes(left)
    with features_module._rows(path, (5, 3)) as (file, done):
        assert done == 0
        file.write(np.ones((5, 3), "<f4").tobytes())
    np.testing.assert_array_equal(np.load(path), np.ones((5, 3)))


def test_a_full_disk_while_features_are_written_is_one_line_and_loses_nothing(
    config, whole, monkeypatch
):
    monkeypatch.setattr(features_module, "BATCH", 8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error, not the end of the process

    def full(event):
        if isinstance(event, Features) and event.done >= 16:
            size = (config.out / FEATURES).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, limits[1]))

    try:
        with pytest.raises(OutputError, match=r"features\.npy: cannot be written") as caught:
            train(config, full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert f"classics train --resume {config.out}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert resume(config.out).judgement.right == whole[0].judgement.right


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_folder_that_changes_between_features_and_fine_tuning(config, tmp_path, change):
    data = write_pictures(tmp_path / "data", each=8)
    config = dataclasses.replace(config, folder=data)
    run = train(config, interrupted_at(Step))
    changed = next(data.rglob("*.png"))
    if change == "gone":
        changed.unlink()
    else:
        changed.write_bytes(changed.read_bytes() + b" ")
    with pytest.raises(ClassicsError, match="the images have changed since the run started"):
        resume(config.out)
    assert load(run.artefact).card.completed  # the head is still there


def test_a_picture_that_goes_while_it_is_fine_tuned_costs_no_head(config, tmp_path):
    data = write_pictures(tmp_path / "data", each=8)
    changes = ("augmentation.view=random_area",)
    config = dataclasses.replace(config, folder=data, changes=changes)

    def tell(event):
        if isinstance(event, HeadFitted):
            for path in data.rglob("*.png"):
                path.unlink()

    with pytest.raises(DataError, match=r"\.png"):
        train(config, tell)
    assert load(config.out).card.completed


def test_minutes_that_hold_not_even_the_head(config):
    with pytest.raises(
        ClassicsError, match=r"minutes=0\.001: the head alone takes about"
    ) as caught:
        train(dataclasses.replace(config, minutes=0.001))
    assert "give at least --minutes 0." in str(caught.value)
    assert not config.out.exists()


def test_minutes_decide_how_many_epochs_there_are(config, monkeypatch):
    monkeypatch.setattr(transfer, "BUILDING", 0.0)
    monkeypatch.setattr(transfer._Clock, "epoch", lambda self: max(self.left, 0.0) / 3.5)
    monkeypatch.setattr(features_module, "BATCH", 8)
    events = []
    run = train(dataclasses.replace(config, minutes=10.0, epochs=12), events.append)
    head = next(event for event in events if isinstance(event, HeadFitted))
    assert (head.epochs, head.wanted) == (3, 12)
    assert run.epochs == 3
    assert run.classifier.card.recipe["epochs"] == 3
    assert next(event for event in events if isinstance(event, Estimated)).epochs == 12


def test_minutes_that_hold_the_head_alone(config, monkeypatch):
    monkeypatch.setattr(transfer._Clock, "epoch", lambda _: 1e6)
    monkeypatch.setattr(features_module, "BATCH", 8)
    run = train(dataclasses.replace(config, minutes=10.0))
    assert run.transfer["why"] == "fine-tuning does not fit into --minutes 10"
    assert not run.interrupted


@pytest.mark.slow
def test_time_that_runs_out_although_it_was_estimated_otherwise(config, monkeypatch):
    own = begun_module.Begun.fitted
    monkeypatch.setattr(begun_module.Begun, "fitted", lambda self, **_: own(self, deadline=0.0))
    run = train(config)
    assert run.transfer["why"] == "fine-tuning ran out of time before its first epoch was over"
    assert not run.interrupted


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_classes_of_different_size_can_weigh_alike_in_the_head(
    config, tmp_path, monkeypatch, balance
):
    data = write_pictures(tmp_path / "data", each=6, classes=("circle", "cross"))
    for path in sorted((data / "cross").iterdir())[3:]:
        path.unlink()
    given = []

    def fitted(*args, **options):
        given.append(options["class_weights"])
        return fit_head(*args, **options)

    fit_head = fitted_head.fit_head
    monkeypatch.setattr(fitted_head, "fit_head", fitted)
    config = dataclasses.replace(config, folder=data, unfreeze="none", balance=balance)
    train(config)
    train(dataclasses.replace(config, balance="none", out=tmp_path / "plain"))
    assert given[0][1] > given[0][0] > 0
    assert given[1] is None


def test_without_a_validation_part_nothing_is_fine_tuned(config, tmp_path):
    data = write_pictures(tmp_path / "data", each=2)
    run = train(dataclasses.replace(config, folder=data))
    assert run.transfer["head"]["val"] is None
    assert "too few images for a validation part" in run.transfer["why"]
    assert run.judgement.images == 3


def test_the_features_of_a_network_that_folds_wrongly_are_its_own(trained, monkeypatch):
    model = load(trained).model

    def wrong(plain):
        return keras.Model(plain.input, plain.output * 1.01)

    monkeypatch.setattr(features_module, "for_inference", wrong)
    head = model.get_layer("predictions")
    plain = keras.Model(model.input, head.input)
    inputs = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    forward = features_module.fastest_forward(plain, inputs)
    np.testing.assert_allclose(forward(inputs), plain.predict_on_batch(inputs), rtol=1e-5)


def test_a_network_whose_top_has_hidden_layers_brings_them(shapes, tmp_path):
    first = train(
        TrainConfig(
            folder=shapes, network="vgg16", width=1 / 32, size=32, epochs=1, out=tmp_path / "a"
        )
    )
    config = TrainConfig(
        folder=shapes, network="vgg16", size=32, unfreeze="none", weights=str(first.artefact)
    )
    second = train(dataclasses.replace(config, out=tmp_path / "b"))
    one, two = (load(run.artefact).model for run in (first, second))
    for name in ("fc1", "fc2"):
        for old, new in zip(one.get_layer(name).weights, two.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(old), keras.ops.convert_to_numpy(new)
            )
    # Those of another size do not fit, and are new.
    assert train(dataclasses.replace(config, size=64, out=tmp_path / "c")).judgement


def test_imagenet_s_weights_are_the_default_and_where_they_are_missing_a_line_says_so(
    photos, tmp_path, monkeypatch
):
    from keras_classics.weights.download import PackagedFile

    events = []
    config = TrainConfig(folder=photos, size=32, unfreeze="none", out=tmp_path / "run")
    run = train(config, events.append)
    prepared = next(event for event in events if isinstance(event, Prepared))
    assert (prepared.network, prepared.recipe) == ("EfficientNetLite0", "transfer")
    assert prepared.weights == "efficientnet_lite0-google"
    assert "--weights none" in prepared.why
    assert run.classifier.card.preprocessing.mode == "lite"
    monkeypatch.setattr(PackagedFile, "installed", lambda _: None)
    with pytest.raises(ClassicsError, match=r"is not installed: .* --weights none") as caught:
        train(dataclasses.replace(config, out=tmp_path / "other"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ClassicsError, match=r"publishes none for .* --weights none"):
        train(dataclasses.replace(config, network="resnet50_d", out=tmp_path / "other"))


def test_pictures_are_read_a_batch_at_a_time(trained, photos, tmp_path, monkeypatch):
    """The memory that features take does not grow with the number of pictures."""
    monkeypatch.setattr(features_module, "BATCH", 8)
    held, most = set(), []
    picture = StoredPictures.picture

    def counted(self, index, *args, **options):
        held.add(index)
        return picture(self, index, *args, **options)

    def tell(event):
        if isinstance(event, Features):
            most.append(len(held))
            held.clear()

    monkeypatch.setattr(StoredPictures, "picture", counted)
    config = TrainConfig(
        folder=photos,
        **SMALL,
        weights=trained,
        unfreeze="none",
        out=tmp_path / "run",
        changes=("augmentation.view=random_area",),
    )
    train(config, tell)
    assert max(most) <= 16  # one batch, and one that is read ahead
    assert len(most) == 6
