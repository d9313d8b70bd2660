"""`classics augment`, as a person meets it."""

from __future__ import annotations

import pytest
from PIL import Image

from keras_classics.cli import app
from pictures import state, write_pictures


@pytest.fixture
def data(tmp_path):
    return write_pictures(tmp_path / "data", each=3)


def test_a_sheet_is_written_and_described(capsys, data, tmp_path):
    out = tmp_path / "sheet.png"
    before = state(data)
    arguments = ["augment", str(data), "--recipe", "a1", "-o", str(out), "--size", "64"]
    assert app.run([*arguments, "--images", "3", "--columns", "2"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: random areas, mirrored, RandAugment 7, deviation 0.5")
    assert "mixup 0.2, CutMix 1" in said
    assert state(data) == before
    with Image.open(out) as sheet:
        assert sheet.width > 3 * 128
        few = sheet.height
    assert app.run([*arguments, "--images", "6", "--columns", "2"]) == 0
    with Image.open(out) as sheet:
        assert few + 3 * 128 < sheet.height < 2 * few


def test_a_table_of_images_has_its_root(capsys, data, tmp_path):
    table, out = tmp_path / "table.csv", tmp_path / "sheet.png"
    paths = sorted(path.relative_to(data) for path in data.rglob("*.*"))
    rows = "".join(f"{path},{path.parent}\n" for path in paths)
    table.write_text("path,label\n" + rows)
    arguments = ["augment", str(table), "-o", str(out), "--images", "2", "--columns", "1"]
    assert app.run([*arguments, "--root", str(data)]) == 0
    assert out.is_file()
    assert app.run([*arguments, "--root", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_lines_of_the_recipe_can_be_changed(capsys, data, tmp_path):
    out = tmp_path / "sheet.png"
    arguments = ["augment", str(data), "-o", str(out), "--images", "2", "--columns", "1"]
    changes = ["--set", "augmentation.pca=0.5", "--set", "augmentation.policy=trivial_augment"]
    assert app.run([*arguments, *changes]) == 0
    assert "TrivialAugment, colours along ImageNet's components, 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "nonesuch"], "recipe 'nonesuch'"),
        (["--set", "augmentation.zoom=2"], "augmentation.zoom"),
        (["--set", "augmentation.zom=0.1"], "did you mean 'zoom'?"),
        (["--images", "0"], "--images"),
        (["-o", "nowhere/x.png"], "nowhere/x.png: cannot be written"),
        (["--size", "1"], "size=1"),
    ],
)
def test_bad_arguments_are_one_line(capsys, data, arguments, words):
    assert app.run(["augment", str(data), *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_an_unreadable_image_is_named(capsys, data, tmp_path):
    for path in sorted(data.rglob("*.png")):
        path.write_bytes(path.read_bytes()[:300])
    assert app.run(["augment", str(data), "-o", str(tmp_path / "x.png")]) == 2
    assert ".png: truncated" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_there_is_nothing_without_a_folder(capsys, tmp_path):
    assert app.run(["augment", str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err


def test_pictures_that_cannot_be_read_are_named_and_others_taken(capsys, data, tmp_path):
    for name in ("circle/a\x1b[31m.png", "cross/b.png", "stripes/c.png"):
        (data / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "sheet.png"
    arguments = ["augment", str(data), "-o", str(out), "--size", "32", "--columns", "1"]
    assert app.run([*arguments, "--images", "12"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: ")
    assert said.err.startswith("skipped 3 images that cannot be read:\n")
    assert "circle/a\\x1b[31m.png: " in said.err
    assert "\x1b" not in said.err
    for path in data.rglob("0*.png"):
        path.write_bytes(b"no picture")
    out.unlink()
    assert app.run([*arguments, "--images", "2"]) == 2
    assert "none of the 12 images can be read; first" in capsys.readouterr().err
    assert not out.exists()
