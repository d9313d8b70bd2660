from __future__ import annotations

import pytest

from keras_classics.cli import app


def rows(capsys, *arguments):
    assert app.run(["summary", *arguments]) == 0
    output = capsys.readouterr().out
    return output, {line.split()[0]: line.split() for line in output.splitlines() if line.split()}


def test_the_outermost_blocks(capsys):
    output, row = rows(capsys, "resnet50", "--width", "0.25")
    assert row["conv4"][:3] == ["conv4", "stage", "14×14×256"]
    assert row["conv4"][-2:] == ["291", "16"]
    assert "conv4_block2" not in row
    assert "trainable" in output


def test_blocks_inside_blocks(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    _, row = rows(capsys, "resnet50", "--blocks", "--size", "64", "--width", "0.25")
    assert row["conv4_block2"][1:3] == ["identity_block", "4×4×256"]
    assert row["conv4_block2_1"][1] == "conv_bn"


def test_layers(capsys):
    _, row = rows(capsys, "vgg16", "--layers", "--size", "32", "--classes", "10")
    assert row["block3_conv2"][1:4] == ["Conv2D", "8×8×256", "590,080"]
    assert row["predictions"][2] == "10"
    assert row["total"][1:4] == ["model", "10", "33,638,218"]


def test_bounds_are_marked(capsys):
    output, row = rows(capsys, "inception_v3", "--width", "0.1", "--size", "75")
    assert row["mixed9"][-3:] == ["≤", "1183", "32"]
    assert "a bound" in output


def test_an_artefact_and_a_file(capsys, artefact, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    _, of_artefact = rows(capsys, str(artefact))
    _, of_file = rows(capsys, str(artefact / "model.keras"))
    assert of_artefact["block5"] == of_file["block5"]
    assert of_artefact["block5"][:3] == ["block5", "vgg_block", "1×1×64"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vgg61"], "did you mean 'vgg16'"),
        (["resnet50", "--size", "31"], "at least 32 x 32"),
        (["resnet50", "--layers", "--blocks"], "choose one"),
        (["nowhere.keras"], "no such file"),
        (["resnet50", "--width", "0"], "width=0.0"),
        (["resnet50", "--classes", "0"], "classes=0"),
        (["resnet50", "--size", "0"], "--size"),
    ],
)
def test_errors(capsys, arguments, message):
    assert app.run(["summary", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("network", ["efficientnet_b0", "efficientnet_lite0", "mobilenet_v2"])
def test_blocks_inside_blocks_fit_80_columns(capsys, monkeypatch, network):
    monkeypatch.setenv("COLUMNS", "80")
    output, row = rows(capsys, network, "--blocks")
    assert max(map(len, output.splitlines())) <= 80
    if network == "efficientnet_lite0":
        assert row["top"][1] == "conv_bn"


@pytest.mark.parametrize("width", ["60", "80", "200"])
def test_figures_are_whole_at_any_width_of_the_terminal(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    _, row = rows(capsys, "vgg16", "--size", "32")
    assert row["total"][3:] == ["37,694,248", "336", "M", "1.28", "MB"]
    assert row["block5"][-2:] == ["212", "32"]
