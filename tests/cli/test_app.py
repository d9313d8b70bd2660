"""Errors, as a user meets them: one clear line, the right exit code, nothing lost, nothing left."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import forked
from keras_classics import __version__
from keras_classics.cli import app, backend
from keras_classics.errors import ClassicsError
from pictures import state, write_pictures

CLASSICS = [sys.executable, "-m", "keras_classics.cli"]
QUICK = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--epochs", "1"]


def fails(capsys, arguments, *, code=2):
    """Run a command that must fail; its one line."""
    assert app.run([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in captured.err + captured.out
    return lines[0]


@pytest.fixture
def data(tmp_path):
    return write_pictures(tmp_path / "data", each=3)


def bad_folder(kind, root):  # noqa: PLR0911  one for each kind
    """A folder of images with one thing wrong, and what the error must say."""
    folder = root / "data"
    if kind == "missing":
        return folder, "no such folder"
    if kind == "file":
        folder.write_text("x")
        return folder, "is a file, not a folder"
    if kind == "empty":
        folder.mkdir()
        return folder, "contains no images"
    if kind == "flat":
        write_pictures(folder, each=2, classes=("cross",))
        for path in (folder / "cross").iterdir():
            path.rename(folder / path.name)
        (folder / "cross").rmdir()
        return folder, "sub-folder"
    if kind == "one class":
        write_pictures(folder, each=3, classes=("cross",))
        return folder, "cross"
    if kind == "single image":
        write_pictures(folder, each=3)
        write_pictures(folder, each=1, classes=("lonely",))
        return folder, "'lonely' has a single image"
    write_pictures(folder, each=3)
    for path in (folder / "cross").iterdir():
        path.write_text("text with the ending of an image")
    return folder, "no training image of the class 'cross' can be read"


@pytest.mark.parametrize(
    "kind", ["missing", "file", "empty", "flat", "one class", "single image", "unreadable class"]
)
def test_folders_from_which_nothing_can_be_learnt(capsys, tmp_path, kind):
    folder, message = bad_folder(kind, tmp_path)
    before = state(tmp_path)
    line = fails(capsys, ["train", folder, *QUICK, "--out", tmp_path / "out"])
    assert message in line
    assert str(folder) in line
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "resnet51"], "did you mean 'resnet50'?"),
        (["--size", "8"], "size=8: EfficientNetLite0 takes 32 to 4096 pixels"),
        (["--size", "1000000"], "size=1000000"),
        (["--width", "-1"], "width=-1"),
        (["--weights", "nowhere.keras"], "nowhere.keras"),
    ],
)
def test_arguments_that_cannot_be(capsys, tmp_path, data, arguments, message):
    before = state(tmp_path)
    assert message in fails(capsys, ["train", data, *arguments, "--out", tmp_path / "out"])
    assert state(tmp_path) == before


def test_corrupt_images_are_named_counted_and_skipped(capsys, tmp_path, data):
    (data / "cross" / "letter.jpg").write_text("Dear reader")
    whole = (data / "cross" / "000.png").read_bytes()
    (data / "circle" / "torn.png").write_bytes(whole[:200])
    before = state(data)
    assert app.run(["train", str(data), *QUICK, "--out", str(tmp_path / "out")]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "skipped 2 images that cannot be read" in output
    assert "letter.jpg" in output
    assert "torn.png" in output
    assert state(data) == before


def test_an_artefact_that_is_none(capsys, tmp_path, data):
    assert "no such artefact" in fails(capsys, ["predict", tmp_path / "nowhere", data])
    assert "not an artefact" in fails(capsys, ["predict", data, data])
    assert "not an artefact" in fails(capsys, ["evaluate", data, data])


def test_a_torn_artefact(capsys, artefact, tmp_path, data):
    torn = shutil.copytree(artefact, tmp_path / "torn")
    (torn / "model.keras").write_bytes(b"PK")
    assert "corrupt" in fails(capsys, ["predict", torn, data])


def test_an_output_that_exists_is_kept(capsys, tmp_path, data):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    assert "exists" in fails(capsys, ["train", data, *QUICK, "--out", tmp_path / "out"])
    assert (tmp_path / "out" / "precious").read_text() == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc refuses even the superuser")
def test_no_permission_for_the_output(capsys, data):
    line = fails(capsys, ["train", data, *QUICK, "--out", "/proc/out"])
    assert "/proc/out: cannot be written" in line
    assert "--out" in line


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits on the size of files")
def test_a_disk_that_takes_no_model(tmp_path, data):
    """A real refusal of the system: files may not grow beyond 100 kB."""
    limits = resource.RLIMIT_FSIZE, (100_000, 100_000)
    result = forked.run("train", data, *QUICK, "--out", tmp_path / "out", limits=limits)
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert "File too large" in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def interrupted(tmp_path, data, wait_for, epochs="1000"):
    """Start a long run, press Ctrl-C when a text appears, and wait for the end."""
    process = forked.Classics(
        "train", data, *QUICK[:-1], epochs, "--out", tmp_path / "out",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for line in process.stdout:
        if wait_for in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_ctrl_c_after_an_epoch_saves_what_was_learnt(tmp_path, data):
    code, out, err = interrupted(tmp_path, data, "epoch   2/")
    assert code == 130
    assert "interrupted" in out
    assert err.strip() == ""
    assert (tmp_path / "out" / "model.keras").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
    assert app.run(["predict", str(tmp_path / "out"), str(data)]) == 0


def test_ctrl_c_before_the_first_epoch_leaves_nothing(tmp_path, data):
    code, _, err = interrupted(tmp_path, data, "VGG16")
    assert code == 130
    assert len([line for line in err.splitlines() if line.strip()]) == 1, err
    assert "interrupted" in err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_ctrl_c_while_keras_is_loading(tmp_path, data):
    process = subprocess.Popen(
        [*CLASSICS, "train", data, *QUICK, "--out", tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines() == ["error: interrupted."]
    assert not (tmp_path / "out").exists()


def test_unknown_commands_and_options(capsys):
    assert "No such command 'trian'" in fails(capsys, ["trian"])
    assert "--epochs" in fails(capsys, ["train", "--epoch", "3"])
    assert "'--epochs'" in fails(capsys, ["train", "--epochs", "many"])
    assert "artefact" in fails(capsys, ["predict"]).lower()


def test_debug_shows_where(capsys, tmp_path):
    assert app.run(["--debug", "train", str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr().err
    assert "Traceback" in captured
    assert "DataError" in captured


def test_a_bug_is_one_line_too(capsys, monkeypatch, data):
    from keras_classics.training import run

    def broken(*_, **__):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(run, "train", broken)
    line = fails(capsys, ["train", data], code=1)
    assert "RuntimeError: first line second line" in line
    assert "--debug" in line


def test_version_and_help(capsys):
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out == f"keras-classics {__version__}\n"
    assert app.run(["--help"]) == 0
    listed = capsys.readouterr().out
    for command in ("train", "evaluate", "predict", "networks", "summary"):
        assert command in listed


def test_help_needs_neither_keras_nor_rich_tables():
    script = (
        "import sys; from keras_classics.cli import app; app.run(['train', '--help']);"
        "print(sorted({'keras', 'tensorflow', 'numpy', 'sklearn', 'cv2'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_backend_that_is_not_installed(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "mxnet")
    with pytest.raises(
        ClassicsError, match=r"KERAS_BACKEND=mxnet: not supported; use tensorflow, jax, torch"
    ):
        backend.start()


def test_without_any_backend(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ClassicsError, match=r'pip install -e "\.\[tensorflow\]" in'):
        backend.start()


def test_an_installed_backend_takes_the_place_of_the_configured_one(monkeypatch, tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "tensorflow"}')
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    # Set first, so that what `start` sets is taken back at the end.
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: name == "torch" or None)
    monkeypatch.setattr(backend.importlib, "import_module", lambda _: None)
    backend.start()
    assert os.environ["KERAS_BACKEND"] == "torch"


def test_output_into_a_closed_pipe_is_no_error(artefact, shapes):
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    result = forked.run("predict", artefact, shapes, "--csv", stdout=reader.stdin)
    reader.stdin.close()
    assert "Traceback" not in result.stderr
    assert "error" not in result.stderr


def test_remarks_that_nobody_reads_cost_nothing(artefact, shapes, tmp_path):
    out = tmp_path / "rows.csv"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody:
        result = forked.run("predict", artefact, shapes, "-o", out, stderr=nobody)
    assert (result.returncode, result.stdout) == (0, "")
    assert len(out.read_text().splitlines()) == 1 + 60


def test_a_loss_that_is_no_number_is_the_user_s_to_mend(capsys, tmp_path, data, monkeypatch):
    from keras_classics.training import fitting

    monkeypatch.setattr(fitting, "_finite", lambda _: False)
    line = fails(capsys, ["train", data, *QUICK, "--out", tmp_path / "out"])
    assert "lower --learning-rate" in line
    assert not (tmp_path / "out").exists()


def test_a_reader_that_has_seen_enough():
    result = subprocess.run(
        f"{shlex.join(CLASSICS)} summary vgg16 --layers --width 0.05 --size 32 | head -2;"
        "exit ${PIPESTATUS[0]}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert len(result.stdout.splitlines()) == 2


def test_a_terminal_of_few_characters():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = forked.run("summary", "vgg16", "--width", "0.05", "--size", "32", env=environment)
    assert result.returncode == 0, result.stderr
    assert "vgg_block" in result.stdout


def test_a_full_device_is_no_bug(artefact, shapes):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*CLASSICS, "predict", artefact, shapes / "cross", "--csv"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode in (2, 120)  # 120: Python's own, where the flush at exit fails
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr


def test_without_a_command_help_is_shown(capsys):
    assert app.run([]) == 0
    assert "train" in capsys.readouterr().out


def test_an_empty_argument_is_not_the_current_folder(capsys):
    assert "empty argument" in fails(capsys, ["train", ""])
    assert "empty argument" in fails(capsys, ["predict", "run", ""])


def test_debug_may_stand_anywhere(capsys, tmp_path):
    assert app.run(["train", str(tmp_path / "nowhere"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_many_interrupts_in_a_row_lose_nothing(tmp_path, data):
    process = forked.Classics(
        "train", data, *QUICK[:-1], "1000", "--out", tmp_path / "out",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for line in process.stdout:
        if "epoch   3/" in line:
            break
    for _ in range(6):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert (tmp_path / "out" / "model.keras").is_file()


def test_the_entry_point_is_installed():
    assert Path(shutil.which("classics", path=Path(sys.executable).parent)).exists()
