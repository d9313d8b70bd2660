"""`classics check`, as a person meets it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_classics.cli import app
from keras_classics.cli.check import FIRST, check
from keras_classics.training.transfer import BUILDING, ENDING, PASS, STEP
from pictures import state, write_pictures


@pytest.fixture(autouse=True)
def _registered():
    """The command as part of the application, also where that does not list it yet."""
    commands = app.app.registered_commands
    before = list(commands)
    if not any(command.callback.__name__ == "check" for command in commands):
        app.app.command()(app._guarded(check))
    yield
    commands[:] = before


@pytest.fixture
def data(tmp_path):
    return write_pictures(tmp_path / "data", each=12)


def screen(capsys, *arguments, code=0):
    """What a command shows, without line breaks."""
    assert app.run(["check", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return " ".join(captured.out.split())


def test_a_sound_folder(capsys, data):
    shown = screen(capsys, data, "--size", "32")
    assert f"{data}: 36 images, 3 classes, no splits" in shown
    assert "no problems found" in shown
    assert "problems unreadable" not in shown
    assert "estimates for a run" in shown
    assert "36 images" in shown
    assert "111 kB at 32 × 32 pixels, in memory" in shown


def test_groups_and_roots(capsys, data, tmp_path):
    for part, numbers in (("train", range(8)), ("test", range(4, 12))):
        for kind in (path.name for path in data.iterdir()):
            (tmp_path / "parts" / part / kind).mkdir(parents=True)
            for i in numbers:
                shutil.copy(data / kind / f"{i:03}.png", tmp_path / "parts" / part / kind)
    shown = screen(capsys, tmp_path / "parts", "--group-by", r"\d+", code=1)
    assert "4 groups across splits: images of one group in several splits" in shown
    names = sorted(path.relative_to(data) for path in data.rglob("*.png"))
    rows = "".join(f"{name},{name.parts[0]}\n" for name in names)
    (tmp_path / "labels.csv").write_text("path,label\n" + rows)
    shown = screen(capsys, tmp_path / "labels.csv", "--root", data)
    assert f"{tmp_path}/labels.csv: 36 images, 3 classes, no splits" in shown
    assert app.run(["check", str(tmp_path / "labels.csv")]) == 2
    assert "36 of 36 files are not in" in capsys.readouterr().err


def test_what_must_be_mended_gives_exit_code_1(capsys, data):
    (data / "cross" / "torn.png").write_bytes((data / "cross" / "000.png").read_bytes()[:200])
    shutil.copy(data / "cross" / "001.png", data / "circle" / "copy.png")
    before = state(data)
    shown = screen(capsys, data, code=1)
    assert "1 unreadable: cannot be read" in shown
    assert "cross/torn.png truncated" in shown
    assert "circle/copy.png = cross/001.png" in shown
    assert "problems found: fix" in shown
    assert state(data) == before


def test_severities_in_their_order(capsys, data):
    (data / "cross" / "letter.jpg").write_text("Dear reader")
    Image.fromarray(np.arange(80 * 80, dtype=np.uint8).reshape(80, 80)).save(data / "cross/l.png")
    shown = screen(capsys, data, code=1)
    places = [shown.index(heading) for heading in ("problems", "warnings", "notes")]
    assert places == sorted(places)


def test_the_first_paths_or_all(capsys, data):
    shown = screen(capsys, data)  # 40 pixels, which are fewer than 64
    assert shown.count("40×40") == FIRST
    assert "and 33 more: --all" in shown
    shown = screen(capsys, data, "--all")
    assert shown.count("40×40") == 36
    assert "--all" not in shown


def test_paths_are_never_cut(capsys, data, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "a-very-long-name-of-a-file-" * 6 + "[red]\n.png"
    (data / "cross" / name).write_text("x")
    assert app.run(["check", str(data), "--size", "32"]) == 1
    assert f"cross/{name}".replace("\n", "\\n") in capsys.readouterr().out


def test_json(capsys, data):
    (data / "cross" / "torn.png").write_bytes(b"\x89PNG")
    assert app.run(["check", str(data), "--json", "--no-near"]) == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    plain = json.loads(captured.out)
    assert plain["sound"] is False
    assert plain["near"] is False
    assert plain["run"] is None
    assert plain["images"] == 37
    assert plain["classes"] == {"circle": 12, "cross": 12, "stripes": 12}
    assert plain["cost"]["size"] == 224
    unreadable, tiny = plain["findings"]
    assert unreadable["severity"] == "mend"
    assert unreadable["places"] == [{"paths": ["cross/torn.png"], "note": "not an image"}]
    assert len(tiny["places"]) == 36


def test_near_copies_are_looked_for_unless_told_not_to(capsys, data):
    # All noise but one: the shapes of the tests are too much alike where they are small.
    Image.open(data / "cross" / "003.png").save(data / "cross" / "again.jpg", quality=80)
    shown = screen(capsys, data, "--size", "32")
    assert "cross/003.png ≈ cross/again.jpg" in shown
    shown = screen(capsys, data, "--size", "32", "--no-near")
    assert "again.jpg" not in shown
    assert "near-duplicates were not searched for" in shown


def fails(capsys, *arguments):
    assert app.run([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "0"], "'--size'"),
        (["--width", "0.5"], "--width: needs --network"),
        (["--epochs", "3"], "--epochs: needs --network"),
        (["--weights", "none"], "--weights: needs --network"),
        (["--network", "resnet51"], "did you mean 'resnet50'?"),
        (["--network", "vgg16", "--weights", "nowhere.h5"], "nowhere.h5"),
        (["--network", "mobilenet_v2", "--weights", "vgg16-keras"], "made for vgg16"),
        (["--network", "inception_v3", "--size", "32"], "InceptionV3 takes 75 to 4096 pixels"),
    ],
)
def test_arguments_that_cannot_be(capsys, data, arguments, message):
    assert message in fails(capsys, "check", data, *arguments)


def test_folders_that_cannot_be(capsys, tmp_path):
    assert "no such folder" in fails(capsys, "check", tmp_path / "nowhere")
    assert "contains no images" in fails(capsys, "check", tmp_path)


def test_a_network_is_built_and_timed(capsys, data):
    arguments = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--batch-size", "4"]
    assert app.run(["check", str(data), *arguments, "--epochs", "5", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    run = plain["run"]
    assert (run["network"], run["width"], run["batch_size"], run["epochs"]) == (
        "vgg16",
        0.0625,
        4,
        5,
    )
    assert plain["cost"]["size"] == 32
    assert run["images_per_second"] > 0
    learn = 5 * 24 / run["images_per_second"]
    assert learn < run["seconds"] < 2 * learn  # the few images that choose the epoch are cheaper
    assert run["peak_bytes"] is None or run["peak_bytes"] > 5e7
    shown = screen(capsys, data, *arguments)
    assert "12 epochs of vgg16, width 0.0625, batches of 4" in shown


def test_the_run_is_that_of_train_with_trained_weights(capsys, data, artefact, monkeypatch):
    monkeypatch.setattr("keras_classics.training.features.measure_rate", lambda *_, **__: 10.0)
    arguments = ["--network", "vgg16", "--weights", artefact, "--epochs", "4"]
    assert app.run(["check", str(data), *map(str, arguments), "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    run = plain["run"]
    assert (run["width"], run["weights"]) == (0.125, str(artefact))
    assert plain["cost"]["size"] == 32  # of the weights
    assert run["head_seconds"] == 36 / 10 + ENDING
    epoch = (STEP * 24 + PASS * 6) / 10
    assert run["fine_tuning_seconds"] == pytest.approx(BUILDING + 4 * epoch)
    assert run["seconds"] == run["head_seconds"] + run["fine_tuning_seconds"]
    shown = screen(capsys, data, *arguments)
    assert "head about 9 s with features of vgg16, weights" in shown
    assert "for 4 epochs, batches of 32; skip it with --unfreeze none" in shown
    # As `classics train` chooses: ImageNet's weights at their size, epochs by the number of images.
    assert app.run(["check", str(data), "--network", "efficientnet_lite0", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["cost"]["size"] == 224
    assert run["run"]["weights"] == "efficientnet_lite0-google"
    assert run["run"]["epochs"] == 20


@pytest.mark.parametrize("width", [[], ["--width", "1"]])
def test_the_rate_of_features_is_measured(capsys, data, artefact, width):
    arguments = ["--network", "vgg16", "--weights", str(artefact), "--json"]
    if width:  # the weights have another
        assert "has width 0.125, not 1" in fails(capsys, "check", data, *arguments, *width)
        return
    assert app.run(["check", str(data), *arguments]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    assert run["head_seconds"] == pytest.approx(36 / run["images_per_second"] + ENDING)


def test_a_class_of_one_image_has_no_run_to_estimate(capsys, data):
    write_pictures(data, each=1, classes=("lonely",))
    arguments = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--json"]
    assert app.run(["check", str(data), *arguments]) == 1
    assert json.loads(capsys.readouterr().out)["run"] is None


def test_it_starts_without_keras(data):
    code = (
        "import sys; from keras_classics.cli.check import check; "
        f"check({str(data)!r}, near=True, show_all=False, as_json=False, network=None, size=None, "
        "width=None, batch_size=None, epochs=None, weights=None); assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
