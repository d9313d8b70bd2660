from __future__ import annotations

import json
from dataclasses import replace

import pytest

from keras_classics import read_export
from keras_classics.cli import app
from keras_classics.exporting import export as exporting


def run(capfd, *arguments, code=0):
    assert app.run(["export", *map(str, arguments)]) == code
    return capfd.readouterr()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("exports") / "fitted"


def test_what_is_said_and_what_is_not(capfd, artefact, out):
    shown = run(capfd, artefact, "--to", "openvino", "--fitted", "-o", out)
    export = read_export(out)
    words = " ".join(shown.out.split())
    assert "compared with Keras on 9 pictures: the test part of the run's own split" in words
    assert f"{export.agreement.largest_difference:.2g}, 0.0001 is allowed" in words
    assert "top-1 agrees on 100.00%" in words
    assert "openvino in f32" in words
    assert str(out) in shown.out
    assert shown.err == ""  # of all that the converters have to say


def test_what_is_said_of_int8_that_was_accepted(capfd, artefact, out, tmp_path, monkeypatch):
    asked = {}

    def made(source, **options):
        asked.update(options, source=source)
        found = read_export(out)
        replace(
            found,
            precision="int8",
            agreement=replace(
                found.agreement,
                tolerance=None,
                top1_agreement=0.97,
                least_top1=0.99,
                accepted=True,
                accuracy=0.95,
                keras_accuracy=0.96,
                rounded=2,
                largest_rounded=0.0003,
            ),
            quantisation={"layers": 16, "layers_in_int8": 15, "pictures": 42},
        ).write(tmp_path)
        for name in found.files:
            (tmp_path / name).write_bytes((out / name).read_bytes())
        return tmp_path

    monkeypatch.setattr(exporting, "export", made)
    options = ["--precision", "int8", "--accept", "--calibration-pictures", "42"]
    words = " ".join(run(capfd, artefact, "--to", "openvino", *options).out.split())
    assert (asked["precision"], asked["accept"], asked["calibration_pictures"]) == (
        "int8",
        True,
        42,
    )
    assert "top-1 agrees on 97.00%, 99% is needed" in words
    assert "accuracy there 95.00%, of the Keras model 96.00%" in words
    assert "15 of 16 layers compute in int8, by 42 pictures that the run was trained on" in words
    assert "2 more, where the resize rule rounds a grey level otherwise: 0.0003" in words
    assert "it agrees less than it should, and was accepted" in words


@pytest.mark.usefixtures("converted_here")
def test_json(capfd, artefact, tmp_path):
    shown = run(capfd, artefact, "--to", "saved_model", "--raw", "--json", "-o", tmp_path / "raw")
    printed = json.loads(shown.out)
    assert printed["folder"] == str(tmp_path / "raw")
    assert printed["input"] == "raw"
    assert printed["agreement"]["pictures"] == 9
    assert printed["card"]["class_names"] == ["circle", "cross", "stripes"]
    assert "model/saved_model.pb" in printed["files"]
    assert shown.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "tensorrt"], "tensorrt"),
        (["--to", "onnx", "--precision", "f16"], "f16"),
        (["--to", "onnx", "--precision", "bf16"], "ONNX Runtime has no bf16 convolutions"),
        (["--to", "onnx", "--raw", "--fitted"], "--fitted and --raw: choose one of the two"),
        ([], "--to"),
    ],
)
def test_mistakes_are_told_in_one_line(capfd, artefact, arguments, message):
    error = run(capfd, artefact, *arguments, code=2).err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (artefact / "exports").exists()


@pytest.mark.usefixtures("converted_here")
def test_pictures_of_another_run(capfd, artefact, tmp_path):
    from pictures import write_pictures

    other = write_pictures(tmp_path / "other", each=4)
    error = run(
        capfd, artefact, "--to", "openvino", "--data", other, "-o", tmp_path / "out", code=2
    ).err
    assert "not the images that the run was trained on" in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("converted_here")
def test_an_unfinished_run(capfd, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    error = run(capfd, tmp_path / "run", "--to", "onnx", code=2).err
    assert "an unfinished run; resume with" in error
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_without_anything_to_export(capfd):
    assert "an artefact or published weights are needed" in run(capfd, "--to", "onnx", code=2).err


def test_ctrl_c(capfd, artefact, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "_in_another_process", interrupted)
    error = run(capfd, artefact, "--to", "onnx", "-o", tmp_path / "out", code=130).err
    assert error.strip().endswith("interrupted.")
    assert list(tmp_path.iterdir()) == []
