from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from keras_classics import Classifier, load
from keras_classics.data.fit import load_image
from keras_classics.errors import ArtefactError, ClassicsError, DataError
from keras_classics.explanation.explain import probe_of
from pictures import CLASSES, no_pictures, write_pictures


@pytest.fixture
def copy(artefact, tmp_path):
    return shutil.copytree(artefact, tmp_path / "copy")


@pytest.mark.backends
def test_predict_gives_the_top_classes_in_order(artefact, shapes):
    predictions = load(artefact).predict(shapes / "circle", top_k=2)
    assert [p.path.name for p in predictions] == [f"{i:03d}.png" for i in range(20)]
    for prediction in predictions:
        (first, p), (_, q) = prediction.top
        assert p >= q > 0
        assert (prediction.class_name, prediction.confidence) == (first, p)
        assert first in CLASSES


def test_predictions_do_not_depend_on_the_batch(artefact, shapes):
    classifier = load(artefact)
    alone = [classifier.predict(path)[0] for path in sorted((shapes / "cross").iterdir())[:3]]
    together = classifier.predict(shapes / "cross", batch_size=7)
    for one, other in zip(alone, together, strict=False):
        assert one.path == other.path
        assert [name for name, _ in one.top] == [name for name, _ in other.top]
        np.testing.assert_allclose([p for _, p in one.top], [p for _, p in other.top], atol=1e-5)


def test_unreadable_images_are_skipped_and_the_rest_predicted(artefact, shapes, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    good = shapes / "circle" / "000.png"
    predictions = load(artefact).predict([good, tmp_path / "text.jpg", good.with_name("001.png")])
    assert [p.path.name for p in predictions] == ["000.png", "001.png"]
    assert [error.path.name for error in predictions.skipped] == ["text.jpg"]


def test_nothing_readable(artefact, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"none of the 1 images can be read.*text\.jpg"):
        load(artefact).predict(tmp_path)


def test_progress(artefact, shapes):
    seen = []
    load(artefact).predict(shapes, batch_size=25, progress=lambda *n: seen.append(n))
    assert seen == [(0, 60), (25, 60), (50, 60), (60, 60)]


def test_evaluate_on_the_run_s_own_folder_uses_the_held_out_part(artefact, shapes):
    classifier = load(artefact)
    evaluation = classifier.evaluate(shapes)
    assert evaluation.part == "the test part of the run's own split"
    assert evaluation.judgement.accuracy == pytest.approx(classifier.card.figures["accuracy"])
    assert evaluation.judgement.log_loss == pytest.approx(
        classifier.card.figures["log_loss"], rel=1e-3
    )
    assert classifier.evaluate(shapes, split="train").judgement.images == 42
    assert classifier.evaluate(shapes, split="all").judgement.images == 60


def test_evaluate_leaves_out_what_was_learnt_from_though_the_folder_changed(tmp_path):
    from keras_classics.training.config import TrainConfig
    from keras_classics.training.run import train

    data = write_pictures(tmp_path / "data", each=8)
    (data / "cross" / "torn.png").write_bytes(b"")
    run = train(
        TrainConfig(
            folder=data, network="vgg16", width=0.0625, size=32, epochs=1, out=tmp_path / "run"
        )
    )
    held_out = run.judgement.images
    again = load(run.artefact).evaluate(data)
    assert again.judgement.images == held_out == 3
    assert len(again.skipped) == 1
    shutil.copy(data / "cross" / "000.png", data / "cross" / "new.png")
    assert load(run.artefact).evaluate(data).judgement.images == held_out + 1
    data.rename(tmp_path / "moved")
    (tmp_path / "moved" / "cross" / "new.png").unlink()
    moved = load(run.artefact).evaluate(tmp_path / "moved")
    assert moved.judgement.images == held_out
    assert "run's own split" in moved.part


def test_an_archive_and_a_table_are_judged_as_the_folder_is(artefact, shapes, tmp_path):
    classifier = load(artefact)
    archive = Path(shutil.make_archive(str(tmp_path / "shapes"), "zip", shapes))
    expected = classifier.evaluate(shapes)
    for source, root in ((archive, None), (artefact / "split.csv", shapes)):
        evaluation = classifier.evaluate(source, root=root)
        assert evaluation.part == "the test part of the run's own split"
        assert evaluation.judgement.images == expected.judgement.images
        assert evaluation.judgement.accuracy == expected.judgement.accuracy
    inside = classifier.predict(archive)
    assert inside[0].path == archive / "circle" / "000.png"
    outside = classifier.predict(shapes)
    assert [one.class_name for one in inside] == [one.class_name for one in outside]
    assert inside[0].confidence == pytest.approx(outside[0].confidence)


def test_evaluate_on_another_folder_uses_all_of_it(artefact, tmp_path):
    data = write_pictures(tmp_path / "new", each=3, classes=("stripes", "circle"), seed=9)
    evaluation = load(artefact).evaluate(data)
    assert evaluation.part == "all images"
    assert [c.support for c in evaluation.judgement.classes] == [3, 0, 3]
    with pytest.raises(DataError, match="has no test part"):
        load(artefact).evaluate(data, split="test")


def test_evaluate_uses_the_folder_s_test_part(artefact, tmp_path):
    for part, each in (("train", 2), ("test", 3)):
        write_pictures(tmp_path / part, each=each, seed=each)
    evaluation = load(artefact).evaluate(tmp_path)
    assert evaluation.part == "the test part of the folder's split"
    assert evaluation.judgement.images == 9


def test_evaluate_refuses_classes_that_it_does_not_know(artefact, tmp_path):
    data = write_pictures(tmp_path / "new", each=2)
    (data / "cross").rename(data / "crosses")
    with pytest.raises(DataError, match="crosses"):
        load(artefact).evaluate(data)


def test_folders_may_be_called_otherwise_than_the_classes(artefact, shapes, tmp_path):
    known = load(artefact)
    folders = ("n03", "n01", "n02")
    classifier = Classifier(known.model, known.card, folders=folders)
    for name, folder in zip(CLASSES, folders, strict=True):
        shutil.copytree(shapes / name, tmp_path / "data" / folder)
    expected = known.evaluate(shapes, split="all").judgement
    assert classifier.evaluate(tmp_path / "data").judgement == expected
    assert [figures.name for figures in expected.classes] == list(CLASSES)
    assert classifier.predict(shapes / "circle", top_k=1)[0].class_name in CLASSES
    with pytest.raises(DataError, match="circle"):
        classifier.evaluate(shapes)


def test_a_folder_without_images_of_some_classes(artefact, shapes, tmp_path):
    known = load(artefact)
    classifier = Classifier(known.model, known.card, folders=("n03", "n01", "n02"))
    shutil.copytree(shapes / CLASSES[1], tmp_path / "n01")
    judgement = classifier.evaluate(tmp_path).judgement
    assert [figures.support for figures in judgement.classes] == [0, 20, 0]


def test_no_such_artefact(tmp_path):
    with pytest.raises(ArtefactError, match="no such artefact"):
        load(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match=r"not an artefact.*model\.keras"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', "{}", '{"format": 1}', '{"format": 1, "preprocessing": 3}']
)
def test_a_torn_card(copy, text):
    (copy / "artefact.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"artefact\.json: not the description"):
        load(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [("mode", "x"), ("fit", "x"), ("size", [0, 32]), ("size", [32])],
)
def test_values_that_cannot_be(copy, key, value):
    card = json.loads((copy / "artefact.json").read_text())
    card["preprocessing"][key] = value
    (copy / "artefact.json").write_text(json.dumps(card))
    with pytest.raises(ArtefactError, match="not the description"):
        load(copy)


def test_another_size_than_the_model_s(copy):
    card = json.loads((copy / "artefact.json").read_text())
    card["preprocessing"]["size"] = [64, 64]
    (copy / "artefact.json").write_text(json.dumps(card))
    with pytest.raises(ArtefactError, match="64 x 64 pixels"):
        load(copy)


def test_a_later_format(copy):
    card = json.loads((copy / "artefact.json").read_text())
    (copy / "artefact.json").write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(ArtefactError, match=r"format 99.*upgrade"):
        load(copy)


@pytest.mark.parametrize("size", [0, 100, -1000])
def test_a_torn_model(copy, size):
    data = (copy / "model.keras").read_bytes()
    (copy / "model.keras").write_bytes(data[:size])
    with pytest.raises(ArtefactError, match=r"model\.keras: corrupt or not a Keras model"):
        load(copy)


def test_a_model_of_other_classes(copy):
    card = json.loads((copy / "artefact.json").read_text())
    card["class_names"] = ["a", "b"]
    (copy / "artefact.json").write_text(json.dumps(card))
    with pytest.raises(ArtefactError, match=r"3 outputs.*names 2 classes"):
        load(copy)


def test_arguments_out_of_range(artefact, shapes):
    with pytest.raises(ValueError, match="top_k=0"):
        load(artefact).predict(shapes, top_k=0)


CALIBRATION = {
    "temperature": 2.0,
    "threshold": 0.7,
    "target": 0.9,
    "promised": False,
    "fitted_on": 9,
    "warning": None,
}


def calibrated(folder, calibration):
    card = json.loads((folder / "artefact.json").read_text())
    (folder / "artefact.json").write_text(json.dumps({**card, "calibration": calibration}))
    return load(folder)


@pytest.mark.backends
def test_all_confidences_are_those_of_the_temperature(copy, shapes):
    plain = calibrated(copy, None)
    hot = calibrated(copy, CALIBRATION)
    assert plain.calibration is None
    images = np.stack([load_image(path, (32, 32), "crop") for path in sorted(shapes.glob("*/*"))])
    p, q = plain.probabilities(images), hot.probabilities(images)
    np.testing.assert_allclose(q, np.sqrt(p) / np.sqrt(p).sum(1, keepdims=True), atol=1e-6)
    before, after = plain.predict(shapes), hot.predict(shapes)
    for one, other, row in zip(before, after, q, strict=True):
        assert one.class_name == other.class_name
        assert other.confidence == pytest.approx(row.max(), abs=1e-5)
        assert one.accepted is None
        assert other.accepted == (other.confidence >= 0.7)
    first, second = (c.evaluate(shapes, split="all").judgement for c in (plain, hot))
    assert first.accuracy == second.accuracy
    assert first.log_loss != second.log_loss


@pytest.mark.parametrize(
    "wrong", [{}, {**CALIBRATION, "temperature": 0}, {**CALIBRATION, "threshold": "x"}, 3]
)
def test_a_calibration_that_cannot_be(copy, wrong):
    with pytest.raises(ArtefactError, match="not the description"):
        calibrated(copy, wrong)


@pytest.fixture
def decoded(shapes):
    """60 pictures at the size of the network."""
    return np.stack([load_image(path, (32, 32), "crop") for path in sorted(shapes.glob("*/*"))])


@pytest.mark.backends
def test_any_number_of_threads_may_use_a_classifier(artefact, shapes, decoded):
    classifier = load(artefact)
    probe = probe_of(classifier)
    inputs = classifier.inputs(decoded[:2])
    names = [p.class_name for p in classifier.predict(shapes / "circle")]
    rows = classifier.probabilities(decoded)
    classifier = load(artefact)  # nothing compiled yet

    def ask(turn):
        n = 1 + turn % 7
        if turn % 4 == 0:
            found = classifier.predict(shapes / "circle", batch_size=8)
            return [p.class_name for p in found] == names
        if turn % 4 == 1:
            probe.gradients(inputs, [probe.ends[0]])
            return np.allclose(probe.run(inputs).probabilities, rows[:2], atol=1e-5)
        return np.allclose(classifier.probabilities(decoded[:n]), rows[:n], atol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(40)))


def test_any_number_of_files_makes_few_sizes(artefact, shapes, decoded, monkeypatch):
    classifier = load(artefact)
    files = sorted(shapes.glob("*/*"))
    rows = classifier.probabilities(decoded)
    sizes = []
    forward = classifier._forward
    monkeypatch.setattr(classifier, "_forward", lambda x: [sizes.append(len(x)), forward(x)][1])
    for n in range(1, 25):
        assert len(classifier.predict(files[:n])) == n
        np.testing.assert_allclose(classifier.probabilities(decoded[:n]), rows[:n], atol=1e-6)
    assert set(sizes) == {1, 2, 4, 8, 16, 32}
    del sizes[:]
    np.testing.assert_allclose(classifier.probabilities(decoded, batch_size=25), rows, atol=1e-6)
    assert len(classifier.predict(files, batch_size=25)) == 60
    assert sizes == [25] * 6
    np.testing.assert_allclose(
        classifier.probabilities(decoded, np.array([7, 3, 7])), rows[[7, 3, 7]], atol=1e-6
    )


@pytest.mark.backends
def test_what_is_no_picture_of_its_size_is_refused(artefact, decoded):
    classifier = load(artefact)
    wanted = classifier.probabilities(decoded[:3])  # the compiled network would take any size
    for given, words in no_pictures(decoded):
        with pytest.raises(ClassicsError, match=words):
            classifier.probabilities(given)
    for given in (list(decoded[:3]), decoded[:3].tolist(), decoded[:3].astype(np.int64)):
        np.testing.assert_allclose(classifier.probabilities(given), wanted, atol=1e-6)
    assert classifier.probabilities([]).shape == (0, 3)
    one = classifier.probabilities(decoded[0])
    assert one.shape == (1, 3)
    np.testing.assert_allclose(one, wanted[:1], atol=1e-6)
