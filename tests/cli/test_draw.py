from __future__ import annotations

import pytest

from keras_classics.cli import app

SMALL = ("--width", "0.125", "--size", "64")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_network(tmp_path, capsys):
    assert app.run(["draw", "resnet50", *SMALL]) == 0
    assert capsys.readouterr().out == "resnet50.svg\n"
    assert "conv4_block2" in (tmp_path / "resnet50.svg").read_text(encoding="utf-8")


def test_without_a_name(tmp_path, capsys):
    assert app.run(["draw", "--level", "stages", *SMALL]) == 0
    assert capsys.readouterr().out == "efficientnet_lite0.svg\n"
    assert ">EfficientNetLite0<" in (tmp_path / "efficientnet_lite0.svg").read_text("utf-8")


def test_a_block_as_png_and_pdf(tmp_path):
    for name in ("a.png", "a.pdf"):
        assert app.run(["draw", "inception_v3", "--block", "mixed0", "-o", name, "--width",
                        "0.125"]) == 0  # fmt: skip
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_to_standard_output(capsys, tmp_path):
    assert app.run(["draw", "vgg16", "--level", "layers", "-o", "-", *SMALL]) == 0
    assert capsys.readouterr().out.startswith("<svg")
    assert not list(tmp_path.iterdir())


def test_an_artefact_beside_a_network(artefact, tmp_path):
    assert app.run(["draw", str(artefact), "resnet50", "-o", "two.svg"]) == 0
    assert "ResNet50" in (tmp_path / "two.svg").read_text(encoding="utf-8")


def test_unfolded_and_dark(tmp_path):
    options = ("--unfold", "--theme", "dark", "--level", "blocks")
    assert app.run(["draw", "resnet50", *options, *SMALL]) == 0
    assert 'data-name="conv4_block6"' in (tmp_path / "resnet50.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet51"], "did you mean 'resnet50'"),
        (["resnet50", "--block", "conv9"], "block 'conv9' is not in 'resnet50'"),
        (["resnet50", "--level", "deep"], "level='deep'"),
        (["resnet50", "--theme", "pink"], "theme='pink'"),
        (["resnet50", "-o", "a.gif"], "a.gif: a name that ends with"),
        (["resnet50", "-o", "nowhere/a.svg"], "nowhere/a.svg: cannot be written"),
        (["resnet50", "vgg17"], "did you mean 'vgg16'"),
        (["resnet50", "vgg16", "--block", "conv2"], "block and beside"),
        (["torn.keras"], "torn.keras: no such file."),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path):
    small = [] if arguments[0].endswith(".keras") else SMALL
    assert app.run(["draw", *arguments, *small]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
