"""The command as a person meets it: it answers, it ends in order, or says in one line why not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import httpx
import pytest

from keras_classics.cli import app
from keras_classics.web.server import listen

KEY = "a-key-of-more-than-16"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("KERAS_CLASSICS_API_KEY", raising=False)


def fails(capsys, *arguments):
    """Run the command, which must not start; its one line."""
    assert app.run(["serve", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.strip()]
    assert line.startswith("error: ")
    assert captured.out == ""
    return line


def test_it_answers_as_predict_does_until_it_is_told_to_end(artefact, shapes):
    from keras_classics import load

    process = subprocess.Popen(
        [
            sys.executable, "-m", "keras_classics.cli", "serve", f"shapes:7={artefact}",
            "--engine", "keras", "--port", "0",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "KERAS_CLASSICS_API_KEY": KEY},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + process.stderr.read()
        assert "(shapes:7; Ctrl-C ends it)" in line
        address = line.split()[0]
        paths = sorted(shapes.glob("*/000.png"))
        with httpx.Client(base_url=address, headers={"X-API-Key": KEY}, timeout=60) as client:
            files = [("file", (path.name, path.read_bytes())) for path in paths]
            answer = client.post("/classify?top=3", files=files).json()
            assert httpx.get(f"{address}v2").status_code == 401
        assert (answer["model"], answer["version"]) == ("shapes", "7")
        for wanted, found in zip(load(artefact).predict(paths), answer["predictions"], strict=True):
            assert found["class"] == wanted.class_name
            assert found["accepted"] == wanted.accepted
            assert [each["class"] for each in found["top"]] == [name for name, _ in wanted.top[:3]]
            assert found["probability"] == pytest.approx(wanted.confidence, abs=1e-5)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == "ended.\n"
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["event"] for line in lines] == ["start", "request", "request", "drain", "end"]
    assert KEY not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such artefact or export"),
        (["cats=nowhere"], "nowhere is no artefact or export"),
        (["a/b={artefact}"], "'a/b' cannot be a model's name"),
        (["{artefact}", "{artefact}"], "would have the same name"),
        (["{artefact}", "--host", "0.0.0.0"], "other machines could reach it; give it a key by"),
        (
            ["{artefact}", "--host", "no-such-name.invalid", "--open-to-others"],
            "no name or address",
        ),
        (["{artefact}", "--port", "70000"], "'--port'"),
        (["{artefact}", "--batch-size", "0"], "'--batch-size'"),
        (["{artefact}", "--engine", "tensorrt"], "'--engine'"),
        (["{artefact}", "--api-key-file", "nowhere"], "--api-key-file nowhere: No such file"),
        (["{artefact}", "--port", "0", "--precision", "int8", "--engine", "keras"], "f32"),
        ([], "ARTEFACT"),
    ],
)
def test_what_cannot_be(capsys, artefact, arguments, message):
    assert message in fails(capsys, *[each.format(artefact=artefact) for each in arguments])


def test_a_key_makes_it_open_to_others(capsys, artefact, tmp_path, monkeypatch):
    """It gets as far as the port."""
    monkeypatch.setenv("KERAS_CLASSICS_API_KEY", KEY)
    with listen("0.0.0.0", 0) as listening:
        port = listening.getsockname()[1]
        line = fails(capsys, artefact, "--host", "0.0.0.0", "--port", port)
        assert "another program listens there" in line
        monkeypatch.setenv("KERAS_CLASSICS_API_KEY", "short")
        line = fails(capsys, artefact, "--host", "0.0.0.0", "--port", port)
    assert "KERAS_CLASSICS_API_KEY: a key of 5 characters" in line
    empty = tmp_path / "keys"
    empty.touch()
    assert "empty" in fails(capsys, artefact, "--api-key-file", empty)


def test_a_port_that_is_taken(capsys, artefact):
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        line = fails(capsys, artefact, "--port", port)
    assert f"port={port}: another program listens there" in line


def test_a_torn_artefact(capsys, artefact, tmp_path):
    torn = shutil.copytree(artefact, tmp_path / "torn")
    (torn / "model.keras").write_bytes(b"PK")
    assert "corrupt" in fails(capsys, torn, "--port", 0, "--engine", "keras")
    (torn / "artefact.json").write_text("{")
    assert "corrupt" in fails(capsys, torn, "--port", 0)
    assert "not an artefact" in fails(capsys, f"empty={tmp_path}", "--port", 0)


@pytest.mark.slow
def test_a_torn_artefact_with_workers(artefact, tmp_path):
    torn = shutil.copytree(artefact, tmp_path / "torn")
    (torn / "artefact.json").write_text("{")
    done = subprocess.run(
        [
            sys.executable, "-m", "keras_classics.cli", "serve", str(torn), "--workers", "2",
            "--port", "0",
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "corrupt" in line


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("fastapi", "fastapi"),
        ("uvicorn", "uvicorn"),
        ("python_multipart", "python-multipart"),
        ("prometheus_client", "prometheus-client"),
    ],
)
def test_without_the_extra(capsys, artefact, monkeypatch, module, package):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else real(name)
    )
    line = fails(capsys, artefact)
    assert f'{package} is not installed: pip install -e ".[serve]"' in line


def test_the_largest_request_finds_room(capsys, artefact, monkeypatch):
    """Compressed and unpacked."""
    from keras_classics.errors import ClassicsError
    from keras_classics.serving import process

    jobs = []

    def server_for(job):
        jobs.append(job)
        raise ClassicsError("far enough.")

    monkeypatch.setattr(process, "server_for", server_for)
    for option, megabytes in (("--max-request", 1), ("--max-request", 2000), ("--max-file", 900)):
        assert "far enough" in fails(capsys, artefact, "--port", 0, option, megabytes)
    found = [(job.settings.request_bytes >> 20, job.settings.all_bytes >> 20) for job in jobs]
    assert found == [(20, 512), (2000, 4000), (900, 1800)]


def test_threads_are_shared_out(monkeypatch):
    from keras_classics.cli.serve import _share

    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert _share(None, 1) is None
    assert _share(None, 3) == 2
    assert _share(None, 64) == 1
    assert _share(5, 3) == 5
