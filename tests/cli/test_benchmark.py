from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from keras_classics.cli.app import run as classics
from keras_classics.exporting.exported import PRECISIONS

TINY = ["--rounds", "1", "--seconds", "0.02", "--batch-size", "2"]


@pytest.fixture
def limits(monkeypatch):
    """The machine's limits without measuring them, which tests/engines/benchmark does."""
    course = "keras_classics.engines.benchmark.course"
    monkeypatch.setattr(f"{course}.measured_limits", lambda _: dict.fromkeys(PRECISIONS, 1e12))


@pytest.mark.slow
def test_a_small_network_on_two_engines(capsys, tmp_path):
    plot = tmp_path / "speed.svg"
    options = ["--width", "0.0625", "--size", "32", "--classes", "5", *TINY, "-o", str(plot)]
    chosen = ["--library", "openvino", "--library", "keras"]
    assert classics(["benchmark", "vgg16", *options, *chosen]) == 0
    out = capsys.readouterr().out
    lines = {tuple(line.split()[:2]) for line in out.splitlines()}
    for library, precision in [
        ("openvino", "int8"),
        ("openvino", "bf16"),
        ("openvino", "f32"),
        ("keras", "f32"),
    ]:
        assert (library, precision) in lines
    assert "left out" not in out
    assert "vgg16, 32 × 32, width 0.0625" in out
    assert "openvino int8" in plot.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("limits")
def test_a_small_network_in_int8(capsys, tmp_path):
    options = ["--width", "0.0625", "--size", "32", "--classes", "5", "--precision", "int8", *TINY]
    values = tmp_path / "speed.json"
    assert (
        classics(["benchmark", "vgg16", *options, "--library", "openvino", "-o", str(values)]) == 0
    )
    out = capsys.readouterr().out
    assert "vgg16, 32 × 32, width 0.0625" in out
    (row,) = json.loads(values.read_text())["rows"]
    assert (row["library"], row["precision"]) == ("openvino", "int8")
    assert row["images_per_s"] > 0


@pytest.mark.usefixtures("limits")
def test_an_artefact_beside_what_is_not_to_be_had(capsys, artefact):
    options = ["--library", "keras", "--library", "torchvision", "--precision", "f32", "--json"]
    assert classics(["benchmark", str(artefact), *TINY, *options]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [row["library"] for row in values["rows"]] == ["keras"]
    assert "torchvision f32" in values["missing"]
    assert values["rows"][0]["p99_ms"] >= values["rows"][0]["p50_ms"] > 0
    assert not list(artefact.glob("exports*"))  # nothing is left in the run's folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet5"], "did you mean 'resnet50'"),
        (["no/such/run"], "no/such/run"),
        (["vgg16", "--library", "openvina"], "did you mean 'openvino'"),
        (["vgg16", "--precision", "int4"], "not one of int8, bf16, f32"),
        (["vgg16", "--library", "timm", "--precision", "int8"], "timm runs nothing in int8."),
        (["vgg16", "-o", "speed.gif"], "the file ends with .json"),
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


def test_without_tensorflow(capsys, monkeypatch, artefact):
    find_spec = importlib.util.find_spec
    without = lambda name: None if name == "tensorflow" else find_spec(name)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", without)
    monkeypatch.setattr("keras_classics.cli.backend.start", lambda: None)
    assert classics(["benchmark", str(artefact), "--library", "openvino"]) == 2
    assert "tensorflow is not installed" in capsys.readouterr().err


def test_options_that_a_trained_network_has_fixed(capsys, artefact):
    assert classics(["benchmark", str(artefact), "--size", "64"]) == 2
    assert "fixed" in capsys.readouterr().err


def test_a_folder_that_is_no_artefact(capsys, tmp_path):
    assert classics(["benchmark", str(tmp_path), "--library", "keras"]) == 2
    errors = capsys.readouterr().err
    assert "not an artefact" in errors
    assert errors.count("\n") == 1
