from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from keras_classics import load
from keras_classics.cli import app
from pictures import state


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def run(capsys, *arguments):
    assert app.run(["explain", *map(str, arguments)]) == 0
    return capsys.readouterr()


def fail(capsys, *arguments):
    assert app.run(["explain", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


def test_writes_a_picture_and_a_json_and_nothing_else(capsys, artefact, shapes, tmp_path):
    before = state(shapes), state(artefact)
    image = shapes / "circle" / "000.png"
    output = run(capsys, artefact, image).out
    assert (state(shapes), state(artefact)) == before
    folder = tmp_path / "here" / "explanations"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["000-grad-cam.json", "000-grad-cam.png"]
    with Image.open(folder / names[1]) as picture:
        assert picture.width > 1000
    content = json.loads((folder / names[0]).read_text())
    (prediction,) = load(artefact).predict(image)
    assert content["top"][0]["class"] == prediction.class_name
    checks = content["classes"][0]["checks"]
    assert f"{prediction.confidence:.1%}" in output
    assert f"{checks['deletion']['area']:.3f}" in output
    assert f"{checks['randomised']['rank_correlation']:.2f}" in output
    assert "picture: explanations/000-grad-cam.png" in output


def test_several_images_and_those_that_cannot_be_read(capsys, artefact, shapes, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    captured = run(
        capsys, artefact, f"{shapes}/*/001.png", tmp_path / "torn.png", "--no-check", "-o", "out"
    )
    names = sorted(path.name for path in (tmp_path / "here" / "out").glob("*.png"))
    assert names == ["001-grad-cam-2.png", "001-grad-cam-3.png", "001-grad-cam.png"]
    assert "skipped 1 image that cannot be read" in captured.err
    assert "deletion" not in captured.out


def test_named_files_block_classes_and_method(capsys, artefact, shapes, tmp_path):
    image = shapes / "cross" / "002.png"
    options = ["--method", "layer-cam", "--block", "block2", "--class", "stripes", "--class", "0"]
    run(capsys, artefact, image, *options, "--no-check", "-o", "a.png", "--json", "b.json")
    content = json.loads((tmp_path / "here" / "b.json").read_text())
    assert content["block"] == "block2"
    assert content["method"]["name"] == "layer-cam"
    assert [each["class"] for each in content["classes"]] == ["stripes", "circle"]
    assert content["classes"][0]["checks"] is None
    assert sorted(p.name for p in (tmp_path / "here").iterdir()) == ["a.png", "b.json"]
    run(capsys, artefact, image, "--no-check", "-o", "a.png")  # what is named is written over
    assert json.loads((tmp_path / "here" / "a.json").read_text())["method"]["name"] == "grad-cam"


def test_settings_of_a_method(capsys, artefact, shapes, tmp_path):
    image = shapes / "cross" / "002.png"
    run(capsys, artefact, image, "--method", "occlusion", "--window", 16, "--stride", 8,
        "--no-check", "-o", "a.png")  # fmt: skip
    content = json.loads((tmp_path / "here" / "a.json").read_text())
    assert content["method"]["settings"] == {"window": 16, "stride": 8}
    line = fail(capsys, artefact, image, "--window", 16)
    assert "--window: belongs to --method occlusion, not to grad-cam" in line


def test_a_map_that_does_not_depend_on_the_weights_is_marked(capsys, artefact, shapes, monkeypatch):
    from keras_classics.explanation import faithfulness

    monkeypatch.setattr(faithfulness.Sanity, "passed", property(lambda _: False))
    output = run(capsys, artefact, shapes / "cross" / "002.png", "-o", "a.png").out
    assert "too like it" in output


def test_published_weights_take_the_place_of_the_artefact(
    capsys, artefact, shapes, tmp_path, monkeypatch
):
    from keras_classics.cli import weights

    monkeypatch.setattr(
        weights, "classifier_of", lambda name: {"some-record": load(artefact)}[name]
    )
    run(capsys, "--weights", "some-record", shapes / "cross" / "002.png", "--no-check")
    assert (tmp_path / "here" / "explanations" / "002-grad-cam.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ARTEFACT"], "an ARTEFACT and IMAGES are needed"),
        (["nowhere", "IMAGE"], "nowhere: no such artefact"),
        (["SHAPES", "IMAGE"], "not an artefact"),
        (["ARTEFACT", "none.png"], "none.png: no such file"),
        (["ARTEFACT", "TORN"], "torn.png: "),
        (["ARTEFACT", "IMAGE", "--method", "gradcam"], "did you mean 'grad-cam'?"),
        (["ARTEFACT", "IMAGE", "--block", "blok5"], "did you mean 'block5'?"),
        (["ARTEFACT", "IMAGE", "--class", "circel"], "did you mean 'circle'?"),
        (["ARTEFACT", "IMAGE", "--class", "7"], "from 0 to 2"),
        (["ARTEFACT", "IMAGE", "-o", "none/a.png"], "none/a.png: cannot be written"),
        (["ARTEFACT", "IMAGE", "-o", "TORN"], "torn.png/"),
        (["ARTEFACT", "IMAGE", "-o", "a.png", "--json", "none/a.json"], "none/a.json: cannot be"),
        (["ARTEFACT", "SHAPES", "-o", "a.png"], "a.png: one file for 60 images"),
        (["ARTEFACT", "SHAPES", "--json", "a.json"], "a.json: one file for 60 images"),
        (["ARTEFACT", "IMAGE", "--steps", "0"], "--steps"),
    ],
)
def test_what_cannot_be_is_one_clear_line(capsys, artefact, shapes, tmp_path, arguments, message):
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"\x89PNG")
    meant = {
        "ARTEFACT": artefact, "SHAPES": shapes, "IMAGE": shapes / "circle" / "000.png",
        "TORN": torn,
    }  # fmt: skip
    if message == "torn.png/":  # a file stands where the folder should be
        torn = torn.rename(tmp_path / "torn.txt")
        meant["TORN"], message = torn, "torn.txt: not a folder"
    assert message in fail(capsys, *(meant.get(each, each) for each in arguments))


def test_nothing_goes_into_a_folder_of_images_unasked(
    capsys, artefact, shapes, tmp_path, monkeypatch
):
    data = shutil.copytree(shapes, tmp_path / "data")
    monkeypatch.chdir(data)
    before = state(data)
    assert "folder of the images" in fail(capsys, artefact, data)
    assert state(data) == before
