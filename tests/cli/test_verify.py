from __future__ import annotations

import hashlib
import json

import pytest

from keras_classics import build
from keras_classics.cli import app

RESNET = ("--network", "resnet50", "--width", 0.125)


def run(capsys, *arguments, code=0):
    assert app.run([str(argument) for argument in arguments]) == code
    return capsys.readouterr()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    model = build("resnet50", weights=None, width=0.125, classes=5, input_shape=(64, 64, 3))
    model.get_layer("conv3_block1_2_conv").kernel.assign(
        0 * model.get_layer("conv3_block1_2_conv").kernel
    )
    path = tmp_path_factory.mktemp("weights") / "mine.weights.h5"
    model.save_weights(path)
    return path


def test_what_is_shown(capsys, path):
    output = run(capsys, "verify", path, *RESNET).out
    content = path.read_bytes()
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() in output
    assert hashlib.sha256(content).hexdigest() in output
    for words in (
        "none: not one of the published files",
        "resnet50, width 0.125",
        "by names and shapes",
        "320, all there, all finite, 5 classes",
        "gives the golden outputs of resnet50",
        "conv3_block1_2_conv/kernel constant",
        "1 tensor looks odd",
    ):
        assert words in " ".join(output.split())
    assert "conv1_bn/gamma" not in output
    assert "conv1_bn/gamma" in run(capsys, "verify", path, *RESNET, "--tensors").out


def test_a_report_can_be_expected_of_another_format(capsys, tmp_path):
    vgg = ("--network", "vgg16", "--width", 0.0625)
    one, third = tmp_path / "mine.weights.h5", tmp_path / "third.weights.h5"
    for path in (one, third):
        build("vgg16", weights=None, width=0.0625, classes=5).save_weights(path)
    report = tmp_path / "report.json"
    report.write_text(run(capsys, "verify", one, *vgg, "--json").out)
    assert len(json.loads(report.read_text())["picture_outputs"]) == 5
    other = tmp_path / "mine.h5"
    run(capsys, "convert", one, other, *vgg)
    output = run(capsys, "verify", other, *vgg, "--expect", report).out
    assert f"as in {report}" in " ".join(output.split())
    error = run(capsys, "verify", third, *vgg, "--expect", report, code=2).err
    assert "off those in" in error


def test_an_artefact_needs_no_options(capsys, artefact):
    output = run(capsys, "verify", artefact).out
    assert "by names, shapes and what the layers compute" in output
    assert "vgg16, width 0.125" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the weights of which network? Say --network"),
        (["--network", "resnet50"], "Is the width another one?"),
        (["--network", "vgg16", "--width", "0.125"], "block1_conv1 is missing"),
        (
            ["--network", "resnet50", "--width", "0.125", "--expect", "no.json"],
            "no.json: not a report",
        ),
    ],
)
def test_mistakes_are_one_line(capsys, path, arguments, message):
    error = run(capsys, "verify", path, *arguments, code=2).err
    assert len(error.strip().splitlines()) == 1
    assert message in error
