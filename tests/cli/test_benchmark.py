from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

from keras_classics.cli.app import run as classics
from keras_classics.engines.benchmark.contenders import CONTENDERS, REFERENCE
from keras_classics.engines.benchmark.measuring import Results, Row

TINY = ["--rounds", "1", "--seconds", "0.02", "--batch-size", "2"]
SMALL = ["vgg16", "--width", "0.0625", "--size", "32", "--classes", "5"]


@pytest.mark.slow
def test_a_small_network_on_everything(capfd, tmp_path):
    values = tmp_path / "speed.json"
    assert classics(["benchmark", *SMALL, *TINY, "-o", str(values), "--threads", "1"]) == 0
    shown = capfd.readouterr()
    found = json.loads(values.read_text())
    assert found["missing"] == {}
    assert {row["name"] for row in found["rows"]} == {each.name for each in CONTENDERS}
    for row in found["rows"]:
        assert row["p99_ms"] >= row["p50_ms"] > 0
        assert row["images_per_s"] > 0
        assert row["name"] in shown.out
    assert "relative to keras.applications' VGG16 (width 1)" in " ".join(shown.out.split())
    assert re.fullmatch(r"This will take about (a minute|\d+ minutes)\.\n", shown.err)


@pytest.mark.slow
def test_an_artefact_alone(capfd, artefact):
    assert classics(["benchmark", str(artefact), *TINY, "--library", "keras", "--json"]) == 0
    values = json.loads(capfd.readouterr().out)
    (row,) = values["rows"]
    assert (row["library"], row["to_reference"]) == ("keras", None)
    assert values["width"] == 0.125
    assert not list(artefact.glob("exports*"))  # nothing is left in the run's folder


@pytest.fixture
def asked(monkeypatch):
    """What the command asks for, which is not measured."""
    asked = {}

    def benchmark(network, *, foresee, tell, **options):
        asked.update(options)
        foresee(200)
        tell("round 1")
        names = [each.name for each in options["contenders"]]
        rows = [
            Row(name, *name.split(), 1.0, 2.0, 3.0, 1234.56, (1234.56,), ratio, 200_000_000)
            for name in names
            for ratio in ([5.4321] if REFERENCE.name in names else [None])
        ]
        return Results(
            network=network,
            size=224,
            width=0.25,
            macs=4_210_000,
            reference="ResNet50 (width 1)",
            batch=options["batch"],
            rounds=options["rounds"],
            rows=tuple(rows),
            missing={"onnxruntime f32": "onnx is not installed"},
            machine={"processor": "AMD EPYC", "cores": 2},
        )

    monkeypatch.setattr("keras_classics.engines.benchmark.measuring.benchmark", benchmark)
    return asked


def test_the_table_fits_a_terminal(capsys, monkeypatch, asked):
    monkeypatch.setenv("COLUMNS", "80")
    assert classics(["benchmark", "resnet50"]) == 0
    shown = capsys.readouterr()
    assert "keras.applications f32     1.0     2.0     3.0    1234.6   5.43  200 MB" in shown.out
    assert "ratio: images/s relative to keras.applications' ResNet50 (width 1)" in shown.out
    assert "left out: onnxruntime f32: onnx is not installed" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    assert shown.err == "This will take about 3 minutes.\n"
    assert [each.name for each in asked["contenders"]] == [each.name for each in CONTENDERS]


def test_no_column_is_empty(capsys, asked):
    assert classics(["benchmark", "resnet50", "--library", "openvino"]) == 0
    assert "ratio" not in capsys.readouterr().out
    assert {each.library for each in asked["contenders"]} == {"openvino"}


@pytest.mark.parametrize(
    ("options", "precisions", "rounds", "seconds"),
    [
        ([], {"int8", "bf16", "f32"}, 5, 2.0),
        (["--quick"], {"bf16", "f32"}, 1, 0.5),
        (["--quick", "--precision", "int8", "--rounds", "3"], {"int8"}, 3, 0.5),
    ],
)
def test_quick(asked, options, precisions, rounds, seconds):
    assert classics(["benchmark", "resnet50", *options]) == 0
    assert {each.precision for each in asked["contenders"]} == precisions
    assert (asked["rounds"], asked["seconds"]) == (rounds, seconds)


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.json", b"{")])
def test_what_is_written(tmp_path, name, start):
    path = tmp_path / name
    assert classics(["benchmark", "resnet50", "-o", str(path)]) == 0
    assert path.read_bytes().startswith(start)
    path.unlink()
    path.mkdir()  # in the way
    assert classics(["benchmark", "resnet50", "-o", str(path)]) == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet5"], "did you mean 'resnet50'"),
        (["no/such/run"], "no/such/run: no such artefact."),
        (
            ["vgg16", "--library", "openvina"],
            "onnxruntime, keras, keras.applications; did you mean 'openvino'?",
        ),
        (["vgg16", "--precision", "int4"], "not one of int8, bf16, f32"),
        (["vgg16", "--library", "keras", "--precision", "int8"], "keras: cannot run in int8."),
        (["vgg16", "-o", "speed.gif"], "the file must end in .json, .svg, .png, .pdf"),
        (["vgg16", "-o", "no/such/speed.svg"], "no such folder"),
        (["vgg16", "--batch-size", "0"], "batch-size"),
    ],
)
def test_what_cannot_be_is_one_line(capsys, arguments, message):
    assert classics(["benchmark", *arguments]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1


def test_nothing_but_the_mistake_is_said():
    command = [sys.executable, "-m", "keras_classics.cli", "benchmark", "resnet5"]
    environment = {name: value for name, value in os.environ.items() if "TF_CPP" not in name}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean 'resnet50'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_tensorflow(capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    without = lambda name: None if name == "tensorflow" else find_spec(name)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", without)
    monkeypatch.setattr("keras_classics.cli.backend.start", lambda: None)
    assert classics(["benchmark", "vgg16", "--library", "openvino"]) == 2
    assert "tensorflow is not installed" in capsys.readouterr().err


def test_options_that_a_trained_network_has_fixed(capsys, artefact):
    assert classics(["benchmark", str(artefact), "--size", "64"]) == 2
    assert "fixed" in capsys.readouterr().err


def test_a_folder_that_is_no_artefact(capsys, tmp_path):
    assert classics(["benchmark", str(tmp_path), "--library", "keras"]) == 2
    errors = capsys.readouterr().err
    assert "not an artefact" in errors
    assert errors.count("\n") == 1
