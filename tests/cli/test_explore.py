"""The command as a person meets it: one line when it runs, one line when it cannot."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from contextlib import suppress

import httpx
import pytest

from forked import Classics
from keras_classics.cli import app
from keras_classics.web.server import listen

SMALL = ["vgg16", "--width", "0.05", "--size", "32", "--classes", "3"]


def fails(capsys, *arguments):
    """Run the command, which must not start; its one line."""
    assert app.run(["explore", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.strip()]
    assert line.startswith("error: ")
    assert captured.out == ""
    return line


def started(*arguments):
    """The command in a process of its own, and the address that it prints."""
    process = Classics("explore", *arguments, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), line + process.stderr.read()
    return process, line


def test_it_serves_until_ctrl_c(artefact):
    process, line = started(artefact, "--no-browser", "--port", 0)
    address = line.split()[0]
    assert line.count("\n") == 1
    assert artefact.name in line
    models = httpx.get(f"{address}api/models").json()["models"]
    assert [model["id"] for model in models] == [artefact.name]
    assert models[0]["trained"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert (out, err) == ("ended.\n", "")


def test_without_a_name_the_installed_weights():
    process, line = started("--no-browser", "--port", 0)
    (model,) = httpx.get(f"{line.split()[0]}api/models").json()["models"]
    assert (model["id"], model["title"]) == ("efficientnet_lite0-google", "EfficientNetLite0")
    assert model["trained"]
    assert len(model["class_names"]) == 1000
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def test_ctrl_c_in_the_middle_of_an_answer():
    process, line = started(*SMALL, "--no-browser", "--port", 0)
    address = line.split()[0]

    def ask():
        message = {"model": "vgg16", "picture": "china", "method": "integrated-gradients"}
        with suppress(httpx.HTTPError):
            httpx.post(f"{address}api/cam", json=message, timeout=60)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    asking.join()
    assert process.returncode == 0
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet51"], "did you mean 'resnet50'?"),
        (["runs/nowhere"], "no such artefact"),
        (["vgg16", "--size", "8"], "at least 32 x 32"),
        (["vgg16", "--size", "4000"], "'--size'"),
        (["vgg16", "--width", "0"], "width=0.0"),
        (["vgg16", "--port", "70000"], "'--port'"),
        (["vgg16", "resnet50", "--weights", "imagenet"], "--weights: for one network, not 2"),
        (["vgg16", "--weights", "imagenet", "--width", "0.5"], "--width: that of published"),
        (["vgg16", "--weights", "resnet50-keras"], "weights of resnet50, not of vgg16"),
        (["--weights", "imagenet"], "of which network?"),
        (["vgg16", "--weights", "nowhere.h5"], "'nowhere.h5' are not known"),
        (["--size", "64"], "--size: that of published weights is fixed"),
        (["resnet50-keras", "--size", "64"], "--size: that of published weights is fixed"),
        ([*SMALL, "--data", "nowhere"], "nowhere"),
        (["--host", "0.0.0.0"], "add --open-to-others if they may"),
        (["--host", "192.168.0.7"], "other machines could reach it"),
        (["--host", "example.org"], "other machines could reach it"),
        (["--host", "no-such-name.invalid", "--open-to-others"], "no name or address"),
    ],
)
def test_what_cannot_be(capsys, arguments, message):
    assert message in fails(capsys, *arguments)


def test_a_port_that_is_taken(capsys):
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        line = fails(capsys, *SMALL, "--port", port)
    assert f"port={port}: another program listens there" in line


def test_a_torn_artefact(capsys, artefact, tmp_path):
    torn = shutil.copytree(artefact, tmp_path / "torn")
    (torn / "model.keras").write_bytes(b"PK")
    assert "corrupt" in fails(capsys, torn)
    assert "not an artefact" in fails(capsys, tmp_path)


def test_too_many_models(capsys):
    assert "5 models: 1 to 4" in fails(
        capsys, *["vgg16"] * 5, "--width", "0.02", "--size", "32", "--classes", "2"
    )


def test_without_the_extra(capsys, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else real(name)
    )
    line = fails(capsys)
    assert 'uvicorn is not installed: pip install -e ".[explore]"' in line


def served(monkeypatch, *arguments):
    """What is opened in the browser when the command has started, without a server."""
    import webbrowser

    from keras_classics.web import server

    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(server, "serve", lambda *_, started: started())
    assert app.run(["explore", *map(str, arguments)]) == 0
    return opened


def test_the_browser_is_opened_unless_told_not_to(capsys, monkeypatch):
    opened = served(monkeypatch, *SMALL, "--port", 0)
    out = capsys.readouterr().out
    assert opened == [out.split()[0]]
    assert "(vgg16; Ctrl-C ends it)" in out
    assert served(monkeypatch, *SMALL, "--port", 0, "--no-browser") == []


def test_several_models_and_pictures_of_one_s_own(capsys, monkeypatch, shapes):
    served(monkeypatch, "vgg16", "vgg16", *SMALL[1:], "--data", shapes, "--no-browser")
    assert "(vgg16, vgg16-2; Ctrl-C ends it)" in capsys.readouterr().out
