from __future__ import annotations

import json

import numpy as np
import pytest

from keras_classics.architectures.catalog import CATALOG
from keras_classics.architectures.frame import build
from keras_classics.cli import app
from keras_classics.weights.conversion import model_of


def run(capsys, *arguments, code=0):
    assert app.run([str(argument) for argument in arguments]) == code
    return capsys.readouterr()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    model = build(CATALOG["resnet50_v1_5"], width=0.125, classes=5, input_shape=(64, 64, 3))
    path = tmp_path_factory.mktemp("weights") / "mine.weights.h5"
    model.save_weights(path)
    return path, model


def test_the_report_names_every_tensor_here_and_there(capsys, source, tmp_path):
    path, model = source
    target = tmp_path / "mine.safetensors"
    arguments = ("convert", path, target, "--network", "resnet50_v1_5", "--width", 0.125)
    output = run(capsys, *arguments).out
    assert "written, read again and equal" in output
    for word in (
        "conv4_block2_3_conv/kernel",
        "layer3.1.conv3.weight",
        "hwio -> oihw",
        "1×1×32×128",
    ):
        assert word in output
    again = tmp_path / "again.weights.h5"
    printed = json.loads(run(capsys, *("convert", target, again), *arguments[3:], "--json").out)
    assert {row["network"] for row in printed if row["network"]} == {
        f"{layer.name}/{weight.name}" for layer in model.layers for weight in layer.weights
    }
    (row,) = (row for row in printed if row["source"] == "fc.weight")
    assert row == {
        "source": "fc.weight",
        "source_shape": [5, 256],
        "network": "predictions/kernel",
        "target": "predictions/kernel",
        "target_shape": [256, 5],
        "change": "oi -> io",
    }
    assert again.read_bytes() == path.read_bytes()


def test_what_the_file_holds_is_said(capsys, source, tmp_path):
    path, _ = source
    for ending, holds in (
        (".keras", "a whole model: keras.models.load_model opens it"),
        (".h5", 'weights alone, without the network: build it with weights="mine.h5"'),
    ):
        target = tmp_path / f"mine{ending}"
        arguments = ("convert", path, target, "--network", "resnet50_v1_5", "--width", 0.125)
        assert run(capsys, *arguments).out.splitlines()[-1] == holds
    words = " ".join(run(capsys, "convert", "--help").out.replace("│", " ").split())
    assert ".keras is a whole model; .weights.h5, .h5, .pth and .safetensors hold the weights" in (
        words
    )


def test_an_artefact_says_itself_what_it_is(capsys, artefact, tmp_path):
    target = tmp_path / "mine.pth"
    run(capsys, "convert", artefact, target, "--layout", "timm")
    import torch

    assert "head.fc.weight" in torch.load(target, weights_only=True)
    from keras_classics import CATALOG, load

    model, _ = model_of(target, CATALOG["vgg16"], width=0.125)
    for a, b in zip(load(artefact).model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["IN", "out.pth"], "the weights of which network? Say --network"),
        (["IN", "out.xyz", "--network", "resnet50_v1_5"], "the ending says the format"),
        (["IN", "IN", "--network", "resnet50_v1_5", "--width", "0.125"], "exists; choose another"),
        (
            ["IN", "out.pth", "--network", "resnet50", "--width", "0.125"],
            "conv1_conv has 1 tensors",
        ),
        (["IN", "out.pth", "--network", "resnet50_v1_5"], "Is the width another one?"),
        (["IN", "out.pth", "--network", "resnet5"], "did you mean"),
        (["none.h5", "out.pth"], "no such file, artefact or published name"),
        (
            ["IN", "no/such/out.pth", "--network", "resnet50_v1_5", "--width", "0.125"],
            "no/such/out.pth: cannot be written",
        ),
        (
            ["IN", "out.h5", "--network", "resnet50_v1_5", "--width", "0.125", "--layout", "timm"],
            "layout='timm': for .pth",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    capsys, source, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = [str(source[0]) if argument == "IN" else argument for argument in arguments]
    error = run(capsys, "convert", *arguments, code=2).err
    assert len(error.strip().splitlines()) == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in source[0].parent.iterdir()] == ["mine.weights.h5"]
