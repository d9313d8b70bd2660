from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from keras_classics import load, published
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


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be had there")
def test_names_of_any_kind(capsys, artefact, shapes, tmp_path):
    """Not Unicode, as long as can be, with what moves a cursor, and with a formula."""
    (tmp_path / "odd").mkdir()
    for name in (b"\xff", b"x" * 251, b"\x1b]0;a\x07\nb$\\frac$"):
        place = os.fsencode(tmp_path / "odd") + b"/" + name + b".png"
        shutil.copy(shapes / "circle" / "000.png", place)
    (tmp_path / "odd" / "bad\x1b[2J.png").write_bytes(b"no picture")
    output, error = run(capsys, artefact, tmp_path / "odd", "--no-check", "-o", "out")
    assert "\x1b" not in output + error
    assert "\\udcff.png" in output
    assert "bad\\x1b[2J.png: not an image" in error
    pattern, options = f"{tmp_path}/odd/*frac*", ["--method", "feature-maps", "--channels", 1]
    assert "\x1b" not in run(capsys, artefact, pattern, *options, "-o", "out").out
    written = {path.name for path in Path("out").glob("*.png")}
    assert written == {
        f"{stem}.png"
        for stem in ("unnamed-grad-cam", f"{'x' * 160}-grad-cam", "]0;ab$\\frac$-grad-cam",
                     "]0;ab$\\frac$-feature-maps")
    }  # fmt: skip
    for name in written:
        content = json.loads(Path("out", name).with_suffix(".json").read_bytes())
        assert content["path"].startswith(str(tmp_path))


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


def test_feature_maps_of_several_images(capsys, artefact, shapes, tmp_path):
    options = ["--method", "feature-maps", "--block", "block2", "--channels", 3]
    output = run(capsys, artefact, f"{shapes}/circle/00[0-1].png", *options).out
    assert "feature maps of block2: 3 of 16 channels, 8 × 8, from 0 to " in output
    folder = tmp_path / "here" / "explanations"
    assert sorted(path.name for path in folder.iterdir()) == [
        "000-feature-maps.json", "000-feature-maps.png",
        "001-feature-maps.json", "001-feature-maps.png",
    ]  # fmt: skip
    first, second = (json.loads((folder / f"00{i}-feature-maps.json").read_text()) for i in (0, 1))
    assert first["values"]["shape"] == [3, 8, 8]
    assert first["values"]["float32"] != second["values"]["float32"]


@pytest.mark.parametrize("method", ["filters", "feature-visualisation"])
def test_without_an_image(capsys, artefact, tmp_path, method):
    output = run(capsys, artefact, "--method", method, "--channel", 2, "--channel", 0).out
    stem = f"vgg16-{method}"
    assert f"picture: explanations/{stem}.png" in output
    content = json.loads((tmp_path / "here" / "explanations" / f"{stem}.json").read_text())
    assert content["path"] is None
    assert [each["channel"] for each in content["channels"]] == [2, 0]


def test_steps_and_seed_of_feature_visualisation(capsys, artefact, tmp_path):
    options = ["--block", "block1", "--channels", 2, "--steps", 3, "--seed", 5, "-o", "a.png"]
    run(capsys, artefact, "--method", "feature-visualisation", *options)
    content = json.loads((tmp_path / "here" / "a.json").read_text())
    assert content["method"]["settings"] == {
        "channels": 2, "channel": [], "steps": 3, "seed": 5,
    }  # fmt: skip
    assert len(content["channels"][0]["activations"]) == 4


def test_published_weights_need_no_artefact_and_no_image(capsys, artefact, tmp_path, monkeypatch):
    from keras_classics.cli import weights

    monkeypatch.setattr(weights, "classifier_of", lambda _: load(artefact))
    run(capsys, "--weights", "some-record", "--method", "filters", "-o", "a.png")
    assert (tmp_path / "here" / "a.png").is_file()


def test_a_map_that_does_not_depend_on_the_weights_is_marked(capsys, artefact, shapes, monkeypatch):
    from keras_classics.explanation import faithfulness

    monkeypatch.setattr(faithfulness.Sanity, "passed", property(lambda _: False))
    output = run(capsys, artefact, shapes / "cross" / "002.png", "-o", "a.png").out
    assert "too similar" in output


def test_published_weights_take_the_place_of_the_artefact(
    capsys, artefact, shapes, tmp_path, monkeypatch
):
    from keras_classics.cli import weights

    monkeypatch.setattr(
        weights, "classifier_of", lambda name: {"some-record": load(artefact)}[name]
    )
    run(capsys, "--weights", "some-record", shapes / "cross" / "002.png", "--no-check")
    assert (tmp_path / "here" / "explanations" / "002-grad-cam.png").is_file()


def test_without_an_artefact_the_installed_weights_are_explained(capsys, flower, tmp_path):
    captured = run(capsys, flower, "--no-check", "-o", "flower.png")
    assert captured.err.splitlines()[0].startswith("no artefact named: ImageNet's 1,000 classes")
    (prediction,) = published().predict(flower)
    content = json.loads((tmp_path / "here" / "flower.json").read_text())
    assert content["top"][0]["class"] == prediction.class_name
    run(capsys, "--method", "filters", "-o", "filters.png")
    assert (tmp_path / "here" / "filters.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ARTEFACT"], ": of which images?"),
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
        ([], "images are needed: name files, folders"),
        (["nowhere", "--method", "filters"], "nowhere: no such artefact or export"),
        (["IMAGE", "--method", "filters"], "000.png: --method filters shows the netw"),
        (["ARTEFACT", "--method", "feature-maps"], ": of which images?"),
        (["ARTEFACT", "IMAGE", "--method", "filters"], "000.png: --method filters shows the netw"),
        (["ARTEFACT", "--method", "filter"], "did you mean 'filters'?"),
        (["ARTEFACT", "--method", "filters", "--block", "blok5"], "did you mean 'block5'?"),
        (["ARTEFACT", "--method", "filters", "--block", "block1_pool"], "no 2D convolution"),
        (["ARTEFACT", "--method", "filters", "--channel", "8"], "channel 8: there are 8, from 0"),
        (["ARTEFACT", "--method", "filters", "--channels", "9"], "channels=9: from 1 to the 8"),
        (["ARTEFACT", "--method", "filters", "--class", "0"], "--class: belongs to --method grad"),
        (["ARTEFACT", "--method", "filters", "--no-check"], "not to filters"),
        (["ARTEFACT", "--method", "filters", "--seed", "1"], "--seed: belongs to --method"),
        (["ARTEFACT", "IMAGE", "--channel", "1"], "--channel: belongs to --method feature-maps"),
        (
            ["ARTEFACT", "--method", "filters", "--channel", "1", "--channels", "1"],
            "name channels, or how many; not both",
        ),
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
