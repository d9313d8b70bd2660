from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_classics import export, read_export
from keras_classics.errors import ClassicsError, OutputError
from keras_classics.exporting import export as exporting
from keras_classics.exporting.exported import ExportError
from keras_classics.exporting.targets import TARGETS
from pictures import state


def worker(tmp_path, monkeypatch, code):
    """Takes other code for the process that converts."""
    place = tmp_path / "worker"
    place.mkdir()
    (place / "stand_in.py").write_text(f"import json, os, sys, time\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", str(place))
    monkeypatch.setattr(exporting, "WORKER", "stand_in")


def test_torch_in_a_process_of_its_own(artefact, tmp_path, monkeypatch):
    """Whatever backend this process runs on, and whatever lies in the current folder."""
    before = state(artefact)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keras.py").write_text("raise SystemExit('not this one')\n")
    told = []
    out = tmp_path / "some" / "where"
    made = export(
        artefact, to="torch_export", input="fitted", out=out, progress=lambda *x: told.append(x)
    )
    found = read_export(made)
    assert made == out
    assert found.agreement.largest_difference < 1e-4
    assert found.versions["torch"]
    assert ("loading", 0, 0) in told
    assert ("comparing with Keras", 9, 9) in told
    assert state(artefact) == before
    import torch

    extra = {"keras_classics.json": ""}
    torch.export.load(out / "model.pt2", extra_files=extra)
    said = json.loads(extra["keras_classics.json"])
    assert said["class_names"] == list(found.card.class_names)
    assert said["preprocessing"]["size"] == [32, 32]
    assert said["fingerprint"] == found.card.data["fingerprint"]
    assert said["versions"] == found.versions


@pytest.mark.slow
def test_the_same_bytes(artefact, tmp_path):
    one, other = (export(artefact, to="openvino", out=tmp_path / name) for name in "ab")
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in other.iterdir()
    }


@pytest.mark.usefixtures("converted_here")
def test_the_default_place(artefact, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(artefact, run)
    one = export(run, to="openvino")
    assert one == run / "exports" / "openvino-f32"
    assert sorted(path.name for path in one.iterdir()) == ["export.json", "model.bin", "model.xml"]
    assert [path.name for path in one.parent.iterdir()] == ["openvino-f32"]
    with pytest.raises(OutputError, match="exists; choose another"):
        export(run, to="openvino")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "openvin"}, "target 'openvin': not one of .*; did you mean 'openvino'?"),
        ({"to": "onnx", "precision": "f64"}, "precision 'f64': not one of f32, bf16, int8"),
        ({"to": "onnx", "input": "video"}, "input 'video': not one of image, fitted, raw"),
        ({"to": "onnx", "precision": "bf16"}, "ONNX Runtime has no bf16 .*; take f32 or int8"),
        ({"to": "litert", "precision": "bf16"}, "LiteRT has no bf16 kernels"),
        ({"to": "saved_model", "precision": "int8"}, "saved_model in int8: .*; take f32 or bf16"),
        ({"to": "torch_export", "precision": "int8"}, "torch_export in int8: "),
        ({"to": "litert", "precision": "int8"}, "takes no pictures of any size.*take --fitted"),
        ({"to": "openvino", "precision": "bf16"}, "takes no pictures of any size"),
        ({"to": "onnx", "calibration_pictures": 0}, "calibration_pictures=0: at least 1"),
        ({"to": "onnx", "weights": "resnet50-keras"}, "and not both"),
    ],
)
def test_what_cannot_be_is_refused_at_once(artefact, monkeypatch, tmp_path, options, message):
    monkeypatch.setattr(exporting, "_in_another_process", lambda *_: pytest.fail("began"))
    with pytest.raises(ExportError, match=message):
        export(artefact, out=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package(artefact, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "nncf" else found(name)
    )
    with pytest.raises(
        ClassicsError, match=r'nncf is not installed: pip install -e "\.\[openvino\]"'
    ):
        export(artefact, to="openvino", precision="int8", out=tmp_path / "out")


def test_an_artefact_that_is_none(tmp_path, artefact):
    with pytest.raises(ClassicsError, match="no such artefact"):
        export(tmp_path / "nothing", to="onnx")
    torn = tmp_path / "torn"
    shutil.copytree(artefact, torn)
    (torn / "model.keras").write_bytes(b"PK")
    with pytest.raises(ClassicsError, match="corrupt or not a Keras model"):
        export(torn, to="openvino")
    assert not (torn / "exports").exists()


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("os.kill(os.getpid(), 9)", ExportError, "the conversion was killed"),
        ("print(json.dumps({'error': 'no.'}))", ExportError, "no."),
        (
            "print(json.dumps({'os_error': 'No space left on device'}))",
            OutputError,
            r"out: cannot be written \(No space left on device\)",
        ),
        (
            "print(json.dumps({'os_error': 'Permission denied', 'at': '/runs/one/artefact.json'}))",
            ExportError,
            r"^/runs/one/artefact.json: Permission denied\.$",
        ),
        ("print(json.dumps({'out_of_memory': True}))", MemoryError, None),
        ("print(json.dumps({'bug': 'KeyError: x', 'trace': 't'}))", RuntimeError, "KeyError: x"),
    ],
)
def test_what_befalls_the_process(artefact, tmp_path, monkeypatch, code, kind, message):
    torn = "open(os.path.join(asked['folder'], 'model.onnx'), 'w').write('half')"
    worker(tmp_path, monkeypatch, f"asked = json.loads(sys.stdin.readline())\n{torn}\n{code}")
    with pytest.raises(kind, match=message):
        export(artefact, to="onnx", out=tmp_path / "in" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["worker"]


@pytest.mark.parametrize(
    "target",
    [
        name if name == "openvino" else pytest.param(name, marks=pytest.mark.slow)
        for name in TARGETS
    ],
)
def test_a_full_disk(artefact, tmp_path, monkeypatch, target):
    """Files may not grow beyond 64 kB here, which is what a full disk comes to."""
    code = (
        "import resource, runpy\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "runpy.run_module('keras_classics.exporting.worker', run_name='__main__')"
    )
    worker(tmp_path, monkeypatch, code)
    with pytest.raises(OutputError, match=r"out: cannot be written \("):
        export(artefact, to=target, input="fitted", out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["worker"]


def test_a_place_that_cannot_be_written(artefact, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        export(artefact, to="onnx", out=tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="exists; choose another"):
        export(artefact, to="onnx", out=tmp_path / "file")


def test_nothing_is_written_among_the_pictures(artefact, shapes):
    before = state(shapes)
    with pytest.raises(OutputError, match="lies in the folder of the images"):
        export(artefact, to="onnx", out=shapes / "out", data=shapes)
    assert state(shapes) == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_those_who_asked_for_it(artefact, tmp_path, how):
    """On Ctrl-C nothing stays; after a kill the process ends and the next export cleans up."""
    place = tmp_path / "worker"
    place.mkdir()
    waits = "\n".join(
        (
            "import json, os, signal, sys, threading",
            "from keras_classics.exporting import worker",
            "signal.signal(signal.SIGINT, signal.SIG_IGN)",
            "asked = json.loads(sys.stdin.readline())",
            "open(os.path.join(asked['folder'], 'half'), 'w').close()",
            f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))",
            "worker._end_with_parent()",
        )
    )
    (place / "stand_in.py").write_text(waits + "\n")
    out = tmp_path / "out"
    code = (
        # What is started in the background of a shell does not hear Ctrl-C.
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from keras_classics import export\n"
        "from keras_classics.exporting import export as exporting\n"
        "exporting.WORKER = 'stand_in'\n"
        f"export({str(artefact)!r}, to='onnx', out={str(out)!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(place)},
        stderr=subprocess.DEVNULL,
    )
    pid = tmp_path / "pid"
    while not (pid.is_file() and pid.read_text()):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(how)
    assert process.wait(60) != 0
    while Path(f"/proc/{pid.read_text()}").exists():
        time.sleep(0.05)
    left = {path.name for path in tmp_path.iterdir()} - {"worker", "pid"}
    assert not out.exists()
    assert len(left) == (how == signal.SIGKILL)
    with pytest.raises(ExportError), pytest.MonkeyPatch.context() as patch:
        (place / "stand_in.py").write_text('print(\'{"error": "no."}\')\n')
        patch.setenv("PYTHONPATH", str(place))
        patch.setattr(exporting, "WORKER", "stand_in")
        export(artefact, to="onnx", out=out)
    assert {path.name for path in tmp_path.iterdir()} == {"worker", "pid"}
